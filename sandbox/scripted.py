"""Scripted pipelines: their statuses are a function of the clock, worked out at each look."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from sandbox import git, storage
from sandbox.ci.status import composite
from sandbox.model import ENDED, JOB_TOKEN_PREFIX, Job, Pipeline, Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sandbox.model import (
        Project,
        ScriptedJob,
        ScriptedPipeline,
        State,
        Steps,
        User,
        Variable,
    )

# The statuses that set `finished_at`; it stays null for `skipped`.
_FINISHED = ENDED - {"skipped"}


def create(
    state: State,
    script: ScriptedPipeline,
    project: Project,
    *,
    ref: str,
    sha: str,
    tag: bool,
    source: str,
    user: User,
    created_at: datetime,
    variables: Sequence[Variable] = (),
    upstream: Job | None = None,
) -> Pipeline:
    """Makes a scripted pipeline, which exists once the clock has reached `created_at`."""
    pipeline = Pipeline(
        id=next(state.ids),
        iid=next(project.pipeline_iids),
        project=project,
        ref=ref,
        sha=sha,
        tag=tag,
        source=source,
        user=user,
        created_at=created_at,
        updated_at=created_at,
        name=script.name,
        variables=list(variables),
        test_summary=script.test_summary,
        stages=list(dict.fromkeys(job.stage for job in script.jobs)),
        upstream=upstream,
        script=script,
        timeline=Timeline(created_at, script.timeline) if script.timeline else None,
    )
    for job in script.jobs:
        steps = ((0.0, "manual"),) if job.when == "manual" else job.timeline
        _add_job(state, pipeline, job, Timeline(created_at, steps))
    state.coming.append(pipeline)
    refresh(state)
    return pipeline


def _add_job(state: State, pipeline: Pipeline, script: ScriptedJob, timeline: Timeline) -> Job:
    job = Job(
        id=next(state.ids),
        name=script.name,
        stage=script.stage,
        pipeline=pipeline,
        allow_failure=script.allow_failure,
        when=script.when,
        bridge=script.downstream is not None,
        created_at=timeline.start,
        user=pipeline.user,
        token=JOB_TOKEN_PREFIX + secrets.token_urlsafe(32),
        script=script,
    )
    pipeline.jobs.append(job)
    _begin(state, job, timeline)
    return job


def _begin(state: State, job: Job, timeline: Timeline) -> None:
    """Has a job follow a timeline, and its downstream pipeline come in its course."""
    job.timeline = timeline
    script = job.script.downstream if job.script else None
    if job.script is None or script is None or timeline.steps == ((0.0, "manual"),):
        return
    of = job.pipeline
    project = script.project or of.project
    child = project is of.project
    ref = script.ref or (of.ref if child else project.default_branch)
    create(
        state,
        script,
        project,
        ref=ref,
        sha=of.sha if child else _head(project, ref),
        tag=child and of.tag,
        source="parent_pipeline" if child else "pipeline",
        user=of.user,
        created_at=timeline.start + timedelta(seconds=job.script.downstream_after),
        upstream=job,
    )


def _head(project: Project, ref: str) -> str:
    sha = git.resolve(project.repository, ref)
    if sha is None:
        raise LookupError(f"{project.path} has no {ref}")
    return sha


def refresh(state: State) -> None:
    """Brings all scripted pipelines to where the clock is."""
    now = state.clock.now()
    for pipeline in [pipeline for pipeline in state.coming if pipeline.created_at <= now]:
        state.coming.remove(pipeline)
        state.pipelines[pipeline.id] = pipeline
        if pipeline.upstream:
            pipeline.upstream.downstream = pipeline
    for pipeline in state.pipelines.values():
        if pipeline.scripted:
            _refresh_pipeline(state, pipeline, now)


def _refresh_pipeline(state: State, pipeline: Pipeline, now: datetime) -> None:
    for job in pipeline.jobs:
        state.jobs[job.id] = job
        _follow(job, now)
    if pipeline.timeline:
        _follow(pipeline, now)
        return
    latest = [job for job in pipeline.jobs if not job.retried]
    pipeline.status = composite(latest) or pipeline.status
    starts = [job.started_at for job in latest if job.started_at]
    ends = [job.finished_at for job in latest if job.finished_at]
    if starts:
        pipeline.started_at = pipeline.started_at or min(starts)
    if ends and pipeline.status in _FINISHED:
        pipeline.finished_at = max(ends)
    pipeline.updated_at = max([pipeline.updated_at, *starts, *ends])


def _follow(record: Job | Pipeline, now: datetime) -> None:
    if record.timeline is None:
        return
    for seconds, status in record.timeline.steps:
        since = record.timeline.start + timedelta(seconds=seconds)
        if since > now:
            break
        record.status = status
        if status == "running":
            record.started_at = record.started_at or since
        if status in _FINISHED:
            record.finished_at = since
        if isinstance(record, Pipeline):
            record.updated_at = max(record.updated_at, since)
        elif record.script:
            record.failure_reason = record.script.failure_reason if status == "failed" else None
            if status == "running":
                record.trace[:] = record.script.trace.encode()
            _keep_artifacts(record, record.script, status)


def _keep_artifacts(job: Job, script: ScriptedJob, status: str) -> None:
    """Gives a job that has ended what it leaves, once."""
    if status not in ("success", "failed") or script.artifacts is None or job.artifacts_kept:
        return
    job.artifacts_kept = True
    job.artifacts = storage.zipped(script.artifacts)


class Director:
    """What a person does to scripted pipelines and jobs."""

    def __init__(self, state: State) -> None:
        self._state = state

    def cancel(self, pipeline: Pipeline) -> None:
        """Cancels what has not ended, in child pipelines too."""
        for job in pipeline.jobs:
            if job.status not in ENDED:
                self.cancel_job(job)
            child = job.downstream
            if child and child.project is pipeline.project:
                self.cancel(child)
        if pipeline.status not in ENDED and pipeline.script:
            self._act(pipeline, pipeline.script.canceled)

    def cancel_job(self, job: Job) -> None:
        """Cancels one job, and the downstream pipeline that it would have started."""
        coming = self._state.coming
        coming[:] = [pipeline for pipeline in coming if pipeline.upstream is not job]
        job.timeline = self._from_now(_script_of(job).canceled)
        self._act(job.pipeline)

    def retry(self, pipeline: Pipeline, user: User) -> None:
        """Puts new jobs in the place of those that failed or were canceled."""
        latest = [job for job in pipeline.jobs if not job.retried]
        for job in latest:
            if job.status in ("failed", "canceled"):
                self.retry_job(job, user)
        if pipeline.script:
            self._act(pipeline, pipeline.script.retried)

    def retry_job(self, job: Job, user: User) -> Job:
        """Puts a new job in the place of one; returns the new one."""
        script = _script_of(job)
        job.retried = True
        new = _add_job(self._state, job.pipeline, script, self._from_now(script.retried))
        new.user = user
        self._act(job.pipeline)
        return new

    def play(self, job: Job, user: User) -> None:
        """Starts a manual job."""
        job.user = user
        _begin(self._state, job, self._from_now(_script_of(job).played))
        self._act(job.pipeline)

    def _from_now(self, steps: Steps) -> Timeline:
        return Timeline(self._state.clock.now(), steps)

    def _act(self, pipeline: Pipeline, steps: Steps = ()) -> None:
        """What a person does ends a pipeline's own timeline; without jobs it begins another."""
        pipeline.timeline = None if pipeline.jobs else self._from_now(steps)
        refresh(self._state)


def _script_of(job: Job) -> ScriptedJob:
    if job.script is None:
        raise TypeError(f"job {job.id} is not scripted")
    return job.script
