"""Auto-cancel of redundant pipelines: a newer one of the same ref cancels older ones.

Source: `Ci::PipelineCreation::CancelRedundantPipelinesService` in GitLab's source, with the default
`workflow:auto_cancel:on_new_commit: conservative`. Running scripts are ended by the scheduler, when
it meets their `canceling` jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.ci.progress import latest, move, plan_of
from sandbox.model import ENDED

if TYPE_CHECKING:
    from sandbox.model import Job, Pipeline, State

_STARTED = frozenset({"running", "canceling", "success", "failed"})
_RUNS = frozenset({"running", "canceling"})
# Child pipelines follow their parents, and scheduled ones are left alone.
_EXEMPT = frozenset({"parent_pipeline", "schedule"})


def cancel_redundant(state: State, newer: Pipeline) -> None:
    """Cancel what a new pipeline makes redundant."""
    if not newer.project.auto_cancel or newer.source in _EXEMPT:
        return
    with state.lock:
        redundant = [each for each in state.pipelines.values() if _is_redundant(each, newer)]
        for job in [job for pipeline in redundant for job in latest(pipeline)]:
            _cancel(state, job)


def _is_redundant(pipeline: Pipeline, newer: Pipeline) -> bool:
    return (
        pipeline.project is newer.project
        and pipeline.ref == newer.ref
        and pipeline.tag == newer.tag
        and pipeline.sha != newer.sha
        and pipeline.id < newer.id
        and pipeline.source not in _EXEMPT
        and not pipeline.scripted
        and pipeline.status not in ENDED
        and not any(
            job.status in _STARTED and not plan_of(job).interruptible for job in latest(pipeline)
        )
    )


def _cancel(state: State, job: Job) -> None:
    if job.status not in ENDED and job.status != "manual":
        move(state, job, "canceling" if job.status in _RUNS and not job.bridge else "canceled")
