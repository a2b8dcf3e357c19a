"""How a wait ends when the pipeline does not: time limits, signals, servers that fail."""

from __future__ import annotations

import json
import re
import signal
import threading
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
    from sandbox import Sandbox
    from sandbox.model import Token
    from tests.functional.cmd_wait_pipeline.conftest import Add, Wait
    from tests.functional.conftest import SkippingClock, Start


HOUR = 3600
FOR_EVER = ((0.0, "running"), (HOUR, "success"))


def test_a_time_limit_says_what_was_still_running(add: Add, wait: Wait) -> None:
    limit = ("--interval", "10", "--timeout", "60")
    ending = wait("--pipeline-id", add(*FOR_EVER).id, *limit, "--output", "json")
    document = json.loads(ending.stdout)
    assert (ending.code, document["error"]["kind"]) == (7, "timeout")
    assert "Not done: test." in document["error"]["why"]
    assert document["results"][0]["status"] == "running"


def test_in_a_job_the_limit_is_the_remaining_job_time_by_the_servers_clock(
    gitlab: Sandbox, add: Add, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_JOB_STARTED_AT", gitlab.state.clock.now().isoformat())  # months ago
    monkeypatch.setenv("CI_JOB_TIMEOUT", "660")
    ending = wait("--pipeline-id", add(*FOR_EVER).id, "--interval", "60")
    assert ending.code == 7
    assert re.search(r"after (9 min \d+ s|10 min)", ending.stderr)


def test_a_server_that_hangs_does_not_outlast_the_limit(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipeline = add(*FOR_EVER)
    gitlab.fault(Fault(path=r"/jobs", delay=HOUR))
    # No retries: the request that was given up must not outlast the server that ends it.
    assert wait("--pipeline-id", pipeline.id, "--timeout", "2", "--retry-for", "0").code == 7
    assert [request.status for request in gitlab.requests if "/jobs" in request.path] == [None]


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
def test_temporary_failures_are_retried(
    gitlab: Sandbox, add: Add, wait: Wait, fault: Fault
) -> None:
    gitlab.fault(fault)
    pipeline = add((0, "running"), (1, "success"))
    assert wait("--pipeline-id", pipeline.id).code == 0
    assert fault.fired == 1


def test_failures_longer_than_retry_for_end_the_wait_with_8(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipeline = add(*FOR_EVER)
    gitlab.fault(Fault(path="/pipelines/", status=502, first=1000, nth=None))
    assert wait("--pipeline-id", pipeline.id, "--retry-for", "0.2").code == 8


def test_several_pipelines_of_a_project_share_the_time_of_retry_for(
    gitlab: Sandbox, add: Add, wait: Wait, clock: SkippingClock
) -> None:
    ids = [add(*FOR_EVER).id for _ in range(5)]
    gitlab.fault(Fault(path=r"/pipelines\?", status=502))
    began = clock.monotonic()
    assert wait(*ids, "-q", "--retry-for", "100").code == 8
    assert clock.monotonic() - began < 200


@pytest.mark.parametrize("status", [403, 502])
def test_if_jobs_can_never_be_read_the_status_of_the_pipeline_decides(
    gitlab: Sandbox, add: Add, wait: Wait, status: int
) -> None:
    pipeline = add((0, "running"), (1, "failed"))
    gitlab.fault(Fault(path="/jobs", status=status, first=1000, nth=None))
    ending = wait("--pipeline-id", pipeline.id, "--retry-for", "0.2")
    assert ending.code == 1
    assert "The jobs of pipeline" in ending.stderr or "Cannot read the jobs" in ending.stderr


def test_an_outage_is_retried_until_the_time_limit_of_the_wait(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipeline = add((0, "running"), (11, "success"))
    for number in range(4, 100):  # each request is retried for a minute: this is more than five
        gitlab.fault(Fault(path="/pipelines/", status=502, nth=number))
    ending = wait("--pipeline-id", pipeline.id, "--interval", "5", "--timeout", "3600")
    assert ending.code == 0
    assert "The wait continues for up to" in ending.stderr


def test_an_outage_until_the_time_limit_ends_with_8(gitlab: Sandbox, add: Add, wait: Wait) -> None:
    pipeline = add(*FOR_EVER)
    for number in range(4, 200):
        gitlab.fault(Fault(path="/pipelines/", status=502, nth=number))
    ending = wait("--pipeline-id", pipeline.id, "--interval", "5", "--timeout", "300")
    assert ending.code == 8
    assert f"pipeline {pipeline.id} running" in ending.stdout


def test_a_pipeline_that_is_deleted_meanwhile_is_not_found(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipeline = add(*FOR_EVER)
    gone = {"message": "404 Not found"}
    gitlab.fault(Fault(path="/jobs", nth=3, status=404, body=gone))
    assert wait("--pipeline-id", pipeline.id).code == 4


def test_a_pipeline_that_is_deleted_meanwhile_holds_no_lock(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipeline = add(*FOR_EVER)
    gone = {"message": "404 Not found"}
    gitlab.fault(Fault(path=f"/pipelines/{pipeline.id}", status=404, body=gone))
    ending = wait("--all-running")
    assert ending.code == 0, ending.stderr
    assert f"Pipeline {pipeline.id} of tech-lunch/service-tests no longer exists" in ending.stderr


def test_a_token_that_is_revoked_meanwhile_ends_it(gitlab: Sandbox, add: Add, wait: Wait) -> None:
    body = {"error": "invalid_token", "error_description": "Token was revoked."}
    gitlab.fault(Fault(path="/jobs", nth=3, status=401, body=body))
    assert wait("--pipeline-id", add(*FOR_EVER).id).code == 3


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("interval", ["3600", "0.1"], ids=["between polls", "during a poll"])
def test_a_signal_ends_it_at_once(
    start: Start,
    gitlab: Sandbox,
    token: Token,
    add: Add,
    signum: signal.Signals,
    code: int,
    interval: str,
) -> None:
    """Nothing else would end it within an hour."""
    pipeline = add(*FOR_EVER)
    gitlab.fault(Fault(path="/jobs", nth=2, delay=HOUR))
    process = start(
        "cmd_wait_pipeline", "--pipeline-id", str(pipeline.id), "--interval", interval,
        *("--request-timeout", str(HOUR)),
        CI_SERVER_URL=gitlab.url, CI_PROJECT_PATH="tech-lunch/service-tests",
        COMMANDS_API_TOKEN=token.secret,
    )  # fmt: skip
    found_by = 3
    gitlab.wait_until(lambda: len(gitlab.requests) >= found_by + (interval == "0.1"))
    process.send_signal(signum)
    stdout, stderr = process.communicate()
    assert process.returncode == code
    assert f"pipeline {pipeline.id} running" in stdout  # what was reached
    assert f"Pipeline {pipeline.id} of tech-lunch/service-tests is still running." in stderr
    assert token.secret not in stderr


@pytest.fixture
def client(gitlab: Sandbox, token: Token) -> GitLab:
    credential = Credential(TokenKind.ACCESS, "test", token.secret)
    return GitLab(Connection(gitlab.url, credential, retry_for=1))


def cancels(gitlab: Sandbox) -> list[str]:
    return [request.path.split("/")[6] for request in gitlab.requests if request.method == "POST"]


def test_at_the_time_limit_only_pipelines_that_this_call_started_are_canceled(
    gitlab: Sandbox, client: GitLab, add: Add
) -> None:
    ours, other, ended = add(*FOR_EVER), add(*FOR_EVER), add((0, "success"))
    targets = [
        ById(str(each.project.id), each.id, ours=each is not other) for each in (ours, other, ended)
    ]
    policy = WaitPolicy(timeout=60, interval=5, cancel_on=frozenset({"timeout"}))
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
    wait_for(client, [target], WaitPolicy(timeout=60))
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


def test_each_of_several_deleted_pipelines_ends_with_4_at_once(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    staying = add((0, "running"), (6, "success"))
    deleted = [add(*FOR_EVER) for _ in range(2)]

    def delete() -> None:
        for each in deleted:
            gitlab.state.pipelines.pop(each.id, None)

    gitlab.fault(Fault(path="updated_after", nth=2, meanwhile=delete))
    ids = [f"--pipeline-id={each.id}" for each in (*deleted, staying)]
    ending = wait(*ids, "--output", "json")
    assert ending.code == 4
    document = json.loads(ending.stdout)
    assert [each["status"] for each in document["results"]] == ["running", "running", "success"]
    assert ending.stderr.count("no longer exists.") == 2
    assert "was still running" not in ending.stderr
