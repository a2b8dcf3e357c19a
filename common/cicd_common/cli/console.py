"""stderr: messages, requests and errors, for a person or a job log; tokens never appear in it."""

from __future__ import annotations

import logging
import os
import sys

import click

# One more -v each; -q is one less.
LEVELS = {-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}
TRACE = 5  # -vv: tracebacks too

# GitLab's tokens have 20 characters and more; replacing a shorter text would garble the output.
SHORTEST_SECRET = 8
_secrets: set[str] = set()


def hide(secret: str) -> None:
    """Keeps a secret out of everything that this process prints from now on."""
    if len(secret) >= SHORTEST_SECRET:
        _secrets.add(secret)


def redacted(text: str) -> str:
    """The text with every secret replaced: the last guard, behind never putting one there."""
    for secret in _secrets:
        text = text.replace(secret, "[hidden]")
    return text


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


def is_quiet() -> bool:
    """Whether -q was given."""
    return not logging.getLogger("cicd_common").isEnabledFor(logging.INFO)


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


def styled(text: str, color: str) -> str:
    """The text for stderr, coloured where that is wanted."""
    return click.style(text, fg=color, bold=True) if colored(sys.stderr) else text


def say(text: str) -> None:
    """Writes a line to stderr."""
    # Lone surrogates come from arguments that are no UTF-8; a message must not fail over them.
    print(redacted(text).encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)  # noqa: T201 - here is where stderr is written


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = redacted(record.getMessage())
        return (
            styled("warning:", "yellow") + f" {text}" if record.levelno >= logging.WARNING else text
        )
