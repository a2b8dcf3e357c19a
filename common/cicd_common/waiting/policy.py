"""Describes how to wait: limits, intervals, and what counts as a failure."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from cicd_common.errors import AuthError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cicd_common.gitlab.tokens import TokenKind

OnManual = Literal["fail", "wait", "pass", "play"]
OnSkipped = Literal["fail", "pass"]
OnFailed = Literal["fail", "pass"]
CancelOn = Literal["timeout", "signal"]

DEFAULT_TIMEOUT = 3600.0
DEFAULT_APPEAR_TIMEOUT = 60.0
DEFAULT_LOG_TAIL = 20
# Time that a job needs after the wait: to report how it ended and to upload artifacts.
JOB_RESERVE = timedelta(minutes=1)
SHORTEST_TIMEOUT = 1.0


@dataclass(frozen=True)
class WaitPolicy:
    """Describes how to wait; the same policy applies to every pipeline.

    Attributes:
        timeout: Seconds until the wait ends, even if pipelines are still running; None for the time
            left in the job, by the server's clock, less a minute; outside a job 3600.
        appear_timeout: Seconds to wait for a pipeline to appear.
        interval: Seconds between polls; None for an interval that adapts to age and history.
        on_manual: What to do if a pipeline is blocked by a manual job: fail, keep waiting, succeed,
            or start its blocking jobs, each once. Downstream pipelines that it depends on count
            too.
        on_failed: Whether a lock (`AllRunning`) fails if a pipeline that it waits for fails.
        on_skipped: What to do if a pipeline was skipped.
        settle: Seconds for which a failure, or a cancel, must last before it counts.
        cancel_on: When to cancel the pipelines that this command started.
        log_tail: How many lines of each failed job's log to read; 0 for none.
        jobs: The names of the jobs to wait for; empty for the whole pipeline. A name also means
            all jobs of a matrix or of `parallel`.
        artifacts: The folder for the artifacts of each job, by the job's name; they are unpacked
            after success.
        dotenv_from: The path of a dotenv file in the artifacts of each job, by the job's name; its
            variables are those of the result, and in its dotenv file.
        junit: A file for a JUnit report, which is written when the wait ends.
        realtime: Whether GitLab's push messages can cause polls.
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
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    dotenv_from: Mapping[str, str] = field(default_factory=dict)
    junit: Path | None = None
    realtime: bool = True

    @property
    def all_downstream(self) -> bool:
        """Returns whether to read the jobs of successful downstream pipelines too."""
        return self.junit is not None

    def limit(self, now: datetime) -> float:
        """Returns the time limit of a wait that begins now, in seconds.

        Args:
            now: The time by the server's clock.
        """
        return default_timeout(os.environ, now) if self.timeout is None else self.timeout

    def check(self, token: TokenKind | None) -> None:
        """Makes sure, before anything is sent, that the token can do what this asks for.

        Raises:
            AuthError: It is a job token, which GitLab does not accept for this.
            UsageError: A dotenv file is not one within the artifacts.
        """
        for file in self.dotenv_from.values():
            if not is_within_artifacts(file):
                raise UsageError(
                    f"{file!r} is not a path within the artifacts.",
                    hint="Name the file of dotenv_from as its path is in the archive.",
                )
        from cicd_common.gitlab.tokens import TokenKind  # noqa: PLC0415 - --help does not need it

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


def is_within_artifacts(file: str) -> bool:
    """Returns whether a text is the path of a file within an archive of artifacts."""
    from pathlib import PurePosixPath  # noqa: PLC0415 - slow to import; --help does not need it

    path = PurePosixPath(file)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def policy_of(wait: bool | WaitPolicy) -> WaitPolicy | None:
    """Returns the policy that the `wait` argument of a function means; None for no wait.

    Args:
        wait: True for the default policy, False for no wait, or a policy.
    """
    return WaitPolicy() if wait is True else wait or None


def default_timeout(environment: Mapping[str, str], now: datetime) -> float:
    """Returns the default timeout: the job's remaining time less a minute; outside a job an hour.

    Args:
        environment: The environment variables; `CI_JOB_STARTED_AT` and `CI_JOB_TIMEOUT` are used.
        now: The time by the server's clock, with its time zone.

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
