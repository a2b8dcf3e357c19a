"""A server that pushes, and a wait that listens to it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from cicd_common.gitlab.connection import Connection
from cicd_common.gitlab.tokens import Token, TokenKind
from cicd_common.waiting.clock import Clock
from cicd_common.waiting.pipelines import Job, Pipeline
from cicd_common.waiting.push import listener as push
from cicd_common.waiting.push.listener import Push
from sandbox import Access, Sandbox, ScriptedPipeline, scripted
from sandbox.world import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox import model

GOING = ScriptedPipeline(timeline=((0, "running"),))


def record(number: int, project_id: str, *downstream: Pipeline) -> Pipeline:
    """A pipeline as a look shows it."""
    moment = datetime(2026, 1, 5, 9, tzinfo=UTC)
    bridges = tuple(
        Job(100 + below.id, "bridge", "test", "running", "", bridge=True, downstream=below)
        for below in downstream
    )
    return Pipeline(
        project="group/name",
        project_id=project_id,
        id=number,
        status="running",
        ref="main",
        sha="0" * 40,
        source="push",
        web_url="",
        created_at=moment,
        updated_at=moment,
        jobs=bridges,
    )


@dataclass
class World:
    """A running GitLab, and a pipeline in it."""

    gitlab: Sandbox
    user: model.User
    project: model.Project
    token: model.Token
    clock: Clock

    def add(self) -> model.Pipeline:
        """A pipeline that goes on."""
        return self.gitlab.add_pipeline(self.project, GOING, user=self.user)

    def change(self, pipeline: model.Pipeline) -> None:
        """Cancels a pipeline."""
        with self.gitlab.state.lock:
            scripted.Director(self.gitlab.state).cancel(pipeline)

    def server(self, token: Token | None = None) -> Connection:
        """The connection's settings, with the token that opens the cable if none is given."""
        given = token or Token(TokenKind.ACCESS, "--api-access-token", self.token.secret)
        return Connection(self.gitlab.url, given)

    def push(self, token: Token | None = None) -> Push:
        """What is tested."""
        return Push(self.server(token), self.clock)

    def record(self, pipeline: model.Pipeline, *downstream: Pipeline) -> Pipeline:
        """The pipeline as a look shows it."""
        return record(pipeline.id, str(pipeline.project.id), *downstream)

    def hints(self) -> set[str]:
        """The hints that come next."""
        self.clock.sleep_until(self.clock.now() + PATIENCE)
        return self.clock.take_hints()

    @property
    def handshakes(self) -> list[int | None]:
        """What the attempts to connect were answered."""
        return [
            request.status for request in self.gitlab.requests if request.path.endswith("/-/cable")
        ]


def until(holds: Callable[[], bool]) -> None:
    """Waits until something that happens in another thread has happened."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="session", name="until")
def until_() -> Callable[[Callable[[], bool]], None]:
    return until


@pytest.fixture
def world() -> Iterator[World]:
    with Sandbox(run_jobs=False) as gitlab:
        user = gitlab.add_user("ci-cd-executor")
        project = gitlab.add_project("group/name", {"a": "b"}, members={user: Access.MAINTAINER})
        yield World(gitlab, user, project, gitlab.add_token(user), Clock())
    until(lambda: "push" not in [thread.name for thread in threading.enumerate()])


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is logged, whatever a command that ran before has set."""
    logger = logging.getLogger("cicd_common")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger.name)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes minutes takes moments."""
    monkeypatch.setattr(push, "CHORES_SECONDS", 0.02)
    monkeypatch.setattr(push, "RENEW_SECONDS", 0.3)
    monkeypatch.setattr(push, "AGAIN_SECONDS", 0.1)
