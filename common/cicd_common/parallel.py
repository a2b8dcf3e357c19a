"""The same work for several things side by side, each with its own outcome."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from cicd_common.errors import CommandError
from cicd_common.gitlab.session import POOL_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(items: Sequence[T], work: Callable[[T], R]) -> list[R | CommandError]:
    """Does the work for every item, several at a time.

    The threads are daemons: a signal ends the command at once, whatever they wait for.

    Args:
        items: What to work on; one alone is worked on in the calling thread.
        work: What to do with each.

    Returns:
        For each item, in their order, the result or the error that ended its work.

    Raises:
        Exception: What `work` raised beside a `CommandError`, which is a bug.
    """
    if len(items) == 1:
        return [_attempt(work, items[0])]
    outcomes: list[R | CommandError | Exception] = [PENDING] * len(items)
    todo = iter(range(len(items)))
    lock = threading.Lock()

    def worker() -> None:
        while True:
            with lock:
                index = next(todo, None)
            if index is None:
                return
            try:
                outcomes[index] = _attempt(work, items[index])
            except Exception as bug:  # noqa: BLE001 - raised again in the calling thread
                outcomes[index] = bug

    threads = [
        threading.Thread(target=worker, daemon=True) for _ in range(min(len(items), POOL_SIZE))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [_checked(outcome) for outcome in outcomes]


def results_of(outcomes: Sequence[R | CommandError]) -> list[R]:
    """The results, where every outcome is one.

    Args:
        outcomes: Results and errors, in the order in which they were asked for.

    Raises:
        CommandError: The first of the errors; its `results` hold all that was reached.
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


def _attempt(work: Callable[[T], R], item: T) -> R | CommandError:
    try:
        return work(item)
    except CommandError as error:
        return error


def _checked(outcome: R | CommandError | Exception) -> R | CommandError:
    if isinstance(outcome, Exception) and not isinstance(outcome, CommandError):
        raise outcome
    return outcome
