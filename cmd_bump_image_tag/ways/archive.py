"""The files of a repository out of the one archive that GitLab makes of it."""

from __future__ import annotations

import io
import tarfile
import zlib

from cicd_common.errors import UnavailableError


def read_archive(data: bytes) -> tuple[dict[str, bytes], dict[str, str]]:
    """Reads a tar.gz as `git archive` makes it.

    Args:
        data: The archive; all that it holds is below one folder.

    Returns:
        The regular files' bytes, and where the links lead, both by path below that folder.

    Raises:
        UnavailableError: It is no such archive.
    """
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r|gz") as archive:
            for member in archive:
                path = member.name.partition("/")[2]
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    files[path] = content.read()
                elif member.issym():
                    links[path] = member.linkname
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise UnavailableError(
            "The archive that GitLab sent cannot be read.",
            why=f"It broke off, or is none: {error}",
            transient=False,
        ) from error
    return files, links
