"""How long failures that may pass are ridden out: one limit, growing pauses with jitter."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError, TimeLimitError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0


class Patience:
    """The time that one operation may spend on trying again; it starts with the first failure.

    Args:
        limit: Seconds, 0 for no second try.
        first: The first pause, in seconds; each is about twice the one before.
        longest: The longest pause, in seconds.
        clock: A monotonic clock, in seconds.
        sleep: Sleeps for so many seconds.
    """

    def __init__(
        self,
        limit: float,
        *,
        first: float = FIRST_PAUSE,
        longest: float = LONGEST_PAUSE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._sleep = sleep
        self._deadline: float | None = None
        self._pause = first
        self._longest = longest

    def pause(self, failure: CommandError) -> None:
        """Sleeps before the next try, or gives up.

        Args:
            failure: What went wrong, and, in its answer, how long GitLab asks to wait.

        Raises:
            TimeLimitError: GitLab asks to wait past the limit.
            CommandError: `failure` itself, once the limit is reached.
        """
        now = self._clock()
        if self._deadline is None:
            self._deadline = now + self._limit
        left = self._deadline - now
        asked = failure.answer.retry_after if failure.answer else None
        if asked is not None and asked > left:
            raise TimeLimitError(
                failure.message,
                why=f"GitLab asks to wait {asked:.0f} s; --retry-for leaves {max(left, 0):.0f} s.",
                hint="Try again later, or allow more with --retry-for.",
                answer=failure.answer,
            ) from failure
        if left <= 0:
            raise failure
        # Jitter keeps the jobs of one pipeline, which fail together, from returning together.
        jittered = self._pause * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        wait = asked if asked is not None else min(jittered, left)
        self._pause = min(self._pause * 2, self._longest)
        log.warning("%s Trying again in %.1f s.", _sentence(failure.message), wait)
        self._sleep(wait)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
