"""What a pipeline's status means for the wait: go on, do something, or end, and how."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError, PipelineFailedError, TimeLimitError
from cicd_common.waiting.pipelines import FailedJob, Pipeline, WaitResult, in_words, result_of
from cicd_common.waiting.statuses import Phase, is_finished, meaning_of

if TYPE_CHECKING:
    from cicd_common.waiting.policy import WaitPolicy

MOST_NAMES = 5  # in one line of an error; all of them are in the report and the result


class Step(Enum):
    """What to do after a look."""

    CONTINUE = "wait on"
    PLAY = "start the blocking manual jobs"
    FINISH = "finish"


def next_step(pipeline: Pipeline, policy: WaitPolicy) -> Step:
    """What to do about a pipeline as it is now."""
    match meaning_of(pipeline.status).phase:
        case Phase.ACTIVE:
            return Step.CONTINUE
        case Phase.BLOCKED if policy.on_manual == "play":
            return Step.PLAY
        case Phase.BLOCKED if policy.on_manual == "wait":
            return Step.CONTINUE
        case Phase.BLOCKED | Phase.FINISHED:
            return Step.FINISH


def outcome_of(pipeline: Pipeline, policy: WaitPolicy) -> WaitResult | CommandError:
    """What it means that the wait for a pipeline ends with it as it is now.

    Args:
        pipeline: With its jobs as far as they are known.
        policy: What is a failure and what is not.
    """
    result = result_of(pipeline)
    counted = [job for job in result.failed_jobs if not job.allow_failure]
    error = meaning_of(pipeline.status).error
    match pipeline.status:
        case "skipped" if policy.on_skipped == "pass":
            return result
        case "manual" if policy.on_manual == "pass":
            # GitLab says `manual` even where a job beside the manual one has failed; and what
            # cannot be seen, because the jobs could not be read, is not called green.
            if pipeline.jobs and not counted:
                return result
            error = PipelineFailedError if counted else error
    if error is None:
        return result
    why, hint = _explain(pipeline, counted, error)
    name = f"Pipeline {pipeline.id} of {pipeline.project}"
    return error(
        f"{name} {_HOW[error.kind]}: {pipeline.web_url}", why=why, hint=hint, results=[result]
    )


_HOW = {
    "failed": "failed",
    "canceled": "was canceled",
    "skipped": "was skipped",
    "manual": "waits for a person",
}


def _explain(
    pipeline: Pipeline, counted: list[FailedJob], error: type[CommandError]
) -> tuple[str, str]:
    """Why, and what to do; empty where the error's own words say it best."""
    match error.kind:
        case "failed" if pipeline.yaml_errors:
            return f"Its configuration is invalid: {pipeline.yaml_errors}", "Mend .gitlab-ci.yml."
        case "failed" if counted:
            return _names("Failed", [_place(pipeline, job) for job in counted]), ""
        case "manual":
            return _names("Waiting to be started", _blocking(pipeline)), (
                "Start it on the pipeline's page, or decide with --on-manual wait, pass or play."
            )
        case "skipped" if pipeline.jobs:
            return (
                "All its jobs are optional: manual ones that nobody started.",
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
    return f"{job.name} ({job.failure_reason}){where}"


def _blocking(pipeline: Pipeline) -> list[str]:
    return [job.name for job in pipeline.jobs if job.status == "manual" and not job.allow_failure]


def _names(what: str, names: list[str]) -> str:
    """`Failed: a, b, and 3 more.`; empty without names."""
    if not names:
        return ""
    more = f", and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{what}: {', '.join(names[:MOST_NAMES])}{more}."


def out_of_time(pipeline: Pipeline, policy: WaitPolicy) -> WaitResult | CommandError:
    """What it means that the time limit runs out with a pipeline as it is now."""
    if is_finished(pipeline.status):  # only its report, or --settle, was still to come
        return outcome_of(pipeline, policy)
    running = [job.name for job in pipeline.jobs if not is_finished(job.status)]
    return TimeLimitError(
        f"Pipeline {pipeline.id} of {pipeline.project} was still {pipeline.status} after "
        f"{in_words(policy.timeout)}: {pipeline.web_url}",
        why=_names("Not done", running) or "The time limit ran out.",
        hint="Allow more with --timeout; in a job, its own time limit counts too.",
        results=[result_of(pipeline)],
    )
