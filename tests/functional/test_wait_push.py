"""Waiting by push: it can only help."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from cicd_common.waiting import poll
from cicd_common.waiting.push import listener as push
from cmd_wait_pipeline.cli import cli
from sandbox import Fault, Sandbox, ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.model import Pipeline, Project, Token, User
    from tests.functional.conftest import Ending, Invoke

ROOT = Path(__file__).parents[2]
OFF = "No push from GitLab for the rest of this run: "
CABLE = r"/-/cable$"


class Wait(Protocol):
    def __call__(
        self, pipeline: Pipeline, *arguments: str, interval: float | None = 60
    ) -> Ending: ...


@pytest.fixture
def gitlab() -> Iterator[Sandbox]:
    """A server of the machine's own clock: what is pushed must find the wait asleep."""
    with Sandbox(run_jobs=False) as running:
        yield running


@pytest.fixture
def wait(invoke: Invoke, gitlab: Sandbox, token: Token, monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Waits for a pipeline, saying all there is to say; the clock alone would take a minute."""
    monkeypatch.setenv("CI_SERVER_URL", gitlab.url)
    monkeypatch.setenv("CI_PROJECT_PATH", "tech-lunch/service-tests")
    monkeypatch.setenv("COMMANDS_API_TOKEN", token.secret)

    def run(pipeline: Pipeline, *arguments: str, interval: float | None = 60) -> Ending:
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
    gitlab.wait_until(lambda: "push" not in [thread.name for thread in threading.enumerate()])


@pytest.fixture
def add(gitlab: Sandbox, project: Project, executor: User) -> Callable[..., Pipeline]:
    """Adds a pipeline whose one job ends after some seconds, if at all."""

    def make(end: float = 3600, status: str = "success") -> Pipeline:
        job = ScriptedJob(name="test", timeline=((0, "running"), (end, status)))
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


def looks(gitlab: Sandbox, pipeline: Pipeline) -> int:
    path = rf".*/pipelines/{pipeline.id}/jobs\?per_page=100"
    return sum(re.fullmatch(path, request.path) is not None for request in gitlab.requests)


def handshakes(gitlab: Sandbox) -> list[int | None]:
    return [request.status for request in gitlab.requests if re.search(CABLE, request.path)]


def off_lines(ending: Ending) -> list[str]:
    return [line.removeprefix(OFF) for line in ending.stderr.splitlines() if line.startswith(OFF)]


def listens(gitlab: Sandbox, pipeline: Pipeline) -> Callable[[], bool]:
    """Whether a pipeline is subscribed to, and was looked at since."""
    return lambda: pipeline.id in gitlab.cable.subscriptions and looks(gitlab, pipeline) >= 2


# It helps


def test_an_end_is_reported_within_two_seconds_though_the_clock_would_take_a_minute(
    gitlab: Sandbox, wait: Wait, add: Callable[..., Pipeline]
) -> None:
    pipeline = add(end=5)
    ending = wait(pipeline)
    late = (gitlab.state.clock.now() - pipeline.created_at).total_seconds() - 5
    assert ending.code == 0
    assert f"pipeline {pipeline.id} success in 5 s" in ending.stdout
    assert 0 <= late < 2
    gitlab.wait_until(lambda: gitlab.cable.connections == 0)


def test_it_listens_to_what_a_look_finds_downstream(
    gitlab: Sandbox, wait: Wait, project: Project, executor: User
) -> None:
    below = ScriptedPipeline(
        jobs=(ScriptedJob(name="deploy", timeline=((0, "running"), (1.5, "success"))),)
    )
    jobs = (
        ScriptedJob(name="test", timeline=((0, "running"), (2, "success"))),
        ScriptedJob(name="bridge", timeline=((0, "running"), (1.5, "success")), downstream=below),
    )
    pipeline = gitlab.add_pipeline(project, ScriptedPipeline(jobs=jobs), user=executor)
    ending = wait(pipeline)
    downstream = pipeline.jobs[1].downstream
    assert downstream is not None
    asked = str(gitlab.cable.received)
    assert all(f"Ci::Pipeline/{number}" in asked for number in (pipeline.id, downstream.id))
    assert (ending.code, gitlab.cable.accepted) == (0, 1)


def test_ten_minutes_take_at_most_25_requests_and_a_change_is_seen_within_a_second() -> None:
    run = [sys.executable, "benchmarks/waiting.py", "--runs", "2", "--setting", "push"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    _, requests, median, *_ = done.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert int(requests) <= 25
    assert float(median.removesuffix(" s")) < 1


def test_the_start_does_not_wait_for_it(
    gitlab: Sandbox, wait: Wait, add: Callable[..., Pipeline]
) -> None:
    gitlab.fault(Fault(path=CABLE, delay=60))
    pipeline = add(end=0.5)
    ending = wait(pipeline, interval=0.2)
    assert ending.code == 0
    assert (gitlab.state.clock.now() - pipeline.created_at).total_seconds() < 2
    assert not re.search(CABLE, gitlab.requests[0].path)


# Polling stays the truth


@pytest.mark.parametrize("interval", [3, None])
def test_an_end_that_is_not_pushed_is_seen_after_one_pause(
    gitlab: Sandbox,
    wait: Wait,
    add: Callable[..., Pipeline],
    monkeypatch: pytest.MonkeyPatch,
    interval: float | None,
) -> None:
    monkeypatch.setattr(poll, "LONGEST_PUSHED", 3.0)
    gitlab.cable.faults.drops_ends = True
    pipeline = add(end=1.5, status="failed")
    ending = wait(pipeline, interval=interval)
    assert ending.code == 1
    assert (gitlab.state.clock.now() - pipeline.created_at).total_seconds() < 7
    assert handshakes(gitlab) == [101]


def test_a_change_during_a_restart_is_caught_by_the_look_on_confirmation(
    gitlab: Sandbox, wait: Wait, add: Callable[..., Pipeline], meanwhile: Any
) -> None:
    pipeline = add()

    def restart() -> None:
        gitlab.wait_until(listens(gitlab, pipeline))
        before = looks(gitlab, pipeline)
        gitlab.fault(Fault(path=CABLE, delay=1))
        gitlab.cable.restart()
        gitlab.wait_until(lambda: looks(gitlab, pipeline) > before)
        gitlab.wait_until(lambda: len(handshakes(gitlab)) == 2)
        gitlab.finish(pipeline.jobs[0])

    meanwhile(restart)
    ending = wait(pipeline)
    assert ending.code == 0
    assert handshakes(gitlab) == [101, 101]
    assert "GitLab's push broke off: the server says 'server_restart'" in ending.stderr


def test_a_silent_unsubscription_is_made_up_for_by_the_renewal(
    gitlab: Sandbox,
    wait: Wait,
    add: Callable[..., Pipeline],
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
    assert len({entry["identifier"] for entry in subscribed}) == 2
    assert handshakes(gitlab) == [101]


# Where there is none


def run_both(wait: Wait, add: Callable[..., Pipeline], *arguments: str) -> tuple[Ending, int]:
    """How a wait ends that listens; one that does not has the same exit code and stdout."""
    endings, outcomes = [], []
    for more in ([], ["--no-realtime"]):
        pipeline = add(end=0.7, status="failed")
        ending = wait(pipeline, *more, *arguments, interval=0.2)
        numbers = rf"\b({pipeline.id}|{pipeline.jobs[0].id})\b"
        outcomes.append((ending.code, re.sub(numbers, "ID", ending.stdout)))
        endings.append(ending)
    assert outcomes[0] == outcomes[1]
    return endings[0], endings[0].code


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_wrong_origin_makes_no_difference(
    gitlab: Sandbox, wait: Wait, add: Callable[..., Pipeline], output: str
) -> None:
    gitlab.state.external_url = "https://gitlab.example.com"
    ending, code = run_both(wait, add, "--output", output)
    assert code == 1
    assert off_lines(ending) == ["GET /-/cable 404"]
    assert handshakes(gitlab) == [404]


@pytest.mark.parametrize("status", [404, 401, 403, 302])
def test_no_cable_at_all_makes_no_difference(
    gitlab: Sandbox, wait: Wait, add: Callable[..., Pipeline], status: int
) -> None:
    gitlab.fault(Fault(path=CABLE, status=status, headers={"Location": "/elsewhere"}))
    ending, code = run_both(wait, add)
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
def test_a_refusal_turns_it_off_and_makes_no_difference(
    gitlab: Sandbox, wait: Wait, add: Callable[..., Pipeline], fault: str, reason: str | None
) -> None:
    setattr(gitlab.cable.faults, fault, True)
    ending, code = run_both(wait, add)
    assert code == 1
    (said,) = off_lines(ending)
    assert said == (reason or said)
    assert handshakes(gitlab) == [101]


def test_a_job_token_is_not_sent_there(
    gitlab: Sandbox,
    wait: Wait,
    add: Callable[..., Pipeline],
    project: Project,
    executor: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = gitlab.add_running_job(project, executor)
    monkeypatch.delenv("COMMANDS_API_TOKEN")
    monkeypatch.setenv("CI_JOB_TOKEN", job.token)
    ending = wait(add(end=0.5), interval=0.2)
    assert ending.code == 0
    assert off_lines(ending) == ["it takes no CI job token"]
    assert handshakes(gitlab) == []


def test_it_can_be_turned_off(gitlab: Sandbox, wait: Wait, add: Callable[..., Pipeline]) -> None:
    ending = wait(add(end=0.5), "--no-realtime", interval=0.2)
    assert (ending.code, off_lines(ending), handshakes(gitlab)) == (0, [], [])


# The end


@pytest.fixture
def process(gitlab: Sandbox, token: Token) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command as a process."""
    started: list[subprocess.Popen[str]] = []

    def start(pipeline: Pipeline) -> subprocess.Popen[str]:
        running = subprocess.Popen(
            [sys.executable, "-m", "cmd_wait_pipeline", "--pipeline-id", str(pipeline.id),
             "--project", pipeline.project.path],
            env={"PATH": os.environ["PATH"], "CI_SERVER_URL": gitlab.url,
                 "COMMANDS_API_TOKEN": token.secret},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(running)
        return running

    yield start
    for running in started:
        running.kill()
        running.communicate()


def test_a_flood_of_events_costs_a_look_a_second_and_delays_no_signal(
    gitlab: Sandbox,
    add: Callable[..., Pipeline],
    process: Callable[..., subprocess.Popen[str]],
    meanwhile: Any,
) -> None:
    pipeline = add()
    running = process(pipeline)
    gitlab.wait_until(lambda: pipeline.id in gitlab.cable.subscriptions)
    over = threading.Event()

    def flood() -> None:
        while not over.wait(0.01):
            gitlab.cable.announce(pipeline)

    before, began = looks(gitlab, pipeline), time.monotonic()
    meanwhile(flood)
    gitlab.wait_until(lambda: len(gitlab.cable.sent) >= 500)
    caused, seconds = looks(gitlab, pipeline) - before, time.monotonic() - began
    running.send_signal(signal.SIGINT)
    signaled = time.monotonic()
    code = running.wait(timeout=10)
    over.set()
    assert code == 130
    assert time.monotonic() - signaled < 1
    assert 3 <= caused <= seconds + 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_does_not_answer_delays_no_signal(
    gitlab: Sandbox,
    add: Callable[..., Pipeline],
    process: Callable[..., subprocess.Popen[str]],
    number: signal.Signals,
) -> None:
    gitlab.fault(Fault(path=CABLE, delay=60))
    running = process(add())
    gitlab.wait_until(lambda: len(handshakes(gitlab)) == 1)
    running.send_signal(number)
    signaled = time.monotonic()
    assert running.wait(timeout=10) == 128 + number
    assert time.monotonic() - signaled < 1
