"""Retries temporary failures within one time limit, with backoff and jitter.

tenacity and stamina were considered: neither fails at once if a `Retry-After` ends after the limit,
and neither checks before a write is sent again. urllib3's `Retry` has no time limit.
"""

from __future__ import annotations

import logging
import math
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from cicd_common.errors import CommandError, TimeLimitError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clock:
    """Provides the time, and a way to sleep.

    Attributes:
        now: A monotonic clock, in seconds.
        sleep: Sleeps for a number of seconds.
        time: The time of day, in UTC.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    time: Callable[[], datetime] = _utc_now


CLOCK = Clock()  # tests replace it, so that they do not sleep


class Backoff:
    """Limits the time that one operation spends on retries, from its first failure on.

    Args:
        limit: Seconds to retry; 0 for no retry.
        first: The first pause, in seconds; each pause is about twice as long as the previous one.
        longest: The longest pause, in seconds.
        clock: The clock to use; default: `CLOCK`.
    """

    def __init__(
        self,
        limit: float,
        *,
        first: float = FIRST_PAUSE,
        longest: float = LONGEST_PAUSE,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or CLOCK
        self._limit = limit
        self._deadline: float | None = None
        self._pause = first
        self._longest = longest

    def wait(self, failure: CommandError) -> None:
        """Sleeps before the next try, or raises an error if the limit is reached.

        The server can make the pause longer, but never shorter: otherwise a `Retry-After: 0`, or a
        date in the past, would cause thousands of requests a second.

        Args:
            failure: The failure; its response says how long GitLab asks to wait.

        Raises:
            TimeLimitError: GitLab asks to wait longer than the limit.
            CommandError: `failure` itself, when the limit is reached.
        """
        now = self.clock.now()
        if self._deadline is None:
            self._deadline = now + self._limit
        left = max(0.0, self._deadline - now)
        asked = (failure.answer.retry_after if failure.answer else None) or 0.0
        if asked > left:
            raise TimeLimitError(
                failure.message,
                why=f"GitLab asks to wait {math.ceil(asked)} s; --retry-for leaves {left:.0f} s.",
                hint="Try again later, or allow more with --retry-for.",
                answer=failure.answer,
            ) from failure
        if not left:
            raise failure
        # Without jitter, the jobs of one pipeline that fail together would retry together.
        jittered = self._pause * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        pause = min(max(asked, jittered), left)
        self._pause = min(self._pause * 2, self._longest)
        log.warning("%s Trying again in %.1f s.", _sentence(failure.message), pause)
        self.clock.sleep(pause)


def retry(read: Callable[[], T], backoff: Backoff) -> T:
    """Calls a read, and retries it after temporary failures.

    Args:
        read: The read; it changes nothing.
        backoff: How long to retry.

    Raises:
        CommandError: The read failed permanently, or until the limit.
    """
    while True:
        try:
            return read()
        except CommandError as failure:
            if not failure.retryable:
                raise
            backoff.wait(failure)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
