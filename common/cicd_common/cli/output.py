"""Writes results to stdout as text or JSON, and to the dotenv file as `KEY=value` lines."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from cicd_common import cleaning
from cicd_common.cli import console
from cicd_common.cli.verbosity import is_quiet
from cicd_common.errors import CommandError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cicd_common.errors import Interrupted

Format = Literal["text", "json"]

log = logging.getLogger(__name__)

# GitLab's default limits, `dotenv_variables` and `dotenv_size`:
# app/services/ci/parse_dotenv_artifact_service.rb and https://docs.gitlab.com/ci/yaml/artifacts_reports/
MOST_VARIABLES = 20
MOST_BYTES = 5119
PIPELINE_VARIABLES = 5
# GitLab expands these in a later job: lib/expand_variables.rb.
_EXPANDED = re.compile(r"\$\w|\$\{|%\w+%")
# The variables of the commands themselves, also of several results.
OWN_NAMES = re.compile(
    r"(PIPELINE_(IDS?|PROJECT|URL|STATUS|SHA)|TAG_(NAMES?|COMMIT_SHA|PROJECT|CREATED))(_\d+)?"
)
# Stands in `PIPELINE_IDS` for a project without a result.
NOT_REACHED = "-"
DECIMALS = 3  # of durations in seconds


class Result(Protocol):
    """Describes a result of a command: a frozen dataclass whose fields are the JSON output."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def text(self) -> str:
        """Returns one short line for the user."""

    def dotenv(self) -> dict[str, str]:
        """Returns the variables for later jobs, by name."""


Outcome = Result | CommandError


@dataclasses.dataclass(frozen=True)
class Output:
    """Writes the results of a command.

    Attributes:
        format: The format of stdout.
        dotenv: A file for `artifacts:reports:dotenv`, if wanted.
        dotenv_prefix: The prefix of its variable names.
        dry_run: Whether nothing is changed, so that no later job should use a result.
    """

    format: Format = "text"
    dotenv: Path | None = None
    dotenv_prefix: str = ""
    dry_run: bool = False

    def prepare(self) -> None:
        """Empties the dotenv file before anything is sent, so that it holds no old result.

        Raises:
            UsageError: The file cannot be written.
        """
        if re.fullmatch(r"\w*", self.dotenv_prefix, re.ASCII) is None:
            raise UsageError(
                f"--dotenv-prefix {self.dotenv_prefix!r} cannot begin a variable's name.",
                hint="Use only letters, digits and _.",
            )
        if self.dotenv is not None:
            check_writable(self.dotenv, "--dotenv")
            try:
                write_file(self.dotenv, b"")
            except OSError as error:
                raise UsageError(
                    f"--dotenv {self.dotenv} cannot be written: {error.strerror}."
                ) from error

    def expect(self, asked: int, variables: int) -> None:
        """Warns, before anything is sent, if the dotenv file will be too large for GitLab.

        Args:
            asked: How many things were asked for.
            variables: How many variables each of them has.
        """
        count = asked * variables + (1 if asked > 1 else 0)
        if self.dotenv is not None and count > MOST_VARIABLES:
            _warn_of_size(f"{count} variables")

    def finish(
        self,
        outcomes: Sequence[Outcome],
        *,
        asked: Sequence[str] = (),
        several: bool | None = None,
        interrupted: Interrupted | None = None,
    ) -> int:
        """Writes all results and errors; if one output fails, the others are still written.

        Args:
            outcomes: One result or error for each thing asked for, in that order.
            asked: The projects that were asked for, in that order.
            several: Whether the JSON is a list; default: whether several things were asked for.
            interrupted: The signal that ended the command, if one did.

        Returns:
            The exit code of the signal, or else of the first outcome whose code is not 0.
        """
        several = len(asked) > 1 if several is None else several
        errors = [outcome for outcome in outcomes if isinstance(outcome, CommandError)]
        placed = _placed(outcomes)
        lines = [cleaning.one_line(result.text()) for _, result in placed]
        if self.format == "json":
            document = _document(placed, outcomes, asked, several=several, signal=interrupted)
            lines = [json.dumps(document, indent=2)]
        try:
            print_lines(lines)
        finally:
            for error in errors:
                show_error(error)
            self._write_dotenv(placed, len(outcomes))
        if interrupted is not None:
            return interrupted.exit_code
        return errors[0].exit_code if errors else 0

    def _write_dotenv(self, placed: Sequence[tuple[int, Result]], count: int) -> None:
        if self.dotenv is None or self.dry_run:
            return
        variables = {
            f"{self.dotenv_prefix}{name}": cleaning.one_line(value).strip()
            for name, value in _variables(placed, count).items()
        }
        content = "".join(f"{name}={value}\n" for name, value in variables.items()).encode()
        try:
            write_file(self.dotenv, content)
        except OSError as error:
            log.warning("--dotenv %s was not written: %s.", self.dotenv, error.strerror)
        if len(variables) > MOST_VARIABLES:
            _warn_of_size(f"{len(variables)} variables")
        elif len(content) > MOST_BYTES:
            _warn_of_size(f"{len(content)} bytes")
        for name, value in variables.items():
            if _EXPANDED.search(value):
                log.warning("GitLab expands the $ or %% in the value of %s in later jobs.", name)


