"""Bringing two edits of one file together, line by line."""

from __future__ import annotations

from cicd_common.errors import ConflictError


def merge_lines(path: str, before: bytes, theirs: bytes, now: bytes) -> bytes:
    """Returns a file with an edit that was overwritten put back.

    Args:
        path: The file, for the message.
        before: What both edits began with.
        theirs: The edit that was overwritten.
        now: The file as it is; where it differs from `before`, it stays as it is.

    Raises:
        ConflictError: Lines were added or removed, so that nobody can tell which is which.
    """
    lines = [data.split(b"\n") for data in (before, theirs, now)]
    if len({len(each) for each in lines}) > 1:
        raise ConflictError(
            f"{path} was changed at the very moment of the commit, and that change is overwritten.",
            why="It adds or removes lines, so that it cannot be put back safely.",
            hint="Look at the commit before, and make its change once more.",
        )
    return b"\n".join(
        their if now_line == old else now_line for old, their, now_line in zip(*lines, strict=True)
    )
