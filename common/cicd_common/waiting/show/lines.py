"""Shows a wait in a job log or a pipe: a line for each change, and regular heartbeats."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cicd_common.cleaning import one_line
from cicd_common.cli import console
from cicd_common.waiting.blocked import blocked_pipelines
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
from cicd_common.waiting.reasons import reason_in_words
from cicd_common.waiting.report import newest
from cicd_common.waiting.show.progress import Progress, Watched
from cicd_common.waiting.show.text import (
    OPTIONAL,
    STYLES,
    age,
    elapsed,
    job_style,
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
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cicd_common.waiting.events import Event
    from cicd_common.waiting.pipelines import Job, Pipeline


def failure_report(pipeline: Pipeline, budget: LogBudget | None = None) -> Iterator[str]:
    """Returns the lines that report what failed in a pipeline and downstream of it.

    Args:
        pipeline: The pipeline with its jobs, downstream jobs, and the ends of their logs.
        budget: How much of the logs can still be shown.

    Returns:
        The lines, with colours if stderr has them; none if nothing failed. Allowed failures come
        first, so that the important ones are at the end, where the user reads on.
    """
    failed = list(failed_jobs(pipeline))
    if not failed and not pipeline.yaml_errors:
        return
    color = style_of(pipeline.status).color
    yield ""
    yield console.styled(f"{one_line(pipeline.project)} #{pipeline.id}", color)
    for job in sorted(failed, key=lambda job: not job.allow_failure):
        yield from _lines_of(job, pipeline, budget or LogBudget())
    if pipeline.yaml_errors:
        yield f"{console.styled('wrong configuration:', 'red')} {one_line(pipeline.yaml_errors)}"
    yield ""


def _lines_of(job: FailedJob, pipeline: Pipeline, budget: LogBudget) -> Iterator[str]:
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
    if job.downstream_url:
        yield f"  {one_line(job.downstream_url)}"
    yield from budget.take([f"  | {one_line(line)}" for line in job.log.splitlines()])


log = logging.getLogger(__name__)

HEARTBEAT = timedelta(seconds=60)
TICK = 5.0  # seconds by which a heartbeat can be late
MOST_NAMED = 3  # jobs or pipelines in a heartbeat
# Most jobs of a new pipeline have one of these, so that they are not reported.
UNEVENTFUL = frozenset({"created", "manual", "skipped"})
LONGEST_LOGS = 2**20  # bytes of all logs together
INDENT = " " * 10  # as wide as a time


class LogBudget:
    """Limits how much of all logs together is shown: the last lines of each, while room is left."""

    def __init__(self, size: int = LONGEST_LOGS) -> None:
        self._left = size

    def take(self, lines: Sequence[str]) -> tuple[str, ...]:
        """Returns the last lines that fit; if some are left out, the first line says so."""
        kept = newest(lines, self._left)
        self._left = max(0, self._left - sum(len(line.encode()) + 1 for line in kept))
        return kept


class Lines(Presenter):
    """Shows events as lines on stderr, each with the time at which it happened.

    The time counts from the creation of the first pipeline. It never goes backwards, although
    GitLab reports some changes late.

    Args:
        quiet: Whether to show only warnings and failures.
        now: Returns the time.
    """

    def __init__(self, *, quiet: bool = False, now: Callable[[], datetime] = present) -> None:
        self.shows_jobs = not quiet
        self.every: float | None = None if quiet else TICK
        self._quiet = quiet
        self.now = now
        self._progress = Progress()
        self._spoke = now()
        self._announced: set[str] = set()
        self._column = Column()
        self._budget = LogBudget()

    def show(self, event: Event) -> None:
        """Shows one event."""
        self._progress.note(event)
        if isinstance(event, Note) and event.warning:
            log.warning("%s", one_line(event.text))
        elif not self._quiet:
            for line in self._told(event):
                self._say(line)
        if isinstance(event, Finished) and event.pipeline is not None:
            for line in failure_report(event.pipeline, self._budget):
                self._say(line)

    def _say(self, line: str) -> None:
        console.say(line)
        self._spoke = self.now()

    def _told(self, event: Event) -> Iterator[str]:
        match event:
            case Searching() if event.what not in self._announced:
                self._announced.add(event.what)
                yield f"Waiting up to {in_words(event.left)} for {one_line(event.what)} to appear"
            case Found():
                yield from found_lines(event, self.now(), self._column)
            case Changed():
                yield from change_lines(event, self.now(), self._column)
            case Note():
                yield one_line(event.text)
            case Tick() if event.at - self._spoke >= HEARTBEAT:
                yield from self._heartbeat(event)
            case Finished(pipeline=pipeline) if pipeline is not None:
                yield from ended_lines(pipeline, self.now(), self._column)

    def _heartbeat(self, tick: Tick) -> Iterator[str]:
        for what in self._progress.searched:
            yield f"Still waiting for {one_line(what)} to appear"
        pending = self._progress.pending()
        for watched in pending[:MOST_NAMED]:
            yield heartbeat_line(watched, tick.at, self._column)
        if len(pending) > MOST_NAMED:
            yield f"{INDENT}and {len(pending) - MOST_NAMED} more"
        if pending:
            yield f"{INDENT}time limit in {in_words(tick.left)}"


class Column:
    """Writes the first column: the time since the first pipeline was created, never backwards."""

    def __init__(self) -> None:
        self._start: datetime | None = None
        self._last = 0.0

    @property
    def is_new(self) -> bool:
        """Returns whether nothing was shown yet."""
        return self._start is None

    def at(self, pipeline: Pipeline, moment: datetime) -> str:
        """Returns the beginning of a line about a pipeline."""
        self._start = self._start or pipeline.created_at
        self._last = max(self._last, (moment - self._start).total_seconds())
        return f"{elapsed(self._last)}  #{pipeline.id}"


def found_lines(found: Found, now: datetime, column: Column) -> Iterator[str]:
    """Yields the lines for a pipeline that was found: its name, its status and its estimate."""
    pipeline = found.pipeline
    is_first = column.is_new
    kind = "tag " if pipeline.tag else ""
    expected = f", {usual(found.estimate)}" if found.estimate else ""
    what = f"{one_line(pipeline.project)} on {kind}{one_line(pipeline.ref)}"
    status = "" if is_finished(pipeline.status) else f": {style_of(pipeline.status)}{expected}"
    yield f"{column.at(pipeline, now)} {what}{status}"
    yield INDENT + one_line(pipeline.web_url)
    if is_first:
        yield f"{INDENT}The first column is the time since that pipeline was created."
    yield from _job_lines(
        pipeline, (job for job in pipeline.jobs if job.status not in UNEVENTFUL), now, column
    )


def change_lines(change: Changed, now: datetime, column: Column) -> Iterator[str]:
    """Yields the lines for what changed in a pipeline and its jobs."""
    pipeline = change.pipeline
    before = {job.id: _news(job) for job in change.before.jobs}
    changed = (
        job
        for job in pipeline.jobs
        if before.get(job.id) != _news(job) and (job.id in before or job.status not in UNEVENTFUL)
    )
    yield from _job_lines(pipeline, changed, now, column)
    # The final status is shown at the end: a retry can still change it, and jobs are shown first.
    if pipeline.status != change.before.status and not is_finished(pipeline.status):
        style = style_of(pipeline.status)
        yield f"{column.at(pipeline, pipeline.updated_at)} pipeline: {style}"


def ended_lines(pipeline: Pipeline, now: datetime, column: Column) -> Iterator[str]:
    """Yields the line for the jobs of a pipeline when the wait for it is over.

    The pipeline's own status stands in the result or the error, which follows.
    """
    ended = is_finished(pipeline.status)
    moment = pipeline.updated_at if ended else now
    parts = [tally(map(job_style, pipeline.jobs)) or "no jobs seen"]
    if pipeline.tests:
        parts.append(tests_in_words(pipeline.tests))
    verb = "ended" if ended else "no longer waited for"
    yield f"{column.at(pipeline, moment)} {verb}: {'; '.join(parts)}"


def heartbeat_line(watched: Watched, now: datetime, column: Column) -> str:
    """Returns a line with the active jobs of a pipeline and the time it still needs."""
    pipeline = watched.pipeline
    jobs = sorted(filter(_is_at_work, pipeline.jobs), key=lambda job: urgency(job_style(job)))
    named = [_at_work(job, now) for job in jobs[:MOST_NAMED]]
    if len(jobs) > MOST_NAMED:
        named.append(f"{len(jobs) - MOST_NAMED} more")
    line = f"{column.at(pipeline, now)} still {style_of(pipeline.status).word}"
    if named:
        line += f": {', '.join(named)}"
    if watched.estimate:
        line += f"; {remaining(watched.estimate, age(pipeline, now))}"
    return line


def _job_lines(
    pipeline: Pipeline, jobs: Iterable[Job], now: datetime, column: Column
) -> Iterator[str]:
    """Yields a line for each job, in the order of the times that GitLab shows."""
    for moment, job in sorted(((_moment(job, now), job) for job in jobs), key=lambda pair: pair[0]):
        after = f" after {in_words(job.duration)}" if job.duration is not None else ""
        more = "".join(f", {text}" for text in (why_failed(job), _downstream(job)) if text)
        yield f"{column.at(pipeline, moment)} {title(job)}: {job_style(job)}{after}{more}"


def _news(job: Job) -> tuple[str, int | None, tuple[int, ...]]:
    """Returns what a line about a job shows; if it changes, the job gets a new line."""
    below = job.downstream
    blocked = blocked_pipelines(below) if below else ()
    return job.status, below.id if below else None, tuple(each.id for each in blocked)


def _downstream(job: Job) -> str:
    """Returns the name of the pipeline that a trigger job started, with its URL."""
    below = job.downstream
    if below is None:
        return ""
    blocked = blocked_pipelines(below)
    deeper = [each for each in blocked if each.id != below.id]
    state = ", which waits for a person:" if blocked and not deeper else ""
    line = f"{one_line(below.project)} #{below.id}{state} {one_line(below.web_url)}"
    for each in deeper:
        line += (
            f", below it {one_line(each.project)} #{each.id} waits for a person: "
            f"{one_line(each.web_url)}"
        )
    return line


def _moment(job: Job, now: datetime) -> datetime:
    """Returns when a job got its current status."""
    return job.finished_at or (job.started_at if job.status == "running" else None) or now


def _is_at_work(job: Job) -> bool:
    """Returns whether a job is running, is about to run, or blocks other jobs."""
    style = job_style(job)
    return not is_finished(job.status) and style not in {STYLES["created"], STYLES[OPTIONAL]}


def _at_work(job: Job, now: datetime) -> str:
    seconds = seconds_of(job, now)
    since = "" if seconds is None else f" for {in_words(seconds)}"
    blocked = blocked_pipelines(job.downstream) if job.downstream else ()
    if blocked:
        since += f" ({', '.join(f'#{each.id}' for each in blocked)} waits for a person)"
    return f"{title(job)} {job_style(job).word}{since}"
