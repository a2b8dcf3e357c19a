"""The questions to the checks, and their findings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from cicd_common.registry.logins import checked_host

if TYPE_CHECKING:
    from cicd_common.errors import CommandError


class Verdict(StrEnum):
    """What a check found, in one word; the value in the JSON output."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


class Outcome(NamedTuple):
    """What a check found.

    Attributes:
        verdict: The result in one word.
        message: What was found.
        why: Why, if that is known.
        hint: What to do; empty if there is nothing to do.
        exit_code: If the check failed: the code that a command would end with; else 0.
        blocked_by: The failed check because of which this one was not made; usually empty.
    """

    verdict: Verdict
    message: str
    why: str = ""
    hint: str = ""
    exit_code: int = 0
    blocked_by: str = ""


def passed(message: str) -> Outcome:
    """Returns the outcome of a correct set-up."""
    return Outcome(Verdict.PASSED, message)


def warning(message: str, hint: str, why: str = "") -> Outcome:
    """Returns the outcome of a problem for some commands, or of one to come."""
    return Outcome(Verdict.WARNING, message, why, hint)


def not_applicable(message: str) -> Outcome:
    """Returns the outcome of a check that has nothing to check, or no answer from GitLab."""
    return Outcome(Verdict.NOT_APPLICABLE, message)


def blocked(by: str) -> Outcome:
    """Returns the outcome of a check that was not made because another one failed."""
    return Outcome(Verdict.NOT_APPLICABLE, f"Not checked: {by} failed.", blocked_by=by)


def failed(error: CommandError) -> Outcome:
    """Returns the outcome of a check that found an error; a command would end with it."""
    return Outcome(
        Verdict.FAILED, error.message, error.why, error.hint or error.remedy, error.exit_code
    )


@dataclass(frozen=True)
class Questions:
    """What to check, apart from the server and the token.

    Attributes:
        projects: The projects that the commands work on.
        tag_name: A tag to create.
        ref: A branch to push to, or to start a pipeline for.
        source_project: The project whose job tokens need access.
        registry: `host[:port]` of a container registry.
        insecure_registry: Registries that are contacted over plain HTTP, as `host[:port]`.

    Raises:
        UsageError: A registry is not named so.
    """

    projects: tuple[str, ...] = ()
    tag_name: str | None = None
    ref: str | None = None
    source_project: str | None = None
    registry: str | None = None
    insecure_registry: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks the registries."""
        if self.registry is not None:
            checked_host(self.registry)
        for name in self.insecure_registry:
            checked_host(name)

    @property
    def is_change(self) -> bool:
        """Returns True if the user asked whether a change works, and not only a wait."""
        return self.tag_name is not None or self.ref is not None


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: The check's name.
        project: The project that it is about; None if it is not about a project.
        verdict: This field and those below are those of `Outcome`.
        message: What was found.
        why: Why, if that is known.
        hint: What to do.
        exit_code: The exit code that a command would end with.
        blocked_by: The check that failed before.
    """

    check: str
    project: str | None
    verdict: Verdict
    message: str
    why: str = ""
    hint: str = ""
    exit_code: int = 0
    blocked_by: str = ""

    def text(self) -> str:
        """Returns the finding on one line."""
        return f"{self.check}: {self.verdict}: {self.message}"

    def dotenv(self) -> dict[str, str]:
        """Returns no variables: later jobs need none from the doctor."""
        return {}
