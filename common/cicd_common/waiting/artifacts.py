"""Download the artifacts of a pipeline's jobs and unpack them safely."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import stat
import tempfile
import threading
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from cicd_common.cleaning import one_line
from cicd_common.errors import (
    CommandError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    TimeLimitError,
    UnavailableError,
    UsageError,
)
from cicd_common.gitlab import fields
from cicd_common.gitlab.retry import Backoff
from cicd_common.gitlab.tokens import TokenKind
from cicd_common.waiting.outcome import wanted_jobs
from cicd_common.waiting.pipelines import Job, Pipeline, jobs_path, parse_jobs, read_bridges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from cicd_common.gitlab.client import GitLab
    from cicd_common.gitlab.fields import JsonObject

T = TypeVar("T")
log = logging.getLogger(__name__)

LARGEST_ARCHIVE = 5 * 2**30  # bytes; GitLab.com allows 1 GB
# What an archive can unpack to: more is taken to be a zip bomb.
MOST_ENTRIES = 500_000
LARGEST_UNPACKED = 20 * 2**30
HIGHEST_RATIO = 200  # unpacked bytes for each of the archive; counts above SMALL alone
SMALL = 100 * 2**20
METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # what GitLab Runner writes
# An uploaded archive can be visible on all servers only some seconds later.
UPLOAD_SECONDS = 10.0
MOST_NAMES = 10


@dataclass(frozen=True)
class _Archive:
    """Describes the archive of one job.

    Attributes:
        path: Its route.
        job: The name of its job.
        filename: Its name.
        size: Its size in bytes; None if GitLab does not send it.
        base: The folder that the user named.
        folder: Where to unpack it: `base`, or a folder in it.
    """

    path: str
    job: str
    filename: str
    size: int | None
    base: Path
    folder: Path

    def __str__(self) -> str:
        """Return the archive's name for messages."""
        size = "" if self.size is None else f", {_in_units(self.size)}"
        return f"artifacts of {self.job} ({self.filename}{size})"


@dataclass(frozen=True)
class Contents:
    """Holds the paths of an archive's entries."""

    files: frozenset[PurePosixPath]
    folders: frozenset[PurePosixPath]


def check_folders(wanted: Mapping[str, Path]) -> None:
    """Check, before anything is sent, that the folders for artifacts can be written.

    Args:
        wanted: The folder of each job's artifacts.

    Raises:
        UsageError: One is not a folder, or cannot be written.
    """
    for folder in wanted.values():
        place = _existing(folder)
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            raise UsageError(
                f"--artifacts {folder} cannot be written.",
                why=f"{place} is not a folder, or is not writable here.",
                hint="In a container, mount a folder that the image's user may write to.",
            )


