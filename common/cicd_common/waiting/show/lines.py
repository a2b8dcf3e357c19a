"""A wait in a job log or a pipe: a line for each change, and a heartbeat in between."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cicd_common.cleaning import one_line
from cicd_common.cli import console
from cicd_common.waiting.events import (
    Changed,
    Finished,
    Found,
    Note,
    Presenter,
    Searching,
    Tick,
    present,
)
from cicd_common.waiting.pipelines import FailedJob, failed_jobs, in_words
from cicd_common.waiting.show.progress import Progress, Watched
from cicd_common.waiting.show.text import (
    OPTIONAL,
    STYLES,
    age,
    elapsed,
    job_style,
    reason_in_words,
    remaining,
    seconds_of,
    style_of,
    tally,
    tests_in_words,
    title,
    urgency,
    usual,
    why_failed,
)
from cicd_common.waiting.statuses import is_finished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cicd_common.waiting.events import Event
    from cicd_common.waiting.pipelines import Job, Pipeline


def failure_report(pipeline: Pipeline) -> Iterator[str]:
    """The lines that tell what failed in a pipeline and downstream of it.

    Args:
        pipeline: With its jobs, those downstream, and the ends of their logs.

    Returns:
        The lines, coloured if stderr is; none if nothing failed. Failures that are allowed come
        first, so that what matters stands last, nearest to where a person reads on.
    """
    failed = list(failed_jobs(pipeline))
    if not failed and not pipeline.yaml_errors:
        return
    look = style_of(pipeline.status)
    status = "passed with warnings" if pipeline.status == "success" else look.word
    yield ""
    yield console.styled(f"{one_line(pipeline.project)} #{pipeline.id} {status}", look.color)
    yield f"  {one_line(pipeline.web_url)}"
    for job in sorted(failed, key=lambda job: not job.allow_failure):
        yield from _lines_of(job, pipeline)
    if pipeline.yaml_errors:
        yield f"{console.styled('wrong configuration:', 'red')} {one_line(pipeline.yaml_errors)}"
    yield ""


def _lines_of(job: FailedJob, pipeline: Pipeline) -> Iterator[str]:
    label = (
        console.styled("failed, which is allowed:", "yellow")
        if job.allow_failure
        else console.styled("failed:", "red")
    )
    elsewhere = (
        "" if job.pipeline_id == pipeline.id else f", in {one_line(job.project)} #{job.pipeline_id}"
    )
    what = f"{one_line(job.stage)} / {one_line(job.name)}"
    yield f"{label} {what}: {reason_in_words(job.failure_reason)}{elsewhere}"
    yield f"  {one_line(job.web_url)}"
    for line in job.log.splitlines():
        yield f"  | {one_line(line)}"


log = logging.getLogger(__name__)

HEARTBEAT = timedelta(seconds=60)
TICK = 5.0  # seconds by which a heartbeat may be late
MOST_NAMED = 3  # jobs or pipelines in a heartbeat
# What most jobs of a new pipeline are; that they are is no news.
UNEVENTFUL = frozenset({"created", "manual", "skipped"})
INDENT = " " * 10  # as wide as a time


class Lines(Presenter):
    """Shows events as lines on stderr. Before each stands how long after the pipeline's creation.

    Args:
        quiet: Whether only warnings and failures are told.
        now: Tells the time.
    """

    def __init__(self, *, quiet: bool = False, now: Callable[[], datetime] = present) -> None:
        self.shows_jobs = not quiet
        self.every: float | None = None if quiet else TICK
        self._quiet = quiet
        self.now = now
        self._progress = Progress()
        self._spoke = now()
        self._announced: set[str] = set()

    def show(self, event: Event) -> None:
        """Shows one event."""
        self._progress.note(event)
        if isinstance(event, Note) and event.warning:
            log.warning("%s", one_line(event.text))
        elif not self._quiet:
            for line in self._told(event):
                self._say(line)
        if isinstance(event, Finished) and event.pipeline is not None:
            for line in failure_report(event.pipeline):
                self._say(line)

    def _say(self, line: str) -> None:
        console.say(line)
        self._spoke = self.now()

    def _told(self, event: Event) -> Iterator[str]:
        match event:
            case Searching() if event.what not in self._announced:
                self._announced.add(event.what)
                yield f"Looking for {one_line(event.what)}, for up to {in_words(event.left)}"
            case Found():
                yield from found_lines(event, self.now())
            case Changed():
                yield from change_lines(event, self.now())
            case Note():
                yield one_line(event.text)
            case Tick() if event.at - self._spoke >= HEARTBEAT:
                yield from self._heartbeat(event)
            case Finished(pipeline=pipeline) if pipeline is not None:
                yield ended_line(pipeline, self.now())

    def _heartbeat(self, tick: Tick) -> Iterator[str]:
        for what in self._progress.searched:
            yield f"Still looking for {one_line(what)}"
        pending = self._progress.pending()
        for watched in pending[:MOST_NAMED]:
            yield heartbeat_line(watched, tick.at)
        if len(pending) > MOST_NAMED:
            yield f"{INDENT}and {len(pending) - MOST_NAMED} more"
        if pending:
            yield f"{INDENT}time limit in {in_words(tick.left)}"


def found_lines(found: Found, now: datetime) -> Iterator[str]:
    """A pipeline that was found: which it is, how it is, and how long it will take."""
    pipeline = found.pipeline
    kind = "tag " if pipeline.tag else ""
    expected = f", {usual(found.estimate)}" if found.estimate else ""
    yield (
        f"{_when(pipeline, now)} {one_line(pipeline.project)} on {kind}{one_line(pipeline.ref)}: "
        f"{style_of(pipeline.status)}{expected}"
    )
    yield INDENT + one_line(pipeline.web_url)
    yield from _job_lines(
        pipeline, (job for job in pipeline.jobs if job.status not in UNEVENTFUL), now
    )


def change_lines(change: Changed, now: datetime) -> Iterator[str]:
    """What is new about a pipeline and its jobs."""
    pipeline = change.pipeline
    before = {job.id: _news(job) for job in change.before.jobs}
    changed = (
        job
        for job in pipeline.jobs
        if before.get(job.id) != _news(job) and (job.id in before or job.status not in UNEVENTFUL)
    )
    yield from _job_lines(pipeline, changed, now)
    if pipeline.status != change.before.status:
        look = style_of(pipeline.status)
        yield f"{_when(pipeline, pipeline.updated_at)} pipeline: {look}"


def ended_line(pipeline: Pipeline, now: datetime) -> str:
    """How a pipeline stands when the wait for it is over."""
    ended = is_finished(pipeline.status)
    parts = [tally(map(job_style, pipeline.jobs)) or "no jobs seen"]
    if pipeline.tests:
        parts.append(tests_in_words(pipeline.tests))
    verb = "ended" if ended else "no longer waited for"
    moment = pipeline.updated_at if ended else now
    return f"{_when(pipeline, moment)} {verb}: {'; '.join(parts)}"


def heartbeat_line(watched: Watched, now: datetime) -> str:
    """What a pipeline is at, and how much longer it will take."""
    pipeline = watched.pipeline
    jobs = sorted(filter(_is_at_work, pipeline.jobs), key=lambda job: urgency(job_style(job)))
    named = [_at_work(job, now) for job in jobs[:MOST_NAMED]]
    if len(jobs) > MOST_NAMED:
        named.append(f"{len(jobs) - MOST_NAMED} more")
    line = f"{_when(pipeline, now)} still {style_of(pipeline.status).word}"
    if named:
        line += f": {', '.join(named)}"
    if watched.estimate:
        line += f"; {remaining(watched.estimate, age(pipeline, now))}"
    return line


def _job_lines(pipeline: Pipeline, jobs: Iterable[Job], now: datetime) -> Iterator[str]:
    """A line for each job, in the order in which it happened, as far as GitLab tells when."""
    for moment, job in sorted(((_moment(job, now), job) for job in jobs), key=lambda pair: pair[0]):
        after = f" after {in_words(job.duration)}" if job.duration is not None else ""
        more = "".join(f", {text}" for text in (why_failed(job), _downstream(job)) if text)
        yield f"{_when(pipeline, moment)} {title(job)}: {job_style(job)}{after}{more}"


def _news(job: Job) -> tuple[str, int | None]:
    """What of a job is told when it changes."""
    return job.status, job.downstream.id if job.downstream else None


def _downstream(job: Job) -> str:
    """The pipeline that a trigger job started, where a person may follow it."""
    below = job.downstream
    return f"{one_line(below.project)} #{below.id} {one_line(below.web_url)}" if below else ""


def _moment(job: Job, now: datetime) -> datetime:
    """When a job became what it is."""
    return job.finished_at or (job.started_at if job.status == "running" else None) or now


def _is_at_work(job: Job) -> bool:
    """Whether something is to be expected of a job: it runs, is about to, or blocks the rest."""
    look = job_style(job)
    return not is_finished(job.status) and look not in {STYLES["created"], STYLES[OPTIONAL]}


def _at_work(job: Job, now: datetime) -> str:
    seconds = seconds_of(job, now)
    since = "" if seconds is None else f" for {in_words(seconds)}"
    return f"{title(job)} {job_style(job).word}{since}"


def _when(pipeline: Pipeline, moment: datetime) -> str:
    seconds = (moment - pipeline.created_at).total_seconds()
    return f"{elapsed(seconds)}  #{pipeline.id}"
