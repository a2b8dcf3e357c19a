from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from cicd_common.cli import main as boundary
from sandbox.testing import api, executor, gitlab, project, token

if TYPE_CHECKING:
    import click

__all__ = ["api", "executor", "gitlab", "project", "token"]


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
