"""Writes that happen once: sent again only when it is certain that they did not happen.

A write has a way to be sent, and a way to find out whether it happened. What tells the cases apart
is the failure: a connection that was never made and a 429 say that nothing happened. A timeout, a
reset, a 408, a 5xx and a garbled answer say nothing: then the server is asked.

A second tag of one name is refused, and so is a second release, or a second commit of a known
parent: these are sent again as soon as they are not found. A second pipeline is not refused. That
there is none counts only once the server's own limit for a request has passed.
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

# Seconds after which GitLab ends a request of its own, GITLAB_RAILS_RACK_TIMEOUT:
# https://docs.gitlab.com/administration/operations/puma/#change-the-worker-timeout
# Measured from the failure, for the server cannot have got the request after that.
SERVER_LIMIT = 60.0


def reconcile(
    send: Callable[[], T],
    find: Callable[[], T | None],
    *,
    backoff: Backoff,
    check: str,
    second_is_refused: bool = True,
) -> T:
    """Sends a write until it is known to have happened, or to be refused.

    Args:
        send: Sends it once.
        find: Reads whether it happened: what `send` would have returned, or None if it did not.
        backoff: How long to try.
        check: What the user should check if the outcome stays unknown.
        second_is_refused: Whether the server refuses the same write once it has happened; else
            it is never sent again before `SERVER_LIMIT` has passed.

    Returns:
        What `send` returned or `find` found.

    Raises:
        UnavailableError: The outcome is unknown, or the server stays unreachable.
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
    """Whether a write can have happened although it failed.

    What a proxy answers without having reached the server (523) says that it did not; to check
    costs one request.
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
    """Finds out whether a write without a clear answer happened, and waits until the next try.

    Args:
        failure: What happened to the answer.
        find: Reads whether it happened.
        backoff: How long to try.
        check: What the user should check if the outcome stays unknown.
        at_once: Whether it did not happen if it is not found once.

    Returns:
        What was found; None: it did not happen, and can be sent again now.

    Raises:
        UnavailableError: The outcome is unknown.
        CommandError: It did not happen, and cannot be sent again.
    """
    log.info("The response was lost; checking whether it happened.")
    certain = backoff.clock.now() + (0 if at_once else SERVER_LIMIT)
    absent = UnavailableError(failure.message)  # without Retry-After, which is for the write
    while (found := _find(find, failure, check)) is None:
        is_certain = backoff.clock.now() >= certain
        if is_certain and not failure.retryable:
            raise failure
        try:
            backoff.wait(failure if is_certain else absent)
        except UnavailableError as limit:
            if at_once:
                raise
            raise _unknown(failure, "The server can still be at work on it.", check) from limit
        if is_certain:
            # The pause can have been long, and a request costs less than a second pipeline.
            return None if at_once else _find(find, failure, check)
    return found


def _find(find: Callable[[], T | None], failure: UnavailableError, check: str) -> T | None:
    try:
        return find()
    except CommandError as error:
        raise _unknown(
            failure, f"The check afterwards did not tell: {error.message}", check
        ) from error


def _unknown(failure: CommandError, why: str, check: str) -> UnavailableError:
    return UnavailableError(
        f"{failure.message} Whether it happened is unknown.",
        why=why,
        hint=f"Before you run this again, check {check}.",
        answer=failure.answer,
        retryable=False,
    )
