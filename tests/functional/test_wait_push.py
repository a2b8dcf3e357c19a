"""Waiting by push: it can only help."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from cicd_common.waiting import poll
from cicd_common.waiting.push import listener as push
from cmd_wait_pipeline.cli import cli
from sandbox import Fault, ManualClock, Sandbox, ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.model import Pipeline, Project, Token, User
    from tests.functional.conftest import Ending, Invoke, Start

ROOT = Path(__file__).parents[2]
OFF = "No push from GitLab for the rest of this run: "
CABLE = r"/-/cable$"
HOUR = 3600


class Wait(Protocol):
    def __call__(
        self, pipeline: Pipeline, *arguments: str, interval: float | None = HOUR
    ) -> Ending: ...


@pytest.fixture
def gitlab() -> Iterator[Sandbox]:
    """A server whose time stands still; the wait's own time passes, as on any machine."""
    with Sandbox(clock=ManualClock(datetime.now(UTC)), run_jobs=False) as running:
        yield running


@pytest.fixture
def wait(invoke: Invoke, gitlab: Sandbox, token: Token, monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Waits for a pipeline, saying all there is to say; the clock alone would take an hour."""
    monkeypatch.setenv("CI_SERVER_URL", gitlab.url)
    monkeypatch.setenv("CI_PROJECT_PATH", "tech-lunch/service-tests")
    monkeypatch.setenv("COMMANDS_API_TOKEN", token.secret)

    def run(pipeline: Pipeline, *arguments: str, interval: float | None = HOUR) -> Ending:
        if interval:
            arguments = (f"--interval={interval}", *arguments)
        ending = invoke(cli, f"--pipeline-id={pipeline.id}", "-vv", *arguments)
        assert token.secret not in ending.stdout + ending.stderr
        assert "Bearer" not in ending.stderr
        return ending

    return run


@pytest.fixture(autouse=True)
def _nothing_left(gitlab: Sandbox) -> Iterator[None]:
    yield
    gitlab.wait_until(is_over)


@pytest.fixture
def add(gitlab: Sandbox, project: Project, executor: User) -> Callable[[], Pipeline]:
    """Adds a pipeline whose one job runs until it is ended."""

    def make() -> Pipeline:
        job = ScriptedJob(name="test", timeline=((0, "running"),))
        return gitlab.add_pipeline(project, ScriptedPipeline(jobs=(job,)), user=executor)

    return make


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Does something in a thread."""
    threads: list[threading.Thread] = []

    def start(action: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=action))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


class EndWhen(Protocol):
    def __call__(
        self, pipeline: Pipeline, holds: Callable[[], bool], status: str = "success"
    ) -> None: ...


@pytest.fixture
def end_when(gitlab: Sandbox, meanwhile: Any) -> EndWhen:
    """Ends a pipeline's jobs as soon as something holds."""

    def start(pipeline: Pipeline, holds: Callable[[], bool], status: str = "success") -> None:
        def end() -> None:
            gitlab.wait_until(holds)
            for job in pipeline.jobs:
                gitlab.finish(job, status)

        meanwhile(end)

    return start


def looks(gitlab: Sandbox, pipeline: Pipeline) -> int:
    path = rf".*/pipelines/{pipeline.id}/jobs\?per_page=100"
    return sum(re.fullmatch(path, request.path) is not None for request in gitlab.requests)


def handshakes(gitlab: Sandbox) -> list[int | None]:
    return [request.status for request in gitlab.requests if re.search(CABLE, request.path)]


def is_over() -> bool:
    """Whether no thread listens any more, or yet."""
    return "push" not in [thread.name for thread in threading.enumerate()]


def off_lines(ending: Ending) -> list[str]:
    return [line.removeprefix(OFF) for line in ending.stderr.splitlines() if line.startswith(OFF)]


def listens(gitlab: Sandbox, pipeline: Pipeline) -> Callable[[], bool]:
    """Whether a pipeline is subscribed to, and was looked at since: the next look is far away."""
    return lambda: pipeline.id in gitlab.cable.subscriptions and looks(gitlab, pipeline) >= 2


# It helps


def test_an_end_is_reported_though_the_clock_would_take_an_hour(
    gitlab: Sandbox, wait: Wait, add: Callable[[], Pipeline], end_when: EndWhen
) -> None:
    pipeline = add()
    end_when(pipeline, listens(gitlab, pipeline))
    ending = wait(pipeline)
    assert ending.code == 0
    assert f"pipeline {pipeline.id} success in 0 s" in ending.stdout
    gitlab.wait_until(lambda: gitlab.cable.connections == 0)


