"""Unpacks zip archives from other projects: files and folders, and nothing outside the folder."""

from __future__ import annotations

import errno
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cicd_common.cleaning import one_line
from cicd_common.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LARGEST_ARCHIVE = 5 * 2**30  # bytes; GitLab.com allows 1 GB
# What an archive can unpack to: more is taken to be a zip bomb.
MOST_ENTRIES = 500_000
LARGEST_UNPACKED = 20 * 2**30
HIGHEST_RATIO = 200  # unpacked bytes for each of the archive; counts above SMALL alone
SMALL = 100 * 2**20
METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # what GitLab Runner writes


@dataclass(frozen=True)
class Contents:
    """Holds the paths of an archive's entries."""

    files: frozenset[PurePosixPath]
    folders: frozenset[PurePosixPath]


def unpack(archive: Path, folder: Path, check: Callable[[], None]) -> Contents:
    """Unpacks a zip archive into an empty folder.

    Args:
        archive: The archive.
        folder: The folder.
        check: Called before each entry; an exception ends the unpacking.

    Returns:
        The paths of its entries.

    Raises:
        RefusedError: An entry is not a file or folder within `folder`, or it is too large.
        zipfile.BadZipFile: It is damaged.
        OSError: It cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _entries(opened.infolist(), archive.stat().st_size)
            contents = _contents(entries)
            for path in sorted(contents.folders):
                (folder / path).mkdir()
            for path in contents.files:
                check()
                _extract(opened, entries[path], folder / path)
            return contents
    except (zlib.error, EOFError, ValueError, RuntimeError, OverflowError) as error:
        raise zipfile.BadZipFile(str(error)) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # a seek to before the beginning of the file
            raise zipfile.BadZipFile(str(error)) from error
        raise


def _entries(infos: Sequence[zipfile.ZipInfo], size: int) -> dict[PurePosixPath, zipfile.ZipInfo]:
    if len(infos) > MOST_ENTRIES:
        raise unsafe(f"it has more than {MOST_ENTRIES} entries")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > LARGEST_UNPACKED or unpacked > max(SMALL, HIGHEST_RATIO * size):
        raise unsafe(f"it would unpack {in_units(size)} to {in_units(unpacked)}")
    entries: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in infos:
        path = PurePosixPath(info.filename)
        if problem := _problem(info, path):
            raise unsafe(f"{one_line(info.filename)!r} {problem}")
        if path in entries and not (info.is_dir() and entries[path].is_dir()):
            raise unsafe(f"it has {one_line(info.filename)!r} twice")
        entries[path] = info
    return entries


def _problem(info: zipfile.ZipInfo, path: PurePosixPath) -> str:
    """Returns why an entry is not safe; empty if it is."""
    if not info.filename:
        return "has no name"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if not path.parts and not info.is_dir():
        return "is not a file or a folder"
    if path.is_absolute():
        return "is an absolute path"
    if ".." in path.parts:
        return "leads out of the folder"
    if kind not in {0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG}:
        return "is a link" if kind == stat.S_IFLNK else "is not a file or a folder"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.compress_type not in METHODS:
        return "is compressed in another way than GitLab does"
    return ""


def _contents(entries: Mapping[PurePosixPath, zipfile.ZipInfo]) -> Contents:
    files = {path for path, info in entries.items() if not info.is_dir()}
    folders = {path for path in entries if path not in files}
    folders |= {parent for path in entries for parent in path.parents}
    if both := files & folders:
        raise unsafe(f"{one_line(str(min(both)))!r} is a file and a folder")
    return Contents(frozenset(files), frozenset(folders - {PurePosixPath()}))


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    with archive.open(info) as source, path.open("xb") as target:  # checks the CRC at its end
        shutil.copyfileobj(source, target, 2**16)
    if mode := info.external_attr >> 16 & 0o777:
        path.chmod(mode | stat.S_IRUSR | stat.S_IWUSR)


def unsafe(why: str) -> RefusedError:
    """Returns the error for an archive that is not unpacked."""
    return RefusedError(f"{why}.")


def in_units(size: float) -> str:
    """Returns a number of bytes in words: `12.3 MB`."""
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:  # noqa: PLR2004 - a kilobyte
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
