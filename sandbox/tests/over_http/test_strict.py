"""What the sandbox does not read it refuses, so that no client relies on something ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sandbox import Access, Sandbox
from sandbox.testing import Api, outcome

if TYPE_CHECKING:
    from sandbox.model import Project

PROJECT = "/projects/tech-lunch%2Fservice-tests"
COMMITS = f"{PROJECT}/repository/commits"


def world(gitlab: Sandbox) -> Api:
    user = gitlab.add_user("dev")
    gitlab.add_project("tech-lunch/service-tests", {"f": "1"}, members={user: Access.MAINTAINER})
    return Api(gitlab, **{"PRIVATE-TOKEN": gitlab.add_token(user).secret})


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("GET", f"{COMMITS}?trailers=true&with_stats=1", None, "trailers, with_stats of GET"),
        ("POST", f"{PROJECT}/pipeline", {"ref": "main", "stages": 1}, "stages of POST"),
        (
            "POST",
            COMMITS,
            {
                "branch": "x",
                "start_branch": "main",
                "commit_message": "m",
                "actions": [{"action": "delete", "file_path": "f", "execute_filemode": True}],
            },
            "actions[][execute_filemode] of POST",
        ),
    ],
)
def test_an_unsupported_parameter_is_refused_and_fails_the_test(
    method: str, path: str, body: dict[str, Any] | None, named: str
) -> None:
    with pytest.raises(AssertionError, match="does not read"), Sandbox(run_jobs=False) as gitlab:  # noqa: PT012 - the end of the block raises
        api = world(gitlab)
        gitlab.commit(
            next(iter(gitlab.state.projects.values())),
            {".gitlab-ci.yml": "a: {script: b}"},
            start_pipeline=False,
        )
        status, answer = outcome(api.request(method, path, json=body))
        assert status == 400
        assert answer["error"].startswith(f"The sandbox does not read {named}")


def test_an_error_in_the_test_itself_is_not_hidden() -> None:
    with pytest.raises(KeyError), Sandbox(run_jobs=False) as gitlab:  # noqa: PT012 - as above
        assert world(gitlab).get(f"{COMMITS}?strange=1").status_code == 400
        raise KeyError


def test_parameters_of_a_refused_request_are_not_counted_as_unsupported(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    assert project.path == "tech-lunch/service-tests"
    assert api.get("/projects/absent%2Fproject?strange=1").status_code == 404
    assert gitlab.state.problems == []


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("", ["Second", "Initial commit"]),
        ("all=true", ["On a branch", "Second", "Initial commit"]),
        ("since=2999-01-01T00:00:00Z", []),
        ("until=2000-01-01T00:00:00Z", []),
        ("author=nobody", []),
        ("author=ci-cd", ["Second", "Initial commit"]),
        ("first_parent=true&path=g", ["Second"]),
    ],
)
def test_commits_are_filtered(
    gitlab: Sandbox, project: Project, api: Api, query: str, titles: list[str]
) -> None:
    gitlab.commit(project, {"g": "1"}, message="Second")
    gitlab.commit(project, {"h": "1"}, message="On a branch", branch="feature")
    found = [commit["title"] for commit in api.get(f"{COMMITS}?{query}").json()]
    assert sorted(found) == sorted(titles)


def test_pipelines_are_filtered_by_errors_in_their_configuration(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    gitlab.commit(project, {".gitlab-ci.yml": "a: {script: [echo]}"})
    gitlab.commit(project, {".gitlab-ci.yml": "a: 1"})
    found = [
        [each["sha"] for each in api.get(f"{PROJECT}/pipelines?{query}").json()]
        for query in ("yaml_errors=true", "yaml_errors=false")
    ]
    assert found == [[gitlab.sha(project)], [gitlab.sha(project, "main~1")]]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (["A", "A"], {"base": ["Duplicate variable name: A"]}),
        (["A B"], {"variables.key": ["can contain only letters, digits and '_'."]}),
    ],
)
def test_variables_with_wrong_keys_are_refused(
    project: Project, api: Api, variables: list[str], message: object
) -> None:
    assert project.ci_enabled
    body = {"ref": "main", "variables": [{"key": key, "value": "1"} for key in variables]}
    assert outcome(api.post(f"{PROJECT}/pipeline", json=body)) == (400, {"message": message})


def test_a_commit_can_have_another_author(project: Project, api: Api) -> None:
    assert project.default_branch == "main"
    body = {
        "branch": "main",
        "commit_message": "m",
        "author_name": "Someone",
        "author_email": "someone@example.com",
        "actions": [{"action": "create", "file_path": "g", "content": ""}],
    }
    made = api.post(COMMITS, json=body).json()
    assert (made["author_name"], made["author_email"]) == ("Someone", "someone@example.com")


def test_a_commit_takes_only_one_start_parameter(project: Project, api: Api) -> None:
    assert project.default_branch == "main"
    body = {
        "branch": "x",
        "start_branch": "main",
        "start_sha": "main",
        "commit_message": "m",
        "actions": [{"action": "create", "file_path": "g", "content": ""}],
    }
    error = {"error": "start_branch, start_sha are mutually exclusive"}
    assert outcome(api.post(COMMITS, json=body)) == (400, error)


@pytest.mark.parametrize(
    ("search", "names"), [("v*1", ["v1.1", "v1"]), ("^v1$", ["v1"]), ("V1.1", ["v1.1"])]
)
def test_a_search_can_contain_a_wildcard(
    gitlab: Sandbox, project: Project, api: Api, search: str, names: list[str]
) -> None:
    for name in ("v1", "v1.1", "w1"):
        gitlab.tag(project, name)
    answer = api.get(f"{PROJECT}/repository/tags", params={"search": search}).json()
    assert sorted(tag["name"] for tag in answer) == sorted(names)
