"""Where the sandbox gets the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where the sandbox gets the time, so that a test can drive scripted pipelines by hand."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""


class WallClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return datetime.now(UTC)


class ShiftedClock:
    """The machine's own clock, some seconds ahead; negative seconds are behind."""

    def __init__(self, seconds: float) -> None:
        self._shift = timedelta(seconds=seconds)

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return datetime.now(UTC) + self._shift


class ManualClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 1, 5, 9, tzinfo=UTC)

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds."""
        self._now += timedelta(seconds=seconds)
