"""Retries of temporary failures: one time limit, growing pauses with jitter.

tenacity and stamina were weighed: neither fails at once where a `Retry-After` ends past the limit,
and neither looks before a write is sent again. urllib3's `Retry` has no limit in time.
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
    """What time it is, and a way to let it pass.

    Attributes:
        now: A monotonic clock, in seconds.
        sleep: Sleeps for so many seconds.
        time: The time of day, in UTC.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    time: Callable[[], datetime] = _utc_now


CLOCK = Clock()  # a test puts its own here, so that nothing waits in real time


class Backoff:
    """The time that one operation can spend on retries; it starts with the first failure.

    Args:
        limit: Seconds, 0 for no second try.
        first: The first pause, in seconds; each is about twice the one before.
        longest: The longest pause, in seconds.
        clock: The clock to go by; default: `CLOCK`.
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
        """Sleeps before the next try, or gives up.

        The server can make the pause longer than it would be, never shorter: a `Retry-After: 0`,
        or a date that is past, would otherwise send thousands of requests a second.

        Args:
            failure: What went wrong, and, in its answer, how long GitLab asks to wait.

        Raises:
            TimeLimitError: GitLab asks to wait past the limit.
            CommandError: `failure` itself, once the limit is reached.
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
        # Jitter keeps the jobs of one pipeline, which fail together, from returning together.
        jittered = self._pause * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        pause = min(max(asked, jittered), left)
        self._pause = min(self._pause * 2, self._longest)
        log.warning("%s Trying again in %.1f s.", _sentence(failure.message), pause)
        self.clock.sleep(pause)


def retry(read: Callable[[], T], backoff: Backoff) -> T:
    """Reads, and reads again after temporary failures.

    Args:
        read: What to do; it changes nothing.
        backoff: How long.

    Raises:
        CommandError: It failed for good, or until the limit.
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
