"""Decides what a pipeline's status means: whether the wait continues, acts or ends, and how."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError, NotFoundError, PipelineFailedError, TimeLimitError
from cicd_common.waiting.blocked import blocked_pipelines
from cicd_common.waiting.pipelines import (
    FailedJob,
    Pipeline,
    WaitResult,
    failed_jobs,
    in_words,
    result_of,
)
from cicd_common.waiting.reasons import reason_in_words
from cicd_common.waiting.statuses import Phase, is_finished, meaning_of

if TYPE_CHECKING:
    from cicd_common.waiting.pipelines import Job
    from cicd_common.waiting.policy import WaitPolicy

MOST_NAMES = 5  # named in one line of an error; the report and the result name all


class Step(Enum):
    """Names what to do after a poll."""

    CONTINUE = "wait on"
    PLAY = "start the blocking manual jobs"
    FINISH = "finish"


def wanted_jobs(pipeline: Pipeline, name: str) -> list[Job]:
    """Returns the jobs of a name: one job, or all jobs of a matrix or of `parallel`."""
    part = re.compile(re.escape(name) + r"( \d+/\d+|: \[.*\])?")
    return [job for job in pipeline.jobs if part.fullmatch(job.name)]


def status_of(pipeline: Pipeline, policy: WaitPolicy) -> str:
    """Returns the status that counts: the pipeline's, or that of the jobs to wait for."""
    if not policy.jobs:
        return pipeline.status
    statuses = {job.status for name in policy.jobs for job in wanted_jobs(pipeline, name)}
    if not statuses or any(meaning_of(status).phase is Phase.ACTIVE for status in statuses):
        return pipeline.status if is_finished(pipeline.status) else "running"
    return next((status for status in _WORST_FIRST if status in statuses), "success")


_WORST_FIRST = ("failed", "canceled", "manual", "skipped")


def missing_jobs(pipeline: Pipeline, policy: WaitPolicy) -> list[str]:
    """Returns the names of the jobs to wait for that the pipeline does not have."""
    return [name for name in policy.jobs if not wanted_jobs(pipeline, name)]


def next_step(pipeline: Pipeline, policy: WaitPolicy, *, lock: bool = False) -> Step:
    """Returns what to do next about a pipeline.

    Args:
        pipeline: The pipeline as it was last read.
        policy: How to wait.
        lock: Whether this is for a lock, which starts no manual jobs.
    """
    status = status_of(pipeline, policy)
    if is_finished(status) or (pipeline.jobs and missing_jobs(pipeline, policy)):
        return Step.FINISH
    is_blocked = status == "manual" or (not policy.jobs and blocked_pipelines(pipeline))
    if not is_blocked or policy.on_manual == "wait":
        return Step.CONTINUE
    return Step.PLAY if policy.on_manual == "play" and not lock else Step.FINISH


def outcome_of(
    pipeline: Pipeline, policy: WaitPolicy, *, lock: bool = False
) -> WaitResult | CommandError:
    """Returns the result or the error of a wait that ends with the pipeline as it is now.

    Args:
        pipeline: The pipeline with the jobs that are known.
        policy: What is a failure and what is not.
        lock: Whether it is enough that the pipeline is not running any more.
    """
    result = result_of(pipeline)
    if lock and (pipeline.status != "failed" or policy.on_failed == "pass"):
        return result
    if missing := missing_jobs(pipeline, policy):
        return NotFoundError(
            f"Pipeline {pipeline.id} of {pipeline.project} has no job {missing[0]}.",
            why=_names("Its jobs", sorted({job.name for job in pipeline.jobs})),
            hint="Check --job. Jobs of downstream pipelines do not count.",
            results=[result],
        )
    counted = _counted(pipeline, policy)
    status = status_of(pipeline, policy)
    status = status if is_finished(status) else "manual"
    error = meaning_of(status).error
    match status:
        case "skipped" if policy.on_skipped == "pass":
            return result
        case "manual" if policy.on_manual == "pass":
            # GitLab says `manual` even if another job has failed. If the jobs could not be
            # read, a failure can be hidden, so that the pipeline is not called green.
            if pipeline.jobs and not counted:
                return result
            error = PipelineFailedError if counted else error
    if error is None:
        return result
    why, hint = _explain(pipeline, counted, error)
    name = f"Pipeline {pipeline.id} of {pipeline.project}"
    if policy.jobs:
        name = f"{', '.join(policy.jobs)} in pipeline {pipeline.id} of {pipeline.project}"
    return error(
        f"{name} {_HOW[error.kind]}", why=why, hint=hint, results=[result], url=pipeline.web_url
    )


