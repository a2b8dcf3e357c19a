"""Where a bump is written: a working directory, GitLab's commits API, git."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cicd_common.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


class LostRaceError(ConflictError):
    """Another writer was faster: the files are no longer what was read."""


@dataclass(frozen=True)
class Snapshot:
    """Files as they were read.

    Attributes:
        contents: Their bytes by path.
        named: Those that were named outright.
        revisions: By path, the commit in which the file has just these bytes. A file without one
            was read from a copy, which `.gitattributes` may have made another.
    """

    contents: Mapping[str, bytes]
    named: frozenset[str]
    revisions: Mapping[str, str]


class Target(Protocol):
    """Where files are read and written."""

    def read(self) -> Snapshot:
        """Reads the files that were chosen.

        Raises:
            CommandError: They are not there, or cannot be read.
        """

    def reread(self, before: Snapshot, paths: Collection[str]) -> Snapshot:
        """Reads some files again as they are now, to the byte.

        Args:
            before: What was read before.
            paths: The files to read at least.

        Raises:
            CommandError: They cannot be read.
        """

    def write(self, before: Snapshot, after: Mapping[str, bytes], message: str) -> str | None:
        """Writes files in one step, if they are still as they were read.

        Args:
            before: What was read.
            after: The new bytes by path; a subset of what was read.
            message: The commit's message.

        Returns:
            The commit; None where there is none.

        Raises:
            LostRaceError: They are not; nothing was written.
            CommandError: They could not be written.
        """

    def messages(self, path: str) -> Iterable[str]:
        """The messages of the last commits that touched a file, the newest first."""
