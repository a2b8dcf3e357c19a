"""Bumps in the working directory."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.errors import ConflictError, TimeLimitError
from cicd_common.gitlab import retry
from cmd_bump_image_tag.targets import LostRaceError, Snapshot, files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Directory:
    """A folder on this machine.

    Attributes:
        root: The folder.
        patterns: The patterns that select its files.
        retry_for: Seconds to wait for another process that has locked a folder.
    """

    root: Path
    patterns: Sequence[str]
    retry_for: float

    def read(self) -> Snapshot:
        """Reads the selected files."""
        selection = files.find(self.root, self.patterns)
        contents = files.read(self.root, selection.paths)
        revisions = dict.fromkeys(contents, "")
        return Snapshot(contents, selection.named, revisions, selection.unreadable)

    def reread(self, before: Snapshot, paths: Collection[str]) -> Snapshot:
        """Reads all selected files again."""
        del before, paths
        return self.read()

    def write(self, before: Snapshot, after: Mapping[str, bytes], message: str) -> None:
        """Replaces the files, unless one of them has changed since it was read."""
        del message
        with ExitStack() as held:
            # Always in the same order, so that two runs never wait for each other.
            for folder in sorted({(self.root / path).resolve().parent for path in after}):
                held.enter_context(_locked(folder, self.retry_for))
            try:
                files.replace(self.root, before.contents, after)
            except ConflictError as error:
                raise LostRaceError(error.message, why=error.why, hint=error.hint) from error

    def messages(self, path: str) -> Iterable[str]:
        """Returns no messages: a folder has no history."""
        del path
        return ()


_POLL = 0.02  # seconds; another run holds the lock for a few milliseconds


@contextmanager
def _locked(folder: Path, patience: float) -> Iterator[None]:
    """Prevents other runs of this command from replacing files in a folder.

    Raises:
        TimeLimitError: Another process keeps it locked beyond the time limit.
        RefusedError: It cannot be locked.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise files.refused(f"Cannot lock {folder}.", error) from error
    try:
        end = retry.CLOCK.now() + patience
        while not _lock(descriptor, folder):
            if retry.CLOCK.now() >= end:
                raise TimeLimitError(
                    f"{folder} is locked by another process.",
                    why="Another bump is running there, or hangs.",
                    hint="End it (fuser shows it), or allow more with --retry-for.",
                )
            retry.CLOCK.sleep(_POLL)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> bool:
    """Locks a folder; returns False if another process has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise files.refused(f"Cannot lock {folder}.", error) from error
    return True