def pipeline_variables(
    pipeline_id: int, project: str, web_url: str, status: str, sha: str
) -> dict[str, str]:
    """Returns the `PIPELINE_VARIABLES` variables that describe a pipeline to later jobs."""
    return {
        "PIPELINE_ID": str(pipeline_id),
        "PIPELINE_PROJECT": project,
        "PIPELINE_URL": web_url,
        "PIPELINE_STATUS": status,
        "PIPELINE_SHA": sha,
    }


def check_writable(path: Path, option: str) -> None:
    """Checks, before anything is sent, that a file can be written later.

    Args:
        path: The file.
        option: The option that names it.

    Raises:
        UsageError: The file cannot be written.
    """
    place = path if path.exists() else path.parent
    if path.is_dir() or not os.access(place, os.W_OK):
        raise UsageError(
            f"{option} {path} cannot be written.",
            why="It is a folder, or its folder does not exist or is not writable here.",
            hint="In a container, mount a folder that the image's user can write to.",
        )


def write_file(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all, if its folder allows that.

    A device, a pipe, a link, and a single file that is mounted into a container cannot be
    replaced by another file; they are written in place.

    Args:
        path: The file.
        content: The new content.

    Raises:
        OSError: The file cannot be written.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(content)
        return
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError:  # the folder is not writable, but the file can be
        path.write_bytes(content)
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(beside).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        Path(beside).replace(path)
    except OSError:
        Path(beside).unlink(missing_ok=True)
        path.write_bytes(content)


def print_lines(lines: Sequence[str]) -> None:
    """Writes the result to stdout or, if that fails, to stderr, so that it is always reported."""
    try:
        for line in lines:
            console.write(sys.stdout, line)
    except BrokenPipeError:
        raise  # the reader has closed stdout
    except OSError as error:
        log.warning("stdout cannot be written: %s. The result:", error.strerror)
        for line in lines:
            console.say(line)
        # Python would fail again at the end of the process when it flushes its buffer for stdout.
        sys.stdout = io.StringIO()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _warn_of_size(size: str) -> None:
    log.warning(
        "--dotenv holds %s; GitLab takes %d variables and fewer than 5,120 bytes, unless its "
        "limits were raised. Use --output json, or name fewer projects.",
        size,
        MOST_VARIABLES,
    )


def _placed(outcomes: Sequence[Outcome]) -> list[tuple[int, Result]]:
    """Returns each result with its place in what was asked for, counted from 1."""
    placed: list[tuple[int, Result]] = []
    for place, outcome in enumerate(outcomes, start=1):
        reached: Sequence[Any] = (
            outcome.results if isinstance(outcome, CommandError) else (outcome,)
        )
        placed += [(place + later, result) for later, result in enumerate(reached)]
    return placed


def _variables(placed: Sequence[tuple[int, Result]], count: int) -> dict[str, str]:
    """Returns the variables by name; those of the second result end with `_2`, and so on."""
    variables: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    for place, result in placed:
        for name, value in result.dotenv().items():
            variables[name if place == 1 else f"{name}_{place}"] = value
            if name in _LISTS:
                lists.setdefault(_LISTS[name], [NOT_REACHED] * max(count, place))
                lists[_LISTS[name]][place - 1] = value
    if count > 1:
        variables |= {name: " ".join(values) for name, values in lists.items()}
    return variables


# With several results, one variable that holds all values, for jobs that need only these.
_LISTS: Mapping[str, str] = {"PIPELINE_ID": "PIPELINE_IDS", "TAG_NAME": "TAG_NAMES"}


def _document(
    placed: Sequence[tuple[int, Result]],
    outcomes: Sequence[Outcome],
    asked: Sequence[str],
    *,
    several: bool,
    signal: Interrupted | None,
) -> object:
    plain = [_plain(result) for _, result in placed]
    errors = [
        error_document(outcome) | _asked(asked, place)
        for place, outcome in enumerate(outcomes)
        if isinstance(outcome, CommandError)
    ]
    if signal is not None:
        errors.insert(0, _signal_document(signal))
    if errors:
        # `error` is the first of `errors`, for scripts that read only one.
        return {"error": errors[0], "errors": errors, "results": plain}
    return plain if several else plain[0] if plain else None


def _asked(asked: Sequence[str], place: int) -> dict[str, object]:
    return {"project": asked[place], "place": place + 1} if place < len(asked) else {}


def _plain(value: object) -> Any:
    """Returns a result as JSON values; seconds are rounded to milliseconds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case float():
            return round(value, DECIMALS)
        case _:
            return value


def error_document(error: CommandError) -> dict[str, object]:
    """Returns an error as a JSON object."""
    return {
        "code": error.exit_code,
        "kind": error.kind,
        "message": error.message,
        "why": error.why or error.meaning,
        "hint": error.hint or error.remedy,
    }


def _signal_document(signal: Interrupted) -> dict[str, object]:
    return {
        "code": signal.exit_code,
        "kind": "interrupted",
        "message": f"Ended by {signal}.",
        "why": "",
        "hint": "",
    }


def show_error(error: CommandError) -> None:
    """Writes to stderr what happened, why, and what to do, on a line each.

    A reason that only repeats the meaning of the exit code is left out. So is a pipeline's URL,
    unless -q was given: stderr showed it when the pipeline was found.
    """
    message = error.message
    if error.url and not is_quiet():
        message = f"{message.removesuffix(f': {error.url}')}."
    console.say(f"{console.styled('error:', 'red')} {cleaning.one_line(message)}")
    if error.why:
        console.say(f"  why: {cleaning.one_line(error.why)}")
    console.say(f"   do: {cleaning.one_line(error.hint or error.remedy)}")
