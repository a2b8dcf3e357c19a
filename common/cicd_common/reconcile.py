"""Writes that happen once: sent again only when it is certain that they did not happen.

A write has a way to be sent and a way to look whether it happened. What tells the two cases apart
is the failure: a connection that was never made and a 429 say that nothing happened; a timeout, a
reset, a 5xx and a garbled answer say nothing, so that only a look can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cicd_common.answers import is_throttled
from cicd_common.errors import CommandError, TimeLimitError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cicd_common.patience import Patience

T = TypeVar("T")


def reconcile(
    send: Callable[[], T], look: Callable[[], T | None], *, patience: Patience, check: str
) -> T:
    """Sends a write until it is known to have happened, or to be refused.

    Args:
        send: Sends it once.
        look: Reads whether it happened: what `send` would have returned, or None if it did not.
        patience: How long to go on.
        check: What a person should look at if the outcome stays unknown.

    Returns:
        What `send` returned or `look` found.

    Raises:
        UnavailableError: The outcome is unknown, or the server stays unreachable.
        CommandError: GitLab refused it; nothing happened.
    """
    while True:
        try:
            return send()
        except CommandError as failure:
            if not _is_open(failure):
                raise
            if _may_have_happened(failure) and (found := _look(look, failure, check)) is not None:
                return found
            patience.pause(failure)


def _is_open(failure: CommandError) -> bool:
    """Whether the same write may still succeed: it was throttled, lost, or never arrived."""
    if failure.answer is not None and is_throttled(failure.answer):
        return True
    return isinstance(failure, UnavailableError) and failure.transient


def _may_have_happened(failure: CommandError) -> bool:
    return isinstance(failure, UnavailableError) and failure.sent


def _look(look: Callable[[], T | None], failure: CommandError, check: str) -> T | None:
    try:
        return look()
    except (UnavailableError, TimeLimitError) as error:
        raise UnavailableError(
            f"{failure.message} Whether it happened is unknown.",
            why=f"The look afterwards failed too: {error.message}",
            hint=f"Before you run this again, check {check}.",
            answer=failure.answer,
        ) from error
