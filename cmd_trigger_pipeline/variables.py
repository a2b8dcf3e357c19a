"""A pipeline's variables and inputs, read from options.

No error shows a value, or a text that can be one: it can be a secret.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cicd_common.errors import UsageError
from cicd_common.files import UnreadableError, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


# `Ci::HasVariable` in GitLab's source; a digit may come first.
_KEY = re.compile(r"[A-Za-z0-9_]{1,255}")


@dataclass(frozen=True)
class Variable:
    """A variable of a pipeline.

    Attributes:
        key: Its name.
        value: Its value, or the content of its file; never part of the representation.
        variable_type: GitLab's word for what a job gets: the value (`env_var`), or the path of a
            file that holds it (`file`).

    Raises:
        UsageError: GitLab would refuse the key.
    """

    key: str
    value: str = field(repr=False)
    variable_type: Literal["env_var", "file"] = "env_var"

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise UsageError(
                f"{self.key!r} cannot be a variable's key.",
                why="A key has letters, digits and '_', at most 255.",
            )


def parse_variable(text: str) -> Variable:
    """Reads `KEY=VALUE`; the value can contain `=` and can be empty.

    Raises:
        UsageError: The text does not have that form.
    """
    return Variable(*split_pair(text, "--variable", "KEY=VALUE"))


def parse_file_variable(text: str) -> Variable:
    """Reads `KEY=PATH`, and the file, which becomes a variable of type file.

    Raises:
        UsageError: The text does not have that form, or the file cannot be read.
    """
    key, path = split_pair(text, "--variable-file", "KEY=PATH")
    return Variable(key, read_option_file(Path(path), "--variable-file"), "file")


def split_pair(text: str, option: str, form: str) -> tuple[str, str]:
    """Splits an option's value at its first `=`.

    Args:
        text: The option's value.
        option: The option, for the message.
        form: The form that it takes, for the message.

    Raises:
        UsageError: There is no `=`, or nothing before it.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(
            f"{option} takes {form}.",
            why="The value has no '=', or no key before it.",
        )
    return key, value


def read_option_file(path: Path, option: str) -> str:
    """Reads a file of UTF-8 text that an option names.

    Raises:
        UsageError: It cannot be read, or is not text.
    """
    try:
        return read_text(path)
    except UnreadableError as error:
        raise UsageError(f"{option}: {path} cannot be read: {error}.") from error


def parse_inputs(texts: Iterable[str]) -> dict[str, Any]:
    """Reads inputs; if several have the same name, the last one is used.

    Args:
        texts: `KEY=VALUE` each. A value that is JSON has its type: `3`, `true`, `["a"]`, `"3"`;
            any other is a string. https://docs.gitlab.com/ci/inputs/

    Raises:
        UsageError: One of them does not have that form.
    """
    pairs = (split_pair(text, "--input", "KEY=VALUE") for text in texts)
    return {key: _typed(value) for key, value in pairs}


def _typed(text: str) -> Any:
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return text


def _finite(text: str) -> float:
    """Reads a number; refuses `NaN`, `Infinity` and numbers that are too large for a float."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
