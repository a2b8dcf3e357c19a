"""Writes that happen once: sent again only when it is certain that they did not happen.

A write has a way to be sent and a way to look whether it happened. What tells the two cases apart
is the failure: a connection that was never made and a 429 say that nothing happened; a timeout, a
reset, a 5xx and a garbled answer say nothing, so that only a look can tell.

A second tag of one name is refused, so that one look is enough. A second pipeline is not: what may
still happen is looked for a while, and after a timeout it is never sent again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from cicd_common.errors import CommandError, UnavailableError
from cicd_common.gitlab.responses import is_throttled
from cicd_common.gitlab.retry import Patience

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
log = logging.getLogger(__name__)


def reconcile(
    send: Callable[[], T],
    look: Callable[[], T | None],
    *,
    patience: Patience,
    check: str,
    settle: float = 0.0,
) -> T:
    """Sends a write until it is known to have happened, or to be refused.

    Args:
        send: Sends it once.
        look: Reads whether it happened: what `send` would have returned, or None if it did not.
        patience: How long to go on.
        check: What a person should look at if the outcome stays unknown.
        settle: Seconds for which looks must find nothing before that counts, if GitLab would take
            the write twice; 0 if it would refuse the second.

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
            if not (isinstance(failure, UnavailableError) and failure.sent):
                patience.pause(failure)
                continue
            # As long as GitLab may be at work on it, no look can show that it will not happen.
            endless = settle > 0 and failure.unfinished
            limit = patience if endless else Patience(settle)
            if (found := _search(look, failure, limit, check)) is not None:
                return found
            if endless:
                raise _unknown(failure, "GitLab may still be at work on it.", check) from None
            patience.pause(failure)
            # The pause may have been long, and a look costs less than a second pipeline.
            if settle > 0 and (found := _look(look, failure, check)) is not None:
                return found


def _is_open(failure: CommandError) -> bool:
    """Whether the same write may still succeed: it was throttled, lost, or never arrived."""
    if failure.answer is not None and is_throttled(failure.answer):
        return True
    return isinstance(failure, UnavailableError) and failure.transient


def _search(
    look: Callable[[], T | None], failure: UnavailableError, limit: Patience, check: str
) -> T | None:
    """Looks until the write is seen, or the limit is reached."""
    log.info("The answer was lost; looking whether it happened.")
    absent = UnavailableError(failure.message)  # without Retry-After, which is for the write
    while (found := _look(look, failure, check)) is None:
        try:
            limit.pause(absent)
        except UnavailableError:
            return None
    return found


def _look(look: Callable[[], T | None], failure: UnavailableError, check: str) -> T | None:
    try:
        return look()
    except CommandError as error:
        why = f"A look afterwards did not tell: {error.message}"
        raise _unknown(failure, why, check) from error


def _unknown(failure: CommandError, why: str, check: str) -> UnavailableError:
    return UnavailableError(
        f"{failure.message} Whether it happened is unknown.",
        why=why,
        hint=f"Before you run this again, check {check}.",
        answer=failure.answer,
    )
