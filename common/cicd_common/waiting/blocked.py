"""Finds out which pipelines wait for a person, at any depth below the one that is waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError
from cicd_common.gitlab.client import PER_PAGE, GitLab
from cicd_common.waiting.pipelines import jobs_path, parse_jobs, read_bridges
from cicd_common.waiting.statuses import Phase, is_finished, meaning_of

if TYPE_CHECKING:
    from cicd_common.waiting.pipelines import Job, Pipeline

DEEPEST = 10  # levels of downstream pipelines to read: a server's levels might never end


def blocked_pipelines(pipeline: Pipeline) -> tuple[Pipeline, ...]:
    """Returns the pipelines that cannot continue until someone starts a manual job.

    That is the pipeline itself, or the downstream pipelines that it waits for (`strategy:
    depend`) if no other job of it is active: GitLab then shows it as running.

    Args:
        pipeline: The pipeline with the jobs and trigger jobs that are known.
    """
    at_work = [job for job in pipeline.jobs if _is_at_work(job)]
    below = [blocked_pipelines(job.downstream) if job.downstream else () for job in at_work]
    if pipeline.status == "manual":
        return tuple(each for some in below for each in some) or (pipeline,)
    if is_finished(pipeline.status) or not at_work or not all(below):
        return ()
    return tuple(each for some in below for each in some)


def needs_downstream(pipeline: Pipeline) -> bool:
    """Returns whether only its downstream pipelines show if it waits for a person.

    It is active because of its downstream pipelines alone, and one of them is active too.
    """
    at_work = [job.downstream for job in pipeline.jobs if _is_at_work(job)]
    below = [each for each in at_work if each is not None and not is_finished(each.status)]
    return len(below) == len(at_work) and any(each.status != "manual" for each in below)


def _is_at_work(job: Job) -> bool:
    """Returns whether a job is active or blocks; a `created` job only waits for other jobs."""
    if job.status == "manual":
        return not job.allow_failure and job.bridge
    return meaning_of(job.status).phase is Phase.ACTIVE and job.status != "created"


def with_downstream(gitlab: GitLab, pipeline: Pipeline, *, levels: int = DEEPEST) -> Pipeline:
    """Reads the downstream pipelines of a pipeline as far as `blocked_pipelines` needs them.

    That is up to the first one that does not wait for a person: one request for most pipelines.

    Args:
        gitlab: The client.
        pipeline: The pipeline with its jobs; only its downstream pipelines are read.
        levels: How many levels to read.
    """
    jobs = list(pipeline.jobs)
    for place, job in enumerate(jobs):
        below = job.downstream
        if below is None or not _is_at_work(job) or below.status == "manual" or not levels:
            continue
        below = _read_below(gitlab, below, levels - 1)
        jobs[place] = replace(job, downstream=below)
        if not blocked_pipelines(below):
            break
    return replace(pipeline, jobs=tuple(jobs))


def _read_below(gitlab: GitLab, pipeline: Pipeline, levels: int) -> Pipeline:
    """Reads what shows whether a downstream pipeline is blocked; unchanged if it cannot be read."""
    try:
        bridges = read_bridges(gitlab, pipeline)
        whole = with_downstream(gitlab, pipeline.with_jobs(bridges), levels=levels)
        if blocked_pipelines(whole):  # if no other job of it is active
            jobs = parse_jobs(gitlab.get_list(jobs_path(pipeline), per_page=PER_PAGE))
            whole = whole.with_jobs((*jobs, *whole.jobs))
    except CommandError:
        return pipeline
    return whole


def keep_downstream(now: tuple[Job, ...], before: tuple[Job, ...]) -> tuple[Job, ...]:
    """Returns trigger jobs with what was known of downstream pipelines that did not change.

    Args:
        now: The trigger jobs as a list shows them, with downstream pipelines without jobs.
        before: The jobs as they were last read.
    """
    known = {
        (job.downstream.id, job.downstream.status): job.downstream
        for job in before
        if job.downstream
    }
    return tuple(
        replace(job, downstream=known.get((below.id, below.status), below)) if below else job
        for job in now
        for below in [job.downstream]
    )
