"""Chooses the presenters that show a wait."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from cicd_common.waiting.events import Presenter
from cicd_common.waiting.show.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from cicd_common.waiting.events import Event


def presenter(*, quiet: bool = False, as_json: bool = False) -> Presenter:
    """Returns the presenter that suits this process.

    Args:
        quiet: Whether to show only warnings and failures.
        as_json: Whether the result is written as JSON, with its tests and failed jobs.

    Returns:
        A live table if stderr is a terminal, else lines.
    """
    if quiet or not is_live_place(sys.stderr, os.environ):
        lines = Lines(quiet=quiet)
        lines.shows_ends = as_json or not quiet
        return lines
    from cicd_common.waiting.show.live import Live  # noqa: PLC0415 - rich is slow to import

    return Live()


def is_live_place(stream: object, environment: Mapping[str, str]) -> bool:
    """Returns whether a live table can be drawn: on a terminal that moves its cursor, outside CI.

    Args:
        stream: Where it would be drawn.
        environment: The environment variables; `TERM` and `CI` are used.
    """
    if environment.get("CI") or environment.get("TERM", "dumb") in {"", "dumb", "unknown"}:
        return False
    return bool(getattr(stream, "isatty", bool)())


class Together(Presenter):
    """Combines several presenters into one.

    Args:
        presenters: The presenters; they get each event in this order, and end in reverse order.
    """

    def __init__(self, presenters: Sequence[Presenter]) -> None:
        self._presenters = presenters
        self._entered = ExitStack()
        wishes = [presenter.every for presenter in presenters if presenter.every is not None]
        self.every: float | None = min(wishes, default=None)
        self.shows_jobs = any(presenter.shows_jobs for presenter in presenters)
        self.shows_ends = any(presenter.shows_ends for presenter in presenters)
        ages = [presenter.max_age for presenter in presenters if presenter.max_age is not None]
        self.max_age: float | None = min(ages, default=None)

    def __enter__(self) -> Self:
        """Starts all presenters."""
        for each in self._presenters:
            self._entered.enter_context(each)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends each of them, even if one fails."""
        self._entered.__exit__(kind, error, trace)

    def show(self, event: Event) -> None:
        """Passes one event to each presenter."""
        for each in self._presenters:
            each.show(event)
