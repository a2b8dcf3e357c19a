"""What a person can do to pipelines and jobs: cancel, retry, play.

Every function here is called with `State.lock` held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.ci.create import new_job
from sandbox.ci.progress import after, enqueue, latest, move, plan_of, refresh, strategy_of
from sandbox.model import ENDED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.model import Job, Pipeline, State, User

# GitLab's `CANCELABLE_STATUSES`: a manual job has nothing to cancel.
_CANCELABLE = frozenset(
    {
        "created",
        "waiting_for_resource",
        "preparing",
        "waiting_for_callback",
        "pending",
        "running",
        "scheduled",
    }
)


def cancel(state: State, jobs: Iterable[Job], running: Iterable[int]) -> None:
    """Cancels jobs, and the child pipelines of bridges among them.

    Args:
        state: The records.
        jobs: Those of them that have not ended are canceled.
        running: The ids of jobs that a process runs: they are `canceling` until it has ended.
    """
    for job in jobs:
        if job.status in _CANCELABLE:
            move(state, job, "canceling" if job.id in running else "canceled")
        child = job.downstream
        if child and child.project is job.pipeline.project:
            cancel(state, latest(child), running)


def retry(state: State, pipeline: Pipeline, user: User) -> None:
    """Makes new jobs of the failed and canceled ones, and lets the skipped ones wait again."""
    for job in latest(pipeline):
        if job.status in ("failed", "canceled"):
            again(state, job, user)
    for job in latest(pipeline):
        if job.status == "skipped":
            _reset(job)
    _reopen(state, pipeline)


def retry_job(state: State, job: Job, user: User) -> Job:
    """Makes a new job of one that has ended and runs it; what was skipped after it waits again."""
    new = again(state, job, user)
    enqueue(state, new)
    _reset_after(new)
    _reopen(state, new.pipeline)
    return new


def play(state: State, job: Job, user: User) -> None:
    """Runs a manual or a delayed job now; what was skipped after it waits again."""
    job.user = user
    job.scheduled_at = None
    enqueue(state, job)
    _reset_after(job)
    _reopen(state, job.pipeline)


def again(state: State, job: Job, user: User) -> Job:
    """A new job in the place of one that is over."""
    pipeline = job.pipeline
    new = new_job(state, pipeline, plan_of(job), user)
    job.retried = True
    pipeline.jobs.insert(pipeline.jobs.index(job) + 1, new)
    state.jobs[new.id] = new
    return new


def _reset_after(job: Job) -> None:
    for later in after(job):
        if later.status == "skipped":
            _reset(later)


def _reset(job: Job) -> None:
    job.status = "created"


def _reopen(state: State, pipeline: Pipeline) -> None:
    """Recomputes the pipeline's status, and sets a bridge that waits for it running again."""
    refresh(state, pipeline)
    bridge = pipeline.upstream
    if bridge and strategy_of(bridge) and bridge.status in ENDED:
        move(state, bridge, "running")
