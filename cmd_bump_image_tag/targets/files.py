"""Finds, reads and replaces the files of a working directory."""

from __future__ import annotations

import os
import posixpath
import re
import secrets
import stat
import subprocess
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from cicd_common.errors import ConflictError, NotFoundError, RefusedError
from cmd_bump_image_tag.targets.git_command import inherited_environment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence


_YAML_SUFFIXES = (".yaml", ".yml", ".json")
# Searched for mentions, never edited: `.env`, `.env.prod`, `web.env`, `Dockerfile.dev`.
_TEXT = re.compile(
    r"(?:^|/)(?:[^/]*\.env|\.env\.[^/]*|(?:Dockerfile|Containerfile)(?:\.[^/]*)?"
    r"|[^/]*\.Dockerfile)$"
)


@dataclass(frozen=True)
class Selection:
    """The files that patterns select.

    Attributes:
        paths: Their paths in the repository, sorted, with `/` between the parts.
        named: The files that patterns name literally.
        unreadable: The selected folders whose files this user cannot list, each with the reason.
    """

    paths: tuple[str, ...]
    named: frozenset[str]
    unreadable: Mapping[str, str] = field(default_factory=dict)


def select(paths: Collection[str], patterns: Sequence[str]) -> Selection:
    """Selects files by patterns, in a working directory or in a list from GitLab.

    Args:
        paths: The repository's files.
        patterns: Files, folders, or globs, where `**` stands for folders at any depth. No
            patterns select every `*.yaml`, `*.yml` and `*.json`.

    Raises:
        NotFoundError: A pattern selects no file.
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
    """Selects files of a working directory; a link within it counts as its target.

    Ignored files and repositories within this one are selected only if a pattern names them
    literally or matches nothing else.

    Args:
        root: The working directory.
        patterns: As for `select`.

    Raises:
        NotFoundError: A pattern selects no file.
        RefusedError: A pattern leads out of the directory, by `..` or by a link; or the directory,
            or the folder that a pattern names, cannot be read.
    """
    errors: dict[str, OSError] = {}
    everything = frozenset(_walk(root, errors))
    visible = _visible(root, everything)
    ignored = _ignored_by_git(root, errors) if errors else frozenset()
    chosen: set[str] = set()
    named: set[str] = set()
    unreadable: dict[str, str] = {}
    for pattern in patterns or ("",):
        path = _within(root, pattern) if pattern else ""
        if path in everything:
            named.add(path)
            continue
        for folder, error in errors.items():
            if f"{path}/".startswith(folder):
                raise refused(f"Cannot read the folder {folder.rstrip('/')}.", error)
            if folder not in ignored and _can_select_below(_normal(path), folder):
                unreadable[folder] = error.strerror or ""
        asked = [path] if patterns else []
        try:
            chosen.update(select(visible, asked).paths)
        except NotFoundError:
            chosen.update(select(everything, asked).paths)
    return Selection(tuple(sorted(chosen | named)), frozenset(named), unreadable)


def read(root: Path, paths: Iterable[str]) -> dict[str, bytes]:
    """Reads files.

    Args:
        root: The working directory.
        paths: Paths from `find`.

    Raises:
        RefusedError: One cannot be read.
    """
    contents = {}
    for path in paths:
        try:
            contents[path] = (root / path).read_bytes()
        except OSError as error:
            raise refused(f"Cannot read {path}.", error) from error
    return contents


def refused(message: str, error: OSError) -> RefusedError:
    """Returns the error for a file or folder that this user cannot use.

    Args:
        message: What cannot be done.
        error: What the operating system says.
    """
    hint = _AS_OWNER if isinstance(error, PermissionError) else ""
    return RefusedError(message, why=f"{error.strerror}.", hint=hint)


def replace(root: Path, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
    """Replaces files, each in one step, with mode and owner; first writes all new contents.

    A file of another user is written in place if a new file cannot get the same owner.

    Args:
        root: The working directory, locked against other runs.
        before: The bytes that were read.
        after: The bytes to write; a subset of the files that were read.

    Raises:
        ConflictError: One of them has changed since it was read.
        RefusedError: One cannot be written, or now leads out of the directory.
    """
    targets = {path: root / _within(root, path) for path in after}
    fresh: dict[str, _Fresh | None] = {}
    try:
        for target in targets.values():
            _remove_leftovers(target)
        for path, content in after.items():
            nameless = len(fresh) < _MOST_NAMELESS
            fresh[path] = _write_beside(targets[path], content, nameless=nameless)
        for path in after:
            if (root / path).read_bytes() != before[path]:
                raise ConflictError(f"{path} has changed meanwhile.", hint="Run this again.")
        for path, new in fresh.items():
            if new is not None:
                new.publish()
            else:
                _write_in_place(targets[path], after[path])
    except OSError as error:
        raise refused(f"Cannot write {error.filename}.", error) from error
    finally:
        for new in filter(None, fresh.values()):
            new.discard()


# Each is an open file until all are written; a process can have 1024 by default.
_MOST_NAMELESS = 256
_AS_OWNER = 'Run this as the files\' owner; in a container: docker run --user "$(id -u):$(id -g)"'
# In containers that share the folder process ids are the same, so the name is random.
_LEFTOVER = r"\.{}\.[0-9a-f]{{8}}\.tmp"


@dataclass(frozen=True)
class _Fresh:
    """A file's new content, written next to the file.

    Attributes:
        target: The file.
        path: The temporary name of the content; its final name if it is written in place.
        descriptor: The open file.
        is_nameless: Whether it has no name yet; then nothing remains if the process is killed.
    """

    target: Path
    path: Path
    descriptor: int
    is_nameless: bool

    def publish(self) -> None:
        """Replaces the file with the content in one step."""
        if self.is_nameless:
            # open(2), O_TMPFILE: a link of this process's descriptor. With a folder given, Python
            # follows the link in /proc.
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.link(f"/proc/self/fd/{self.descriptor}", self.path.name, dst_dir_fd=folder)
            finally:
                os.close(folder)
        self.path.replace(self.target)

    def discard(self) -> None:
        """Closes the content's file, and removes it if it was not published."""
        os.close(self.descriptor)
        self.path.unlink(missing_ok=True)


