"""Defines the words, colours and marks that describe a wait to the user."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from cicd_common.cleaning import one_line
from cicd_common.cli import console
from cicd_common.waiting import pipelines
from cicd_common.waiting.pipelines import in_words
from cicd_common.waiting.reasons import reason_in_words
from cicd_common.waiting.statuses import is_finished

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from cicd_common.waiting.pipelines import Estimate, Job, Pipeline, ReportedTests


@dataclass(frozen=True)
class Style:
    """Describes how a status is shown.

    Attributes:
        word: Its name; colour alone never shows a status.
        color: The name of its colour in click and rich; empty for none.
        mark: The mark before it.
        ascii: The mark for terminals that only show ASCII.
        urgent: Whether such a job is named even if there is no room for all jobs.
    """

    word: str
    color: str
    mark: str
    ascii: str
    urgent: bool = False

    def __str__(self) -> str:
        """Returns the word for stderr, in colour if stderr shows colours."""
        return console.styled(self.word, self.color) if self.color else self.word


FAILED = "failed"
ALLOWED = "failed (allowed)"
OPTIONAL = "manual (optional)"

# The most urgent first. The words are those of GitLab's API, as in the results.
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
        "success": Style("success", "green", "✓", "+"),
        "created": Style("created", "", "·", "."),
        OPTIONAL: Style("manual (optional)", "", "·", "."),
        "skipped": Style("skipped", "", "-", "-"),
        "canceled": Style("canceled", "", "-", "-"),
    }
)

_RANKS = {style: rank for rank, style in enumerate(STYLES.values())}


def style_of(status: str) -> Style:
    """Returns how a pipeline's status is shown; an unknown status is shown by its name."""
    return STYLES.get(status) or Style(one_line(status).replace("_", " "), "magenta", "?", "?")


def job_style(job: Job) -> Style:
    """Returns how a job's status is shown; an allowed failure has its own style."""
    if job.allow_failure and job.status in {"failed", "manual"}:
        return STYLES[ALLOWED if job.status == "failed" else OPTIONAL]
    return style_of(job.status)


def urgency(style: Style) -> int:
    """Returns a sort key that puts the most urgent style first."""
    return _RANKS.get(style, 0)


def title(job: Job) -> str:
    """Returns the stage and name of a job."""
    return f"{one_line(job.stage)} / {one_line(job.name)}"


def why_failed(job: Job) -> str:
    """Returns in words why a job failed; empty if it did not fail."""
    if job.status != "failed":
        return ""
    return reason_in_words(pipelines.why_failed(job))


def elapsed(seconds: float) -> str:
    """Returns a duration as GitLab's pages show it, `00:01:02`; a negative one is shown as 0."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def age(pipeline: Pipeline, now: datetime) -> float:
    """Returns the seconds from a pipeline's creation until now, or until it finished."""
    until = pipeline.updated_at if is_finished(pipeline.status) else now
    return max(0.0, (until - pipeline.created_at).total_seconds())


def seconds_of(job: Job, now: datetime) -> float | None:
    """Returns the seconds that a job has run; None if it did not start."""
    if job.started_at is None or job.duration is not None:
        return job.duration
    return max(0.0, (now - job.started_at).total_seconds())


def usual(estimate: Estimate) -> str:
    """Returns how long earlier pipelines took, in words."""
    spread = f", give or take {in_words(estimate.spread)}" if estimate.spread >= 1 else ""
    return f"usually takes {in_words(estimate.seconds)}{spread}"


def remaining(estimate: Estimate, seconds: float) -> str:
    """Returns the time that a pipeline of an age still needs, or by how much it is late."""
    left = estimate.seconds - seconds
    if left >= 0:
        return f"about {in_words(left)} left"
    if -left <= estimate.spread:
        return "due any moment"
    return f"{in_words(-left)} longer than usual"


def tally(styles: Iterable[Style]) -> str:
    """Returns how many there are of each style, the most urgent first: `2 failed, 7 passed`."""
    counts = Counter(style.word for style in sorted(styles, key=urgency))
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def tests_in_words(tests: ReportedTests) -> str:
    """Returns the counts of a test report in words: `118 of 120 tests passed, 2 failed`."""
    others = (
        (tests.failed, "failed"),
        (tests.error, "with errors"),
        (tests.skipped, "skipped"),
    )
    told = [f"{count} {word}" for count, word in others if count]
    return ", ".join([f"{tests.success} of {tests.total} tests passed", *told])
