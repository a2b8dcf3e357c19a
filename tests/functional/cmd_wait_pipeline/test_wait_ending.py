"""How a wait ends when the pipeline does not: time limits, signals, servers that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import CommandError, Interrupted
from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.connection import Connection
from cicd_common.gitlab.tokens import Token as Credential
from cicd_common.gitlab.tokens import TokenKind
from cicd_common.waiting.policy import WaitPolicy
from cicd_common.waiting.targets import ById
from cicd_common.waiting.wait import wait_for
from sandbox import Fault
from tests.functional.cmd_wait_pipeline.conftest import meanwhile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox import Sandbox
    from sandbox.model import Token
    from tests.functional.cmd_wait_pipeline.conftest import Add, Wait

FOR_EVER = ((0.0, "running"), (3600.0, "success"))


def test_a_time_limit_says_what_was_still_running(add: Add, wait: Wait) -> None:
    ending = wait("--pipeline-id", add(*FOR_EVER).id, "--timeout", "0.5", "--output", "json")
    document = json.loads(ending.stdout)
    assert (ending.code, document["error"]["kind"]) == (7, "timeout")
    assert "Not done: test." in document["error"]["why"]
    assert document["results"][0]["status"] == "running"


def test_in_a_job_the_limit_is_what_is_left_of_it(
    add: Add, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_JOB_STARTED_AT", "2026-01-05T09:00:00Z")
    monkeypatch.setenv("CI_JOB_TIMEOUT", "3600")
    ending = wait("--pipeline-id", add(*FOR_EVER).id)
    assert ending.code == 7
    assert "after 1 s" in ending.stderr


def test_a_server_that_hangs_does_not_outlast_the_limit(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipeline = add(*FOR_EVER)
    gitlab.fault(Fault(path=r"/jobs", delay=30))
    began = time.monotonic()
    # No retries: the request that was given up must not outlast the server that ends it.
    assert wait("--pipeline-id", pipeline.id, "--timeout", "0.5", "--retry-for", "0").code == 7
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path="/jobs", nth=3, status=502),
        Fault(path="/jobs", nth=3, reset="before"),
        Fault(path="/jobs", nth=3, truncate=True),
        Fault(path="/jobs", nth=3, status=200, body="<html>Sign in</html>"),
        Fault(path="/jobs", nth=3, status=429, body="Retry later", headers={"Retry-After": "0"}),
    ],
    ids=["502", "reset", "truncated", "html", "429"],
)
def test_failures_that_pass_are_ridden_out(
    gitlab: Sandbox, add: Add, wait: Wait, fault: Fault
) -> None:
    gitlab.fault(fault)
    pipeline = add((0, "running"), (1, "success"))
    assert wait("--pipeline-id", pipeline.id).code == 0
    assert fault.fired == 1


def test_failures_that_stay_end_it_with_what_was_known(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipeline = add(*FOR_EVER)
    gitlab.fault(Fault(path="/jobs", status=502, first=1000, nth=None))
    assert wait("--pipeline-id", pipeline.id, "--retry-for", "0.2").code == 8


def test_a_pipeline_that_is_deleted_meanwhile_is_not_found(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipeline = add(*FOR_EVER)
    gone = {"message": "404 Not found"}
    gitlab.fault(Fault(path="/jobs", nth=3, status=404, body=gone))
    assert wait("--pipeline-id", pipeline.id).code == 4


def test_a_token_that_is_revoked_meanwhile_ends_it(gitlab: Sandbox, add: Add, wait: Wait) -> None:
    body = {"error": "invalid_token", "error_description": "Token was revoked."}
    gitlab.fault(Fault(path="/jobs", nth=3, status=401, body=body))
    assert wait("--pipeline-id", add(*FOR_EVER).id).code == 3


@pytest.fixture
def command(gitlab: Sandbox, token: Token) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that were started, ended in any case."""
    del gitlab, token
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("interval", ["60", "0.1"], ids=["between looks", "during a look"])
def test_a_signal_ends_it_within_a_second(
    gitlab: Sandbox,
    token: Token,
    add: Add,
    command: list[subprocess.Popen[str]],
    signum: signal.Signals,
    code: int,
    interval: str,
) -> None:
    pipeline = add(*FOR_EVER)
    gitlab.fault(Fault(path="/jobs", nth=2, delay=30))
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cmd_wait_pipeline",
            "--pipeline-id",
            str(pipeline.id),
            "--interval",
            interval,
        ],
        env={
            "PATH": os.environ["PATH"],
            "CI_SERVER_URL": gitlab.url,
            "CI_PROJECT_PATH": "tech-lunch/service-tests",
            "COMMANDS_API_TOKEN": token.secret,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    command.append(process)
    found_by = 3
    gitlab.wait_until(lambda: len(gitlab.requests) >= found_by + (interval == "0.1"))
    began = time.monotonic()
    process.send_signal(signum)
    stdout, stderr = process.communicate(timeout=10)
    assert time.monotonic() - began < 1
    assert (process.returncode, stdout) == (code, "")
    assert f"Pipeline {pipeline.id} goes on" in stderr
    assert token.secret not in stderr


@pytest.fixture
def client(gitlab: Sandbox, token: Token) -> GitLab:
    credential = Credential(TokenKind.ACCESS, "test", token.secret)
    return GitLab(Connection(gitlab.url, credential, retry_for=1))


def cancels(gitlab: Sandbox) -> list[str]:
    return [request.path.split("/")[6] for request in gitlab.requests if request.method == "POST"]


def test_at_the_limit_what_this_call_started_is_canceled_and_nothing_else(
    gitlab: Sandbox, client: GitLab, add: Add
) -> None:
    ours, other, ended = add(*FOR_EVER), add(*FOR_EVER), add((0, "success"))
    targets = [
        ById(str(each.project.id), each.id, ours=each is not other) for each in (ours, other, ended)
    ]
    policy = WaitPolicy(timeout=1, interval=0.2, cancel_on=frozenset({"timeout"}))
    outcomes = wait_for(client, targets, policy)
    codes = [each.exit_code if isinstance(each, CommandError) else 0 for each in outcomes]
    assert codes == [7, 7, 0]
    assert cancels(gitlab) == [str(ours.id)]
    assert [each.status for each in gitlab.pipelines(ours.project)] == [
        "canceled", "running", "success",
    ]  # fmt: skip


def test_without_cancel_on_nothing_is_canceled(gitlab: Sandbox, client: GitLab, add: Add) -> None:
    pipeline = add(*FOR_EVER)
    target = ById(str(pipeline.project.id), pipeline.id, ours=True)
    wait_for(client, [target], WaitPolicy(timeout=0.5))
    assert cancels(gitlab) == []


@pytest.mark.parametrize("fault", [None, Fault(path="/cancel", nth=1, reset="after")])
def test_a_signal_cancels_what_this_call_started(
    gitlab: Sandbox,
    client: GitLab,
    add: Add,
    fault: Fault | None,
) -> None:
    def interrupt(signum: int, frame: object) -> None:
        del frame
        raise Interrupted(signum)

    if fault:
        gitlab.fault(fault)
    pipeline = add(*FOR_EVER)
    target = ById(str(pipeline.project.id), pipeline.id, ours=True)
    policy = WaitPolicy(interval=0.1, cancel_on=frozenset({"signal"}))
    main = threading.get_ident()
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        sender = meanwhile(
            gitlab,
            lambda: len(gitlab.requests) >= 5,
            lambda: signal.pthread_kill(main, signal.SIGTERM),
        )
        with pytest.raises(Interrupted):
            wait_for(client, [target], policy)
    finally:
        sender.join()
        signal.signal(signal.SIGTERM, before)
    assert cancels(gitlab) == [str(pipeline.id)]
    assert pipeline.status == "canceled"
