from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cicd_common.errors import CommandError
from cicd_common.waiting.outcome import Step, next_step, out_of_time, outcome_of
from cicd_common.waiting.pipelines import Job, Pipeline, WaitResult
from cicd_common.waiting.policy import OnManual, OnSkipped, WaitPolicy
from cicd_common.waiting.statuses import STATUSES, Phase, meaning_of

NOW = datetime(2026, 1, 5, tzinfo=UTC)
PIPELINE = Pipeline(
    project="group/name",
    project_id="1",
    id=7,
    status="running",
    ref="main",
    sha="0" * 40,
    source="push",
    web_url="https://gitlab.example.com/group/name/-/pipelines/7",
    created_at=NOW,
    updated_at=NOW,
)


def job(number: int, status: str, *, allow_failure: bool = False, reason: str = "") -> Job:
    url = f"https://gitlab.example.com/group/name/-/jobs/{number}"
    return Job(number, f"job-{number}", "test", status, url, allow_failure, reason)


def code(outcome: WaitResult | CommandError) -> int:
    return outcome.exit_code if isinstance(outcome, CommandError) else 0


def ended(
    status: str, *jobs: Job, on_manual: OnManual = "fail", on_skipped: OnSkipped = "fail"
) -> WaitResult | CommandError:
    policy = WaitPolicy(on_manual=on_manual, on_skipped=on_skipped)
    return outcome_of(replace(PIPELINE, status=status).with_jobs(jobs), policy)


@pytest.mark.parametrize(
    ("status", "phase", "exit_code"),
    [
        ("created", Phase.ACTIVE, None),
        ("waiting_for_resource", Phase.ACTIVE, None),
        ("preparing", Phase.ACTIVE, None),
        ("waiting_for_callback", Phase.ACTIVE, None),
        ("pending", Phase.ACTIVE, None),
        ("running", Phase.ACTIVE, None),
        ("canceling", Phase.ACTIVE, None),
        ("scheduled", Phase.ACTIVE, None),
        ("manual", Phase.BLOCKED, 11),
        ("success", Phase.FINISHED, None),
        ("failed", Phase.FINISHED, 1),
        ("canceled", Phase.FINISHED, 9),
        ("skipped", Phase.FINISHED, 10),
    ],
)
def test_every_status_has_one_meaning(status: str, phase: Phase, exit_code: int | None) -> None:
    meaning = STATUSES[status]
    assert meaning.phase is phase
    assert (meaning.error and meaning.error.exit_code) == exit_code


def test_an_unknown_status_counts_as_active() -> None:
    assert meaning_of("waiting_for_moonrise").phase is Phase.ACTIVE


def test_only_success_is_successful() -> None:
    greens = [status for status in STATUSES if code(ended(status)) == 0 and has_end(status)]
    assert greens == ["success"]


def has_end(status: str) -> bool:
    return next_step(replace(PIPELINE, status=status), WaitPolicy()) is Step.FINISH


@pytest.mark.parametrize(
    ("on_manual", "step"),
    [("fail", Step.FINISH), ("pass", Step.FINISH), ("wait", Step.CONTINUE), ("play", Step.PLAY)],
)
def test_the_policy_decides_the_result_of_a_blocked_pipeline(
    on_manual: OnManual, step: Step
) -> None:
    manual = replace(PIPELINE, status="manual")
    assert next_step(manual, WaitPolicy(on_manual=on_manual)) is step


def test_a_blocked_pipeline_succeeds_only_if_no_other_job_has_failed() -> None:
    waiting = job(1, "manual")
    assert code(ended("manual", waiting, on_manual="pass")) == 0
    assert code(ended("manual", waiting, job(2, "failed"), on_manual="pass")) == 1
    assert code(ended("manual", waiting, job(2, "failed"))) == 11
    assert code(ended("manual", on_manual="pass")) == 11  # its jobs could not be read


def test_a_blocked_pipeline_names_its_manual_jobs() -> None:
    outcome = ended("manual", job(1, "manual"), job(2, "manual", allow_failure=True))
    assert isinstance(outcome, CommandError)
    assert outcome.why == "Waiting to be started: job-1."


def test_the_two_causes_of_a_skipped_pipeline_have_different_messages() -> None:
    optional = ended("skipped", job(1, "manual", allow_failure=True))
    empty = ended("skipped")
    assert isinstance(optional, CommandError)
    assert isinstance(empty, CommandError)
    assert "optional" in optional.why
    assert "[skip ci]" in empty.why
    assert code(ended("skipped", on_skipped="pass")) == 0


def test_a_failure_names_the_failed_job_and_its_pipeline() -> None:
    below = replace(PIPELINE, id=8, project="group/other", status="failed").with_jobs(
        (job(3, "failed", reason="stuck_or_timeout_failure"),)
    )
    bridge = replace(job(2, "failed"), bridge=True, downstream=below)
    outcome = ended("failed", job(1, "failed", reason="script_failure"), bridge)
    assert isinstance(outcome, CommandError)
    assert outcome.why == (
        "Failed: job-1 (script failure), job-3 (stuck, or over its time limit) in group/other."
    )


def test_allowed_failures_are_listed_separately_in_the_result() -> None:
    below = replace(PIPELINE, id=8, status="failed").with_jobs((job(3, "failed"),))
    optional_bridge = replace(job(2, "failed", allow_failure=True), bridge=True, downstream=below)
    outcome = ended("success", job(1, "failed", allow_failure=True), optional_bridge)
    assert isinstance(outcome, WaitResult)
    assert [(each.id, each.allow_failure) for each in outcome.failed_jobs] == [(1, True), (3, True)]


def test_an_invalid_configuration_is_the_reason_of_a_failure_without_jobs() -> None:
    broken = replace(PIPELINE, status="failed", yaml_errors="jobs:test config is empty")
    outcome = outcome_of(broken, WaitPolicy())
    assert isinstance(outcome, CommandError)
    assert "jobs:test config is empty" in outcome.why


def test_a_timeout_names_the_active_jobs() -> None:
    outcome = out_of_time(
        PIPELINE.with_jobs((job(1, "success"), job(2, "running"))), WaitPolicy(), 90
    )
    assert isinstance(outcome, CommandError)
    assert outcome.exit_code == 7
    assert "was still running after 1 min 30 s" in outcome.message
    assert outcome.why == "Not done: job-2."


def test_a_pipeline_that_finished_before_the_timeout_keeps_its_result() -> None:
    assert code(out_of_time(replace(PIPELINE, status="failed"), WaitPolicy(), 90)) == 1


def test_stages_keep_their_order_when_a_job_of_the_first_is_retried() -> None:
    build, test = job(1, "failed"), job(2, "created")
    before = PIPELINE.with_jobs((replace(build, stage="build"), test))
    after = before.with_jobs((test, replace(job(3, "running"), stage="build")))
    assert [stage for stage, _ in after.stages] == ["build", "test"]
    assert [each.id for each in after.jobs] == [3, 2]
