"""Many variables from one file: `.env` lines, a JSON object or a YAML mapping.

Values are taken as they are written: `1.10` stays `1.10`, also where YAML or JSON would read a
number. No error shows a value.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from cicd_common.errors import UsageError
from cmd_trigger_pipeline.variables import Variable, read_option_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

OPTION = "--variables-from"


def collect_variables(
    files: Iterable[Path], file_variables: Iterable[Variable], variables: Iterable[Variable]
) -> tuple[Variable, ...]:
    """Merges variables; if several have the same key, the last one in this order is used.

    Args:
        files: Files of many variables.
        file_variables: Variables of type file.
        variables: The other variables.

    Raises:
        UsageError: A file cannot be read.
    """
    found = [variable for path in files for variable in read_variables(path)]
    return tuple(
        {variable.key: variable for variable in [*found, *file_variables, *variables]}.values()
    )


def read_variables(path: Path) -> list[Variable]:
    """Reads a file of variables; its extension or its first character tells the format.

    Args:
        path: `*.json`, `*.yaml` or `*.yml`; anything else is JSON if it starts with `{`, and lines
            of `KEY=value` if not.

    Raises:
        UsageError: The file cannot be read, or a value in it is not a text, number or boolean.
    """
    text = read_option_file(path, OPTION).removeprefix("\ufeff")
    pairs = _reader(path, text)(path, text)
    return [Variable(key, value) for key, value in pairs]


def _reader(path: Path, text: str) -> Callable[[Path, str], Iterator[tuple[str, str]]]:
    match path.suffix.lower():
        case ".json":
            return _read_json
        case ".yaml" | ".yml":
            return _read_yaml
        case _:
            return _read_json if text.lstrip().startswith("{") else _read_env


def _read_env(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """Reads lines as python-dotenv does, with quotes that span several lines.

    Nothing in them is expanded. Lines that the library only warns of, or ignores, are errors here.
    """
    from dotenv.parser import parse_stream  # noqa: PLC0415 - slow to import, and few need it

    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key and binding.value is None):
            skipped = binding.original.string
            blank = skipped[: len(skipped) - len(skipped.lstrip())].count("\n")
            line = binding.original.line + blank
            raise _unreadable(
                path,
                f"line {line} is not KEY=value, or its quotes do not close, or text follows them",
            )
        if binding.key and binding.value is not None:
            yield binding.key, binding.value


def _read_json(path: Path, text: str) -> Iterator[tuple[str, str]]:
    try:
        content = json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        raise _unreadable(path, f"it is not JSON: {error.msg} at line {error.lineno}") from None
    except RecursionError:
        raise _unreadable(path, "it is nested too deeply") from None
    yield from _texts(path, content)


def _read_yaml(path: Path, text: str) -> Iterator[tuple[str, str]]:
    import yaml  # noqa: PLC0415 - slow to import, and few need it

    try:
        # This loader returns all scalars as texts, and creates no objects.
        content = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - as safe as SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise _unreadable(path, f"it is not YAML: {error.problem}{line}") from None
    except (yaml.YAMLError, RecursionError):
        raise _unreadable(path, "it is not YAML, or it is nested too deeply") from None
    yield from _texts(path, content)


def _texts(path: Path, content: object) -> Iterator[tuple[str, str]]:
    if not isinstance(content, dict):
        raise _unreadable(path, "it does not map keys to values")
    for key, value in content.items():
        if isinstance(value, bool):
            yield str(key), str(value).lower()
        elif isinstance(value, str):
            yield str(key), value
        else:
            raise _unreadable(path, f"the value of {key!r} is not a text, a number or a boolean")


def _unreadable(path: Path, problem: str) -> UsageError:
    return UsageError(
        f"{OPTION}: {path} cannot be used: {problem}.",
        hint="The file must have KEY=value lines, a JSON object or a YAML mapping of plain values.",
    )
