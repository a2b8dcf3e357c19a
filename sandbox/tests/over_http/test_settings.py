"""A project's settings over the sandbox's API, as far as GitLab tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox import Access, Sandbox
from sandbox.model import ProtectedRef
from sandbox.testing import Api, outcome

if TYPE_CHECKING:
    from sandbox.model import Project, User

PROJECT = "/projects/tech-lunch%2Fservice-tests"
NOT_ALLOWED = (403, {"message": "403 Forbidden"})


@pytest.mark.usefixtures("project")
def test_only_the_requested_user_is_found_among_the_members(
    gitlab: Sandbox, api: Api, executor: User
) -> None:
    member = api.get(f"{PROJECT}/members/all/{executor.id}").json()
    assert (member["username"], member["access_level"]) == ("ci-cd-executor", Access.MAINTAINER)
    stranger = gitlab.add_user("stranger")
    missing = api.get(f"{PROJECT}/members/all/{stranger.id}")
    assert outcome(missing) == (404, {"message": "404 Not found"})


@pytest.mark.parametrize(
    "settings",
    ["protected_tags", "protected_branches", "job_token_scope", "job_token_scope/allowlist"],
)
def test_a_developer_cannot_read_the_settings_of_a_maintainer(
    api: Api, project: Project, executor: User, settings: str
) -> None:
    assert api.get(f"{PROJECT}/{settings}").status_code == 200
    project.members[executor.id] = Access.DEVELOPER
    assert outcome(api.get(f"{PROJECT}/{settings}")) == NOT_ALLOWED


def test_protected_refs_name_the_roles_with_access(api: Api, project: Project) -> None:
    project.protected_tags.append(ProtectedRef("v*", Access.DEVELOPER))
    (tag,) = api.get(f"{PROJECT}/protected_tags").json()
    assert (tag["name"], tag["create_access_levels"][0]["access_level"]) == ("v*", 30)
    (branch,) = api.get(f"{PROJECT}/protected_branches").json()
    assert (branch["name"], branch["push_access_levels"][0]["access_level"]) == ("main", 40)


def test_the_allowlist_contains_the_project_itself_other_projects_and_groups(
    gitlab: Sandbox, api: Api, project: Project
) -> None:
    other = gitlab.add_project("tech-lunch/hello-world")
    project.job_token_allowlist = {other.path, "tools"}
    scope = f"{PROJECT}/job_token_scope"
    assert api.get(scope).json()["inbound_enabled"] is True
    listed = [each["path_with_namespace"] for each in api.get(f"{scope}/allowlist").json()]
    assert listed == [project.path, other.path]
    (group,) = api.get(f"{scope}/groups_allowlist").json()
    assert group["web_url"] == f"{gitlab.url}/groups/tools"


def test_a_group_on_the_allowlist_allows_all_its_projects(
    gitlab: Sandbox, project: Project
) -> None:
    project.job_token_allowlist = {"tools"}
    user = gitlab.add_user("developer")
    project.members[user.id] = Access.DEVELOPER
    for path, status in (("tools/ci/lint", 200), ("tools-of-others/lint", 403)):
        job = gitlab.add_running_job(gitlab.add_project(path, {"a": "b"}), user)
        with Api(gitlab, **{"JOB-TOKEN": job.token}) as api:
            assert api.get(f"{PROJECT}/pipelines").status_code == status
