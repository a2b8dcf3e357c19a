from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cmd_tag_project.cli import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox import Sandbox
    from sandbox.model import Token
    from tests.functional.conftest import Ending, Invoke


@pytest.fixture
def tag(
    invoke: Invoke, gitlab: Sandbox, token: Token, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ending]:
    """Runs the command with a connection, for tech-lunch/service-tests unless told otherwise."""

    def run(*arguments: str, project: str | None = "tech-lunch/service-tests") -> Ending:
        monkeypatch.setenv("CI_SERVER_URL", gitlab.url)
        if "COMMANDS_API_TOKEN" not in os.environ:
            monkeypatch.setenv("COMMANDS_API_TOKEN", token.secret)
        named = ["--project", project] if project else []
        ending = invoke(cli, *named, *arguments)
        assert token.secret not in ending.stdout + ending.stderr
        return ending

    return run


@pytest.fixture
def writes(gitlab: Sandbox) -> Callable[[], list[str]]:
    """The requests that were to change something, so far."""

    def list_them() -> list[str]:
        return [
            f"{request.method} {request.path}"
            for request in gitlab.requests
            if request.method not in {"GET", "HEAD"}
        ]

    return list_them
