"""A bump in the working directory."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.errors import ConflictError, RefusedError
from cmd_bump_image_tag.targets import LostRaceError, Snapshot, files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Directory:
    """A folder on this machine.

    Attributes:
        root: The folder.
        patterns: Which of its files.
    """

    root: Path
    patterns: Sequence[str]

    def read(self) -> Snapshot:
        """Reads the files that were chosen."""
        selection = files.find(self.root, self.patterns)
        contents = files.read(self.root, selection.paths)
        return Snapshot(contents, selection.named, dict.fromkeys(contents, ""))

    def reread(self, before: Snapshot, paths: Collection[str]) -> Snapshot:
        """Reads all of them again."""
        del before, paths
        return self.read()

    def write(self, before: Snapshot, after: Mapping[str, bytes], message: str) -> None:
        """Replaces the files, unless one of them has changed meanwhile."""
        del message
        with ExitStack() as held:
            # In one order, so that two runs never wait for each other.
            for folder in sorted({(self.root / path).resolve().parent for path in after}):
                held.enter_context(_locked(folder))
            try:
                files.replace(self.root, before.contents, after)
            except ConflictError as error:
                raise LostRaceError(error.message, why=error.why, hint=error.hint) from error

    def messages(self, path: str) -> Iterable[str]:
        """None: a folder has no history."""
        del path
        return ()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other runs of this command from replacing files in a folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise RefusedError(f"Cannot lock {folder}.", why=f"{error.strerror}.") from error
    try:
        yield
    finally:
        os.close(descriptor)
