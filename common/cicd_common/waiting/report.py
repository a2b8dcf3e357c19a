"""Reads the report of a finished pipeline: its jobs, downstream jobs, their logs and its tests."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from cicd_common.errors import AuthError, CommandError
from cicd_common.gitlab import fields
from cicd_common.gitlab.client import PER_PAGE, GitLab
from cicd_common.parallel import side_by_side
from cicd_common.waiting.blocked import keep_downstream
from cicd_common.waiting.outcome import wanted_jobs
from cicd_common.waiting.pipelines import (
    Job,
    Pipeline,
    ReportedTests,
    jobs_path,
    parse_bridges,
    parse_jobs,
    read_alone,
)
from cicd_common.waiting.statuses import Phase, is_finished, meaning_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cicd_common.gitlab.fields import JsonObject
    from cicd_common.waiting.policy import WaitPolicy


# How much of each log, and of all logs, a report keeps: the JSON and JUnit output hold them too.
LONGEST_LINE = 2000  # characters
LONGEST_TAIL = 64 * 1024  # bytes
LONGEST_LOGS = 10 * 1024 * 1024
LOG_SECONDS = 10.0  # for all logs together; the result does not wait longer for them

# ECMA-48 control sequences (colours, cursor, erasing), and operating-system commands (titles,
# links), which end with BEL or ST.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]")
# Text before a carriage return that erases the line is not visible.
_ERASED = re.compile(r"^.*\r\x1b\[[02]?K", re.DOTALL)
# https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections. The lengths are limited:
# otherwise each start of a section could be searched to the end of the log.
_SECTION = re.compile(r"section_(?:start|end):\d{1,20}:[\w.-]{1,200}(?:\[[^\]\r\n]{0,200}\])?\r")
# Runners put a time, a stream and `+` for the rest of a line before each:
# https://docs.gitlab.com/ci/jobs/job_logs/#job-log-timestamps
_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z [\da-f]{2}[OE](?P<rest>[+ ])")
# Extra lines, because some hold only markers or a part of a line.
_RAW_LINES_PER_LINE = 10


def last_lines(log: str, count: int) -> tuple[str, ...]:
    """Returns the last lines of a log, without colours, section markers and overwritten text.

    Args:
        log: The log as GitLab sent it, or its end.
        count: How many lines, at most; more than 0.

    Returns:
        The lines, oldest first, without empty lines at the end. A line that is too long ends with
        how much is missing; if all lines together are too long, the first one says so.
    """
    lines: list[str] = []
    some = min(count, LONGEST_TAIL) * _RAW_LINES_PER_LINE
    for raw in log.rsplit("\n", some)[-some:]:
        stamp = _TIMESTAMP.match(raw)
        line = _cleaned(raw[stamp.end() :] if stamp else raw)
        if stamp and stamp["rest"] == "+" and lines:
            lines[-1] += line
        elif line or not _SECTION.search(raw):
            lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return newest([_shortened(line) for line in lines[-min(count, LONGEST_TAIL) :]], LONGEST_TAIL)


def newest(lines: Sequence[str], size: int) -> tuple[str, ...]:
    """Returns as many of the last lines as fit; if some are left out, the first line says so.

    Args:
        lines: The lines.
        size: How many bytes they can have.
    """
    kept: list[str] = []
    for line in reversed(lines):
        size -= len(line.encode()) + 1
        if size < 0:
            left_out = len(lines) - len(kept)
            kept.append(f"[{left_out} earlier line{'s' * (left_out > 1)} left out: too long]")
            break
        kept.append(line)
    return tuple(reversed(kept))


def _shortened(line: str) -> str:
    more = len(line) - LONGEST_LINE
    return line if more <= 0 else f"{line[:LONGEST_LINE]}… [{more} more characters]"


def _cleaned(line: str) -> str:
    line = _ERASED.sub("", _SECTION.sub("", line))
    line = _ESCAPES.sub("", line).rstrip()
    # A carriage return alone overwrites the line, as progress bars do.
    line = line.rsplit("\r", 1)[-1].expandtabs()
    return "".join(c for c in line if c.isprintable())


log = logging.getLogger(__name__)


@dataclass
class Report:
    """Holds a finished pipeline with everything that was read about it.

    Attributes:
        pipeline: The pipeline with all its jobs; failed jobs hold the ends of their logs, and
            trigger jobs the downstream pipelines.
        gaps: What could not be read, in words.
    """

    pipeline: Pipeline
    gaps: list[str] = field(default_factory=list)


def read_report(
    gitlab: GitLab, pipeline: Pipeline, policy: WaitPolicy, *, shown: bool = True
) -> Report:
    """Reads the report of a finished pipeline; if a part cannot be read, it is listed as a gap.

    Args:
        gitlab: The client.
        pipeline: The pipeline as the last poll showed it.
        policy: How much of the logs and of successful downstream pipelines to read.
        shown: Whether the jobs and the tests of a success, and the tests of a failure, are shown;
            else nothing is requested for them.
    """
    if pipeline.status == "success" and not (
        shown or policy.jobs or policy.artifacts or policy.dotenv_from
    ):
        known = pipeline.jobs if _shows_the_end(pipeline) else ()
        return Report(replace(pipeline, duration=running_seconds(known)))
    reader = _Reader(gitlab, policy)
    found = reader.read(pipeline, policy.jobs)
    if pipeline.status == "failed" and not found.jobs:
        found = replace(found, yaml_errors=reader.read_yaml_errors(pipeline))
    tests = reader.read_tests(pipeline) if shown else None
    found = replace(found, duration=running_seconds(found.jobs), tests=tests)
    return Report(found, list(dict.fromkeys(reader.gaps)))


def _shows_the_end(pipeline: Pipeline) -> bool:
    """Returns whether the last poll read all jobs of a pipeline after they had ended."""
    is_older = is_finished(pipeline.status) and any(
        meaning_of(job.status).phase is Phase.ACTIVE for job in pipeline.jobs
    )
    return 0 < len(pipeline.jobs) < PER_PAGE and not is_older


def running_seconds(jobs: Iterable[Job]) -> float | None:
    """Returns the seconds during which at least one job ran: GitLab's duration of a pipeline.

    https://docs.gitlab.com/ci/pipelines/#how-pipeline-duration-is-calculated
    """
    periods = sorted(
        (job.started_at, job.finished_at) for job in jobs if job.started_at and job.finished_at
    )
    if not periods:
        return None
    total = 0.0
    until = periods[0][0]
    for start, end in periods:
        total += max(0.0, (end - max(start, until)).total_seconds())
        until = max(until, end)
    return total


class _Reader:
    """Reads one pipeline and its downstream pipelines, each once."""

    def __init__(self, gitlab: GitLab, policy: WaitPolicy) -> None:
        self._gitlab = gitlab
        self._policy = policy
        self._seen: set[int] = set()
        self._logs_until: float | None = None
        self._log_bytes = LONGEST_LOGS
        self.gaps: list[str] = []

    def read(self, pipeline: Pipeline, names: Sequence[str] = ()) -> Pipeline:
        """Reads a pipeline; a failure of a job with one of these names is not allowed."""
        self._seen.add(pipeline.id)
        jobs = self._jobs(pipeline)
        bridges = tuple(job for job in pipeline.jobs if job.bridge)
        known = (jobs or bridges) and all(is_finished(bridge.status) for bridge in bridges)
        wanted = self._policy.all_downstream or self._policy.jobs
        if pipeline.status != "success" or wanted or not known:
            bridges = self._bridges(pipeline)
        whole = pipeline.with_jobs((*jobs, *bridges))
        ids = {job.id for name in names for job in wanted_jobs(whole, name)}
        jobs = tuple(
            replace(job, allow_failure=False) if job.id in ids and job.status == "failed" else job
            for job in whole.jobs
        )
        return pipeline.with_jobs(self._with_logs(pipeline, jobs))

    def _jobs(self, pipeline: Pipeline) -> tuple[Job, ...]:
        if _shows_the_end(pipeline) and not any(job.bridge for job in pipeline.jobs):
            return pipeline.jobs
        return self._list(jobs_path(pipeline), f"the jobs of {pipeline.web_url}", parse_jobs)

    def _bridges(self, pipeline: Pipeline) -> tuple[Job, ...]:
        path = f"projects/{pipeline.project_id}/pipelines/{pipeline.id}/bridges"
        what = f"the trigger jobs of {pipeline.web_url}"
        bridges = self._list(path, what, partial(parse_bridges, self._gitlab))
        return tuple(
            replace(bridge, downstream=self._downstream(bridge.downstream))
            for bridge in keep_downstream(bridges, pipeline.jobs)
        )

    def _downstream(self, pipeline: Pipeline | None) -> Pipeline | None:
        if pipeline is None or pipeline.id in self._seen:
            return pipeline
        wanted = pipeline.status == "failed" or self._policy.all_downstream
        return self.read(pipeline) if wanted else pipeline

    def _list(
        self, path: str, what: str, parse: Callable[[Iterator[JsonObject]], tuple[Job, ...]]
    ) -> tuple[Job, ...]:
        try:
            return parse(self._gitlab.get_all(path))
        except CommandError as error:
            self.gaps.append(f"Cannot read {what}: {error.message}")
            return ()

    def _with_logs(self, pipeline: Pipeline, jobs: Sequence[Job]) -> tuple[Job, ...]:
        failed = [
            job
            for job in jobs
            if job.status == "failed" and not job.allow_failure and not job.bridge
        ]
        if not failed or not self._policy.log_tail:
            return tuple(jobs)
        logs = side_by_side(
            failed, lambda job: self._log(pipeline, job), limit=self._log_seconds_left()
        )
        kept = {job.id: self._keep(job, log) for job, log in zip(failed, logs, strict=True)}
        return tuple(replace(job, log=kept[job.id]) if job.id in kept else job for job in jobs)

    def _log_seconds_left(self) -> float:
        now = time.monotonic()
        if self._logs_until is None:
            self._logs_until = now + LOG_SECONDS
        return max(0.0, self._logs_until - now)

    def _log(self, pipeline: Pipeline, job: Job) -> tuple[str, ...]:
        path = f"projects/{pipeline.project_id}/jobs/{job.id}/trace"
        return last_lines(self._gitlab.get_tail(path), self._policy.log_tail)

    def _keep(self, job: Job, log: tuple[str, ...] | CommandError) -> tuple[str, ...]:
        if isinstance(log, AuthError):
            # Reported once, however many logs there are.
            self.gaps.append("The logs of the failed jobs cannot be read with this token.")
            return ()
        if isinstance(log, CommandError):
            self.gaps.append(f"Cannot read the log of {job.web_url}: {log.message}")
            return ()
        log = newest(log, self._log_bytes)
        self._log_bytes -= sum(len(line.encode()) + 1 for line in log)
        return log

    def read_yaml_errors(self, pipeline: Pipeline) -> str:
        try:
            return read_alone(self._gitlab, pipeline.project_id, pipeline.id).yaml_errors
        except CommandError as error:
            log.debug("The reason of the failure cannot be read: %s", error)
            return ""

    def read_tests(self, pipeline: Pipeline) -> ReportedTests | None:
        """Returns the counts of the test report; None if there is none or it cannot be read."""
        path = f"projects/{pipeline.project_id}/pipelines/{pipeline.id}/test_report_summary"
        try:
            answer = self._gitlab.get(path)
            counts = {
                name: fields.number(answer, "total", name)
                for name in ("success", "failed", "skipped", "error")
            }
            tests = ReportedTests(total=fields.number(answer, "total", "count"), **counts)
        except CommandError as error:
            log.debug("No test report: %s", error)
            return None
        return tests if tests.total else None
