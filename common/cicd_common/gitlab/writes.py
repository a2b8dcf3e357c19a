"""Sends writes exactly once: a write is sent again only if it certainly did not happen.

One function sends the write, and another one checks whether it happened. The failure decides what
to do: after a connection that was never made, and after a 429, nothing happened. After a timeout, a
reset, a 408, a 5xx or a garbled response that is not known: then the server is asked.

GitLab refuses a second tag of one name, a second release, and a second commit of a known parent:
these writes are sent again if they are not found. It does not refuse a second pipeline: that one is
only sent again if none is found after the server's own time limit for a request has passed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeGuard, TypeVar

from cicd_common.errors import CommandError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cicd_common.gitlab.retry import Backoff

T = TypeVar("T")
log = logging.getLogger(__name__)

# Seconds after which GitLab itself ends a request, GITLAB_RAILS_RACK_TIMEOUT:
# https://docs.gitlab.com/administration/operations/puma/#change-the-worker-timeout
# Counted from the failure, because the server cannot have received the request after that.
SERVER_LIMIT = 60.0


def reconcile(
    send: Callable[[], T],
    find: Callable[[], T | None],
    *,
    backoff: Backoff,
    check: str,
    second_is_refused: bool = True,
) -> T:
    """Sends a write until it is known that it happened or was refused.

    Args:
        send: Sends it once.
        find: Checks whether it happened: returns what `send` would have returned, or None.
        backoff: How long to try.
        check: What the user should check if the outcome stays unknown.
        second_is_refused: Whether the server refuses the same write after it has happened; if not,
            it is never sent again before `SERVER_LIMIT` has passed.

    Returns:
        The result of `send` or `find`.

    Raises:
        UnavailableError: The outcome is unknown, or the server cannot be reached.
        CommandError: GitLab refused it; nothing happened.
    """
    while True:
        try:
            return send()
        except CommandError as failure:
            if not _can_have_happened(failure):
                if not failure.retryable:
                    raise
                backoff.wait(failure)
                continue
            at_once = second_is_refused or not failure.sent
            found = _find_lost(failure, find, backoff, check, at_once=at_once)
            if found is not None:
                return found


def _can_have_happened(failure: CommandError) -> TypeGuard[UnavailableError]:
    """Returns whether a write may have happened although it failed.

    A 523, which a proxy sends if it did not reach the server, says that it did not happen; a
    check costs one request.
    """
    if not isinstance(failure, UnavailableError):
        return False
    return failure.sent or (failure.retryable and failure.answer is not None)


def _find_lost(
    failure: UnavailableError,
    find: Callable[[], T | None],
    backoff: Backoff,
    check: str,
    *,
    at_once: bool,
) -> T | None:
    """Checks whether a write without a clear response happened, and waits before the next try.

    Args:
        failure: Why there was no clear response.
        find: Checks whether it happened.
        backoff: How long to try.
        check: What the user should check if the outcome stays unknown.
        at_once: Whether one check without a result proves that it did not happen.

    Returns:
        What was found; None if it did not happen and can be sent again now.

    Raises:
        UnavailableError: The outcome is unknown.
        CommandError: It did not happen, and cannot be sent again.
    """
    log.info("The response was lost; checking whether it happened.")
    certain = backoff.clock.now() + (0 if at_once else SERVER_LIMIT)
    absent = UnavailableError(failure.message)  # without Retry-After, which was for the write
    while (found := _find(find, failure, check)) is None:
        is_certain = backoff.clock.now() >= certain
        if is_certain and not failure.retryable:
            raise failure
        try:
            backoff.wait(failure if is_certain else absent)
        except UnavailableError as limit:
            if at_once:
                raise
            raise _unknown(failure, "The server might still be working on it.", check) from limit
        if is_certain:
            # The pause can have been long, and one more check is cheaper than a second pipeline.
            return None if at_once else _find(find, failure, check)
    return found


def _find(find: Callable[[], T | None], failure: UnavailableError, check: str) -> T | None:
    try:
        return find()
    except CommandError as error:
        why = f"The check afterwards failed: {error.message}"
        raise _unknown(failure, f"{why}. {error.why}" if error.why else why, check) from error


def _unknown(failure: CommandError, why: str, check: str) -> UnavailableError:
    return UnavailableError(
        f"{failure.message} Whether it happened is unknown.",
        why=why,
        hint=f"Before you run this again, check {check}.",
        answer=failure.answer,
        retryable=False,
    )
