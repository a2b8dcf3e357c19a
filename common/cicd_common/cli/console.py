"""stdout and stderr: what is written there holds no token and no control character."""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import TYPE_CHECKING

import click

from cicd_common import cleaning

if TYPE_CHECKING:
    from typing import TextIO

# One more -v each; -q is one less.
LEVELS = {-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}
TRACE = 5  # -vv: tracebacks too

# What `styled` writes: the one thing with control characters that may reach a terminal.
_STYLE = re.compile(r"(\x1b\[(?:0|1|3[0-7])m)")


def set_verbosity(steps: int) -> None:
    """Sets what is said on stderr.

    Args:
        steps: -1 for warnings and errors alone, 0 as usual, 1 for requests, 2 for tracebacks.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("cicd_common")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(LEVELS.get(max(steps, -1), TRACE))


def shows_tracebacks() -> bool:
    """Whether -vv was given."""
    return logging.getLogger("cicd_common").isEnabledFor(TRACE)


def colored(stream: object) -> bool:
    """Whether to colour: on a terminal, unless NO_COLOR or FORCE_COLOR says otherwise.

    The two variables count when they are set and not empty: https://no-color.org,
    https://force-color.org.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(getattr(stream, "isatty", bool)())


def styled(text: str, color: str, stream: TextIO | None = None) -> str:
    """The text for a stream, by default stderr, coloured where that is wanted."""
    return click.style(text, fg=color, bold=True) if colored(stream or sys.stderr) else text


def say(text: str) -> None:
    """Writes a line, or several, to stderr."""
    write(sys.stderr, text)


def write(stream: TextIO, text: str) -> None:
    """Writes a line to stdout or stderr: clean, and in the characters that the stream can hold.

    Args:
        stream: Where to.
        text: The line; the styles of `styled` are kept.
    """
    parts = _STYLE.split(text)
    # Every second part is a style.
    parts[::2] = map(cleaning.lines, parts[::2])
    encoding = stream.encoding or "utf-8"
    # A message must not fail over an ASCII terminal, or over an argument that is not UTF-8.
    line = "".join(parts).encode(encoding, "backslashreplace").decode(encoding)
    print(line, file=stream, flush=True)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = cleaning.lines(record.getMessage())
        return (
            styled("warning:", "yellow") + f" {text}" if record.levelno >= logging.WARNING else text
        )