def test_a_downstream_pipeline_that_a_poll_finds_is_subscribed_to(
    gitlab: Sandbox, wait: Wait, project: Project, executor: User, end_when: EndWhen
) -> None:
    running = ((0.0, "running"),)
    below = ScriptedPipeline(jobs=(ScriptedJob(name="deploy", timeline=running),))
    jobs = (
        ScriptedJob(name="test", timeline=running),
        ScriptedJob(name="bridge", timeline=running, downstream=below),
    )
    pipeline = gitlab.add_pipeline(project, ScriptedPipeline(jobs=jobs), user=executor)
    downstream = pipeline.jobs[1].downstream
    assert downstream is not None
    listened = {pipeline.id, downstream.id}
    end_when(pipeline, lambda: set(gitlab.cable.subscriptions) == listened)
    end_when(downstream, lambda: set(gitlab.cable.subscriptions) == listened)
    ending = wait(pipeline)
    assert (ending.code, gitlab.cable.accepted) == (0, 1)


def test_ten_minutes_take_at_most_25_requests_and_a_change_is_seen_within_a_second() -> None:
    """And the end within two, by the one clock of the server and the wait."""
    run = [sys.executable, "benchmarks/waiting.py", "--runs", "2", "--setting", "push"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cells = done.stdout.splitlines()[-1].strip("| ").split(" | ")
    _, requests, change, _, _, end = (cell.removesuffix(" s") for cell in cells)
    assert int(requests) <= 25
    assert float(change) < 1
    assert float(end) < 2


def test_the_start_does_not_wait_for_it(
    gitlab: Sandbox, wait: Wait, add: Callable[[], Pipeline], end_when: EndWhen
) -> None:
    gitlab.fault(Fault(path=CABLE, delay=HOUR))
    pipeline = add()
    end_when(pipeline, lambda: looks(gitlab, pipeline) >= 2)
    ending = wait(pipeline, interval=0.2)
    assert ending.code == 0
    assert not re.search(CABLE, gitlab.requests[0].path)


# Polling stays the truth


@pytest.mark.parametrize("interval", [1, None])
def test_an_end_that_is_not_pushed_is_seen_after_one_pause(
    gitlab: Sandbox,
    wait: Wait,
    add: Callable[[], Pipeline],
    meanwhile: Any,
    monkeypatch: pytest.MonkeyPatch,
    interval: float | None,
) -> None:
    monkeypatch.setattr(poll, "LONGEST_PUSHED", 1.0)
    gitlab.cable.faults.drops_ends = True
    pipeline = add()
    before: list[int] = []

    def end() -> None:
        gitlab.wait_until(listens(gitlab, pipeline))
        gitlab.finish(pipeline.jobs[0], "failed")
        before.append(looks(gitlab, pipeline))

    meanwhile(end)
    ending = wait(pipeline, interval=interval)
    assert ending.code == 1
    assert looks(gitlab, pipeline) <= before[0] + 1
    assert handshakes(gitlab) == [101]


def test_a_change_during_a_restart_is_found_by_the_poll_after_the_confirmation(
    gitlab: Sandbox, wait: Wait, add: Callable[[], Pipeline], meanwhile: Any
) -> None:
    pipeline = add()

    def restart() -> None:
        gitlab.wait_until(listens(gitlab, pipeline))
        before = looks(gitlab, pipeline)

        def finish() -> None:
            gitlab.wait_until(lambda: looks(gitlab, pipeline) > before)
            gitlab.finish(pipeline.jobs[0])

        gitlab.fault(Fault(path=CABLE, meanwhile=finish))
        gitlab.cable.restart()

    meanwhile(restart)
    ending = wait(pipeline)
    assert ending.code == 0
    assert handshakes(gitlab) == [101, 101]
    assert "push was closed: the server says 'server_restart'" in ending.stderr


def test_the_renewal_repairs_a_subscription_that_ended_without_a_message(
    gitlab: Sandbox,
    wait: Wait,
    add: Callable[[], Pipeline],
    meanwhile: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(push, "RENEW_SECONDS", 2.0)
    gitlab.cable.ping_every = 0.1
    pipeline = add()

    def end() -> None:
        gitlab.wait_until(listens(gitlab, pipeline))
        gitlab.cable.unsubscribe_silently()
        gitlab.finish(pipeline.jobs[0])

    meanwhile(end)
    ending = wait(pipeline)
    assert ending.code == 0
    subscribed = [entry for entry in gitlab.cable.received if entry["command"] == "subscribe"]
    assert len({entry["identifier"] for entry in subscribed}) >= 2
    assert handshakes(gitlab) == [101]


# Where there is none


class RunBoth(Protocol):
    def __call__(self, *arguments: str) -> tuple[Ending, int]: ...


@pytest.fixture
def run_both(
    gitlab: Sandbox, wait: Wait, add: Callable[[], Pipeline], end_when: EndWhen
) -> RunBoth:
    """How a wait ends that listens; one that does not has the same exit code and stdout."""

    def run(*arguments: str) -> tuple[Ending, int]:
        endings, outcomes = [], []
        for more in ([], ["--no-realtime"]):
            pipeline = add()
            end_when(pipeline, lambda: bool(handshakes(gitlab)) and is_over(), "failed")
            ending = wait(pipeline, *more, *arguments, interval=0.2)
            numbers = rf"\b({pipeline.id}|{pipeline.jobs[0].id})\b|(?<=\"iid\": )\d+"
            outcomes.append((ending.code, re.sub(numbers, "ID", ending.stdout)))
            endings.append(ending)
        assert outcomes[0] == outcomes[1]
        return endings[0], endings[0].code

    return run


@pytest.mark.parametrize("output", ["text", "json"])
def test_with_a_refused_origin_the_wait_only_polls(
    gitlab: Sandbox, run_both: RunBoth, output: str
) -> None:
    gitlab.state.external_url = "https://gitlab.example.com"
    ending, code = run_both("--output", output)
    assert code == 1
    assert off_lines(ending) == ["GET /-/cable 404"]
    assert handshakes(gitlab) == [404]


@pytest.mark.parametrize("status", [404, 401, 403, 302])
def test_without_a_cable_the_wait_only_polls(
    gitlab: Sandbox, run_both: RunBoth, status: int
) -> None:
    gitlab.fault(Fault(path=CABLE, status=status, headers={"Location": "/elsewhere"}))
    ending, code = run_both()
    assert code == 1
    assert off_lines(ending) == [f"GET /-/cable {status}"]
    assert handshakes(gitlab) == [status]
    assert not any("elsewhere" in request.path for request in gitlab.requests)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("bad_token", "the server says 'unauthorized'"),
        ("unauthorized", "the server says 'Unauthorized subscription'"),
        ("unknown_field", None),
        ("rejects", "the server rejects the subscription"),
    ],
)
def test_a_refusal_turns_push_off_and_the_wait_only_polls(
    gitlab: Sandbox, run_both: RunBoth, fault: str, reason: str | None
) -> None:
    setattr(gitlab.cable.faults, fault, True)
    ending, code = run_both()
    assert code == 1
    (said,) = off_lines(ending)
    assert said == (reason or said)
    assert handshakes(gitlab) == [101]


