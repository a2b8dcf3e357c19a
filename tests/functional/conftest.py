from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import check_jsonschema
import pytest
from click.testing import CliRunner

from cicd_common.cli import main as boundary
from cicd_common.gitlab import retry
from cicd_common.waiting.clock import Background, Clock
from sandbox import Sandbox
from sandbox.agenda import Slow
from sandbox.testing import api, executor, project, token
from tests.leaks import _everything_is_followed, leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import click

    from cicd_common.errors import CommandError
    from cicd_common.waiting.events import Event
    from tests.leaks import Leaks

__all__ = ["_everything_is_followed", "api", "executor", "leaks", "project", "token"]


class SkippingClock:
    """The machine's clock, but that a sleep ends at once: the clock skips it."""

    def __init__(self) -> None:
        self._skipped = 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._skipped)

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._skipped += max(0.0, seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SkippingClock:
    """What commands in this process sleep by: the pauses of retries and of waits cost no time.

    A wait still waits for the requests that it has sent, and no longer than to its next moment.
    """
    clock = SkippingClock()
    underway: Counter[Clock] = Counter()
    sleep_until, start = Clock.sleep_until, Background.start

    def skip_until(waiting: Clock, moment: float) -> None:
        if not underway[waiting] and not waiting._woken.is_set():
            clock.sleep(moment - clock.monotonic())
        sleep_until(waiting, moment)

    def start_counted(
        background: Background,
        work: Callable[[], Any],
        then: Callable[[Any | CommandError], Iterator[Event]],
    ) -> None:
        def done(answer: Any) -> Iterator[Event]:
            underway[background._clock] -= 1
            yield from then(answer)

        underway[background._clock] += 1
        start(background, work, done)

    monkeypatch.setattr(retry, "CLOCK", retry.Clock(clock.monotonic, clock.sleep, clock.now))
    monkeypatch.setattr(Clock, "now", lambda _: clock.monotonic())
    monkeypatch.setattr(Clock, "sleep_until", skip_until)
    monkeypatch.setattr(Background, "start", start_counted)
    return clock


SLOW = Slow(pipeline=9, replica=3, preparing=4, checking=3, merging=2)
SERVERS: dict[str, dict[str, Any]] = {
    "17.11 slow": {"version": "17.11", "slow": SLOW},
    "18.2": {"version": "18.2"},
    "18.9 slow": {"version": "18.9", "slow": SLOW},
    "19.4": {"version": "19.4"},
    "19.4 slow": {"version": "19.4", "slow": SLOW},
}
# Marks what depends on the server: job tokens, merge requests and the pipelines of tags.
every_server = pytest.mark.parametrize(
    "server_settings", SERVERS.values(), indirect=True, ids=SERVERS.keys()
)


@pytest.fixture
def server_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings of the server: one of `SERVERS`; none unless the test is marked."""
    return getattr(request, "param", {})


@pytest.fixture
def gitlab(clock: SkippingClock, server_settings: dict[str, Any]) -> Iterator[Sandbox]:
    """A server whose pipelines do not run, and whose clock skips what commands sleep."""
    with Sandbox(clock=clock, run_jobs=False, **server_settings) as running:
        yield running


def hold_against_schema(file: Path) -> None:
    """Checks a pipeline's file with GitLab's schema, by the tool that `make lint` runs."""
    arguments = ["--builtin-schema", "vendor.gitlab-ci", str(file)]
    done = CliRunner().invoke(check_jsonschema.main, arguments)
    assert done.exit_code == 0, done.output


@dataclass(frozen=True)
class Ending:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


class Invoke(Protocol):
    def __call__(self, command: click.Command, *arguments: str) -> Ending: ...


class Start(Protocol):
    def __call__(
        self, module: str, *arguments: str, **environment: str
    ) -> subprocess.Popen[str]: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command as a process, with nothing of this one's environment but PATH."""
    started: list[subprocess.Popen[str]] = []

    def run(module: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def invoke(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], leaks: Leaks
) -> Invoke:
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
        leaks.know(os.environ)
        leaks.check("stdout", captured.out)
        leaks.check("stderr", captured.err)
        return Ending(int(exit_.value.code or 0), captured.out, captured.err)

    return run
