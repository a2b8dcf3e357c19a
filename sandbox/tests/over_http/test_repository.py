"""The sandbox's trees, files, archives and commits: GitLab's texts and rules."""

from __future__ import annotations

import base64
import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import Access
from sandbox.testing import Api, outcome

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Project, User

PROJECT = "/projects/tech-lunch%2Fservice-tests"
REPOSITORY = f"{PROJECT}/repository"
TAKEN = "A branch called 'taken' already exists. Switch to that branch in order to make changes"
CRLF = b"\xef\xbb\xbfimage: web:1\r\n# no end"


def update(path: str, content: str, last_commit_id: str = "") -> dict[str, str]:
    action = {"action": "update", "file_path": path, "content": content}
    return action | ({"last_commit_id": last_commit_id} if last_commit_id else {})


def body(*actions: dict[str, str], **more: object) -> dict[str, Any]:
    return {"branch": "main", "commit_message": "Change", "actions": list(actions), **more}


# Reading


def test_a_tree_is_listed_with_modes_and_in_pages(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    gitlab.commit(project, {"apps/web.yaml": "a", "apps/api.yaml": "b", "z": "c"})
    listed = api.get(f"{REPOSITORY}/tree?recursive=true&pagination=keyset&per_page=2")
    paths = [entry["path"] for entry in listed.json()]
    while "next" in listed.links:
        listed = api.get(listed.links["next"]["url"].removeprefix(api.base))
        paths += [entry["path"] for entry in listed.json()]
    assert paths == ["README.md", "apps", "apps/api.yaml", "apps/web.yaml", "z"]
    [folder] = api.get(f"{REPOSITORY}/tree?path=apps&per_page=1").json()
    assert (folder["name"], folder["type"], folder["mode"]) == ("api.yaml", "blob", "100644")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("ref=nope", "404 Tree Not Found"),
        ("path=nope", "404 invalid revision or path Not Found"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_missing_tree_returns_404(api: Api, query: str, message: str) -> None:
    assert outcome(api.get(f"{REPOSITORY}/tree?{query}")) == (404, {"message": message})


def test_a_file_is_returned_byte_for_byte(gitlab: Sandbox, project: Project, api: Api) -> None:
    first = gitlab.commit(project, {"apps/web.yaml": CRLF})
    head = gitlab.commit(project, {"other": "x"})
    shown = api.get(f"{REPOSITORY}/files/apps%2Fweb.yaml?ref=main").json()
    assert base64.b64decode(shown["content"]) == CRLF
    assert (shown["commit_id"], shown["last_commit_id"]) == (head, first)
    assert api.get(f"{REPOSITORY}/files/apps%2Fweb.yaml/raw").content == CRLF


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("nope?ref=main", (404, {"message": "404 File Not Found"})),
        ("README.md?ref=nope", (404, {"message": "404 Commit Not Found"})),
        ("README.md", (400, {"error": "ref is missing"})),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_missing_file_returns_404(api: Api, path: str, answer: tuple[int, object]) -> None:
    assert outcome(api.get(f"{REPOSITORY}/files/{path}")) == answer


def test_an_archive_has_one_folder_named_after_the_ref_and_the_commit(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    attributes = "hidden export-ignore\n"
    sha = gitlab.commit(project, {"web.yaml": CRLF, "hidden": "x", ".gitattributes": attributes})
    for ref, prefix in (("main", f"service-tests-main-{sha}"), (sha, f"service-tests-{sha}")):
        answer = api.get(f"{REPOSITORY}/archive?sha={ref}")
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
            names = [member.name for member in archive if member.isfile()]
            web = archive.extractfile(f"{prefix}/web.yaml")
            assert web is not None
            assert web.read() == CRLF
        assert names == [f"{prefix}/{name}" for name in (".gitattributes", "README.md", "web.yaml")]
    assert outcome(api.get(f"{REPOSITORY}/archive?sha=nope"))[0] == 404


def test_commits_are_listed_by_range_and_by_path(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    first = gitlab.sha(project)
    second, third = (gitlab.commit(project, {name: "x"}) for name in ("a", "b"))
    listed = api.get(f"{REPOSITORY}/commits?ref_name={first}..main").json()
    assert [commit["id"] for commit in listed] == [third, second]
    listed = api.get(f"{REPOSITORY}/commits?path=a").json()
    assert [commit["id"] for commit in listed] == [second]


# Committing


def test_several_files_make_one_commit_that_keeps_bytes_and_modes(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    gitlab.commit(project, {"a": "1", "b": "1"})
    before = gitlab.sha(project)
    encoded = base64.b64encode(CRLF).decode()
    answer = api.post(
        f"{REPOSITORY}/commits",
        json=body(
            {**update("a", encoded), "encoding": "base64"},
            {"action": "delete", "file_path": "b"},
            {"action": "create", "file_path": 'odd "name"', "content": "x"},
        ),
    )
    assert answer.status_code == 201
    assert answer.json()["parent_ids"] == [before]
    assert gitlab.sha(project) == answer.json()["id"]
    assert api.get(f"{REPOSITORY}/files/a/raw").content == CRLF
    paths = [entry["path"] for entry in api.get(f"{REPOSITORY}/tree").json()]
    assert paths == ["README.md", "a", 'odd "name"']


@pytest.mark.parametrize(("message", "skipped"), [("Change", False), ("Change [skip ci]", True)])
def test_a_commit_starts_a_pipeline_unless_its_message_has_skip_ci(
    gitlab: Sandbox, project: Project, api: Api, message: str, *, skipped: bool
) -> None:
    config = {".gitlab-ci.yml": "test:\n  script: [echo]\n"}
    gitlab.commit(project, config, start_pipeline=False)
    api.post(f"{REPOSITORY}/commits", json=body(update("README.md", "x"), commit_message=message))
    gitlab.wait_until(lambda: bool(gitlab.pipelines(project)))
    [pipeline] = gitlab.pipelines(project)
    assert (pipeline.status == "skipped") is skipped


def test_last_commit_id_is_about_one_file_and_fails_open(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    before = gitlab.commit(project, {"a": "1", "b": "1"})
    gitlab.commit(project, {"a": "2"})
    commits = f"{REPOSITORY}/commits"
    changed = "The file has changed since you started editing it: a"
    assert outcome(api.post(commits, json=body(update("a", "3", before)))) == (
        400,
        {"message": changed},
    )
    assert api.post(commits, json=body(update("b", "2", before))).status_code == 201
    assert api.post(commits, json=body(update("a", "3", "0" * 40))).status_code == 201


def test_a_change_between_the_check_and_the_write_is_not_detected(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    before = gitlab.commit(project, {"a": "1"})
    project.meanwhile = lambda: gitlab.commit(project, {"a": "2"})
    answer = api.post(f"{REPOSITORY}/commits", json=body(update("a", "3", before)))
    assert answer.status_code == 201
    assert answer.json()["parent_ids"] != [before]
    assert api.get(f"{REPOSITORY}/files/a/raw").text == "3"


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        (body(update("nope", "x")), "A file with this name doesn't exist"),
        (
            body({"action": "create", "file_path": "README.md", "content": "x"}),
            "A file with this name already exists",
        ),
        (
            body(update("README.md", "x"), branch="taken", start_branch="main"),
            TAKEN,
        ),
        (
            body(update("README.md", "x"), branch="nowhere"),
            "You can only create or edit files when you are on a branch",
        ),
    ],
)
def test_an_invalid_commit_gets_gitlabs_error_message(
    gitlab: Sandbox, project: Project, api: Api, request_body: object, message: str
) -> None:
    gitlab.commit(project, {"f": "1"}, branch="taken")
    answer = api.post(f"{REPOSITORY}/commits", json=request_body)
    assert outcome(answer) == (400, {"message": message})


@pytest.mark.parametrize("start", ["start_branch", "start_sha"])
def test_a_commit_can_create_a_branch(
    gitlab: Sandbox, project: Project, api: Api, start: str
) -> None:
    main = gitlab.sha(project)
    value = "main" if start == "start_branch" else main
    request_body = body(update("README.md", "x", main), branch="feature/1", **{start: value})
    answer = api.post(f"{REPOSITORY}/commits", json=request_body)
    assert answer.json()["parent_ids"] == [main]
    assert gitlab.sha(project, "feature/1") == answer.json()["id"]
    assert gitlab.sha(project) == main


@pytest.mark.parametrize("role", [Access.REPORTER, Access.DEVELOPER])
def test_a_commit_to_a_protected_branch_is_refused(
    project: Project, executor: User, api: Api, role: Access
) -> None:
    project.members[executor.id] = role
    answer = api.post(f"{REPOSITORY}/commits", json=body(update("README.md", "x")))
    message = "403 Forbidden - You are not allowed to push into this branch"
    assert outcome(answer) == (403, {"message": message})


@pytest.mark.parametrize("words", ["", "Not on a Friday"])
def test_a_hook_refuses_a_commit_with_its_own_message(
    project: Project, api: Api, words: str
) -> None:
    project.hook_message = words
    answer = api.post(f"{REPOSITORY}/commits", json=body(update("README.md", "x")))
    assert outcome(answer) == (400, {"message": words})