def _counted(pipeline: Pipeline, policy: WaitPolicy) -> list[FailedJob]:
    """Returns the failed jobs that make the pipeline fail, or those of the jobs to wait for."""
    failed = [job for job in failed_jobs(pipeline) if not job.allow_failure]
    if not policy.jobs:
        return failed
    wanted = [job for name in policy.jobs for job in wanted_jobs(pipeline, name)]
    ids = {job.id for job in wanted}
    below = any(job.bridge for job in wanted)
    return [
        job
        for job in failed_jobs(pipeline)
        if job.id in ids or (below and job in failed and job.pipeline_id != pipeline.id)
    ]


_HOW = {
    "failed": "failed",
    "canceled": "was canceled",
    "skipped": "was skipped",
    "manual": "waits for a person",
}


def _explain(
    pipeline: Pipeline, counted: list[FailedJob], error: type[CommandError]
) -> tuple[str, str]:
    """Returns why the pipeline ended so and what to do; empty if the error's own text is enough."""
    match error.kind:
        case "failed" if pipeline.yaml_errors:
            return f"Its configuration is invalid: {pipeline.yaml_errors}", "Fix .gitlab-ci.yml."
        case "failed" if counted:
            return _names("Failed", [_place(pipeline, job) for job in counted]), ""
        case "canceled":
            return (
                "Someone canceled it, or a newer push to its ref replaced it (auto-cancel).",
                "See the pipeline's page, and the newer pipelines of its ref.",
            )
        case "manual":
            return _names("Waiting to be started", _blocking(pipeline)), (
                "Start it on the pipeline's page, or decide with --on-manual wait, pass or play."
            )
        case "skipped" if pipeline.jobs:
            return (
                "All its jobs are optional manual jobs, and none was started.",
                "Start one, make one run by itself, or accept it with --on-skipped pass.",
            )
        case "skipped":
            return (
                "It has no jobs: the commit's message, or the push, says [skip ci].",
                "Run a pipeline of it by hand, or accept it with --on-skipped pass.",
            )
    return "", ""


def _place(pipeline: Pipeline, job: FailedJob) -> str:
    where = "" if job.pipeline_id == pipeline.id else f" in {job.project}"
    return f"{job.name} ({reason_in_words(job.failure_reason)}){where}"


def _blocking(pipeline: Pipeline) -> list[str]:
    """Returns the names of the jobs to start; for a downstream pipeline, its URL."""
    names = []
    for blocked in blocked_pipelines(pipeline):
        jobs = [job.name for job in blocked.jobs if _is_blocking(job)]
        if blocked.id == pipeline.id:
            names += jobs
        else:
            names.append(f"a job of pipeline {blocked.id} of {blocked.project} {blocked.web_url}")
    return names


def _is_blocking(job: Job) -> bool:
    return job.status == "manual" and not job.allow_failure


def _names(what: str, names: list[str]) -> str:
    """Returns a sentence such as `Failed: a, b, and 3 more.`; empty without names."""
    if not names:
        return ""
    more = f", and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{what}: {', '.join(names[:MOST_NAMES])}{more}."


def out_of_time(
    pipeline: Pipeline, policy: WaitPolicy, seconds: float, *, lock: bool = False
) -> WaitResult | CommandError:
    """Returns the result or the error of a wait that reaches its time limit.

    Args:
        pipeline: The pipeline as it was last read.
        policy: What is a failure and what is not.
        seconds: The time limit.
        lock: As for `outcome_of`.
    """
    if is_finished(status_of(pipeline, policy)):  # only its report, or --settle, was missing
        return outcome_of(pipeline, policy, lock=lock)
    blocking = _blocking(pipeline)
    running = [job.name for job in pipeline.jobs if not is_finished(job.status)]
    return TimeLimitError(
        f"Pipeline {pipeline.id} of {pipeline.project} was still {pipeline.status} after "
        f"{in_words(seconds)}",
        why=_names("Waiting to be started", blocking)
        or _names("Not done", running)
        or "The time limit ran out.",
        hint="Allow more with --timeout; in a job, its own time limit counts too.",
        results=[result_of(pipeline)],
        url=pipeline.web_url,
    )
