"""The sandbox's projects and repositories: statuses, bodies and texts are GitLab's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import requests

from sandbox import Access, Sandbox
from sandbox.model import ProtectedRef
from sandbox.testing import Api, outcome
from sandbox.world import PATIENCE

if TYPE_CHECKING:
    from sandbox.model import Project, Token, User

PROJECT = "/projects/tech-lunch%2Fservice-tests"
TAGS = f"{PROJECT}/repository/tags"


def test_a_project_that_the_user_cannot_see_returns_404(gitlab: Sandbox, api: Api) -> None:
    gitlab.add_project("secret/project", {})
    for path in ("/projects/secret%2Fproject", "/projects/no%2Fsuch"):
        assert outcome(api.get(path)) == (404, {"message": "404 Project Not Found"})


def test_a_request_for_a_moved_project_redirects_to_its_id(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    gitlab.rename(project, "tech-lunch/tests")
    gitlab.state.external_url = "https://gitlab.example.com"
    read = api.get(f"{TAGS}?per_page=5", allow_redirects=False)
    assert read.status_code == 301
    assert read.headers["Location"] == (
        f"https://gitlab.example.com/api/v4/projects/{project.id}/repository/tags?per_page=5"
    )
    assert outcome(api.post(TAGS, json={"tag_name": "v1", "ref": "main"})) == (
        405,
        {"message": "Non GET methods are not allowed for moved projects"},
    )


def test_the_server_can_have_a_relative_url_root() -> None:
    with Sandbox(run_jobs=False, relative_root="/gitlab") as gitlab:
        token = gitlab.add_token(gitlab.add_user("user"))
        assert gitlab.url.endswith("/gitlab")
        with Api(gitlab, **{"PRIVATE-TOKEN": token.secret}) as api:
            assert api.get("/version").status_code == 200
        outside = requests.get(
            gitlab.url.removesuffix("/gitlab") + "/api/v4/version", timeout=PATIENCE
        )
        assert (outside.status_code, outside.text[:15]) == (404, "<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("name", "ref", "message"),
    [
        ("v1", "main", "Tag v1 already exists"),
        ("v2", "nope", "Target nope is invalid"),
        ("v2", "", "Target is empty"),
        ("a b", "main", "Tag name invalid"),
        ("v1/sub", "main", "Failed to create a tag: v1/sub"),
        ("main", "main", "You cannot use default branch name to create a tag"),
        ("locked", "main", "You are not allowed to create this tag as it is protected."),
    ],
)
def test_an_invalid_tag_gets_gitlabs_error_message(
    project: Project, api: Api, name: str, ref: str, message: str
) -> None:
    project.protected_tags.append(ProtectedRef("lock*", Access.OWNER))
    api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
    answer = api.post(TAGS, json={"tag_name": name, "ref": ref})
    assert outcome(answer) == (400, {"message": message})


@pytest.mark.parametrize("words", ["", "Not on a Friday"])
def test_a_hook_refuses_a_tag_with_its_own_message(
    gitlab: Sandbox, project: Project, api: Api, words: str
) -> None:
    project.hook_message = words
    answer = api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
    assert outcome(answer) == (400, {"message": words})
    assert gitlab.tags(project) == {}


def test_a_reporter_cannot_create_a_tag(project: Project, executor: User, api: Api) -> None:
    project.members[executor.id] = Access.REPORTER
    answer = api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
    assert outcome(answer) == (403, {"message": "403 Forbidden"})


def test_an_error_names_missing_parameters(api: Api, project: Project) -> None:
    answer = api.post(f"/projects/{project.id}/repository/tags", json={})
    assert outcome(answer) == (400, {"error": "tag_name is missing, ref is missing"})


def test_the_target_of_an_annotated_tag_is_not_the_commit(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    tag = api.post(TAGS, json={"tag_name": "v1", "ref": "main", "message": "One"}).json()
    assert tag["commit"]["id"] == gitlab.sha(project) != tag["target"]
    assert tag["message"] == "One"
    assert gitlab.tags(project) == {"v1": gitlab.sha(project)}


def test_a_tag_is_shown_and_removed(project: Project, gitlab: Sandbox, api: Api) -> None:
    gitlab.tag(project, "release/1")
    assert api.get(f"{TAGS}/release%2F1").json()["name"] == "release/1"
    assert api.delete(f"{TAGS}/release%2F1").status_code == 204
    assert outcome(api.get(f"{TAGS}/release%2F1")) == (404, {"message": "404 Tag Not Found"})


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("order_by=version&sort=desc", ["v1.10.0", "v1.9.0", "v1.2.0"]),
        ("order_by=name&sort=asc", ["v1.10.0", "v1.2.0", "v1.9.0"]),
        ("order_by=version&sort=asc&search=^v1.9", ["v1.9.0"]),
        ("order_by=version&sort=asc&search=2.0$", ["v1.2.0"]),
    ],
)
def test_tags_are_ordered_and_searched(
    gitlab: Sandbox, project: Project, api: Api, query: str, names: list[str]
) -> None:
    for name in ("v1.9.0", "v1.10.0", "v1.2.0"):
        gitlab.tag(project, name)
    assert [tag["name"] for tag in api.get(f"{TAGS}?{query}").json()] == names


def test_a_long_list_comes_in_pages(gitlab: Sandbox, project: Project, api: Api) -> None:
    for number in range(5):
        gitlab.tag(project, f"v{number}")
    first = api.get(f"{TAGS}?order_by=name&sort=asc&per_page=2")
    headers = first.headers
    assert (headers["X-Total"], headers["X-Total-Pages"], headers["X-Next-Page"]) == ("5", "3", "2")
    names = [tag["name"] for tag in first.json()]
    page = first
    while "next" in page.links:
        page = requests.get(page.links["next"]["url"], headers=api.headers, timeout=PATIENCE)
        names += [tag["name"] for tag in page.json()]
    assert names == ["v0", "v1", "v2", "v3", "v4"]
    assert page.headers["X-Next-Page"] == ""


@pytest.mark.parametrize("name", ["main", "v1", "short"])
def test_a_commit_is_found_by_branch_tag_and_short_sha(
    gitlab: Sandbox, project: Project, api: Api, name: str
) -> None:
    sha = gitlab.tag(project, "v1", message="One")
    found = api.get(f"{PROJECT}/repository/commits/{sha[:8] if name == 'short' else name}")
    assert found.json()["id"] == sha
    assert outcome(api.get(f"{PROJECT}/repository/commits/nope")) == (
        404,
        {"message": "404 Commit Not Found"},
    )


def test_branches_are_listed_and_shown(gitlab: Sandbox, project: Project, api: Api) -> None:
    gitlab.commit(project, {"f": "1"}, branch="feature/1")
    branches = api.get(f"{PROJECT}/repository/branches?search=feat").json()
    assert [branch["name"] for branch in branches] == ["feature/1"]
    main = api.get(f"{PROJECT}/repository/branches/main").json()
    assert (main["default"], main["protected"]) == (True, True)
    assert outcome(api.get(f"{PROJECT}/repository/branches/nope")) == (
        404,
        {"message": "404 Branch Not Found"},
    )


@pytest.mark.usefixtures("project")
def test_only_one_of_many_concurrent_requests_creates_the_tag(
    gitlab: Sandbox, token: Token
) -> None:
    statuses: list[int] = []

    def create() -> None:
        with Api(gitlab, **{"PRIVATE-TOKEN": token.secret}) as api:
            answer = api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
            statuses.append(answer.status_code)

    threads = [threading.Thread(target=create) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 400, 400, 400, 400]
