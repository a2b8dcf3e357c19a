"""What it costs to wait for a pipeline of ten minutes, and how late one hears of it.

Run it with `python benchmarks/waiting.py`; it takes about two minutes and prints a Markdown table.

Time is accelerated: the sandbox's clock and the wait's are one, which stands still while a request
is under way and goes on while the wait sleeps. So a figure is what the pauses alone make of it, and
what the network adds is left out. The push goes over a real WebSocket; its own clock is real, so
that a run of ten minutes lacks the one poll on the renewal of the subscription.
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.connection import Connection
from cicd_common.gitlab.tokens import Token, TokenKind
from cicd_common.waiting.clock import Background, Clock
from cicd_common.waiting.engine import Engine
from cicd_common.waiting.events import Changed, Found
from cicd_common.waiting.policy import WaitPolicy
from cicd_common.waiting.push.listener import Push
from cicd_common.waiting.targets import ById
from sandbox import Access, ManualClock, Sandbox, ScriptedJob, ScriptedPipeline
from sandbox.world import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from cicd_common.errors import CommandError
    from cicd_common.waiting.events import Event
    from sandbox import model

T = TypeVar("T")

RUNS = 20
EARLIER = 10  # pipelines of the same branch, by which the end is estimated

# Name, stage, when it may start and when it has ended, of ten minutes; it is pending for 2 s.
JOBS = (
    ("compile", "build", 0.0, 150.0),
    ("lint", "test", 150.0, 200.0),
    ("unit", "test", 150.0, 300.0),
    ("integration", "test", 150.0, 420.0),
    ("deploy", "deploy", 420.0, 600.0),
)
PENDING = 2.0


def script(scale: float) -> ScriptedPipeline:
    """The pipeline, by a factor faster or slower."""
    return ScriptedPipeline(
        jobs=tuple(
            ScriptedJob(
                name=name,
                stage=stage,
                timeline=(
                    (0, "created"),
                    (start * scale, "pending"),
                    (start * scale + PENDING, "running"),
                    (end * scale, "success"),
                ),
            )
            for name, stage, start, end in JOBS
        )
    )


class AcceleratedClock(Clock):
    """Time goes on while it sleeps, from change to change, by the sandbox's clock."""

    def __init__(self, gitlab: Sandbox, clock: ManualClock, changes: list[datetime]) -> None:
        super().__init__()
        self._gitlab = gitlab
        self._clock = clock
        self._start = clock.now()
        self._changes = sorted(changes)
        self._confirmed = False
        self.push: Push | None = None
        self.pipeline_id = 0  # once it is listened to

    def now(self) -> float:
        """Seconds since the start."""
        return (self._clock.now() - self._start).total_seconds()

    def time(self) -> datetime:
        """The sandbox's time."""
        return self._clock.now()

    def sleep_until(self, moment: float) -> None:
        """Passes the time, and gives every change on the way the chance to be told."""
        if self.push and self.pipeline_id and not self._confirmed:
            while not self.push.covers(self.pipeline_id):
                _pass_real_time(0.001)
            self._confirmed = self._woken.wait(PATIENCE)
        while not self._woken.is_set() and self.now() < moment:
            told = self._told()
            self._advance_towards(moment)
            if self.push and self.now() < moment and self._is_told(told):
                self._woken.wait(PATIENCE)
        self._woken.clear()

    def _advance_towards(self, moment: float) -> None:
        while self._changes and self._changes[0] <= self._clock.now():
            self._changes.pop(0)
        left = moment - self.now()
        if self._changes:
            left = min(left, (self._changes[0] - self._clock.now()).total_seconds())
        self._clock.advance(max(left, 1e-6))  # the least that a clock can show

    def _told(self) -> int:
        return sum("type" not in message for message in self._gitlab.cable.sent)

    def _is_told(self, before: int) -> bool:
        """Whether what has changed by now was one that GitLab tells its clients."""
        now = self._clock.now()
        self._gitlab.wait_until(lambda: self._gitlab.cable.told_until >= now)
        return self._told() > before


class Inline(Background):
    """Work is done at once, while time stands still."""

    def start(
        self, work: Callable[[], T], then: Callable[[T | CommandError], Iterator[Event]]
    ) -> None:
        """Does the work before it returns."""
        answer = work()
        self._done.put(lambda: then(answer))
        self._clock.wake()