def _write_beside(target: Path, content: bytes, *, nameless: bool) -> _Fresh | None:
    """Writes a new file next to the one to replace, with its mode and owner.

    Returns:
        The new file; None if only the old file itself can be written.
    """
    old = target.stat()
    try:
        fresh = _open_beside(target, nameless=nameless)
    except PermissionError as error:
        if os.access(target, os.W_OK):
            return None
        raise OSError(error.errno, error.strerror, str(target)) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    try:
        with os.fdopen(fresh.descriptor, "wb", closefd=False) as file:
            new = os.fstat(file.fileno())
            if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        fresh.discard()
        if isinstance(error, PermissionError) and os.access(target, os.W_OK):
            return None
        raise OSError(error.errno, error.strerror, str(target)) from error
    return fresh


def _open_beside(target: Path, *, nameless: bool) -> _Fresh:
    path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    if nameless and (flag := getattr(os, "O_TMPFILE", 0)):
        try:
            descriptor = os.open(target.parent, os.O_WRONLY | flag, 0o600)
        except OSError:
            pass  # not every file system has it: NFS and older overlays do not
        else:
            if Path(f"/proc/self/fd/{descriptor}").exists():
                return _Fresh(target, path, descriptor, is_nameless=True)
            os.close(descriptor)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return _Fresh(target, path, descriptor, is_nameless=False)


def _remove_leftovers(target: Path) -> None:
    """Removes the temporary files that a killed run has left next to a file."""
    name = re.compile(_LEFTOVER.format(re.escape(target.name)))
    for entry in target.parent.iterdir():
        if name.fullmatch(entry.name):
            entry.unlink(missing_ok=True)


def _write_in_place(target: Path, content: bytes) -> None:
    with target.open("r+b") as file:
        file.write(content)
        file.truncate()


