"""What a check is asked, and what it may answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cicd_common.errors import CommandError


class Verdict(StrEnum):
    """What a check came to; its value stands in the JSON."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


MARKS = {
    Verdict.PASSED: "ok",
    Verdict.WARNING: "warn",
    Verdict.FAILED: "FAIL",
    Verdict.NOT_APPLICABLE: "-",
}


class Opinion(NamedTuple):
    """What a check came to.

    Attributes:
        verdict: In a word.
        message: What was found.
        why: Of a failure: why.
        hint: What to do about it; empty where nothing is to be done.
        exit_code: Of a failure: what a command would end with; else 0.
    """

    verdict: Verdict
    message: str
    why: str = ""
    hint: str = ""
    exit_code: int = 0


def passed(message: str) -> Opinion:
    """All is well."""
    return Opinion(Verdict.PASSED, message)


def warning(message: str, hint: str) -> Opinion:
    """It may become a problem, or is one for some commands."""
    return Opinion(Verdict.WARNING, message, hint=hint)


def not_applicable(message: str) -> Opinion:
    """There is nothing to check, or GitLab does not tell."""
    return Opinion(Verdict.NOT_APPLICABLE, message)


def failed(error: CommandError) -> Opinion:
    """A command would end with this error."""
    return Opinion(
        Verdict.FAILED,
        error.message,
        error.why or error.meaning,
        error.hint or error.remedy,
        error.exit_code,
    )


@dataclass(frozen=True)
class Questions:
    """What a person wants to know beside the connection.

    Attributes:
        projects: The projects that the commands are to work on.
        tag_name: A tag that is to be created.
        ref: A branch that is to be pushed to, or whose pipeline is to be started.
        source_project: The project whose job tokens are to come in.
        registry: `host[:port]` of a container registry.
    """

    projects: tuple[str, ...] = ()
    tag_name: str | None = None
    ref: str | None = None
    source_project: str | None = None
    registry: str | None = None


@dataclass(frozen=True)
class Finding:
    """What one check came to.

    Attributes:
        check: The check's name.
        project: The project it is about, if it is about one.
        verdict: As in `Opinion`, as the fields below.
        message: What was found.
        why: Why it failed.
        hint: What to do about it.
        exit_code: What a command would end with.
    """

    check: str
    project: str | None
    verdict: Verdict
    message: str
    why: str = ""
    hint: str = ""
    exit_code: int = 0

    def text(self) -> str:
        """One line for a person."""
        where = f"{self.project}: " if self.project else ""
        remedy = f" {self.hint}" if self.hint else ""
        return f"{MARKS[self.verdict]:<4}  {self.check:<18}  {where}{self.message}{remedy}"

    def dotenv(self) -> dict[str, str]:
        """Later jobs get nothing of it."""
        return {}