def _pass_real_time(seconds: float) -> None:
    threading.Event().wait(seconds)


@dataclass(frozen=True)
class Run:
    """A wait.

    Attributes:
        requests: How many it made, the WebSocket's handshake among them.
        delays: Seconds from each job's start and end until it was reported.
        end: Seconds from the pipeline's end until it was reported.
    """

    requests: int
    delays: list[float]
    end: float


@dataclass(frozen=True)
class Setting:
    """How to wait.

    Attributes:
        name: The name in the table.
        interval: A fixed pause; None lets it follow what is known.
        pushed: Whether GitLab's push is listened to.
    """

    name: str
    interval: float | None = None
    pushed: bool = False


SETTINGS = (
    Setting("a poll every 3 s", interval=3),
    Setting("a poll every 5 s", interval=5),
    Setting("a poll every 10 s", interval=10),
    Setting("adaptive, `--no-realtime`"),
    Setting("push", pushed=True),
)


def measure(setting: Setting, seed: int) -> Run:
    """Waits once."""
    chance = random.Random(seed)  # noqa: S311 - the same pipelines at every run
    clock = ManualClock()
    with Sandbox(clock=clock, run_jobs=False) as gitlab:
        user = gitlab.add_user("ci-cd-executor")
        project = gitlab.add_project("group/name", {"a": "b"}, members={user: Access.MAINTAINER})
        for number in range(EARLIER):
            begun = -3600.0 * (number + 1)
            gitlab.add_pipeline(project, script(chance.uniform(0.9, 1.1)), user=user, after=begun)
        pipeline = gitlab.add_pipeline(project, script(chance.uniform(0.9, 1.1)), user=user)
        clock.advance(chance.uniform(0, 1))
        token = Token(TokenKind.ACCESS, "benchmark", gitlab.add_token(user).secret)
        server = Connection(gitlab.url, token)
        waiting = AcceleratedClock(gitlab, clock, [moment for _, _, moment in steps(pipeline)])
        with Push(server, waiting) if setting.pushed else nullcontext() as push:
            waiting.push = push
            engine = Engine(
                GitLab(server),
                [ById(project.path, pipeline.id)],
                WaitPolicy(interval=setting.interval),
                clock=waiting,
                background=Inline,
                jitter=chance.random,
                push=push,
            )
            seen = watch(engine, waiting)
        delays = [
            (seen[job, status] - moment).total_seconds()
            for job, status, moment in steps(pipeline)
            if (job, status) in seen
        ]
        return Run(len(gitlab.requests), delays, delays[-1])


def steps(pipeline: model.Pipeline) -> list[tuple[int, str, datetime]]:
    """When each job of a pipeline starts and when it ends, in the order of time."""
    found = [
        (job.id, status, pipeline.created_at + timedelta(seconds=since))
        for job in pipeline.jobs
        if job.script
        for since, status in job.script.timeline
        if status in {"running", "success"}
    ]
    return sorted(found, key=lambda step: step[2])


def watch(engine: Engine, waiting: AcceleratedClock) -> dict[tuple[int, str], datetime]:
    """Waits, and tells when each job was first seen in each status."""
    seen: dict[tuple[int, str], datetime] = {}
    for event in engine.events():
        match event:
            case Found():
                waiting.pipeline_id = event.pipeline.id
            case Changed():
                for job in event.pipeline.jobs:
                    seen.setdefault((job.id, job.status), waiting.time())
    return seen


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=RUNS, help="how many pipelines for each setting"
    )
    names = [setting.name for setting in SETTINGS]
    parser.add_argument("--setting", choices=names, help="only this one")
    options = parser.parse_args()
    print("| how | requests | a job seen after: median | at most | the end: median | at most |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for setting in SETTINGS:
        if options.setting not in (None, setting.name):
            continue
        runs = [measure(setting, seed) for seed in range(options.runs)]
        delays = [delay for run in runs for delay in run.delays]
        ends = [run.end for run in runs]
        figures = (statistics.median(delays), max(delays), statistics.median(ends), max(ends))
        requests = statistics.median(run.requests for run in runs)
        cells = " | ".join(f"{figure:.1f} s" for figure in figures)
        print(f"| {setting.name} | {requests:.0f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