def test_a_job_token_is_not_sent_there(
    gitlab: Sandbox,
    wait: Wait,
    add: Callable[[], Pipeline],
    end_when: EndWhen,
    project: Project,
    executor: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = gitlab.add_running_job(project, executor)
    monkeypatch.delenv("COMMANDS_API_TOKEN")
    monkeypatch.setenv("CI_JOB_TOKEN", job.token)
    pipeline = add()
    end_when(pipeline, lambda: looks(gitlab, pipeline) >= 2)
    ending = wait(pipeline, interval=0.2)
    assert ending.code == 0
    assert off_lines(ending) == ["it does not accept a CI job token"]
    assert handshakes(gitlab) == []


def test_it_can_be_turned_off(
    gitlab: Sandbox, wait: Wait, add: Callable[[], Pipeline], end_when: EndWhen
) -> None:
    pipeline = add()
    end_when(pipeline, lambda: looks(gitlab, pipeline) >= 2)
    ending = wait(pipeline, "--no-realtime", interval=0.2)
    assert (ending.code, off_lines(ending), handshakes(gitlab)) == (0, [], [])


# The end


@pytest.fixture
def process(
    start: Start, gitlab: Sandbox, token: Token
) -> Callable[[Pipeline], subprocess.Popen[str]]:
    """Starts the command as a process."""

    def run(pipeline: Pipeline) -> subprocess.Popen[str]:
        return start(
            "cmd_wait_pipeline", "--pipeline-id", str(pipeline.id),
            "--project", pipeline.project.path,
            CI_SERVER_URL=gitlab.url, COMMANDS_API_TOKEN=token.secret,
        )  # fmt: skip

    return run


def test_many_events_cause_one_poll_a_second_and_delay_no_signal(
    gitlab: Sandbox,
    add: Callable[[], Pipeline],
    process: Callable[[Pipeline], subprocess.Popen[str]],
    meanwhile: Any,
) -> None:
    pipeline = add()
    running = process(pipeline)
    gitlab.wait_until(lambda: pipeline.id in gitlab.cable.subscriptions)
    over = threading.Event()

    def flood() -> None:
        while not over.wait(0.005):
            gitlab.cable.announce(pipeline)

    before, began = looks(gitlab, pipeline), time.monotonic()
    meanwhile(flood)
    try:
        gitlab.wait_until(
            lambda: len(gitlab.cable.sent) >= 500 and looks(gitlab, pipeline) >= before + 3
        )
        caused, seconds = looks(gitlab, pipeline) - before, time.monotonic() - began
        running.send_signal(signal.SIGINT)
        running.communicate()
    finally:
        over.set()
    assert running.returncode == 130
    assert caused <= seconds + 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_does_not_answer_delays_no_signal(
    gitlab: Sandbox,
    add: Callable[[], Pipeline],
    process: Callable[[Pipeline], subprocess.Popen[str]],
    number: signal.Signals,
) -> None:
    gitlab.fault(Fault(path=CABLE, delay=HOUR))
    running = process(add())
    gitlab.wait_until(lambda: len(handshakes(gitlab)) == 1)
    running.send_signal(number)
    running.communicate()
    assert running.returncode == 128 + number
