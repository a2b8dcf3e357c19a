"""Projects made, changed and deleted over the sandbox's API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import Access
from sandbox.testing import Api, outcome

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Project, User

ROLE = "ci_pipeline_variables_minimum_override_role"


def test_a_user_creates_and_deletes_their_own_project(gitlab: Sandbox, api: Api) -> None:
    made = api.post("/projects", json={"name": "mine", "initialize_with_readme": True})
    assert made.status_code == 201
    project = made.json()
    assert project["path_with_namespace"] == "ci-cd-executor/mine"
    assert project["permissions"]["project_access"] == {"access_level": Access.OWNER}
    branches = api.get(f"/projects/{project['id']}/repository/branches").json()
    assert [each["name"] for each in branches] == ["main"]
    assert gitlab.pipelines(gitlab.state.projects[project["id"]]) == []

    assert outcome(api.delete(f"/projects/{project['id']}")) == (202, {"message": "202 Accepted"})
    assert api.get(f"/projects/{project['id']}").status_code == 404


def test_a_project_path_can_be_used_only_once(api: Api) -> None:
    assert api.post("/projects", json={"name": "mine"}).status_code == 201
    taken = ["has already been taken"]
    assert outcome(api.post("/projects", json={"name": "mine"})) == (
        400,
        {"message": {"name": taken, "path": taken}},
    )


def test_a_maintainer_can_change_settings_but_not_delete_the_project(
    api: Api, project: Project
) -> None:
    changed = api.put(f"/projects/{project.id}", json={ROLE: "no_one_allowed"})
    assert (changed.status_code, changed.json()[ROLE]) == (200, "no_one_allowed")
    assert api.put(f"/projects/{project.id}", json={ROLE: "anyone"}).status_code == 400
    assert api.delete(f"/projects/{project.id}").status_code == 403


def test_other_users_cannot_change_settings(
    gitlab: Sandbox, api: Api, project: Project, executor: User
) -> None:
    project.members[executor.id] = Access.DEVELOPER
    assert api.put(f"/projects/{project.id}", json={ROLE: "owner"}).status_code == 403
    with Api(gitlab) as nobody:
        assert nobody.post("/projects", json={"name": "mine"}).status_code == 401