class Artifacts:
    """Fetches the artifacts of jobs; one object for all pipelines of a command.

    Args:
        gitlab: The client.
        wanted: The folder of each job's artifacts, by the job's name.
    """

    def __init__(self, gitlab: GitLab, wanted: Mapping[str, Path]) -> None:
        self._gitlab = gitlab
        self._wanted = wanted
        self._lock = threading.Lock()
        self._stopped = False
        self._placed: dict[Path, str] = {}

    def fetch(self, pipeline: Pipeline) -> list[str]:
        """Fetch and check all wanted artifacts of a pipeline, then move them to their places.

        Args:
            pipeline: A finished pipeline.

        Returns:
            A line for the user for each archive.

        Raises:
            NotFoundError: There is no such job, or it has no artifacts.
            RefusedError: They cannot be unpacked safely.
            CommandError: They cannot be fetched. No file was moved.
        """
        archives = self._once_uploaded(lambda: self._find(pipeline))
        with ExitStack() as temporary, _written():
            unpacked = []
            for archive in archives:
                near = tempfile.TemporaryDirectory(
                    prefix=".artifacts-", dir=_existing(archive.folder), ignore_cleanup_errors=True
                )
                folder = Path(temporary.enter_context(near))
                unpacked.append((archive, folder, self._unpack(archive, folder)))
            self._place(unpacked)
        return [
            f"Unpacked the {archive}: {len(contents.files)} "
            f"file{'s' * (len(contents.files) != 1)} in {one_line(str(archive.folder))}"
            for archive, _, contents in unpacked
        ]

    def stop(self) -> None:
        """Prevent further moves of files; wait for moves that have begun."""
        with self._lock:
            self._stopped = True

    def _check(self, size: int = 0) -> None:
        if self._stopped:
            raise TimeLimitError("The artifacts were not fetched in time.")
        if size > LARGEST_ARCHIVE:
            raise _unsafe(f"it is larger than {_in_units(LARGEST_ARCHIVE)}")

    def _once_uploaded(self, read: Callable[[], T]) -> T:
        """Read, and for some seconds read again if GitLab does not have it yet."""
        backoff = Backoff(min(UPLOAD_SECONDS, self._gitlab.connection.retry_for))
        while True:
            try:
                return read()
            except NotFoundError as error:
                if not error.retryable:
                    raise
                backoff.wait(error)

    # Finding

    def _find(self, pipeline: Pipeline) -> list[_Archive]:
        return [
            self._archive_of(
                each,
                job,
                answer,
                base=folder,
                folder=folder if job.name == name else folder / _safe_name(job.name),
            )
            for name, folder in self._wanted.items()
            for each, job, answer in self._jobs(pipeline, name)
        ]

    def _jobs(self, pipeline: Pipeline, name: str) -> list[tuple[Pipeline, Job, JsonObject]]:
        """Find jobs by name in a pipeline, or else in its nearest downstream pipelines."""
        level, seen = [pipeline], {pipeline.id}
        while level:
            if found := [each for at in level for each in self._named(at, name)]:
                return found
            level = [below for at in level for below in self._downstream(at, name)]
            level = [below for below in level if below.id not in seen]
            seen |= {below.id for below in level}
        raise _no_job(pipeline, name)

    def _named(self, pipeline: Pipeline, name: str) -> list[tuple[Pipeline, Job, JsonObject]]:
        # GitLab does not list jobs that were retried.
        answers = list(self._gitlab.get_all(jobs_path(pipeline)))
        jobs = parse_jobs(answers)
        found = wanted_jobs(replace(pipeline, jobs=jobs), name)
        exact = [job for job in found if job.name == name]
        by_id = dict(zip((job.id for job in jobs), answers, strict=True))
        return [(pipeline, job, by_id[job.id]) for job in exact or found]

    def _downstream(self, pipeline: Pipeline, name: str) -> list[Pipeline]:
        try:
            bridges = read_bridges(self._gitlab, pipeline)
        except CommandError as error:
            if error.retryable:
                raise
            raise _no_job(
                pipeline, name, f"Its downstream pipelines cannot be read: {error.message}"
            ) from error
        return [bridge.downstream for bridge in bridges if bridge.downstream]

    def _archive_of(
        self, pipeline: Pipeline, job: Job, answer: JsonObject, **places: Path
    ) -> _Archive:
        if not answer.get("artifacts_file"):
            raise self._absence(job, answer)
        return _Archive(
            path=f"projects/{pipeline.project_id}/jobs/{job.id}/artifacts",
            job=job.name,
            filename=one_line(fields.optional_text(answer, "artifacts_file", "filename")),
            size=fields.optional_number(answer, "artifacts_file", "size"),
            **places,
        )

    def _absence(self, job: Job, answer: JsonObject) -> NotFoundError:
        """Return the error that says why a job has no archive."""
        now = self._gitlab.now()
        erased = fields.optional_time(answer, "erased_at")
        expired = fields.optional_time(answer, "artifacts_expire_at")
        again = "Run the job again."
        if erased:
            return NotFoundError(
                f"The artifacts of {job.name} were erased: {job.web_url}",
                why=f"Someone erased them at {erased:%Y-%m-%d %H:%M} UTC.",
                hint=again,
            )
        if expired and expired <= now:
            return NotFoundError(
                f"The artifacts of {job.name} have expired: {job.web_url}",
                why=f"GitLab kept them until {expired:%Y-%m-%d %H:%M} UTC.",
                hint=f"{again} To keep them for longer, set artifacts:expire_in of the job.",
            )
        is_new = job.finished_at and (now - job.finished_at).total_seconds() < UPLOAD_SECONDS
        return NotFoundError(
            f"Job {job.name} has no artifacts: {job.web_url}",
            why=f"Its status is {one_line(job.status)}.",
            hint="Check artifacts:paths of the job; reports alone are not in an archive.",
            retryable=bool(is_new),
        )

    # Fetching

    def _unpack(self, archive: _Archive, folder: Path) -> Contents:
        log.info("Fetching the %s", archive)
        file = folder / "archive"
        with file.open("xb") as target:
            self._once_uploaded(lambda: self._download(archive, target))
        contents = folder / "contents"
        contents.mkdir()
        with _explained(archive):
            found = unpack(file, contents, self._check)
        file.unlink()
        return found

    def _download(self, archive: _Archive, target: BinaryIO) -> None:
        try:
            self._gitlab.download(archive.path, target, self._check)
        except NotFoundError as error:
            # Only to job tokens, without a license: `ee/lib/ee/api/ci/job_artifacts.rb`.
            if self._gitlab.token_kind is TokenKind.JOB and "Project" in error.message:
                raise ForbiddenError(
                    error.message,
                    why="GitLab takes a CI job token for another project's artifacts in its "
                    "Premium and Ultimate tiers only.",
                    hint="Give an access token with the read_api scope (COMMANDS_API_TOKEN).",
                    answer=error.answer,
                ) from error
            error.retryable = True  # GitLab has just listed it
            raise

    def _place(self, unpacked: Sequence[tuple[_Archive, Path, Contents]]) -> None:
        with self._lock:
            self._check()
            taken = dict(self._placed)
            for archive, _, contents in unpacked:
                _check_places(archive, contents, taken)
            for archive, temporary, contents in unpacked:
                archive.folder.mkdir(parents=True, exist_ok=True)
                for path in sorted(contents.folders):
                    (archive.folder / path).mkdir(exist_ok=True)
                for path in contents.files:
                    (temporary / "contents" / path).replace(archive.folder / path)
            self._placed = taken


