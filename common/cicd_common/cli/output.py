"""stdout and the dotenv file: results in text, as JSON, and as `KEY=value` lines."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from cicd_common.cli import console
from cicd_common.errors import CommandError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Format = Literal["text", "json"]


class Result(Protocol):
    """What a command reached: a frozen dataclass whose fields are its JSON."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def text(self) -> str:
        """One short line for a person."""

    def dotenv(self) -> dict[str, str]:
        """The variables that later jobs get."""


@dataclasses.dataclass(frozen=True)
class Output:
    """Where results go.

    Attributes:
        format: What stdout holds.
        dotenv: A file for `artifacts:reports:dotenv`, if wanted.
    """

    format: Format = "text"
    dotenv: Path | None = None

    def check(self) -> None:
        """Makes sure, before anything is sent, that the result can be written.

        Raises:
            UsageError: It cannot.
        """
        if self.dotenv is not None:
            check_writable(self.dotenv, "--dotenv")

    def finish(self, outcomes: Sequence[Result | CommandError], *, several: bool = False) -> int:
        """Writes results and errors.

        Args:
            outcomes: In the order in which they were asked for.
            several: Whether several things were asked for, so that JSON is a list.

        Returns:
            The exit code: that of the first outcome that is not 0.
        """
        errors = [outcome for outcome in outcomes if isinstance(outcome, CommandError)]
        results: list[Any] = []
        for outcome in outcomes:
            results += outcome.results if isinstance(outcome, CommandError) else (outcome,)
        if self.dotenv and results:
            self.dotenv.write_text("".join(_dotenv_lines(results)), encoding="utf-8")
        if self.format == "json":
            _print(json.dumps(_document(results, errors, several=several), indent=2))
        else:
            for result in results:
                _print(result.text())
        for error in errors:
            show_error(error)
        return errors[0].exit_code if errors else 0


def check_writable(path: Path, option: str) -> None:
    """Makes sure, before anything is sent, that a file can be written in the end.

    Args:
        path: The file.
        option: The option that names it.

    Raises:
        UsageError: It cannot.
    """
    place = path if path.exists() else path.parent
    if path.is_dir() or not os.access(place, os.W_OK):
        raise UsageError(
            f"{option} {path} cannot be written.",
            why="It is a folder, or its folder does not exist or is not writable here.",
            hint="In a container, mount a folder that the image's user may write to.",
        )


def _document(results: list[Any], errors: list[CommandError], *, several: bool) -> object:
    plain = [dataclasses.asdict(result) for result in results]
    if errors:
        return {"error": error_document(errors[0]), "results": plain}
    return plain if several else plain[0]


def error_document(error: CommandError) -> dict[str, object]:
    """An error as JSON holds it."""
    return {
        "code": error.exit_code,
        "kind": error.kind,
        "message": error.message,
        "why": error.why or error.meaning,
        "hint": error.hint or error.remedy,
    }


def show_error(error: CommandError) -> None:
    """Says on stderr what happened, why, and what to do: a line each."""
    console.say(f"{console.styled('error:', 'red')} {error.message}")
    console.say(f"  why: {error.why or error.meaning}")
    console.say(f"   do: {error.hint or error.remedy}")


def _dotenv_lines(results: list[Any]) -> list[str]:
    """The variables; from the second result on with `_2`, `_3` at the end of their names."""
    return [
        f"{key}{'' if number == 1 else f'_{number}'}={value}\n"
        for number, result in enumerate(results, start=1)
        for key, value in result.dotenv().items()
    ]


def _print(line: str) -> None:
    print(console.redacted(line).encode("utf-8", "backslashreplace").decode(), flush=True)  # noqa: T201 - here is where stdout is written
