"""The files of a working directory: finding them, reading them, replacing them."""

from __future__ import annotations

import os
import posixpath
import re
import secrets
import stat
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from cicd_common.errors import ConflictError, NotFoundError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence


_YAML_SUFFIXES = (".yaml", ".yml", ".json")
# Read for what they mention, never edited: `.env`, `.env.prod`, `web.env`, `Dockerfile.dev`.
_TEXT = re.compile(
    r"(?:^|/)(?:[^/]*\.env|\.env\.[^/]*|(?:Dockerfile|Containerfile)(?:\.[^/]*)?"
    r"|[^/]*\.Dockerfile)$"
)


@dataclass(frozen=True)
class Selection:
    """The files that patterns choose.

    Attributes:
        paths: Their paths in the repository, sorted, with `/` between the parts.
        named: Those that were named outright.
    """

    paths: tuple[str, ...]
    named: frozenset[str]


def select(paths: Collection[str], patterns: Sequence[str]) -> Selection:
    """Chooses files by patterns; the same for a working directory and for a listing from GitLab.

    Args:
        paths: The repository's files.
        patterns: Files, folders, or globs, where `**` stands for folders at any depth. None at
            all choose every `*.yaml`, `*.yml` and `*.json`.

    Raises:
        NotFoundError: A pattern chooses nothing.
        RefusedError: A pattern leads out of the repository.
    """
    chosen: set[str] = set()
    named: set[str] = set()
    for pattern in patterns or ("",):
        wanted = _normal(pattern)
        if wanted in paths:
            named.add(wanted)
            continue
        found = set(_below(paths, wanted) or _matching(paths, wanted))
        if not found and patterns:
            raise NotFoundError(f"No file {pattern}.", hint="Check --file, and the branch.")
        chosen |= found
    return Selection(tuple(sorted(chosen | named)), frozenset(named))


def find(root: Path, patterns: Sequence[str]) -> Selection:
    """Chooses files of a working directory; links within it count as what they lead to.

    Args:
        root: The working directory.
        patterns: As for `select`.

    Raises:
        NotFoundError: A pattern chooses nothing.
        RefusedError: A pattern leads out of the directory, by `..` or by a link.
    """
    return select(frozenset(_walk(root)), [_within(root, pattern) for pattern in patterns])


def read(root: Path, paths: Iterable[str]) -> dict[str, bytes]:
    """Reads files.

    Args:
        root: The working directory.
        paths: Paths that `find` gave.

    Raises:
        RefusedError: One cannot be read.
    """
    contents = {}
    for path in paths:
        try:
            contents[path] = (root / path).read_bytes()
        except OSError as error:
            raise RefusedError(f"Cannot read {path}.", why=f"{error.strerror}.") from error
    return contents


def replace(root: Path, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
    """Replaces files, each in one step, with their mode and owner; all are written before any.

    A file of somebody else's, whose owner no new file could be given, is written in place.

    Args:
        root: The working directory.
        before: The bytes that were read.
        after: The bytes to write; a subset of the files that were read.

    Raises:
        ConflictError: Somebody else has changed one of them meanwhile.
        RefusedError: One cannot be written, or leads out of the directory by now.
    """
    targets = {path: root / _within(root, path) for path in after}
    fresh: dict[str, Path | None] = {}
    try:
        for path, content in after.items():
            fresh[path] = _write_beside(targets[path], content)
        for path in after:
            if (root / path).read_bytes() != before[path]:
                raise ConflictError(f"{path} has changed meanwhile.", hint="Run this again.")
        for path, new in fresh.items():
            if new is not None:
                new.replace(targets[path])
            else:
                _write_in_place(targets[path], after[path])
    except OSError as error:
        raise RefusedError(
            f"Cannot write {error.filename}.",
            why=f"{error.strerror}.",
            hint="Run this as the files' owner; in a container: "
            'docker run --user "$(id -u):$(id -g)"',
        ) from error
    finally:
        for new in filter(None, fresh.values()):
            new.unlink(missing_ok=True)


def _write_beside(target: Path, content: bytes) -> Path | None:
    """Writes a new file next to the one that it shall replace, with its mode and owner.

    Returns:
        The new file; None where only the old one itself may be written.
    """
    # In containers that share the folder process ids are the same, so the name is random.
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    old = target.stat()
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            new = os.fstat(file.fileno())
            if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        fresh.unlink(missing_ok=True)
        if isinstance(error, PermissionError) and os.access(target, os.W_OK):
            return None
        raise OSError(error.errno, error.strerror, str(target)) from error
    return fresh


def _write_in_place(target: Path, content: bytes) -> None:
    with target.open("r+b") as file:
        file.write(content)
        file.truncate()


def _walk(root: Path) -> Iterator[str]:
    """Yields the regular files below a directory but git's own; links are not followed."""
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != ".git":
                        pending.append(f"{folder}{entry.name}/")
                elif entry.is_file(follow_symlinks=False):
                    yield folder + entry.name


def _within(root: Path, pattern: str) -> str:
    """Returns a pattern relative to the directory, and what it leads to if it is a link."""
    home = Path(os.path.realpath(root))
    target = Path(os.path.realpath(root / pattern))
    if not target.is_relative_to(home):
        raise RefusedError(f"{pattern} leads out of {root}.")
    return target.relative_to(home).as_posix()


def _normal(pattern: str) -> str:
    normal = posixpath.normpath(pattern) if pattern else "."
    if normal.startswith(("../", "/")) or normal == "..":
        raise RefusedError(f"{pattern} leads out of the repository.")
    return "" if normal == "." else normal


def is_text(path: str) -> bool:
    """Returns whether a file is read for what it mentions, and is not YAML."""
    return _TEXT.search(path) is not None


def is_below(path: str, pattern: str) -> bool:
    """Returns whether a path is that of a pattern: a file, a folder around it, or a glob."""
    wanted = _normal(pattern)
    parts, steps = path.split("/"), wanted.split("/")
    return any(_is_match(parts[:count], steps) for count in range(1, len(parts) + 1))


def _is_read(path: str) -> bool:
    return path.endswith(_YAML_SUFFIXES) or is_text(path)


def _below(paths: Iterable[str], folder: str) -> list[str]:
    prefix = f"{folder}/" if folder else ""
    return [path for path in paths if path.startswith(prefix) and _is_read(path)]


def _matching(paths: Iterable[str], pattern: str) -> list[str]:
    """Matches a glob; one that ends openly, such as `apps/**`, is for YAML files alone."""
    parts = pattern.split("/")
    return [
        path
        for path in paths
        if (_is_read(path) or not pattern.endswith("*")) and _is_match(path.split("/"), parts)
    ]


def _is_match(path: list[str], pattern: list[str]) -> bool:
    """Matches a path part by part; `**` stands for any number of parts."""
    # Which beginnings of the pattern fit the parts so far: linear, however many `**` there are.
    fits = {0}
    for part in [*path, None]:
        for index, each in enumerate(pattern):
            if index in fits and each == "**":
                fits.add(index + 1)
        if part is None:
            break
        fits = {
            index + (pattern[index] != "**")
            for index in fits
            if index < len(pattern)
            and (pattern[index] == "**" or fnmatchcase(part, pattern[index]))
        }
    return len(pattern) in fits


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
            raise RefusedError(f"{pattern} leads out of the repository.")
    raise RefusedError(f"{pattern} leads in circles.")
