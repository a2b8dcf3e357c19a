"""Changes a pipeline during a wait: starts its manual jobs or cancels it, each at most once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError, RefusedError
from cicd_common.gitlab import fields
from cicd_common.waiting.events import Note
from cicd_common.waiting.pipelines import parse_bridges, parse_jobs, read_alone
from cicd_common.waiting.statuses import is_finished

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.clock import Background, Clock
    from cicd_common.waiting.events import Event
    from cicd_common.waiting.pipelines import Job, Pipeline
    from cicd_common.waiting.state import Wait


def play_blocking_jobs(
    gitlab: GitLab, pipeline: Pipeline, played: Collection[int], wanted: Collection[int] = ()
) -> tuple[Job, ...]:
    """Starts the manual jobs that block a pipeline; optional jobs do not block it.

    Args:
        gitlab: The client.
        pipeline: The pipeline.
        played: The ids of the jobs that were started before; they are not started again.
        wanted: The ids of the jobs to start, including optional ones; empty for the blocking jobs.

    Returns:
        The jobs started now.

    Raises:
        CommandError: One of them could not be started.
    """
    jobs = tuple(
        job
        for job in _manual_jobs(gitlab, pipeline)
        if (job.id in wanted if wanted else not job.allow_failure) and job.id not in played
    )
    for job in jobs:
        _play(gitlab, pipeline, job)
    return jobs


def _manual_jobs(gitlab: GitLab, pipeline: Pipeline) -> tuple[Job, ...]:
    """Returns the manual jobs, without trigger jobs that only show a downstream's `manual`."""
    path = f"projects/{pipeline.project_id}/pipelines/{pipeline.id}"
    jobs = parse_jobs(gitlab.get_all(f"{path}/jobs", **{"scope[]": "manual"}))
    bridges = parse_bridges(gitlab, gitlab.get_all(f"{path}/bridges", **{"scope[]": "manual"}))
    return (*jobs, *(bridge for bridge in bridges if bridge.downstream is None))


def _play(gitlab: GitLab, pipeline: Pipeline, job: Job) -> None:
    def find() -> str | None:
        still = any(manual.id == job.id for manual in _manual_jobs(gitlab, pipeline))
        return None if still else "started"

    try:
        gitlab.write(
            "POST",
            f"projects/{pipeline.project_id}/jobs/{job.id}/play",
            {},
            read=lambda answer: fields.text(answer, "status"),
            find=find,
            check=job.web_url,
        )
    except RefusedError:
        if find() is None:
            raise  # otherwise someone else has started it already


def cancel_pipeline(gitlab: GitLab, pipeline: Pipeline) -> str:
    """Cancels a pipeline; GitLab reports success even if nothing can be canceled.

    Args:
        gitlab: The client.
        pipeline: The pipeline.

    Returns:
        Its status afterwards, which can be `canceling` for a while.

    Raises:
        CommandError: GitLab refused, or the outcome is unknown.
    """

    def find() -> str | None:
        status = read_alone(gitlab, pipeline.project_id, pipeline.id).status
        return status if status == "canceling" or is_finished(status) else None

    return gitlab.write(
        "POST",
        f"projects/{pipeline.project_id}/pipelines/{pipeline.id}/cancel",
        {},
        read=lambda answer: fields.text(answer, "status"),
        find=find,
        check=pipeline.web_url,
    )


# Docker kills a container 10 s after SIGTERM, and the response to a write can have taken 5 s.
LIMIT = 4.0

Canceled = list[tuple["Pipeline", str]]  # with the status that each has now


def cancel_started(
    gitlab: GitLab, waits: Iterable[Wait], clock: Clock, background: Background
) -> Iterator[Event]:
    """Cancels the active pipelines that this command started, within a time limit.

    A pipeline that was not found yet is searched for once more: it can exist by now.

    Args:
        gitlab: The client.
        waits: The open waits; pipelines that others started are not canceled.
        clock: The clock to sleep on meanwhile.
        background: Runs the requests; nothing else uses it.
    """
    limit = clock.now() + LIMIT
    unanswered = {
        id(wait): wait
        for wait in waits
        if wait.target.ours and not (wait.pipeline and is_finished(wait.pipeline.status))
    }

    def stopped(wait: Wait, answer: Canceled | CommandError) -> Iterator[Event]:
        del unanswered[id(wait)]
        if isinstance(answer, CommandError):
            yield Note(f"Cannot cancel {wait.name}: {answer.message}", warning=True)
            return
        for pipeline, status in answer:
            yield Note(
                f"Canceled pipeline {pipeline.id} of {pipeline.project}, which is {status} now."
            )

    for wait in list(unanswered.values()):
        background.start(partial(_stop, gitlab, wait), partial(stopped, wait))
    while unanswered and clock.now() < limit:
        clock.sleep_until(limit)
        yield from background.events()
    for wait in unanswered.values():
        yield Note(f"Whether {wait.name} was canceled is unknown.", warning=True)


def _stop(gitlab: GitLab, wait: Wait) -> Canceled:
    found = (wait.pipeline,) if wait.pipeline else wait.finder.find() or ()
    going = [pipeline for pipeline in found if not is_finished(pipeline.status)]
    return [(pipeline, cancel_pipeline(gitlab, pipeline)) for pipeline in going]
