"""Sets how much the commands write to stderr through `logging`, which is slow to import."""

from __future__ import annotations

import logging
import sys

import click

from cicd_common import cleaning
from cicd_common.cli.console import colored, styled

# Each -v adds 1; -q subtracts 1.
LEVELS = {-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}
TRACE = 5  # -vv also shows tracebacks


def set_verbosity(steps: int) -> None:
    """Sets how much is written to stderr.

    Args:
        steps: -1 for only warnings and errors, 0 for the default, 1 for requests, 2 for tracebacks.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("cicd_common")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(LEVELS.get(max(steps, -1), TRACE))


def is_quiet() -> bool:
    """Returns whether -q was given."""
    return not logging.getLogger("cicd_common").isEnabledFor(logging.INFO)


def shows_tracebacks() -> bool:
    """Returns whether -vv was given."""
    return logging.getLogger("cicd_common").isEnabledFor(TRACE)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = cleaning.lines(record.getMessage())
        if getattr(record, "is_diff", False):
            return "\n".join(map(_diff_line, text.split("\n")))
        return (
            styled("warning:", "yellow") + f" {text}" if record.levelno >= logging.WARNING else text
        )


def _diff_line(line: str) -> str:
    """Returns a line of a diff in the colours of git."""
    if line.startswith(("--- ", "+++ ")):
        return click.style(line, bold=True) if colored(sys.stderr) else line
    color = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return click.style(line, fg=color) if color and colored(sys.stderr) else line
