"""The targets of a bump: a working directory, GitLab's commits API and git."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cicd_common.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


class LostRaceError(ConflictError):
    """Another writer was faster: the files have changed since they were read."""


@dataclass(frozen=True)
class Snapshot:
    """Files as they were read.

    Attributes:
        contents: The files' bytes, by path.
        named: The files that patterns name literally.
        revisions: By path, the commit in which the file has exactly these bytes. A file without one
            was read from an archive, where `.gitattributes` can have changed it.
        unreadable: The folders whose files could not be listed, each with the reason.
    """

    contents: Mapping[str, bytes]
    named: frozenset[str]
    revisions: Mapping[str, str]
    unreadable: Mapping[str, str] = field(default_factory=dict)


class Target(Protocol):
    """A place where files are read and written."""

    def read(self) -> Snapshot:
        """Reads the selected files.

        Raises:
            CommandError: They do not exist, or cannot be read.
        """

    def reread(self, before: Snapshot, paths: Collection[str]) -> Snapshot:
        """Reads files again, exactly as they are now.

        Args:
            before: The files as they were read before.
            paths: The files to read at least.

        Raises:
            CommandError: They cannot be read.
        """

    def write(self, before: Snapshot, after: Mapping[str, bytes], message: str) -> str | None:
        """Writes files in one step, if they have not changed since they were read.

        Args:
            before: The files as they were read.
            after: The new bytes by path; a subset of the files that were read.
            message: The commit's message.

        Returns:
            The commit; None if the target has no commits.

        Raises:
            LostRaceError: They have changed; nothing was written.
            CommandError: They could not be written.
        """

    def messages(self, path: str) -> Iterable[str]:
        """Returns the messages of the last commits that changed a file, the newest first."""