def _check_places(archive: _Archive, contents: Contents, taken: dict[Path, str]) -> None:
    """Check that no link is followed and no folder or file of another archive is replaced.

    Args:
        archive: The archive.
        contents: What it holds.
        taken: The files of the other archives and their jobs; this archive's files are added.

    Raises:
        RefusedError: A place is taken.
    """
    inner = archive.folder.relative_to(archive.base)
    folders = {inner / path for path in contents.folders} | {inner}
    for folder in (archive.base / path for path in folders if path.parts):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise _taken(archive, folder, "It is a link or a file, not a folder.")
    for path in contents.files:
        place = archive.folder / path
        if place.is_dir() and not place.is_symlink():
            raise _taken(archive, place, "It is a folder.")
        key = Path(os.path.abspath(place))  # noqa: PTH100 - resolve() follows links
        if other := taken.get(key):
            raise _taken(archive, place, f"The artifacts of {other} have the same file.")
        taken[key] = archive.job


def unpack(archive: Path, folder: Path, check: Callable[[], None]) -> Contents:
    """Unpack a zip archive into an empty folder.

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
        raise _unsafe(f"it has more than {MOST_ENTRIES} entries")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > LARGEST_UNPACKED or unpacked > max(SMALL, HIGHEST_RATIO * size):
        raise _unsafe(f"it would unpack {_in_units(size)} to {_in_units(unpacked)}")
    entries: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in infos:
        path = PurePosixPath(info.filename)
        if problem := _problem(info, path):
            raise _unsafe(f"{one_line(info.filename)!r} {problem}")
        if path in entries and not (info.is_dir() and entries[path].is_dir()):
            raise _unsafe(f"it has {one_line(info.filename)!r} twice")
        entries[path] = info
    return entries


def _problem(info: zipfile.ZipInfo, path: PurePosixPath) -> str:
    """Return why an entry is not safe; empty if it is."""
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
        raise _unsafe(f"{one_line(str(min(both)))!r} is a file and a folder")
    return Contents(frozenset(files), frozenset(folders - {PurePosixPath()}))


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    with archive.open(info) as source, path.open("xb") as target:  # checks the CRC at its end
        shutil.copyfileobj(source, target, 2**16)
    if mode := info.external_attr >> 16 & 0o777:
        path.chmod(mode | stat.S_IRUSR | stat.S_IWUSR)


@contextmanager
def _explained(archive: _Archive) -> Iterator[None]:
    """Add the archive's name to errors about its content."""
    try:
        yield
    except zipfile.BadZipFile as error:
        raise UnavailableError(
            f"The {archive} are damaged: {one_line(str(error))}",
            why="The archive did not arrive as it was made, or its checksums do not match.",
            hint="Run this again; if that does not help, run the job again.",
        ) from error
    except RefusedError as error:
        raise RefusedError(
            f"The {archive} were not unpacked: {error.message}",
            why="It could overwrite other files or fill the disk.",
            hint="Check artifacts:paths of the job.",
        ) from error


@contextmanager
def _written() -> Iterator[None]:
    """Turn an error of the file system into a usage error."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"The artifacts cannot be written: {error.strerror or type(error).__name__}.",
            why=f"The place is {one_line(str(error.filename))}." if error.filename else "",
            hint="Check the folder of --artifacts and the space on its disk.",
        ) from error


def _no_job(pipeline: Pipeline, name: str, why: str = "") -> NotFoundError:
    names = [one_line(job.name) for job in pipeline.jobs][:MOST_NAMES]
    return NotFoundError(
        f"Pipeline {pipeline.id} of {pipeline.project} has no job {one_line(name)}, "
        "nor has one downstream of it.",
        why=why or (f"Its jobs: {', '.join(names)}." if names else ""),
        hint="Check the name in --artifacts.",
    )


def _taken(archive: _Archive, place: Path, why: str) -> RefusedError:
    return RefusedError(
        f"The {archive} were not unpacked: {one_line(str(place))} is in the way.",
        why=why,
        hint="Give another folder: --artifacts JOB=DIR",
    )


def _unsafe(why: str) -> RefusedError:
    return RefusedError(f"{why}.")


def _safe_name(job: str) -> str:
    """Return a folder name for a job: `test-a-b` for `test: [a, b]`."""
    return re.sub(r"[^\w.+-]+", "-", job).strip("-.") or "job"


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(place for place in (folder, *folder.parents) if os.path.lexists(place))


def _in_units(size: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:  # noqa: PLR2004 - a kilobyte
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
