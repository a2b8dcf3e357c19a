"""Links within a repository that is not on disk."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from cicd_common.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_LINKS = 40  # as many as Linux follows: path_resolution(7)


def follow(pattern: str, links: Mapping[str, str]) -> str:
    """Returns what a pattern leads to, if it is or goes through a link.

    Args:
        pattern: A file, a folder or a glob.
        links: Where the repository's links lead, by path.

    Raises:
        RefusedError: It leads out of the repository, or in circles.
    """
    path = posixpath.normpath(pattern)
    for _ in range(_MOST_LINKS):
        parts = path.split("/")
        ways = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        link = next((way for way in ways if way in links), None)
        if link is None:
            return path
        target = posixpath.join(posixpath.dirname(link), links[link])
        path = posixpath.normpath(target + path[len(link) :])
        if path.startswith(("/", "../")) or path == "..":
            raise RefusedError(f"{pattern} leads out of the repository")
    raise RefusedError(f"{pattern} leads in circles")
