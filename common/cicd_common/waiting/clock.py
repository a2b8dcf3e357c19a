"""Holds the one place where a wait sleeps, and the background work that can wake it."""

from __future__ import annotations

import functools
import queue
import threading
import time
from typing import TYPE_CHECKING, NoReturn, TypeVar

from cicd_common.errors import CommandError
from cicd_common.gitlab.transport import POOL_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cicd_common.waiting.events import Event

T = TypeVar("T")


class Clock:
    """Sleeps on behalf of a wait; any thread can wake it.

    A signal handler that raises an exception also ends the sleep at once.
    """

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._hints: set[str] = set()
        self._lock = threading.Lock()

    def now(self) -> float:
        """Returns the time in seconds, by a clock that never goes backwards."""
        return time.monotonic()

    def sleep_until(self, moment: float) -> None:
        """Sleeps until `now` reaches a moment, or until something wakes the clock."""
        self._woken.wait(min(max(0.0, moment - self.now()), threading.TIMEOUT_MAX))
        self._woken.clear()

    def wake(self) -> None:
        """Ends the sleep."""
        self._woken.set()

    def hint(self, project_id: str) -> None:
        """Ends the sleep because a project may have changed.

        A hint is not trusted: it only causes a poll, as soon as the shortest interval allows one.
        """
        with self._lock:
            self._hints.add(project_id)
        self.wake()

    def take_hints(self) -> set[str]:
        """Returns the projects that may have changed since the last call, and forgets them."""
        with self._lock:
            hints, self._hints = self._hints, set()
        return hints


class Background:
    """Runs work in daemon threads, so that the main thread can end at any time.

    For example, a signal cannot interrupt a DNS lookup; the main thread does not wait for it.

    Args:
        clock: The clock to wake when some work is done.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._done: queue.SimpleQueue[Callable[[], Iterator[Event]]] = queue.SimpleQueue()
        self._slots = threading.Semaphore(POOL_SIZE)

    def start(
        self, work: Callable[[], T], then: Callable[[T | CommandError], Iterator[Event]]
    ) -> None:
        """Starts some work in a thread of its own.

        Args:
            work: The work to do.
            then: Turns its result or its error into events, in the thread that calls `events`.
        """

        def run() -> None:
            with self._slots:
                follow_up = _attempt(work, then)
            self._done.put(follow_up)
            self._clock.wake()

        threading.Thread(target=run, daemon=True).start()

    def events(self) -> Iterator[Event]:
        """Yields the events of the work that is done by now.

        Raises:
            Exception: Some work raised an exception other than `CommandError`, which is a bug.
        """
        while True:
            try:
                follow_up = self._done.get_nowait()
            except queue.Empty:
                return
            yield from follow_up()


def _attempt(
    work: Callable[[], T], then: Callable[[T | CommandError], Iterator[Event]]
) -> Callable[[], Iterator[Event]]:
    try:
        answer = work()
    except CommandError as error:
        return functools.partial(then, error)
    except Exception as bug:  # noqa: BLE001 - raised again by `events`
        return functools.partial(_raise, bug)
    return functools.partial(then, answer)


def _raise(bug: Exception) -> NoReturn:
    raise bug
