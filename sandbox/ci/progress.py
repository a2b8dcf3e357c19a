"""How jobs and pipelines move from status to status.

Every function here is called with `State.lock` held.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sandbox.ci import status
from sandbox.ci.plan import JobPlan
from sandbox.model import ENDED

if TYPE_CHECKING:
    from sandbox.model import Job, Pipeline, State

_BUSY = frozenset({"pending", "running", "canceling"})
_FINISHED = frozenset({"success", "failed", "canceled"})  # a skipped job never ran


def latest(pipeline: Pipeline) -> list[Job]:
    """The pipeline's jobs without those that were retried."""
    return [job for job in pipeline.jobs if not job.retried]


def plan_of(job: Job) -> JobPlan:
    """What a job of this executor runs."""
    if not isinstance(job.spec, JobPlan):
        raise TypeError(f"job {job.id} has no plan")
    return job.spec


def move(state: State, job: Job, to: str, *, reason: str | None = None) -> None:
    """Gives a job a status, and its pipeline the one that follows.

    Args:
        state: The records.
        job: The job.
        to: The status.
        reason: The `failure_reason` of one that failed.
    """
    now = state.clock.now()
    job.status = to
    job.failure_reason = reason
    if to == "running":
        job.started_at = job.started_at or now
    elif to in _FINISHED:
        job.finished_at = now
    refresh(state, job.pipeline)


def refresh(state: State, pipeline: Pipeline) -> None:
    """Gives a pipeline the status of its jobs, and its bridge what it mirrors."""
    now = state.clock.now()
    pipeline.updated_at = now
    found = status.composite(latest(pipeline)) or pipeline.status
    if found != pipeline.status:
        pipeline.status = found
        if found == "running":
            pipeline.started_at = pipeline.started_at or now
        elif found in _FINISHED:
            pipeline.finished_at = now
        mirror(state, pipeline)
    state.changed.notify_all()


def mirror(state: State, pipeline: Pipeline) -> None:
    """Gives the bridge that started a pipeline the status that its strategy takes over."""
    bridge = pipeline.upstream
    strategy = strategy_of(bridge)
    if bridge is None or strategy is None or bridge.downstream is not pipeline:
        return
    if bridge.status in ENDED:  # canceled, say, while the pipeline went on
        return
    to = _taken_over(strategy, pipeline.status)
    if to != bridge.status:
        move(state, bridge, to)


def strategy_of(upstream: Job | None) -> str | None:
    """The `trigger:strategy` of the job that started a pipeline; None if it does not follow it.

    Not only bridges start pipelines: a script may, too, with its job token.
    """
    trigger = upstream.spec.trigger if upstream and isinstance(upstream.spec, JobPlan) else None
    return trigger.strategy if trigger else None


def _taken_over(strategy: str, downstream: str) -> str:
    """What a bridge becomes."""
    if downstream == "skipped":
        return "failed"
    if strategy == "mirror" or downstream in ENDED:
        return "running" if downstream in ("created", "preparing", "pending") else downstream
    return "running"


def advance(state: State, pipeline: Pipeline) -> None:
    """Starts or skips the jobs whose turn has come; those to run become `pending`."""
    moved = True
    while moved:
        moved = False
        for job in latest(pipeline):
            if job.status == "created":
                moved = _decide(state, job) or moved
            elif job.status == "waiting_for_resource" and _has_resource(state, job):
                move(state, job, "pending")
                moved = True


def _decide(state: State, job: Job) -> bool:
    plan = plan_of(job)
    before = status.composite(_before(job, plan), needed=plan.needs is not None) or "success"
    if before not in ENDED:
        return False
    if not status.may_start(job.when, before, needs=plan.needs is not None):
        move(state, job, "skipped")
    elif job.when == "manual":
        move(state, job, "manual")
    elif job.when == "delayed":
        job.scheduled_at = state.clock.now() + timedelta(seconds=plan.start_in)
        move(state, job, "scheduled")
    else:
        enqueue(state, job)
    return True


def enqueue(state: State, job: Job) -> None:
    """Lets a job run as soon as its resource group is free."""
    move(state, job, "pending" if _has_resource(state, job) else "waiting_for_resource")


def _before(job: Job, plan: JobPlan) -> list[Job]:
    """The jobs whose end a job waits for."""
    pipeline = job.pipeline
    if plan.needs is None:
        earlier = pipeline.stages[: pipeline.stages.index(job.stage)]
        return [other for other in latest(pipeline) if other.stage in earlier]
    needed = {need.job for need in plan.needs}
    return [other for other in latest(pipeline) if plan_of(other).base in needed]


def _has_resource(state: State, job: Job) -> bool:
    group = plan_of(job).resource_group
    return group is None or not any(
        other.status in _BUSY and plan_of(other).resource_group == group
        for other in state.jobs.values()
        if other is not job
        and isinstance(other.spec, JobPlan)
        and other.pipeline.project is job.pipeline.project
    )


def after(job: Job) -> list[Job]:
    """The jobs of the pipeline that wait for a job, directly or through others."""
    found: list[Job] = []
    for other in latest(job.pipeline):
        before = _before(other, plan_of(other))
        if job in before or any(earlier in found for earlier in before):
            found.append(other)
    return found
