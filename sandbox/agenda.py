"""What is to happen later, by the sandbox's clock: the work of GitLab's background workers.

Nothing here waits. Work that is due is done before the next request is answered, and before a test
reads the records; the scheduler wakes for it too. So a clock that is driven by hand drives it.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sandbox.clocks import Clock

_order = itertools.count()


@dataclass(frozen=True)
class Slow:
    """How long a server's background workers take, in seconds of its clock.

    Attributes:
        pipeline: From a push, a tag or a merge request until its pipeline exists.
        replica: How long a pipeline that the API created is 404 to those who read it.
        preparing: How long a new merge request is `preparing`.
        checking: How long it is `checking` after that, and after each push to it.
        merging: From the moment when an auto-merge can be carried out until it is.
    """

    pipeline: float = 0
    replica: float = 0
    preparing: float = 0
    checking: float = 0
    merging: float = 0


INSTANT = Slow()


@dataclass(order=True)
class _Entry:
    due: datetime
    number: int
    work: Callable[[], object] = field(compare=False)


class Agenda:
    """Work in the order in which it is due.

    Args:
        clock: The sandbox's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: list[_Entry] = []

    def add(self, work: Callable[[], object], after: float = 0) -> None:
        """Have work done some seconds from now."""
        due = self._clock.now() + timedelta(seconds=after)
        heapq.heappush(self._entries, _Entry(due, next(_order), work))

    def due(self) -> Callable[[], object] | None:
        """Take the next work that is due off the agenda."""
        if self._entries and self._entries[0].due <= self._clock.now():
            return heapq.heappop(self._entries).work
        return None

    def next(self) -> datetime | None:
        """The time when there is work next."""
        return self._entries[0].due if self._entries else None
