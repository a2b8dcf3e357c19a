from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from cicd_doctor.cli import cli

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Job, Project, Token, User
    from tests.functional.conftest import Ending, Invoke

NAME = "tech-lunch/service-tests"


class Doctor(Protocol):
    def __call__(self, *arguments: str, project: bool = True) -> Ending: ...


@pytest.fixture
def doctor(
    invoke: Invoke, gitlab: Sandbox, token: Token, project: Project, monkeypatch: pytest.MonkeyPatch
) -> Doctor:
    """Runs the doctor with a Maintainer's token, on the project unless told otherwise."""
    monkeypatch.setenv("CI_SERVER_URL", gitlab.url)
    monkeypatch.setenv("COMMANDS_API_TOKEN", token.secret)
    named = ("--project", project.path)

    def run(*arguments: str, project: bool = True) -> Ending:
        ending = invoke(cli, *(named if project else ()), *arguments)
        assert token.secret not in ending.stdout + ending.stderr
        assert {request.method for request in gitlab.requests} <= {"GET"}
        return ending

    return run


@pytest.fixture
def job(gitlab: Sandbox, executor: User, monkeypatch: pytest.MonkeyPatch, doctor: Doctor) -> Job:
    """A running job of another project, whose token is the only one."""
    assert doctor
    source = gitlab.add_project("tech-lunch/hello-world", {"a": "b"})
    running = gitlab.add_running_job(source, executor)
    monkeypatch.delenv("COMMANDS_API_TOKEN")
    monkeypatch.setenv("CI_JOB_TOKEN", running.token)
    return running


def line(ending: Ending, check: str) -> tuple[str, str]:
    """The mark and the text of a check's line."""
    text = ending.stdout.splitlines()[_place(ending, check)]
    return text[:6].strip(), text[26:].removeprefix(f"{NAME}: ")


def below(ending: Ending, check: str) -> list[str]:
    """The lines below a check's: why, and what to do."""
    found = []
    for text in ending.stdout.splitlines()[_place(ending, check) + 1 :]:
        if not text.startswith("      "):
            break
        found.append(text)
    return found


def _place(ending: Ending, check: str) -> int:
    lines = enumerate(ending.stdout.splitlines())
    places = [place for place, text in lines if text[:1] != " " and text[6:26].strip() == check]
    assert len(places) == 1, ending.stdout
    return places[0]
