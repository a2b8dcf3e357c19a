"""The words, colours and marks in which people are told about a wait."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from cicd_common.cleaning import one_line
from cicd_common.cli import console
from cicd_common.waiting import pipelines
from cicd_common.waiting.pipelines import DOWNSTREAM, in_words
from cicd_common.waiting.statuses import is_finished

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from cicd_common.waiting.pipelines import Estimate, Job, Pipeline, ReportedTests


@dataclass(frozen=True)
class Style:
    """How a status is shown.

    Attributes:
        word: What it is called; never told by colour alone.
        color: Its colour, by the name that click and rich know; empty for none.
        mark: The sign before it.
        ascii: The same where the terminal knows ASCII alone.
        urgent: Whether such a job is named even where there is no room for all.
    """

    word: str
    color: str
    mark: str
    ascii: str
    urgent: bool = False

    def __str__(self) -> str:
        """The word for stderr, coloured where that is wanted."""
        return console.styled(self.word, self.color) if self.color else self.word


FAILED = "failed"
ALLOWED = "failed (allowed)"
OPTIONAL = "manual (optional)"

# The most urgent first. The words are those of GitLab's pages, whose `success` is `passed`.
STYLES: Mapping[str, Style] = MappingProxyType(
    {
        FAILED: Style("failed", "red", "✗", "x", urgent=True),
        "running": Style("running", "cyan", "●", "*", urgent=True),
        "canceling": Style("canceling", "yellow", "●", "*", urgent=True),
        "manual": Style("manual", "magenta", "▶", ">", urgent=True),
        ALLOWED: Style("failed (allowed)", "yellow", "!", "!", urgent=True),
        "waiting_for_resource": Style("waiting for resource", "yellow", "○", "o"),
        "waiting_for_callback": Style("waiting for callback", "yellow", "○", "o"),
        "preparing": Style("preparing", "yellow", "○", "o"),
        "pending": Style("pending", "yellow", "○", "o"),
        "scheduled": Style("scheduled", "yellow", "○", "o"),
        "success": Style("passed", "green", "✓", "+"),
        "created": Style("created", "", "·", "."),
        OPTIONAL: Style("manual (optional)", "", "·", "."),
        "skipped": Style("skipped", "", "-", "-"),
        "canceled": Style("canceled", "", "-", "-"),
    }
)

_RANKS = {style: rank for rank, style in enumerate(STYLES.values())}

# Where GitLab's name of a reason says less than `Gitlab::Ci::Status::Build::Failed` in its source.
_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "stuck_or_timeout_failure": "stuck, or over its time limit",
        "job_execution_timeout": "over its time limit",
        "runner_unsupported": "the runner is too old",
        "no_matching_runner": "no matching runner",
        "ci_quota_exceeded": "no compute minutes left",
        "trace_size_exceeded": "the log is too long",
        "pipeline_loop_detected": "the pipeline would trigger itself",
        "downstream_bridge_project_not_found": "the downstream project was not found",
        "downstream_pipeline_creation_failed": "the downstream pipeline could not be created",
        "insufficient_bridge_permissions": "not allowed to start the downstream pipeline",
        "reached_max_descendant_pipelines_depth": "child pipelines are nested too deep",
        "reached_max_pipeline_hierarchy_size": "too many downstream pipelines",
    }
)


def style_of(status: str) -> Style:
    """How a pipeline's status is shown; one that GitLab added since, by its name."""
    return STYLES.get(status) or Style(one_line(status).replace("_", " "), "magenta", "?", "?")


def job_style(job: Job) -> Style:
    """How a job's status is shown; a failure that is allowed is told apart."""
    if job.allow_failure and job.status in {"failed", "manual"}:
        return STYLES[ALLOWED if job.status == "failed" else OPTIONAL]
    return style_of(job.status)


def urgency(style: Style) -> int:
    """A key that sorts what a person wants to know first to the front."""
    return _RANKS.get(style, 0)


def title(job: Job) -> str:
    """A job by its stage and name."""
    return f"{one_line(job.stage)} / {one_line(job.name)}"


def reason_in_words(reason: str) -> str:
    """Why a job failed, from GitLab's name of the reason."""
    if reason in _REASONS:
        return _REASONS[reason]
    if reason.startswith(DOWNSTREAM):
        return f"the downstream pipeline {style_of(reason.removeprefix(DOWNSTREAM)).word}"
    return one_line(reason).replace("_", " ")


def why_failed(job: Job) -> str:
    """Why a job failed, in words; empty if it did not."""
    if job.status != "failed":
        return ""
    return reason_in_words(pipelines.why_failed(job))


def elapsed(seconds: float) -> str:
    """A duration as GitLab's pages show it: `00:01:02`; below 0, by clocks that differ, is 0."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def age(pipeline: Pipeline, now: datetime) -> float:
    """Seconds from a pipeline's creation until now, or until it ended."""
    until = pipeline.updated_at if is_finished(pipeline.status) else now
    return max(0.0, (until - pipeline.created_at).total_seconds())


def seconds_of(job: Job, now: datetime) -> float | None:
    """Seconds that a job has run; None if it did not start."""
    if job.started_at is None or job.duration is not None:
        return job.duration
    return max(0.0, (now - job.started_at).total_seconds())


def usual(estimate: Estimate) -> str:
    """What earlier pipelines took."""
    spread = f", give or take {in_words(estimate.spread)}" if estimate.spread >= 1 else ""
    return f"usually takes {in_words(estimate.seconds)}{spread}"


def remaining(estimate: Estimate, seconds: float) -> str:
    """How much longer a pipeline of such an age will take, or how much it is over."""
    left = estimate.seconds - seconds
    if left >= 0:
        return f"about {in_words(left)} left"
    if -left <= estimate.spread:
        return "due any moment"
    return f"{in_words(-left)} longer than usual"


def tally(styles: Iterable[Style]) -> str:
    """How many there are of each kind, the most urgent first: `2 failed, 7 passed`."""
    counts = Counter(style.word for style in sorted(styles, key=urgency))
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def tests_in_words(tests: ReportedTests) -> str:
    """A test report's counts: `118 of 120 tests passed, 2 failed`."""
    others = (
        (tests.failed, "failed"),
        (tests.error, "with errors"),
        (tests.skipped, "skipped"),
    )
    told = [f"{count} {word}" for count, word in others if count]
    return ", ".join([f"{tests.success} of {tests.total} tests passed", *told])
