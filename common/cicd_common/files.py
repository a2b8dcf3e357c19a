"""Reads text files that the user names, and refuses files that could block or never end."""

from __future__ import annotations

import stat
import sys
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 10 * 2**20  # bytes; GitLab accepts no variable or release notes of that size


class UnreadableError(Exception):
    """Reports that a file cannot be read; the text is the reason."""


def read_text(path: Path) -> str:
    """Reads a UTF-8 text file.

    Args:
        path: A regular file, `-` for stdin, or a pipe that is open already, such as the shell's
            `<(command)`. A named pipe, which waits for a writer, and a device, which may have no
            end, are refused.

    Raises:
        UnreadableError: It cannot be read, is too large, or is not text.
    """
    try:
        if str(path) == "-":
            return _read(sys.stdin.buffer)
        mode = path.stat().st_mode
        is_open_pipe = stat.S_ISFIFO(mode) and path.is_relative_to("/dev")
        if not stat.S_ISREG(mode) and not is_open_pipe:
            kind = "it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file"
            raise UnreadableError(kind)
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise UnreadableError(error.strerror or type(error).__name__) from error
    except ValueError as error:  # a NUL in the path raises it too
        raise UnreadableError("it is not UTF-8 text") from error


def _read(file: BinaryIO) -> str:
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise UnreadableError(f"it is larger than {LARGEST // 2**20} MB")
    return data.decode("utf-8")
