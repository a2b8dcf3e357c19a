"""Writes to stdout and stderr, without tokens and control characters."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import click

from cicd_common import cleaning

if TYPE_CHECKING:
    from typing import TextIO

# The colours of `styled`: the only control characters that are allowed in the output.
_STYLE = re.compile(r"(\x1b\[(?:0|1|3[0-7])m)")


def colored(stream: object) -> bool:
    """Returns whether to use colours: on a terminal, unless NO_COLOR or FORCE_COLOR decides.

    The two variables count when they are set and not empty: https://no-color.org,
    https://force-color.org.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(getattr(stream, "isatty", bool)())


def styled(text: str, color: str, stream: TextIO | None = None) -> str:
    """Returns the text in colour if the stream, by default stderr, shows colours."""
    return click.style(text, fg=color, bold=True) if colored(stream or sys.stderr) else text


def say(text: str) -> None:
    """Writes one or more lines to stderr."""
    write(sys.stderr, text)


def write(stream: TextIO, text: str) -> None:
    """Writes a line to stdout or stderr, cleaned and in characters that the stream supports.

    Args:
        stream: The stream to write to.
        text: The line; the colours of `styled` are kept.
    """
    parts = _STYLE.split(text)
    # Every second part is a colour code.
    parts[::2] = map(cleaning.lines, parts[::2])
    encoding = stream.encoding or "utf-8"
    # A message must not fail because of an ASCII terminal, or an argument that is not UTF-8.
    line = "".join(parts).encode(encoding, "backslashreplace").decode(encoding)
    print(line, file=stream, flush=True)
