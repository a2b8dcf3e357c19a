"""What a branch on GitLab comes to by what GitLab answers: real HTTP is in the functional tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests_mock as requests_mock_module

from cicd_common.errors import ForbiddenError, UnavailableError
from cicd_common.gitlab import retry
from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.connection import Connection
from cicd_common.gitlab.projects import Project
from cicd_common.gitlab.tokens import Token, TokenKind
from cmd_bump_image_tag.targets import Snapshot
from cmd_bump_image_tag.targets.commits_api import CommitsApi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests_mock import Mocker

URL = "https://gitlab.example.com"
REPOSITORY = f"{URL}/api/v4/projects/7/repository"
SHA, OLDER = "a" * 40, "b" * 40
BEFORE, AFTER = {"a.yaml": b"image: web:1"}, {"a.yaml": b"image: web:2"}
SNAPSHOT = Snapshot(BEFORE, frozenset(BEFORE), dict.fromkeys(BEFORE, SHA))
FAILURES = pytest.mark.parametrize(
    ("status", "error"), [(403, ForbiddenError), (500, UnavailableError)]
)


@pytest.fixture
def server() -> Iterator[Mocker]:
    with requests_mock_module.Mocker() as mocker:
        mocker.get(f"{REPOSITORY}/branches/main", json={"commit": {"id": SHA}})
        mocker.get(f"{URL}/api/v4/personal_access_tokens/self", status_code=404)
        yield mocker


def branch_with(retry_for: float) -> CommitsApi:
    token = Token(TokenKind.ACCESS, "a test", "glpat-0123456789")
    gitlab = GitLab(Connection(base_url=URL, token=token, retry_for=retry_for))
    project = Project("7", "a/b", f"{URL}/a/b", "main")
    return CommitsApi(gitlab, project, "bump", "main", ("a.yaml",))


@pytest.fixture
def branch() -> CommitsApi:
    """A branch that starts from `main` if it does not exist."""
    return branch_with(retry_for=0)


def asked(server: Mocker) -> list[str]:
    """What the repository was asked."""
    return [
        f"{each.method} {each.url.partition(REPOSITORY)[2].partition('?')[0]}"
        for each in server.request_history
        if each.url.startswith(REPOSITORY)
    ]


@FAILURES
def test_a_branch_that_cannot_be_looked_up_is_not_one_that_does_not_exist(
    server: Mocker, branch: CommitsApi, status: int, error: type[Exception]
) -> None:
    server.get(f"{REPOSITORY}/branches/bump", status_code=status, json={"message": "no"})
    with pytest.raises(error):
        branch.read()
    with pytest.raises(error):
        branch.reread(SNAPSHOT, BEFORE)
    with pytest.raises(error):
        branch.write(SNAPSHOT, AFTER, "Update")
    assert set(asked(server)) == {"GET /branches/bump"}


@FAILURES
def test_a_file_that_cannot_be_read_is_not_one_that_was_removed(
    server: Mocker, branch: CommitsApi, status: int, error: type[Exception]
) -> None:
    server.get(f"{REPOSITORY}/branches/bump", json={"commit": {"id": SHA}})
    server.get(f"{REPOSITORY}/files/a.yaml/raw", status_code=status, json={"message": "no"})
    with pytest.raises(error):
        branch.read()
    with pytest.raises(error):
        branch.reread(SNAPSHOT, BEFORE)


@FAILURES
def test_an_archive_that_cannot_be_read_is_not_that_of_another_branch(
    server: Mocker, branch: CommitsApi, status: int, error: type[Exception]
) -> None:
    server.get(f"{REPOSITORY}/archive", status_code=status, json={"message": "no"})
    everything = CommitsApi(branch.gitlab, branch.project, "bump", "main", ())
    with pytest.raises(error):
        everything.read()
    assert asked(server) == ["GET /archive"]


@pytest.mark.parametrize("exists", [True, False])
def test_the_branch_to_start_from_is_sent_only_for_a_new_branch(
    server: Mocker, branch: CommitsApi, *, exists: bool
) -> None:
    found = {"json": {"commit": {"id": SHA}}} if exists else {"status_code": 404}
    server.get(f"{REPOSITORY}/branches/bump", **found)
    server.post(f"{REPOSITORY}/commits", json={"id": OLDER, "parent_ids": [SHA]})
    assert branch.write(SNAPSHOT, AFTER, "Update") == OLDER
    assert server.request_history[-1].json().get("start_branch") == (None if exists else "main")


@pytest.mark.parametrize(
    "answer",
    [{}, {"id": OLDER}, {"parent_ids": [SHA]}, {"id": OLDER, "parent_ids": [5]}, {"id": None}],
    ids=str,
)
def test_after_an_answer_that_misses_something_the_commit_is_looked_up(
    server: Mocker, branch: CommitsApi, answer: dict[str, object]
) -> None:
    commit = {"id": OLDER, "message": "Update\n", "parent_ids": [SHA]}
    server.get(f"{REPOSITORY}/branches/bump", json={"commit": {"id": SHA}})
    server.post(f"{REPOSITORY}/commits", status_code=201, json=answer)
    server.get(f"{REPOSITORY}/commits", json=[commit])
    server.get(f"{REPOSITORY}/files/a.yaml/raw?ref={OLDER}", content=AFTER["a.yaml"])
    assert branch.write(SNAPSHOT, AFTER, "Update") == OLDER
    assert asked(server).count("POST /commits") == 1


def test_a_new_branch_whose_first_commit_was_lost_before_it_was_made_is_made_then(
    server: Mocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(retry, "CLOCK", retry.Clock(lambda: sum(slept), slept.append))
    server.get(f"{REPOSITORY}/branches/bump", status_code=404)
    server.get(f"{REPOSITORY}/commits", status_code=404)
    made = {"status_code": 201, "json": {"id": OLDER, "parent_ids": [SHA]}}
    server.post(f"{REPOSITORY}/commits", [{"status_code": 502}, made])
    assert branch_with(retry_for=60).write(SNAPSHOT, AFTER, "Update") == OLDER
    assert asked(server).count("POST /commits") == 2


def test_the_last_50_commits_of_a_file_are_read(server: Mocker, branch: CommitsApi) -> None:
    server.get(f"{REPOSITORY}/branches/bump", json={"commit": {"id": SHA}})
    listed = server.get(f"{REPOSITORY}/commits", json=[{"id": OLDER, "message": "Update"}, {}])
    assert branch.messages("a.yaml") == ["Update", ""]
    query = {"ref_name": [SHA], "path": ["a.yaml"], "per_page": ["50"]}
    assert listed.request_history[0].qs == query