def _walk(root: Path, errors: dict[str, OSError]) -> Iterator[str]:
    """Yields the regular files below a directory, except those of git and of other repositories.

    Links are not followed. A folder below it that cannot be listed, such as a database's that
    belongs to another user, is added to `errors`, with a `/` at its end.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as scanned:
                entries = list(scanned)
        except OSError as error:
            if not folder:
                raise refused(f"Cannot read the folder {root.resolve()}.", error) from error
            errors[folder] = error
            continue
        if folder and any(entry.name == ".git" for entry in entries):
            continue  # a submodule, or a repository that was checked out there
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != ".git":
                    pending.append(f"{folder}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                yield folder + entry.name


def _visible(root: Path, paths: frozenset[str]) -> frozenset[str]:
    """Returns the files that git does not ignore; without git, those outside `node_modules`."""
    listed = paths & _listed_by_git(root)
    if listed:
        return listed
    return frozenset(path for path in paths if "node_modules" not in path.split("/"))


# No program from a configuration in the folder is run: its owner can be another user.
_SETTINGS = (
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "safe.directory=*",
)
_LIST = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")


def _listed_by_git(root: Path) -> frozenset[str]:
    """Returns the files of a directory that git would commit; none outside a repository."""
    return _paths_from_git(root, *_LIST)


def _ignored_by_git(root: Path, paths: Iterable[str]) -> frozenset[str]:
    """Returns those of some paths that git ignores; none outside a repository."""
    return _paths_from_git(root, "check-ignore", "-z", "--stdin", given="\0".join(paths))


def _paths_from_git(root: Path, *arguments: str, given: str = "") -> frozenset[str]:
    home = root.resolve()
    try:
        if not any((folder / ".git").exists() for folder in (home, *home.parents)):
            return frozenset()
        listed = subprocess.run(
            ["git", *_SETTINGS, *arguments],
            cwd=root,
            input=os.fsencode(given),
            capture_output=True,
            check=False,
            timeout=_GIT_LIMIT,
            env=inherited_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return (
        frozenset(os.fsdecode(listed.stdout).split("\0")) if not listed.returncode else frozenset()
    )


_GIT_LIMIT = 60  # seconds


def _within(root: Path, pattern: str) -> str:
    """Returns a pattern relative to the directory, and its target if it is a link."""
    home = Path(os.path.realpath(root))
    target = Path(os.path.realpath(root / pattern))
    if not target.is_relative_to(home):
        raise RefusedError(f"{pattern} leads out of the repository.")
    return target.relative_to(home).as_posix()


def _normal(pattern: str) -> str:
    normal = posixpath.normpath(pattern) if pattern else "."
    if normal.startswith(("../", "/")) or normal == "..":
        raise RefusedError(f"{pattern} leads out of the repository.")
    return "" if normal == "." else normal


def is_text(path: str) -> bool:
    """Returns True if a file is only searched for mentions, and is not YAML."""
    return _TEXT.search(path) is not None


def is_below(path: str, pattern: str) -> bool:
    """Returns True if a pattern selects a path: as a file, as its folder, or by a glob."""
    wanted = _normal(pattern)
    parts, steps = path.split("/"), wanted.split("/")
    return any(_is_match(parts[:count], steps) for count in range(1, len(parts) + 1))


def _can_select_below(pattern: str, folder: str) -> bool:
    """Returns True if a pattern can select files in a folder whose files are not known."""
    parts, steps = folder.rstrip("/").split("/"), pattern.split("/")
    return (
        not pattern
        or folder.startswith(f"{pattern}/")
        or any(_is_match(parts, steps[:count]) for count in range(1, len(steps)))
    )


def _is_read(path: str) -> bool:
    return path.endswith(_YAML_SUFFIXES) or is_text(path)


def _below(paths: Iterable[str], folder: str) -> list[str]:
    prefix = f"{folder}/" if folder else ""
    return [path for path in paths if path.startswith(prefix) and _is_read(path)]


def _matching(paths: Iterable[str], pattern: str) -> list[str]:
    """Returns the matches of a glob; with a `*` at its end, only files that are read."""
    parts = pattern.split("/")
    return [
        path
        for path in paths
        if (_is_read(path) or not pattern.endswith("*")) and _is_match(path.split("/"), parts)
    ]


def _is_match(path: list[str], pattern: list[str]) -> bool:
    """Returns True if a path matches; follows all possible matches of `**` at the same time."""
    reached = {0}
    for part in pattern:
        if part == "**":
            reached = set(range(min(reached), len(path) + 1))
        else:
            reached = {
                place + 1
                for place in reached
                if place < len(path) and fnmatchcase(path[place], part)
            }
        if not reached:
            return False
    return len(path) in reached


_MOST_LINKS = 40  # as many as Linux follows: path_resolution(7)


def follow(pattern: str, links: Mapping[str, str]) -> str:
    """Returns the path that a pattern leads to through links.

    Args:
        pattern: A file, a folder or a glob.
        links: The targets of the repository's links, by path.

    Raises:
        RefusedError: It leads out of the repository, or a link leads back to itself.
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
    raise RefusedError(f"{pattern} goes through a link that leads back to itself.")
