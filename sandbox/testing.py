"""What the tests of the sandbox, and the tests that talk to it, have in common.

A `conftest.py` imports the fixtures by name.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import requests

from sandbox.model import Access
from sandbox.world import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.model import Project, Token, User


class Api(requests.Session):
    """A plain HTTP client of the sandbox's API.

    Args:
        gitlab: The server.
        headers: Headers of every request, such as a token's.
    """

    def __init__(self, gitlab: Sandbox, **headers: str) -> None:
        super().__init__()
        self.trust_env = False
        self.base = f"{gitlab.url}/api/v4"
        self.headers.update(headers)

    def request(  # type: ignore[override]  # a path in place of the whole URL
        self, method: str, path: str, **kwargs: object
    ) -> requests.Response:
        """Sends a request to a path below `/api/v4`."""
        return super().request(method, f"{self.base}{path}", **kwargs)  # type: ignore[arg-type]


@dataclass(frozen=True)
class World:
    """A server and what the fixtures of the same names would give."""

    gitlab: Sandbox
    executor: User
    project: Project
    api: Api

    def with_job_token(self) -> Api:
        """Return a client with the token of a running job of the project."""
        return Api(
            self.gitlab,
            **{"JOB-TOKEN": self.gitlab.add_running_job(self.project, self.executor).token},
        )


@contextmanager
def serving(**settings: Any) -> Iterator[World]:
    """Serve with other settings than the fixtures: a version, a clock, slow workers.

    Args:
        settings: Those of `Sandbox`.
    """
    with Sandbox(run_jobs=False, **settings) as running:
        executor = running.add_user("ci-cd-executor")
        project = running.add_project(
            "tech-lunch/service-tests",
            {"README.md": "# Service tests\n"},
            members={executor: Access.MAINTAINER},
        )
        secret = running.add_token(executor).secret
        with Api(running, **{"PRIVATE-TOKEN": secret}) as session:
            yield World(running, executor, project, session)


def outcome(answer: requests.Response) -> tuple[int, Any]:
    """An answer's status and its JSON."""
    return answer.status_code, answer.json()


@pytest.fixture
def gitlab() -> Iterator[Sandbox]:
    """A server whose pipelines do not run."""
    with Sandbox(run_jobs=False) as running:
        yield running


@pytest.fixture
def executor(gitlab: Sandbox) -> User:
    """A user without a role anywhere."""
    return gitlab.add_user("ci-cd-executor")


@pytest.fixture
def token(gitlab: Sandbox, executor: User) -> Token:
    """The executor's access token with the scope `api`."""
    return gitlab.add_token(executor)


@pytest.fixture
def project(gitlab: Sandbox, executor: User) -> Project:
    """A project in which the executor is a Maintainer."""
    return gitlab.add_project(
        "tech-lunch/service-tests",
        {"README.md": "# Service tests\n"},
        members={executor: Access.MAINTAINER},
    )


@pytest.fixture
def api(gitlab: Sandbox, token: Token) -> Iterator[Api]:
    """A client with the executor's token."""
    with Api(gitlab, **{"PRIVATE-TOKEN": token.secret}) as session:
        yield session
