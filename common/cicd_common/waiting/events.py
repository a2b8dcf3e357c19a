"""Defines the events of a wait, and the base class of what shows them.

The engine yields these events and shows nothing; presenters show them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cicd_common.errors import CommandError
    from cicd_common.waiting.pipelines import Estimate, Pipeline, WaitResult


# Events, in the order in which they happen to a pipeline. All times have a time zone and come from
# this machine's clock; compare them with GitLab's times only to the second.


@dataclass(frozen=True)
class Searching:
    """Reports that a pipeline does not exist yet and is waited for.

    Attributes:
        what: The pipeline in words, such as `the pipeline of tag v1 in group/name`.
        left: Seconds until the search ends.
    """

    what: str
    left: float


@dataclass(frozen=True)
class Found:
    """Reports that a pipeline was found; from now on it is known by its id."""

    pipeline: Pipeline
    estimate: Estimate | None = None


@dataclass(frozen=True)
class Changed:
    """Reports that a pipeline, or one of its jobs, has changed since the previous poll."""

    pipeline: Pipeline
    before: Pipeline


@dataclass(frozen=True)
class Note:
    """Tells the user something about the wait."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Tick:
    """Tells timers and heartbeats that time has passed.

    Attributes:
        at: The time.
        left: Seconds until the time limit.
    """

    at: datetime
    left: float


@dataclass(frozen=True)
class Finished:
    """Reports that the wait for one pipeline is over.

    Attributes:
        outcome: The result, or an error, whose `results` hold the result.
        pipeline: The pipeline with all its jobs, those of failed downstream pipelines, and the ends
            of their logs; None if it was never found.
        project: The project's path, used if there is no pipeline that has it.
    """

    outcome: WaitResult | CommandError
    pipeline: Pipeline | None = None
    project: str = ""


Event = Searching | Found | Changed | Note | Tick | Finished


def present() -> datetime:
    """Returns the time by this machine's clock, with its time zone."""
    return datetime.now(UTC)


class Presenter:
    """Shows events inside a `with` block; this base class shows nothing, for Python callers.

    Attributes:
        every: Seconds between the `Tick`s that it needs; None for no ticks.
        shows_jobs: Whether it shows the jobs of a pipeline, so that all must be read.
        shows_ends: Whether it shows the jobs and the tests of a pipeline that has succeeded, or the
            caller gets them; else they are not read.
        max_age: The greatest age, in seconds, of what it shows; None if the age does not matter.
        now: Returns the time; during a wait it is the server's.
    """

    every: float | None = None
    shows_jobs: bool = False
    shows_ends: bool = True
    max_age: float | None = None
    now: Callable[[], datetime] = staticmethod(present)

    def __enter__(self) -> Self:
        """Starts showing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops what was started, such as a live display, however the block ends."""

    def show(self, event: Event) -> None:
        """Shows one event."""
