"""The one tree of errors that a command can end with, and the exit code of each.

The codes are a promise to pipelines; the README's table of them is generated from here.
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
    """What GitLab answered, as far as an error needs it.

    Attributes:
        status: The HTTP status.
        text: GitLab's own words, on one line; may be empty.
        retry_after: Seconds that GitLab asks to wait, where it does.
        server_error: GitLab's machine-readable `error` code, such as `insufficient_scope`.
        is_garbled: Whether it says that it is JSON, and is not.
        headers: The answer's headers; their names without regard to case.
    """

    status: int
    text: str
    retry_after: float | None = None
    server_error: str = ""
    is_garbled: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


class CommandError(Exception):
    """A reason to end with another exit code than 0.

    Args:
        message: What happened, in GitLab's own words where it said something.
        why: Why it happened, where that is known.
        hint: What to do about it.
        answer: The answer of GitLab that led here, if one did.
        results: What was reached all the same.
        retryable: Whether the same request can succeed a little later: the one answer to that
            question, for every loop that tries again.
    """

    exit_code: ClassVar[int]
    kind: ClassVar[str]
    meaning: ClassVar[str]
    remedy: ClassVar[str]  # where there is no better hint

    def __init__(
        self,
        message: str,
        *,
        why: str = "",
        hint: str = "",
        answer: Answer | None = None,
        results: Sequence[object] = (),
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.why = why
        self.hint = hint
        self.answer = answer
        self.results = tuple(results)
        self.retryable = retryable
        # A traceback shows notes (PEP 678), so that a Python caller sees them too.
        if why:
            self.add_note(f"why: {why}")
        self.add_note(f" do: {hint or self.remedy}")


class PipelineFailedError(CommandError):
    """The pipeline failed."""

    exit_code = 1
    kind = "failed"
    remedy = "Fix the failed jobs, then start the pipeline again."
    meaning = "The pipeline failed."


class UsageError(CommandError):
    """An option or its value is wrong; nothing was sent."""

    exit_code = 2
    kind = "usage"
    remedy = "See --help."
    meaning = "An option or its value is wrong. Nothing was sent."


class AuthError(CommandError):
    """No token, or one that cannot be used for this."""

    exit_code = 3
    kind = "auth"
    remedy = "Give an access token with the api scope: COMMANDS_API_TOKEN."
    meaning = "No token, or one that is wrong, expired, revoked, or lacks the scope."


class NotFoundError(CommandError):
    """What was named does not exist, or this token cannot see it."""

    exit_code = 4
    kind = "not-found"
    remedy = "Check the name, and that the token's user is a member of the project."
    meaning = (
        "No such project, ref, pipeline, file or image, or not visible to this token; "
        "or the pipeline never appeared."
    )


class ConflictError(CommandError):
    """Somebody else's change is in the way."""

    exit_code = 5
    kind = "conflict"
    remedy = "Look at what is there now, and run this again if it should change."
    meaning = "The tag is at another commit; the branch kept moving until the retries ran out."


class ForbiddenError(CommandError):
    """A rule of the project forbids it."""

    exit_code = 6
    kind = "forbidden"
    remedy = "Ask a Maintainer of the project to allow it."
    meaning = (
        "Protected tag or branch, role, allowlist, a setting or a hook that says no, "
        "even when it gives no reason."
    )


class TimeLimitError(CommandError):
    """A time limit ran out."""

    exit_code = 7
    kind = "timeout"
    remedy = "Try again later, or allow more time."
    meaning = "The time limit ran out, throttling (429) included."


class UnavailableError(CommandError):
    """GitLab gave no usable answer.

    Args:
        message: As for `CommandError`.
        sent: Whether the request can have reached GitLab, so that a write can have happened.
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
    """The pipeline was canceled."""

    exit_code = 9
    kind = "canceled"
    remedy = "Find out who canceled it, and start it again."
    meaning = "The pipeline was canceled."


class PipelineSkippedError(CommandError):
    """The pipeline was skipped."""

    exit_code = 10
    kind = "skipped"
    remedy = "Check the pipeline's rules and the commit's message."
    meaning = "The pipeline was skipped."


class PipelineManualError(CommandError):
    """The pipeline waits for a person."""

    exit_code = 11
    kind = "manual"
    remedy = "Start the manual job, or decide with --on-manual."
    meaning = "The pipeline waits for a person."


class RefusedError(CommandError):
    """GitLab, or the command itself, would not do it."""

    exit_code = 12
    kind = "refused"
    remedy = "Mend what the message names."
    meaning = (
        "GitLab would not create it (no jobs, invalid YAML), "
        "or the command itself refused an edit that is not safe."
    )


class Refusal(NamedTuple):
    """What one of the texts means by which GitLab, or git, refuses something.

    Attributes:
        pattern: What the text holds, as a regular expression.
        make: The error, or what makes it of a message, and of `why`, `hint` and `answer`.
        why: Why.
        hint: What to do.
    """

    pattern: str
    make: Callable[..., CommandError]
    why: str
    hint: str

    @classmethod
    def of(cls, text: str, rows: Iterable[Refusal]) -> Refusal | None:
        """The first row whose pattern a text holds; None if there is none."""
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
    """A signal asked the command to end. Not an `Exception`, so that no handler swallows it.

    Args:
        signum: The signal: `SIGINT` or `SIGTERM`.

    Attributes:
        signum: The signal.
        outcomes: What was reached before it, results and errors, in the order asked for.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.outcomes: Sequence[Any] = ()

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as a shell reports a process that a signal ended."""
        return 128 + self.signum
