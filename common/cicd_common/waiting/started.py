"""Waiting for what a command has just started."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cicd_common.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cicd_common.waiting.finding import Target
    from cicd_common.waiting.state import Outcome

R = TypeVar("R")


def wait_for_started(
    started: Sequence[R | CommandError],
    target_of: Callable[[R], Target],
    joined: Callable[[R, Outcome], Outcome],
    wait: Callable[[Sequence[Target]], list[Outcome]],
) -> list[Outcome]:
    """Waits for the pipelines of what was started; what was not keeps its error.

    Args:
        started: What was started, or why not, in the order in which it was asked for.
        target_of: The one pipeline to wait for.
        joined: What was started and how its pipeline ended, as one outcome.
        wait: Waits for several, and returns one outcome for each.

    Returns:
        How each ended, or why it was not started, in the same order.
    """
    targets = [target_of(one) for one in started if not isinstance(one, CommandError)]
    ends = iter(wait(targets) if targets else ())
    return [one if isinstance(one, CommandError) else joined(one, next(ends)) for one in started]
