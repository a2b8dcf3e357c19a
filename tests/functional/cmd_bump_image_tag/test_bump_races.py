"""Bumps that run into each other, and answers that get lost: every edit lands, and lands once."""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from sandbox import Access, Fault
from tests.functional.cmd_bump_image_tag.conftest import BUMPED, DEPLOYMENT, WEB, Run, log, text

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Project, Token, User
    from tests.functional.conftest import Start

BUMP = ("--image", WEB, "--tag", "v1.1.0", "--project", "tech-lunch/k8s")
WAYS = pytest.mark.parametrize("via", ["api", "git"])
COMMITS = r"/repository/commits$"
PUSH = r"git-receive-pack$"
WRITES = {"api": "commits_api.CommitsApi", "git": "git.GitRepository"}


@WAYS
def test_an_edit_of_the_same_file_just_before_the_write_is_kept(
    run: Run, gitlab: Sandbox, project: Project, via: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = DEPLOYMENT.replace("nginx:1.25", "nginx:1.26")
    race_once(monkeypatch, WRITES[via], lambda: gitlab.commit(project, {"apps/web.yaml": theirs}))

    ending = run(*BUMP, "--via", via)

    assert ending.code == 0, ending.stderr
    assert "Trying again" in ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED.replace("nginx:1.25", "nginx:1.26")


def race_once(monkeypatch: pytest.MonkeyPatch, way: str, happens: object) -> None:
    """Has something happen right before the first write."""
    module_name, _, name = way.partition(".")
    module = __import__(f"cmd_bump_image_tag.targets.{module_name}", fromlist=[name])
    real = getattr(module, name).write
    pending = [happens]

    def write(self: object, *arguments: object) -> object:
        if pending:
            pending.pop()()  # type: ignore[operator] # whatever the test gave
        return real(self, *arguments)

    monkeypatch.setattr(getattr(module, name), "write", write)


def test_an_edit_between_gitlabs_check_and_its_write_is_restored(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    theirs = DEPLOYMENT.replace("nginx:1.25", "nginx:1.26")
    project.meanwhile = lambda: gitlab.commit(project, {"apps/web.yaml": theirs})

    ending = run(*BUMP)

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED.replace("nginx:1.25", "nginx:1.26")


def test_the_same_where_their_edit_reaches_another_file(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    project.meanwhile = lambda: gitlab.commit(project, {"apps/new.yaml": "a: 1\n"})

    assert run(*BUMP).code == 0
    assert text(gitlab, project, "apps/web.yaml") == BUMPED
    assert len(log(project)) == 3


def test_a_change_that_cannot_be_restored_is_reported(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    theirs = DEPLOYMENT + "\r\n    - image: redis:7"
    project.meanwhile = lambda: gitlab.commit(project, {"apps/web.yaml": theirs})

    ending = run(*BUMP)

    assert ending.code == 5
    assert "apps/web.yaml" in ending.stderr


def test_5_a_branch_that_keeps_getting_commits(run: Run, gitlab: Sandbox, project: Project) -> None:
    gitlab.fault(
        Fault(
            path=COMMITS,
            method="POST",
            status=400,
            body={"message": "The file has changed since you started editing it: apps/web.yaml"},
        )
    )
    sha = gitlab.sha(project)

    ending = run(*BUMP, "--retry-for", "0.5")

    assert ending.code == 5
    assert gitlab.sha(project) == sha


@pytest.mark.parametrize(
    ("via", "fault"),
    [
        ("api", Fault(path=COMMITS, method="POST", nth=1, reset="after")),
        ("api", Fault(path=COMMITS, method="POST", nth=1, truncate=True)),
        ("api", Fault(path=COMMITS, method="POST", nth=1, delay_after=3600)),
        ("git", Fault(path=PUSH, method="POST", nth=1, reset="after")),
        ("git", Fault(path=PUSH, method="POST", nth=1, truncate=True)),
    ],
    ids=["api reset", "api truncated", "api late", "git reset", "git truncated"],
)
def test_an_answer_that_is_lost_after_the_write_leaves_one_commit(
    run: Run, gitlab: Sandbox, project: Project, via: str, fault: Fault
) -> None:
    gitlab.fault(fault)

    ending = run(*BUMP, "--via", via, "--request-timeout", "1")

    assert ending.code == 0, ending.stderr
    assert fault.fired == 1
    assert log(project) == ["Update image tag to v1.1.0 [skip ci]", "Initial commit"]
    assert gitlab.sha(project)[:8] in ending.stdout


@WAYS
def test_a_signal_during_the_write_waits_for_its_outcome(
    start: Start, gitlab: Sandbox, project: Project, token: Token, via: str
) -> None:
    write = COMMITS if via == "api" else PUSH
    sent = threading.Event()
    gitlab.fault(Fault(path=write, method="POST", meanwhile=sent.set, delay=1))
    process = start(
        "cmd_bump_image_tag", *BUMP, "--via", via, "--output", "json",
        CI_SERVER_URL=gitlab.url, COMMANDS_API_TOKEN=token.secret,
    )  # fmt: skip
    assert sent.wait(60)

    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate()

    assert process.returncode == 143, stderr
    assert log(project)[0] == "Update image tag to v1.1.0 [skip ci]"
    [result] = json.loads(stdout)["results"]
    assert (result["changed"], result["commit"]) == (True, gitlab.sha(project))


@WAYS
def test_after_a_lost_response_the_commit_is_found_below_a_later_one(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    heads: list[str] = []

    def push() -> None:
        heads.append(gitlab.sha(project))
        gitlab.commit(project, {"theirs": "1"})

    write = COMMITS if via == "api" else PUSH
    check = r"/commits\?ref_name" if via == "api" else r"info/refs\?service=git-upload-pack"
    gitlab.fault(Fault(path=write, method="POST", nth=1, reset="after"))
    gitlab.fault(Fault(path=check, nth=1 if via == "api" else 2, meanwhile=push))

    ending = run(*BUMP, "--via", via)

    assert ending.code == 0, ending.stderr
    assert heads
    assert heads[0][:8] in ending.stdout
    assert log(project)[1:] == ["Update image tag to v1.1.0 [skip ci]", "Initial commit"]


@pytest.mark.parametrize("status", [408, 425, 499, 500, 503, 504, 520, 524])
@pytest.mark.parametrize("service", ["git-upload-pack", "git-receive-pack"])
def test_git_is_run_again_after_any_temporary_failure(
    run: Run, gitlab: Sandbox, project: Project, service: str, status: int
) -> None:
    fault = Fault(path=rf"info/refs\?service={service}", nth=1, status=status)
    gitlab.fault(fault)

    ending = run(*BUMP, "--via", "git")

    assert ending.code == 0, ending.stderr
    assert fault.fired == 1
    assert log(project) == ["Update image tag to v1.1.0 [skip ci]", "Initial commit"]


@pytest.mark.parametrize(
    ("via", "fault"),
    [
        ("api", Fault(path=COMMITS, method="POST", nth=1, status=502)),
        ("api", Fault(path=COMMITS, method="POST", nth=1, reset="before")),
        (
            "api",
            Fault(path=COMMITS, method="POST", nth=1, status=429, headers={"Retry-After": "1"}),
        ),
        ("api", Fault(path=r"/archive", nth=1, status=503)),
        ("git", Fault(path=PUSH, method="POST", nth=1, status=502)),
        ("git", Fault(path=PUSH, method="POST", nth=1, reset="before")),
        ("git", Fault(path=r"info/refs\?service=git-upload-pack", nth=1, status=503)),
        ("git", Fault(path=r"git-upload-pack$", nth=1, reset="before")),
    ],
    ids=str,
)
def test_a_temporary_failure_of_the_api_is_retried(
    run: Run, gitlab: Sandbox, project: Project, via: str, fault: Fault
) -> None:
    gitlab.fault(fault)

    ending = run(*BUMP, "--via", via)

    assert ending.code == 0, ending.stderr
    assert fault.fired == 1
    assert log(project) == ["Update image tag to v1.1.0 [skip ci]", "Initial commit"]


@pytest.mark.parametrize("body", ["", "<html><body>Log in</body></html>"], ids=["empty", "HTML"])
@pytest.mark.parametrize("first", [1, None], ids=["once", "lasting"])
@pytest.mark.parametrize("more", [(), ("--branch", "main")], ids=["default", "branch"])
def test_what_is_not_gits_protocol_is_not_a_repository_without_branches(
    run: Run, gitlab: Sandbox, project: Project, body: str, first: int | None,
    more: tuple[str, ...],
) -> None:  # fmt: skip
    gitlab.fault(Fault(path=r"info/refs\?service=git-upload", first=first, status=200, body=body))
    repository = ("--repository", f"{gitlab.url}/{project.path}.git")

    ending = run(*BUMP[:4], *repository, *more, "--retry-for", "3")

    assert ending.code == (0 if first else 8), ending.stderr


def test_8_a_page_in_place_of_the_second_answer_is_not_a_missing_branch(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    """The first, for the name of the default branch, was of git's protocol."""
    page = Fault(path=r"info/refs\?service=git-upload", nth=2, status=200, body="<html>")
    gitlab.fault(page)
    repository = ("--repository", f"{gitlab.url}/{project.path}.git")

    ending = run(*BUMP[:4], *repository, "--retry-for", "0")

    assert ending.code == 8, ending.stderr
    assert page.fired == 1


@pytest.mark.usefixtures("project")
def test_4_a_missing_branch_and_an_empty_repository_have_their_own_messages(
    run: Run, gitlab: Sandbox, executor: User
) -> None:
    assert run(*BUMP, "--via", "git", "--branch", "nowhere").code == 4
    empty = gitlab.add_project("tech-lunch/empty", {}, members={executor: Access.MAINTAINER})
    assert run(*BUMP[:4], "--repository", f"{gitlab.url}/{empty.path}.git").code == 4


@WAYS
def test_another_commit_with_the_same_message_is_not_accepted(
    run: Run, gitlab: Sandbox, project: Project, via: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer is lost before anything happened, and somebody else's commit reads the same."""
    theirs = DEPLOYMENT.replace("nginx:1.25", "nginx:1.26")
    message = "Update image tag to v1.1.0 [skip ci]\n"
    race_once(
        monkeypatch,
        WRITES[via],
        lambda: gitlab.commit(project, {"apps/web.yaml": theirs}, message=message),
    )
    gitlab.fault(Fault(path=COMMITS if via == "api" else PUSH, method="POST", nth=1, status=502))

    assert run(*BUMP, "--via", via).code == 0
    assert text(gitlab, project, "apps/web.yaml") == BUMPED.replace("nginx:1.25", "nginx:1.26")


@WAYS
def test_8_an_unknown_outcome_says_what_to_check(
    run: Run, gitlab: Sandbox, project: Project, via: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Fault(path=COMMITS if via == "api" else PUSH, method="POST", truncate=True)
    gitlab.fault(lost)
    look = r"/commits\?ref_name" if via == "api" else r"git-upload-pack$"
    race_once(monkeypatch, WRITES[via], lambda: gitlab.fault(Fault(path=look, status=500)))

    ending = run(*BUMP, "--via", via, "--retry-for", "0.5")

    assert ending.code == 8
    assert "main" in ending.stderr
    assert "Whether it happened is unknown" in ending.stderr
    assert lost.fired == 1
    assert len(log(project)) == 2


def test_8_a_branch_that_git_cannot_fetch_is_not_one_that_does_not_exist(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    proposal = (*BUMP[:2], "--project", "tech-lunch/k8s", "--merge-request", "--via", "git")
    assert run(*proposal, "--tag", "v1.1.0").code == 0
    [request] = project.merge_requests
    sha = gitlab.sha(project, request.source_branch)
    # The first is for the target branch.
    fault = Fault(path=r"info/refs\?service=git-upload-pack", nth=2, status=500)
    gitlab.fault(fault)

    ending = run(*proposal, "--tag", "v1.2.0", "--retry-for", "0")

    assert ending.code == 8, ending.stderr
    assert fault.fired == 1
    assert gitlab.sha(project, request.source_branch) == sha
