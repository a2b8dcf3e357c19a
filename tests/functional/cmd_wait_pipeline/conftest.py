from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from cmd_wait_pipeline.cli import cli
from sandbox import Sandbox
from sandbox.model import ScriptedJob, ScriptedPipeline, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sized

    from sandbox.model import Pipeline, Project, Token, User
    from tests.functional.conftest import Ending, Invoke, SkippingClock


class RequestClock:
    """A tenth of a second passes with each request, so that no test depends on how fast it runs.

    Attributes:
        requests: Those that came in.
    """

    requests: Sized = ()

    def now(self) -> datetime:
        return datetime(2026, 1, 5, 9, tzinfo=UTC) + timedelta(seconds=0.1 * len(self.requests))


@pytest.fixture
def gitlab(clock: SkippingClock, server_settings: dict[str, Any]) -> Iterator[Sandbox]:
    del clock  # the commands' alone
    time = RequestClock()
    with Sandbox(clock=time, run_jobs=False, **server_settings) as running:
        time.requests = running.requests
        yield running


def meanwhile(
    gitlab: Sandbox, when: Callable[[], bool], action: Callable[[], object]
) -> threading.Thread:
    """Does something in a thread, as soon as something holds."""

    def act() -> None:
        gitlab.wait_until(when)
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


class Wait(Protocol):
    def __call__(self, *arguments: str | int, job_token: str = "") -> Ending: ...


class Add(Protocol):
    def __call__(
        self,
        *steps: tuple[float, str],
        jobs: tuple[ScriptedJob, ...] = (),
        project: Project | None = None,
        ref: str | None = None,
        sha: str | None = None,
        source: str = "push",
        after: float = 0,
    ) -> Pipeline: ...


@pytest.fixture
def wait(invoke: Invoke, gitlab: Sandbox, token: Token, monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Runs the command with an access token, looking often, unless told otherwise."""
    monkeypatch.setenv("CI_SERVER_URL", gitlab.url)
    monkeypatch.setenv("CI_PROJECT_PATH", "tech-lunch/service-tests")

    def run(*arguments: str | int, job_token: str = "") -> Ending:
        monkeypatch.setenv("COMMANDS_API_TOKEN", "" if job_token else token.secret)
        monkeypatch.setenv("CI_JOB_TOKEN", job_token)
        ending = invoke(cli, "--interval", "0.05", "--no-realtime", *map(str, arguments))
        for secret in (token.secret, job_token):
            assert not secret or secret not in ending.stdout + ending.stderr
        return ending

    return run


@pytest.fixture
def add(gitlab: Sandbox, executor: User, project: Project) -> Add:
    """Adds a pipeline that follows a script; one job follows the given statuses."""
    default = project

    def make(
        *steps: tuple[float, str],
        jobs: tuple[ScriptedJob, ...] = (),
        project: Project | None = None,
        ref: str | None = None,
        sha: str | None = None,
        source: str = "push",
        after: float = 0,
    ) -> Pipeline:
        return gitlab.add_pipeline(
            project or default,
            ScriptedPipeline(jobs=jobs or (ScriptedJob(name="test", timeline=steps),)),
            user=executor,
            ref=ref,
            sha=sha,
            source=source,
            after=after,
        )

    return make


@pytest.fixture
def bare(gitlab: Sandbox, executor: User, project: Project) -> Add:
    """Adds a pipeline without jobs that follows the given statuses."""

    def make(*steps: tuple[float, str], **_: object) -> Pipeline:
        script = ScriptedPipeline(timeline=steps)
        return gitlab.add_pipeline(project, script, user=executor)

    return make


# A pipeline is found by two requests, and its history is one more.
SOON: Steps = ((0, "pending"), (0.5, "running"), (0.8, "success"))
