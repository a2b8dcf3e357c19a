from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import UnavailableError, UsageError
from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.connection import Connection
from cicd_common.gitlab.projects import (
    check_distinct,
    find_default_branch,
    find_project,
    parse_project,
    parse_projects,
)
from cicd_common.gitlab.tokens import Token, TokenKind

if TYPE_CHECKING:
    from requests_mock import Mocker

BASE = "https://example.com/gitlab"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("group/name", "group/name"),
        ("/group/sub/name/", "group/sub/name"),
        ("group/name.git", "group/name"),
        ("group_x/.dot-name", "group_x/.dot-name"),
        ("123", "123"),
        (f"{BASE}/group/name", "group/name"),
        (f"{BASE}/group/name.git", "group/name"),
        (f"{BASE}/group/name/-/pipelines/7?x=1#top", "group/name"),
        ("https://EXAMPLE.com:443/gitlab/group/name", "group/name"),
        ("HTTPS://example.com/gitlab/group/name", "group/name"),
    ],
)
def test_a_project_is_a_path_an_id_or_a_url(text: str, name: str) -> None:
    assert parse_project(text, BASE) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "group//name",
        "group/na me",
        "../x/y?",
        "-group/name",
        "https://example.com/group/name",
        "https://elsewhere.com/gitlab/group/name",
        "http://example.com/gitlab/group/name",
        "https://example.com.evil.com/gitlab/group/name",
        "https://example.com/gitlabx/group/name",
        "https://[::1/x",
        "git@example.com:group/name.git",
        "https://example.com:abc/gitlab/group/name",
        "https://example.com:99999/gitlab/group/name",
        "\u0661\u0662",
        "--ref",
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_project(text, BASE)


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hush@elsewhere.com/gitlab/group/name?private_token=hush",
        "https://me:hush@[::1/x",
        "https://me:hush@example.com:abc/gitlab/group/name",
        "HTTPS://me:hush@elsewhere.com/x",
        "ssh://me:hush@example.com/group/name",
    ],
)
def test_a_password_in_an_address_is_not_printed(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_project(text, BASE)
    assert "hush" not in str(raised.value) + raised.value.why + raised.value.hint


@pytest.mark.parametrize(
    "texts",
    [["a/b", "a/b"], ["a/b", "c/d", "A/B"], ["a/b", f"{BASE}/a/b"], ["7", "7"]],
)
def test_a_project_that_is_named_twice_is_refused(texts: list[str]) -> None:
    with pytest.raises(UsageError, match="twice"):
        parse_projects(texts, BASE)


def test_several_projects_stay_in_their_order() -> None:
    assert parse_projects(["z/b", f"{BASE}/a/b", "7"], BASE) == ["z/b", "a/b", "7"]


def gitlab_with(kind: TokenKind | None) -> GitLab:
    token = Token(kind, "the test", "hush-hush") if kind else None
    return GitLab(Connection(BASE, token, retry_for=0))


@pytest.mark.parametrize("kind", [TokenKind.ACCESS, TokenKind.JOB])
def test_a_project_that_is_named_by_path_and_by_id_is_refused(
    requests_mock: Mocker, kind: TokenKind
) -> None:
    project, branches = f"{BASE}/api/v4/projects/7", {"web_url": f"{BASE}/a/b/-/tree/main"}
    if kind is TokenKind.JOB:
        requests_mock.get(f"{project}/repository/branches?per_page=1", json=[branches])
    else:
        requests_mock.get(project, json={"id": 7, "path_with_namespace": "a/b"})
    with pytest.raises(UsageError, match="a/b is named twice: by its path and by its id, 7"):
        check_distinct(gitlab_with(kind), ["c/d", "7", "A/B"])
    check_distinct(gitlab_with(kind), ["c/d", "7"])


@pytest.mark.parametrize("kind", [TokenKind.ACCESS, TokenKind.JOB])
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_project_that_the_token_cannot_read_is_not_compared(
    requests_mock: Mocker, kind: TokenKind, status: int
) -> None:
    requests_mock.get(re.compile(f"{BASE}/api/v4/"), status_code=status)
    check_distinct(gitlab_with(kind), ["a/b", "7"])


@pytest.mark.parametrize("names", [["a/b", "c/d"], ["7", "8"], ["7"]])
def test_names_of_one_kind_cost_no_request(names: list[str]) -> None:
    check_distinct(gitlab_with(TokenKind.ACCESS), names)
    check_distinct(gitlab_with(None), ["a/b", "7"])


@given(st.text())
def test_any_text_is_a_valid_project_or_a_clear_error(text: str) -> None:
    try:
        name = parse_project(text, BASE)
    except UsageError:
        return
    assert name
    assert "//" not in name


def test_with_a_job_token_the_default_branch_is_read_from_the_list_of_branches(
    requests_mock: Mocker,
) -> None:
    requests_mock.get(
        f"{BASE}/api/v4/projects/a%2Fb/repository/branches",
        json=[{"name": "a"}, {"name": "main", "default": True}, {"name": "z", "default": False}],
    )
    gitlab = GitLab(Connection(BASE, Token(TokenKind.JOB, "the test", "hush-hush"), retry_for=0))
    assert find_default_branch(gitlab, find_project(gitlab, "a/b")) == "main"


@pytest.mark.parametrize("branch", [{}, {"name": None, "default": None}, {"name": 1}])
def test_an_unexpected_list_of_branches_does_not_mean_an_empty_repository(
    requests_mock: Mocker, branch: dict[str, object]
) -> None:
    requests_mock.get(f"{BASE}/api/v4/projects/a%2Fb/repository/branches", json=[branch])
    gitlab = GitLab(Connection(BASE, Token(TokenKind.JOB, "the test", "hush-hush"), retry_for=0))
    with pytest.raises(UnavailableError, match="name"):
        find_default_branch(gitlab, find_project(gitlab, "a/b"))
