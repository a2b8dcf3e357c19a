"""A GitLab server that these tests know by its API alone.

It is the sandbox, unless they alone were asked for (`-m any_server`) with GITLAB_URL and
GITLAB_TOKEN set: `make test-gitlab`.
"""

from __future__ import annotations

import base64
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import requests

from sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import click

    from tests.functional.conftest import Ending, Invoke


@dataclass(frozen=True)
class Server:
    """A server, and an access token with the api scope."""

    url: str
    token: str

    def call(self, method: str, path: str, **body: object) -> Any:
        """An answer of the API, in JSON; None if it is empty."""
        answer = requests.request(
            method,
            f"{self.url}/api/v4/{path}",
            headers={"PRIVATE-TOKEN": self.token},
            json=body or None,
            timeout=60,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    @contextmanager
    def new_project(self) -> Iterator[Repository]:
        """A project of the token's user with a first commit; it is deleted in the end."""
        name = f"ci-cd-commands-test-{secrets.token_hex(4)}"
        made = self.call(
            "POST", "projects", name=name, initialize_with_readme=True, default_branch="main"
        )
        repository = Repository(self, made["id"], made["path_with_namespace"])
        try:
            repository.call("PUT", "", ci_pipeline_variables_minimum_override_role="developer")
            yield repository
        finally:
            repository.call("DELETE", "")


@dataclass(frozen=True)
class Repository:
    """A project of the server."""

    server: Server
    id: int
    path: str

    def call(self, method: str, route: str, **body: object) -> Any:
        """An answer of the API, below the project."""
        return self.server.call(method, f"projects/{self.id}/{route}".rstrip("/"), **body)

    def commit(self, files: Mapping[str, str]) -> str:
        """Adds files to the default branch; the commit's SHA."""
        actions = [
            {"action": "create", "file_path": path, "content": content}
            for path, content in files.items()
        ]
        made = self.call(
            "POST",
            "repository/commits",
            branch="main",
            commit_message="Add files",
            actions=actions,
        )
        return str(made["id"])

    def read(self, path: str) -> str:
        """What a file of the default branch holds."""
        answer = self.call("GET", f"repository/files/{path}?ref=main")
        return base64.b64decode(answer["content"]).decode()


class Run(Protocol):
    def __call__(self, command: click.Command, *arguments: str) -> Ending: ...


@pytest.fixture(scope="session")
def given(request: pytest.FixtureRequest) -> tuple[str, str] | None:
    """The server and the token of GITLAB_URL and GITLAB_TOKEN, if it is to be that one.

    Whoever has the variables set for other work does not have tests write to that server.
    """
    url, token = os.environ.get("GITLAB_URL"), os.environ.get("GITLAB_TOKEN")
    wanted = request.config.option.markexpr == "any_server"
    return (url.rstrip("/"), token) if wanted and url and token else None


@pytest.fixture
def server(given: tuple[str, str] | None) -> Iterator[Server]:
    if given:
        yield Server(*given)
        return
    with Sandbox() as gitlab:
        user = gitlab.add_user("ci-cd-executor")
        yield Server(gitlab.url, gitlab.add_token(user).secret)


@pytest.fixture
def repository(server: Server) -> Iterator[Repository]:
    with server.new_project() as made:
        yield made


@pytest.fixture
def run(invoke: Invoke, server: Server, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with the server and the token."""
    monkeypatch.setenv("CI_SERVER_URL", server.url)
    monkeypatch.setenv("COMMANDS_API_TOKEN", server.token)

    def call(command: click.Command, *arguments: str) -> Ending:
        ending = invoke(command, *arguments)
        assert server.token not in ending.stdout + ending.stderr
        return ending

    return call
