from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import requests

from cicd_common import boundary
from sandbox import Access, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

    from sandbox.model import Project, Token, User


class Api(requests.Session):
    """A plain HTTP client of the sandbox's API."""

    def __init__(self, gitlab: Sandbox, **headers: str) -> None:
        super().__init__()
        self.trust_env = False
        self.base = f"{gitlab.url}/api/v4"
        self.headers.update(headers)

    def request(  # type: ignore[override]  # a path in place of the whole URL
        self, method: str, path: str, **kwargs: object
    ) -> requests.Response:
        return super().request(method, f"{self.base}{path}", **kwargs)  # type: ignore[arg-type]


def outcome(answer: requests.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()


@pytest.fixture
def gitlab() -> Iterator[Sandbox]:
    with Sandbox(run_jobs=False) as running:
        yield running


@pytest.fixture
def executor(gitlab: Sandbox) -> User:
    return gitlab.add_user("ci-cd-executor")


@pytest.fixture
def token(gitlab: Sandbox, executor: User) -> Token:
    return gitlab.add_token(executor)


@pytest.fixture
def project(gitlab: Sandbox, executor: User) -> Project:
    return gitlab.add_project(
        "tech-lunch/service-tests",
        {"README.md": "# Service tests\n"},
        members={executor: Access.MAINTAINER},
    )


@pytest.fixture
def api(gitlab: Sandbox, token: Token) -> Iterator[Api]:
    with Api(gitlab, **{"PRIVATE-TOKEN": token.secret}) as session:
        yield session


@dataclass(frozen=True)
class Ending:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


class Invoke(Protocol):
    def __call__(self, command: click.Command, *arguments: str) -> Ending: ...


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Runs a command in this process, through its real boundary, in an empty environment."""
    for name in list(os.environ):
        if name.startswith(("CI", "GITLAB", "COMMANDS", "PYTHON_GITLAB")):
            monkeypatch.delenv(name)

    def run(command: click.Command, *arguments: str) -> Ending:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(SystemExit) as exit_:
                boundary.run(command, list(arguments))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        captured = capsys.readouterr()
        return Ending(int(exit_.value.code or 0), captured.out, captured.err)

    return run
