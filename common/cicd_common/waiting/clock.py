"""The one place where a wait sleeps, and the work in the background."""

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
    """The one place where a wait sleeps; any thread can wake it.

    The handler of a signal that raises ends the sleep too, at once.
    """

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._hints: set[str] = set()
        self._lock = threading.Lock()

    def now(self) -> float:
        """The time, in seconds by a clock that never goes back."""
        return time.monotonic()

    def sleep_until(self, moment: float) -> None:
        """Sleep until a moment by `now`, or until something wakes the clock."""
        self._woken.wait(min(max(0.0, moment - self.now()), threading.TIMEOUT_MAX))
        self._woken.clear()

    def wake(self) -> None:
        """Ends the sleep."""
        self._woken.set()

    def hint(self, project_id: str) -> None:
        """Ends the sleep because a project may have changed.

        A hint is never a truth: it causes a poll, as soon as the shortest interval allows one.
        """
        with self._lock:
            self._hints.add(project_id)
        self.wake()

    def take_hints(self) -> set[str]:
        """The projects that may have changed since this was last asked."""
        with self._lock:
            hints, self._hints = self._hints, set()
        return hints


class Background:
    """Work in daemon threads, which leave the main thread free to end at any time.

    A name lookup, say, cannot be interrupted by a signal; nothing waits for it here.

    Args:
        clock: Is woken whenever some work is done.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._done: queue.SimpleQueue[Callable[[], Iterator[Event]]] = queue.SimpleQueue()
        self._slots = threading.Semaphore(POOL_SIZE)

    def start(
        self, work: Callable[[], T], then: Callable[[T | CommandError], Iterator[Event]]
    ) -> None:
        """Starts some work.

        Args:
            work: What to do, in a thread of its own.
            then: What follows from its answer or its error, in the thread that asks for `events`.
        """

        def run() -> None:
            with self._slots:
                follow_up = _attempt(work, then)
            self._done.put(follow_up)
            self._clock.wake()

        threading.Thread(target=run, daemon=True).start()

    def events(self) -> Iterator[Event]:
        """What follows from the work that is done by now.

        Raises:
            Exception: Some work raised it; it is not a `CommandError`, so it is a bug.
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
    except Exception as bug:  # noqa: BLE001 - raised again where the events are asked for
        return functools.partial(_raise, bug)
    return functools.partial(then, answer)


def _raise(bug: Exception) -> NoReturn:
    raise bug
