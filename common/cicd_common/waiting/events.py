"""What happens during a wait, and the base of what shows it.

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


# Events, in the order in which they happen to a pipeline. All times are aware, by this machine's
# clock; compare them with GitLab's own at the precision of seconds.


@dataclass(frozen=True)
class Searching:
    """A pipeline does not exist yet, and is waited for.

    Attributes:
        what: Which one, for people, such as `the pipeline of tag v1 in group/name`.
        left: Seconds until that ends.
    """

    what: str
    left: float


@dataclass(frozen=True)
class Found:
    """A pipeline was found; from now on it is known by its id."""

    pipeline: Pipeline
    estimate: Estimate | None = None


@dataclass(frozen=True)
class Changed:
    """A pipeline, or a job of it, has changed since the poll before."""

    pipeline: Pipeline
    before: Pipeline


@dataclass(frozen=True)
class Note:
    """Something a person should know."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Tick:
    """Time has passed, for timers and heartbeats.

    Attributes:
        at: The time.
        left: Seconds until the time limit.
    """

    at: datetime
    left: float


@dataclass(frozen=True)
class Finished:
    """The wait for one pipeline is over.

    Attributes:
        outcome: The result, or the error that it is; an error's `results` hold the result.
        pipeline: With all its jobs, those of failed downstream pipelines, and the ends of their
            logs; None if it was never found.
        project: The project's path, where no pipeline tells it.
    """

    outcome: WaitResult | CommandError
    pipeline: Pipeline | None = None
    project: str = ""


Event = Searching | Found | Changed | Note | Tick | Finished


def present() -> datetime:
    """Return the time by this machine's clock, aware."""
    return datetime.now(UTC)


class Presenter:
    """Shows events; used in a `with` block. This base class shows nothing, as Python callers want.

    Attributes:
        every: Seconds between the `Tick`s that it needs; None for no ticks.
        shows_jobs: Whether it shows the jobs of a pipeline, so that all must be read.
        max_age: Seconds that what it shows can be old at most; None where that does not matter.
        now: Tells the time, by the server's clock during a wait.
    """

    every: float | None = None
    shows_jobs: bool = False
    max_age: float | None = None
    now: Callable[[], datetime] = staticmethod(present)

    def __enter__(self) -> Self:
        """Start showing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish what was started, such as a live display, however the block ends."""

    def show(self, event: Event) -> None:
        """Show one event."""
