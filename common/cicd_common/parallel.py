"""Does the same work for several items in parallel, each with its own outcome."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar, cast

from cicd_common.errors import CommandError, Interrupted, TimeLimitError, UnavailableError
from cicd_common.gitlab.transport import POOL_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")

# Seconds to wait for the response to a write after a signal. Docker kills a container 10 s after
# SIGTERM; canceling pipelines needs the rest.
WRITE_GRACE = 5.0


def side_by_side(
    items: Sequence[T],
    work: Callable[[T], R],
    *,
    grace: float = 0.0,
    limit: float | None = None,
) -> list[R | CommandError]:
    """Does the work for every item, several items at a time.

    The threads are daemons: a signal ends the command at once, whatever they wait for. With a
    `grace` it ends after that time at the latest, so that the outcome of a sent write is known.

    Args:
        items: The items; a single one runs in the calling thread, unless `grace` or `limit` is
            set.
        work: What to do with each item.
        grace: Seconds that running work gets to finish after a signal.
        limit: Seconds after which unfinished items get an error; None for no limit.

    Returns:
        For each item, in their order, its result or its error.

    Raises:
        Interrupted: A signal arrived; its `outcomes` hold what is known of each item.
        Exception: `work` raised an exception other than `CommandError`, which is a bug.
    """
    if len(items) == 1 and not grace and limit is None:
        return [_attempt(work, items[0])]
    crew = _Crew(items, work)
    try:
        crew.start()
        crew.wait(limit)
    except (Interrupted, KeyboardInterrupt) as signaled:
        with suppress(Interrupted, KeyboardInterrupt):  # a second signal ends the grace period
            crew.stop()
            crew.wait(grace)
        if isinstance(signaled, Interrupted):
            signaled.outcomes = crew.outcomes_so_far()
        raise
    return [
        _checked(outcome) if outcome is not PENDING else _given_up(limit)
        for outcome in crew.outcomes
    ]


def results_of(outcomes: Sequence[R | CommandError]) -> list[R]:
    """Returns the results, or raises the first error.

    Args:
        outcomes: Results and errors, in the order in which they were asked for.

    Raises:
        CommandError: The first error; its `results` hold all results.
    """
    reached: list[Any] = []
    for outcome in outcomes:
        reached += outcome.results if isinstance(outcome, CommandError) else (outcome,)
    for outcome in outcomes:
        if isinstance(outcome, CommandError):
            outcome.results = tuple(reached)
            raise outcome
    return reached


PENDING = RuntimeError("a worker ended without an outcome")


class _Crew(Generic[T, R]):
    """Runs threads that work through a list of items."""

    def __init__(self, items: Sequence[T], work: Callable[[T], R]) -> None:
        self._items = items
        self._work = work
        self.outcomes: list[R | CommandError | Exception] = [PENDING] * len(items)
        self._begun: list[int] = []
        self._todo = iter(range(len(items)))
        self._stopped = False
        self._changed = threading.Condition()

    def start(self) -> None:
        for _ in range(min(len(self._items), POOL_SIZE)):
            threading.Thread(target=self._run, daemon=True).start()

    def wait(self, limit: float | None) -> None:
        """Waits until all items are done, or until a number of seconds has passed."""
        # Not by `Thread.join`: a signal that interrupts it leaves the thread marked as stopped.
        with self._changed:
            self._changed.wait_for(self._is_done, limit)

    def stop(self) -> None:
        """Starts no more items."""
        with self._changed:
            self._stopped = True

    def outcomes_so_far(self) -> list[R | CommandError]:
        """Returns an outcome for every item; for an unfinished item, an error that says so."""
        return [
            outcome if _is_known(outcome) else self._unfinished(index)
            for index, outcome in enumerate(self.outcomes)
        ]

    def _unfinished(self, index: int) -> UnavailableError:
        if index in self._begun:
            return UnavailableError(
                f"Whether the request took effect in {self._items[index]} is unknown: "
                "GitLab had not responded when the signal came.",
                hint=f"Before you run this again, check {self._items[index]}.",
            )
        return UnavailableError(
            f"Nothing was done in {self._items[index]}: the signal came first.", sent=False
        )

    def _is_done(self) -> bool:
        wanted = self._begun if self._stopped else range(len(self._items))
        return all(self.outcomes[index] is not PENDING for index in wanted)

    def _run(self) -> None:
        while (index := self._next()) is not None:
            try:
                outcome: R | CommandError | Exception = _attempt(self._work, self._items[index])
            except Exception as bug:  # noqa: BLE001 - raised again in the calling thread
                outcome = bug
            with self._changed:
                self.outcomes[index] = outcome
                self._changed.notify_all()

    def _next(self) -> int | None:
        with self._changed:
            index = None if self._stopped else next(self._todo, None)
            if index is not None:
                self._begun.append(index)
            return index


def _given_up(limit: float | None) -> TimeLimitError:
    return TimeLimitError(f"The work was stopped after {limit:.0f} s.")


def _attempt(work: Callable[[T], R], item: T) -> R | CommandError:
    try:
        return work(item)
    except CommandError as error:
        return error


def _is_known(outcome: R | CommandError | Exception) -> TypeGuard[R | CommandError]:
    return isinstance(outcome, CommandError) or not isinstance(outcome, Exception)


def _checked(outcome: R | CommandError | Exception) -> R | CommandError:
    if _is_known(outcome):
        return outcome
    raise cast("Exception", outcome)
