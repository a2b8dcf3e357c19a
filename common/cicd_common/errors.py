"""Defines the errors that a command can end with, and the exit code of each.

Pipelines rely on the codes; the README's table of exit codes is generated from this module.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


__all__ = [
    "AuthError",
    "CommandError",
    "ConflictError",
    "ForbiddenError",
    "NotFoundError",
    "PipelineCanceledError",
    "PipelineFailedError",
    "PipelineManualError",
    "PipelineSkippedError",
    "RefusedError",
    "TimeLimitError",
    "UnavailableError",
    "UsageError",
]


@dataclass(frozen=True)
class Answer:
    """Holds the parts of a GitLab response that an error needs.

    Attributes:
        status: The HTTP status.
        text: GitLab's own message, on one line; it can be empty.
        retry_after: Seconds that GitLab asks to wait; None if it does not ask.
        server_error: GitLab's machine-readable `error` code, such as `insufficient_scope`.
        is_garbled: Whether the response claims to be JSON but is not.
        headers: The headers of the response; upper and lower case of their names are equal.
    """

    status: int
    text: str
    retry_after: float | None = None
    server_error: str = ""
    is_garbled: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


class CommandError(Exception):
    """Ends a command with an exit code other than 0.

    Args:
        message: What happened, in GitLab's own words if it sent a message.
        why: Why it happened, if that is known.
        hint: What to do about it.
        answer: The response of GitLab that caused it, if there is one.
        results: The results that were reached in spite of the error.
        retryable: Whether the same request can succeed a little later; every retry loop uses this
            attribute alone.
        url: The page of what the error is about; it becomes the end of the message.
    """

    exit_code: ClassVar[int]
    kind: ClassVar[str]
    meaning: ClassVar[str]
    remedy: ClassVar[str]  # the hint if an error has no better one

    def __init__(
        self,
        message: str,
        *,
        why: str = "",
        hint: str = "",
        answer: Answer | None = None,
        results: Sequence[object] = (),
        retryable: bool = False,
        url: str = "",
    ) -> None:
        message = f"{message}: {url}" if url else message
        super().__init__(message)
        self.message = message
        self.url = url
        self.why = why
        self.hint = hint
        self.answer = answer
        self.results = tuple(results)
        self.retryable = retryable
        # A traceback shows notes (PEP 678), so that Python callers see the reason too.
        if why:
            self.add_note(f"why: {why}")
        self.add_note(f" do: {hint or self.remedy}")


class PipelineFailedError(CommandError):
    """Reports that the pipeline failed."""

    exit_code = 1
    kind = "failed"
    remedy = "Fix the failed jobs, then start the pipeline again."
    meaning = "The pipeline failed."


class UsageError(CommandError):
    """Reports that an option or its value is wrong; nothing was sent."""

    exit_code = 2
    kind = "usage"
    remedy = "See --help."
    meaning = "An option or its value is wrong. Nothing was sent."


class AuthError(CommandError):
    """Reports that there is no token, or that the token cannot be used for this."""

    exit_code = 3
    kind = "auth"
    remedy = "Give an access token with the api scope: COMMANDS_API_TOKEN."
    meaning = "No token, or one that is wrong, expired, revoked, or lacks the scope."


class NotFoundError(CommandError):
    """Reports that something does not exist, or that the token cannot see it."""

    exit_code = 4
    kind = "not-found"
    remedy = "Check the name, and that the token's user is a member of the project."
    meaning = (
        "No such project, ref, pipeline, file or image, or not visible to this token; "
        "or the pipeline never appeared."
    )


class ConflictError(CommandError):
    """Reports a conflict with a change that someone else made."""

    exit_code = 5
    kind = "conflict"
    remedy = "Check the current state, and run this again if it should change."
    meaning = "The tag is at another commit; the branch kept moving until the retries ran out."


class ForbiddenError(CommandError):
    """Reports that a rule of the project forbids the request."""

    exit_code = 6
    kind = "forbidden"
    remedy = "Ask a Maintainer of the project to allow it."
    meaning = (
        "Protected tag or branch, role, allowlist, a setting or a hook that says no, "
        "even when it gives no reason."
    )


class TimeLimitError(CommandError):
    """Reports that a time limit was reached."""

    exit_code = 7
    kind = "timeout"
    remedy = "Try again later, or allow more time."
    meaning = "The time limit ran out, throttling (429) included."


class UnavailableError(CommandError):
    """Reports that GitLab gave no usable response.

    Args:
        message: As for `CommandError`.
        sent: Whether the request can have reached GitLab, so that a write may have happened.
        retryable: As for `CommandError`.
        why: As for `CommandError`.
        hint: As for `CommandError`.
        answer: As for `CommandError`.
        results: As for `CommandError`.
    """

    exit_code = 8
    kind = "unavailable"
    remedy = "Check --base-url and the server, then run this again."
    meaning = (
        "GitLab cannot be reached, keeps answering 5xx or nonsense (HTML, half a JSON, JSON of "
        "another shape), or the outcome of a write is unknown."
    )

    def __init__(
        self,
        message: str,
        *,
        sent: bool = True,
        retryable: bool = True,
        why: str = "",
        hint: str = "",
        answer: Answer | None = None,
        results: Sequence[object] = (),
    ) -> None:
        super().__init__(
            message, why=why, hint=hint, answer=answer, results=results, retryable=retryable
        )
        self.sent = sent


class PipelineCanceledError(CommandError):
    """Reports that the pipeline was canceled."""

    exit_code = 9
    kind = "canceled"
    remedy = "Find out who canceled it, and start it again."
    meaning = "The pipeline was canceled."


class PipelineSkippedError(CommandError):
    """Reports that the pipeline was skipped."""

    exit_code = 10
    kind = "skipped"
    remedy = "Check the pipeline's rules and the commit's message."
    meaning = "The pipeline was skipped."


class PipelineManualError(CommandError):
    """Reports that the pipeline waits for someone to start a manual job."""

    exit_code = 11
    kind = "manual"
    remedy = "Start the manual job, or decide with --on-manual."
    meaning = "The pipeline waits for a person."


class RefusedError(CommandError):
    """Reports that GitLab, or the command itself, refused the request."""

    exit_code = 12
    kind = "refused"
    remedy = "Fix what the message names."
    meaning = (
        "GitLab would not create it (no jobs, invalid YAML), "
        "or the command itself refused an edit that is not safe."
    )


class Refusal(NamedTuple):
    """Maps a message with which GitLab or git refuses something to an error.

    Attributes:
        pattern: A regular expression that the message matches.
        make: The error class, or a function that makes an error of a message, `why`, `hint` and
            `answer`.
        why: Why it was refused.
        hint: What to do.
    """

    pattern: str
    make: Callable[..., CommandError]
    why: str
    hint: str

    @classmethod
    def of(cls, text: str, rows: Iterable[Refusal]) -> Refusal | None:
        """Returns the first row whose pattern matches a text; None if there is none."""
        return next((row for row in rows if re.search(row.pattern, text)), None)


# In the order of their codes.
ALL_ERRORS: tuple[type[CommandError], ...] = (
    PipelineFailedError,
    UsageError,
    AuthError,
    NotFoundError,
    ConflictError,
    ForbiddenError,
    TimeLimitError,
    UnavailableError,
    PipelineCanceledError,
    PipelineSkippedError,
    PipelineManualError,
    RefusedError,
)


class Interrupted(BaseException):
    """Reports a signal that ends the command; not an `Exception`, so that no handler catches it.

    Args:
        signum: The signal: `SIGINT` or `SIGTERM`.

    Attributes:
        signum: The signal.
        outcomes: The results and errors before the signal, in the order asked for.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.outcomes: Sequence[Any] = ()

    @property
    def exit_code(self) -> int:
        """Returns 128 plus the signal's number, as shells do for a process that a signal ended."""
        return 128 + self.signum
