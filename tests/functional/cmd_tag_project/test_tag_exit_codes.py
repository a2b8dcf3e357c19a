"""`cmd-tag-project` against the sandbox: its exit codes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from cmd_tag_project.cli import cli
from sandbox import Access, Fault, Sandbox
from sandbox.model import ProtectedRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.model import Project, User
    from tests.functional.conftest import Ending, Invoke


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tag-name", "with space"],
        ["--tag-name", "-dash"],
        ["--tag-name", "a..b"],
        ["--tag-name", ""],
        ["--tag-name", "0" * 40],
        ["--tag-name", "0" * 40 + "-rc1"],
        ["--tag-name", "A" * 64 + ".1"],
        ["--tag-name", "refs/tags/v1"],
        ["--next", "patch", "--within", "1.4.0"],
        ["--next", "minor", "--within", "1.4"],
        ["--next", "major", "--within", "1"],
        ["--tag-name", "v1", "--within", "1"],
        ["--next", "patch", "--within", "01"],
        ["--next", "patch", "--prefix", "v1.4."],
        ["--tag-name", "v1", "--asset", "page"],
        ["--tag-name", "v1", "--asset", "=https://h/a"],
        ["--tag-name", "v1", "--asset", "a=file:///etc"],
        ["--tag-name", "v1", "--asset", "a=https://h/a", "--asset", "a=https://h/b"],
        [],
        ["--tag-name", "v1", "--next", "patch"],
        ["--tag-name", "v1", "--ref", ""],
        ["--tag-name", "v1", "--request-timeout", "0"],
        ["--tag-name", "v1", "--request-timeout", "nan"],
        ["--tag-name", "v1", "--output", "xml"],
        ["--tag-name", "v1", "--dotenv", "/nonexistent/file"],
        ["--tag-name", "v1", "--project", "https://elsewhere.example/group/name"],
        ["--tag-name", "v1", "--project", "noslash"],
        ["--tag-name", "v1", "--project", "tech-lunch/service-tests"],
        ["--tag-name", "v1", "--project", "/Tech-Lunch/service-tests.git"],
        ["--tag-name", "v1", "--api-access-token", "--tag-name"],
        ["--tag-name", "v1", "--api-access-token", "$COMMANDS_API_TOKEN"],
        ["--tag-name", "v1", "--api-access-token-file", "/nonexistent/file"],
        ["--tag-name", "v1", "--base-url", "gitlab.example.com"],
        ["--tag-name", "v1", "--base-url", "https://me:secret@gitlab.example.com"],
        ["--tag-name", "v1", "--ca-file", "/nonexistent/file"],
        ["--tag-name", "v1", "--gitlab", "nosuchsection"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("project")
def test_2_a_wrong_option_is_refused_before_anything_is_sent(
    tag: Callable[..., Ending], gitlab: Sandbox, arguments: list[str]
) -> None:
    ending = tag(*arguments)

    assert ending.code == 2
    assert re.match(r"error: .+\n(  why: .+\n)?   do: .+\n$", ending.stderr)
    assert ending.stdout == ""
    assert len(gitlab.requests) == 0


def test_2_there_is_no_default_server(invoke: Invoke) -> None:
    ending = invoke(cli, "--project", "a/b", "--tag-name", "v1", "--api-access-token", "secret")

    assert ending.code == 2
    assert "--base-url" in ending.stderr


def test_2_a_project_is_needed(tag: Callable[..., Ending], gitlab: Sandbox) -> None:
    ending = tag("--tag-name", "v1", project=None)

    assert ending.code == 2
    assert "--project" in ending.stderr
    assert len(gitlab.requests) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tag-name", "v1"),
        ("--tag-name", "v1", "--release"),
        ("--tag-name", "v1", "--dry-run"),
        ("--tag-name", "v1", "--wait", "--cancel-on", "timeout"),
        ("--next", "minor"),
        ("--next", "auto"),
    ],
    ids=" ".join,
)
def test_3_no_token(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")

    ending = tag(*arguments)

    assert ending.code == 3
    assert "COMMANDS_API_TOKEN" in ending.stderr
    assert len(gitlab.requests) == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "has expired"),
        ({"revoked": True}, "was revoked"),
        ({"scopes": ("read_api",), "name": "reader"}, "'reader'.*read_api"),
        (None, "does not know the token"),
    ],
    ids=["expired", "revoked", "scope", "unknown"],
)
@pytest.mark.usefixtures("project")
def test_3_an_insufficient_token_is_an_error_that_explains_why(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    executor: User,
    settings: dict[str, object] | None,
    said: str,
) -> None:
    secret = (
        "glpat-unknown" if settings is None else gitlab.add_token(executor, **settings).secret  # type: ignore[arg-type] # a table of settings
    )

    ending = tag("--tag-name", "v1", "--api-access-token", secret)

    assert ending.code == 3
    assert re.search(said, ending.stderr), ending.stderr
    assert secret not in ending.stderr


@pytest.mark.parametrize("ref", ["nowhere", "0" * 40, "refs/heads/none"])
@pytest.mark.usefixtures("project")
def test_4_no_such_ref(tag: Callable[..., Ending], ref: str) -> None:
    ending = tag("--tag-name", "v1", "--ref", ref)

    assert ending.code == 4
    assert ref in ending.stderr


def test_4_an_empty_repository(tag: Callable[..., Ending], gitlab: Sandbox, executor: User) -> None:
    gitlab.add_project("tech-lunch/empty", members={executor: Access.MAINTAINER})

    ending = tag("--tag-name", "v1", project="tech-lunch/empty")

    assert ending.code == 4
    assert "empty" in ending.stderr


def test_4_a_project_that_the_token_cannot_see(tag: Callable[..., Ending], gitlab: Sandbox) -> None:
    gitlab.add_project("secret/plans", {"a": "b"})

    ending = tag("--tag-name", "v1", project="secret/plans")

    assert ending.code == 4
    assert "cannot see it" in ending.stderr


def test_6_a_protected_tag(tag: Callable[..., Ending], project: Project) -> None:
    project.protected_tags.append(ProtectedRef("v*", Access.OWNER))

    ending = tag("--tag-name", "v1")

    assert ending.code == 6
    assert "You are not allowed to create this tag as it is protected." in ending.stderr
    assert "Protected tags" in ending.stderr


def test_6_a_refusal_stays_one_although_another_creates_the_tag_meanwhile(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    text = "You are not allowed to create this tag as it is protected."

    def create() -> None:
        gitlab.tag(project, "v1")

    gitlab.fault(
        Fault(
            path=r"/tags$", method="POST", first=1,
            meanwhile=create, status=400, body={"message": text},
        )
    )  # fmt: skip

    assert tag("--tag-name", "v1").code == 6


@pytest.mark.parametrize("words", ["", "Policy XY-1: no tags on Fridays"])
def test_6_a_hook_that_says_no_even_without_a_word(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, words: str
) -> None:
    project.hook_message = words

    ending = tag("--tag-name", "v1")

    assert ending.code == 6
    assert words in ending.stderr
    assert gitlab.tags(project) == {}


def test_6_a_role_that_is_too_low(
    tag: Callable[..., Ending], project: Project, executor: User
) -> None:
    project.members[executor.id] = Access.REPORTER

    ending = tag("--tag-name", "v1")

    assert ending.code == 6
    assert "role" in ending.stderr


def test_6_the_default_branchs_name(tag: Callable[..., Ending], project: Project) -> None:
    assert tag("--tag-name", project.default_branch).code == 6
