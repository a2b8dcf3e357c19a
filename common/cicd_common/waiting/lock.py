"""Decides what `--all-running`, the lock, waits for, and whether it can work at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cicd_common.errors import UsageError
from cicd_common.waiting.blocked import blocked_pipelines
from cicd_common.waiting.events import Note
from cicd_common.waiting.targets import AllRunning, own_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cicd_common.waiting.pipelines import Pipeline
    from cicd_common.waiting.policy import WaitPolicy
    from cicd_common.waiting.targets import Target


def check_lock(
    targets: Sequence[Target], policy: WaitPolicy, environment: Mapping[str, str]
) -> None:
    """Checks, before anything is sent, that a lock can work.

    Args:
        targets: What to wait for.
        policy: How to wait.
        environment: The environment variables, which show whether this runs in a job.

    Raises:
        UsageError: The lock would start old manual jobs, fetch artifacts, or wait for its own
            pipeline.
    """
    if not any(isinstance(target, AllRunning) for target in targets):
        return
    if policy.jobs:
        raise UsageError(
            "--job does not go with --all-running.",
            why="A lock waits for whole pipelines.",
            hint="Give one pipeline with --job.",
        )
    if policy.artifacts or policy.dotenv_from:
        option = "--artifacts" if policy.artifacts else "--dotenv-from"
        raise UsageError(
            f"{option} does not go with --all-running.",
            why="A lock waits for pipelines that others started.",
            hint=f"Give one pipeline with {option}.",
        )
    if policy.on_manual == "play":
        raise UsageError(
            "--all-running does not start manual jobs.",
            why="It would start those of every old pipeline that waits for a person.",
            hint="Leave out --on-manual play, or give the one pipeline.",
        )
    in_job = any(environment.get(name) for name in ("CI", "CI_JOB_ID", "CI_JOB_TOKEN"))
    if in_job and not own_job(environment).pipeline_id:
        raise UsageError(
            "--all-running needs CI_PIPELINE_ID in a job.",
            why="Without it, it would wait for its own pipeline.",
            hint="Pass the job's variables on: docker run -e CI_PIPELINE_ID -e CI_PIPELINE_SOURCE "
            "-e CI_PROJECT_PATH -e CI_PROJECT_ID -e CI_JOB_NAME.",
        )


def hold_lock(
    target: Target, found: tuple[Pipeline, ...], policy: WaitPolicy
) -> tuple[tuple[Pipeline, ...], list[Note]]:
    """Returns the pipelines that a lock waits for, and what the user should know about it.

    A pipeline that waits for a person is not running, so that a lock passes it over.

    Args:
        target: The lock.
        found: The pipelines that have not finished.
        policy: How to wait.
    """
    running = tuple(
        pipeline for pipeline in found if pipeline.status != "manual" or policy.on_manual == "wait"
    )
    notes = [passed_over(pipeline) for pipeline in found if pipeline not in running]
    if not running:
        ref = getattr(target, "ref", None)
        notes.append(Note(f"Nothing else runs in {target.project}{f' on {ref}' if ref else ''}."))
    return running, notes


def passed_over(pipeline: Pipeline) -> Note:
    """Returns the note on a pipeline that waits for a person, itself or downstream."""
    below = [each for each in blocked_pipelines(pipeline) if each.id != pipeline.id]
    where = f" in pipeline {below[0].id} of {below[0].project}" if below else ""
    return Note(
        f"Pipeline {pipeline.id} of {pipeline.project} waits for a person{where} and is passed "
        f"over: {(below or [pipeline])[0].web_url}"
    )
