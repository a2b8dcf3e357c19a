"""How to wait: limits, pauses, and what to do where GitLab leaves a choice."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from cicd_common.errors import AuthError
from cicd_common.gitlab.tokens import TokenKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OnManual = Literal["fail", "wait", "pass", "play"]
OnSkipped = Literal["fail", "pass"]
OnFailed = Literal["fail", "pass"]
CancelOn = Literal["timeout", "signal"]

DEFAULT_TIMEOUT = 3600.0
DEFAULT_APPEAR_TIMEOUT = 60.0
DEFAULT_LOG_TAIL = 20
# What a job keeps for itself: to say how the wait ended, and to upload its artifacts.
JOB_RESERVE = timedelta(minutes=1)
SHORTEST_TIMEOUT = 1.0


@dataclass(frozen=True)
class WaitPolicy:
    """How to wait; the same for every pipeline.

    Attributes:
        timeout: Seconds until the wait ends, whatever is still running; None for what is left of
            the job, by the server's clock, less a minute; outside a job 3600.
        appear_timeout: Seconds that a pipeline may take to appear.
        interval: Seconds between polls; None lets the interval follow what is known.
        on_manual: What it means that a pipeline waits for a person: a failure, nothing, a
            success; or its blocking jobs are started, each once. Downstream pipelines that it
            depends on count too.
        on_failed: Whether a failure of what a lock (`AllRunning`) waits for is its own.
        on_skipped: What it means that a pipeline was skipped.
        settle: Seconds after which a failure, or a cancel, must still stand to count.
        cancel_on: When to cancel the pipelines that this very call started.
        log_tail: How many lines of each failed job's log to read; 0 for none.
        jobs: The names of the jobs to wait for; empty for the whole pipeline. A name means all jobs
            of a matrix, or of `parallel`, too.
        junit: A file for a JUnit report, which is written when the wait ends.
        realtime: Whether GitLab's push can cause polls, too.
    """

    timeout: float | None = None
    appear_timeout: float = DEFAULT_APPEAR_TIMEOUT
    interval: float | None = None
    on_manual: OnManual = "fail"
    on_failed: OnFailed = "pass"
    on_skipped: OnSkipped = "fail"
    settle: float = 0.0
    cancel_on: frozenset[CancelOn] = frozenset()
    log_tail: int = DEFAULT_LOG_TAIL
    jobs: tuple[str, ...] = ()
    junit: Path | None = None
    realtime: bool = True

    @property
    def all_downstream(self) -> bool:
        """Whether to read the jobs of downstream pipelines that succeeded, too."""
        return self.junit is not None

    def limit(self, now: datetime) -> float:
        """Return the time limit of a wait that begins now, in seconds.

        Args:
            now: The time by the server's clock.
        """
        return default_timeout(os.environ, now) if self.timeout is None else self.timeout

    def check(self, token: TokenKind | None) -> None:
        """Makes sure, before anything is sent, that the token can do what this asks for.

        Raises:
            AuthError: It is a job token, which GitLab does not take for it.
        """
        if token is not TokenKind.JOB:
            return
        if self.on_manual == "play":
            raise AuthError(
                "A CI job token cannot start manual jobs.",
                why="GitLab ignores job tokens there.",
                hint="Give an access token (COMMANDS_API_TOKEN), or leave out --on-manual play.",
            )
        if self.cancel_on:
            raise AuthError(
                "A CI job token cannot cancel pipelines.",
                why="GitLab ignores job tokens there.",
                hint="Give an access token (COMMANDS_API_TOKEN), or leave out --cancel-on.",
            )


def policy_of(wait: bool | WaitPolicy) -> WaitPolicy | None:
    """What a function's `wait` means.

    Args:
        wait: True for the default policy, False for no wait, or a policy.
    """
    return WaitPolicy() if wait is True else wait or None


def default_timeout(environment: Mapping[str, str], now: datetime) -> float:
    """Return how long to wait by default: in a job what is left of it less a minute, else an hour.

    Args:
        environment: The variables; `CI_JOB_STARTED_AT` and `CI_JOB_TIMEOUT` count.
        now: The time by the server's clock, aware.

    Returns:
        Seconds, at least one.
    """
    try:
        started = datetime.fromisoformat(environment["CI_JOB_STARTED_AT"])
        limit = timedelta(seconds=int(environment["CI_JOB_TIMEOUT"]))
        left = started - now + limit - JOB_RESERVE
    except (KeyError, ValueError, TypeError, OverflowError):  # TypeError: a time without a zone
        return DEFAULT_TIMEOUT
    return max(left.total_seconds(), SHORTEST_TIMEOUT)
