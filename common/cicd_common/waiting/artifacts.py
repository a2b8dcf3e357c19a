"""Download the artifacts of a pipeline's jobs and unpack them safely."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import threading
import zipfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

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
from cicd_common.waiting.reported_variables import LARGEST_FILE, parse_variables
from cicd_common.waiting.unpacking import LARGEST_ARCHIVE, Contents, in_units, unpack, unsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from cicd_common.gitlab.client import GitLab
    from cicd_common.gitlab.fields import JsonObject

T = TypeVar("T")
log = logging.getLogger(__name__)

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
    base: Path = Path()
    folder: Path = Path()

    def __str__(self) -> str:
        """Returns the archive's name for messages."""
        size = "" if self.size is None else f", {in_units(self.size)}"
        return f"artifacts of {self.job} ({self.filename}{size})"


def check_folders(wanted: Mapping[str, Path]) -> None:
    """Checks, before anything is sent, that the folders for artifacts can be written.

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
                hint="In a container, mount a folder that the image's user can write to.",
            )


@dataclass(frozen=True)
class Fetched:
    """Holds what was fetched of one pipeline.

    Attributes:
        told: A line for the user for each archive and each file of variables.
        variables: The variables of these files.
    """

    told: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


class Artifacts:
    """Fetches the artifacts of jobs; one object for all pipelines of a command.

    Args:
        gitlab: The client.
        wanted: The folder of each job's artifacts, by the job's name.
        dotenv: The path of a dotenv file in each job's artifacts, by the job's name.
    """

    def __init__(
        self, gitlab: GitLab, wanted: Mapping[str, Path], dotenv: Mapping[str, str]
    ) -> None:
        self._gitlab = gitlab
        self._wanted = wanted
        self._dotenv = dotenv
        self._lock = threading.Lock()
        self._stopped = False
        self._placed: dict[Path, str] = {}

    @property
    def are_wanted(self) -> bool:
        """Returns True if there is anything to fetch."""
        return bool(self._wanted or self._dotenv)

    def fetch(self, pipeline: Pipeline) -> Fetched:
        """Fetches and checks all wanted artifacts of a pipeline, then moves them to their places.

        Args:
            pipeline: A finished pipeline.

        Raises:
            NotFoundError: There is no such job, or it has no artifacts.
            RefusedError: They cannot be unpacked safely, or a dotenv file is not valid.
            CommandError: They cannot be fetched. No file was moved.
        """
        fetched = self._read_dotenv(pipeline)
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
        for archive, _, contents in unpacked:
            count = f"{len(contents.files)} file{'s' * (len(contents.files) != 1)}"
            fetched.told.append(
                f"Unpacked the {archive}: {count} in {one_line(str(archive.folder))}"
            )
        return fetched

    def stop(self) -> None:
        """Prevents further moves of files; waits for moves that have begun."""
        with self._lock:
            self._stopped = True

    def _check(self, size: int = 0) -> None:
        if self._stopped:
            raise TimeLimitError("The artifacts were not fetched in time.")
        if size > LARGEST_ARCHIVE:
            raise unsafe(f"it is larger than {in_units(LARGEST_ARCHIVE)}")

    def _once_uploaded(self, read: Callable[[], T]) -> T:
        """Reads; for some seconds reads again, if GitLab does not have it yet."""
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
            replace(
                archive,
                base=folder,
                folder=folder if archive.job == name else folder / _safe_name(archive.job),
            )
            for name, folder in self._wanted.items()
            for archive in self._archives(pipeline, name)
        ]

    def _archives(self, pipeline: Pipeline, name: str) -> list[_Archive]:
        return [self._archive_of(*found) for found in self._jobs(pipeline, name)]

    def _jobs(self, pipeline: Pipeline, name: str) -> list[tuple[Pipeline, Job, JsonObject]]:
        """Finds jobs by name in a pipeline, or else in its nearest downstream pipelines."""
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

    def _archive_of(self, pipeline: Pipeline, job: Job, answer: JsonObject) -> _Archive:
        if not answer.get("artifacts_file"):
            raise self._absence(job, answer)
        return _Archive(
            path=f"projects/{pipeline.project_id}/jobs/{job.id}/artifacts",
            job=job.name,
            filename=one_line(fields.optional_text(answer, "artifacts_file", "filename")),
            size=fields.optional_number(answer, "artifacts_file", "size"),
        )

    def _absence(self, job: Job, answer: JsonObject) -> NotFoundError:
        """Returns the error that says why a job has no archive."""
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

    # Variables

    def _read_dotenv(self, pipeline: Pipeline) -> Fetched:
        """Reads the variables of all dotenv files; no two of them can have the same variable."""
        fetched = Fetched()
        for name, path in self._dotenv.items():
            for archive in self._once_uploaded(partial(self._archives, pipeline, name)):
                place = f"{path} in the artifacts of {archive.job}"
                content = self._once_uploaded(partial(self._read_file, archive, path, place))
                variables = parse_variables(content, place)
                if twice := sorted(variables.keys() & fetched.variables.keys()):
                    raise RefusedError(
                        f"The variable {twice[0]} is in several files; one is {place}.",
                        hint="Name one file of one job; of a parallel job, give the whole name.",
                    )
                fetched.variables.update(variables)
                fetched.told.append(f"Read from {place}: {', '.join(variables) or 'nothing'}")
        return fetched

    def _read_file(self, archive: _Archive, path: str, place: str) -> bytes:
        def check(size: int) -> None:
            self._check()
            if size > LARGEST_FILE:
                raise RefusedError(f"{place} is larger than {in_units(LARGEST_FILE)}.")

        target = BytesIO()
        one = replace(archive, path=f"{archive.path}/{quote(path)}")
        try:
            self._download(one, target, check)
        except NotFoundError as error:
            raise NotFoundError(
                f"There is no file {place}.",
                hint="Name a file of artifacts:paths, as its path is in the archive; GitLab's API "
                "does not have the file of artifacts:reports:dotenv.",
                answer=error.answer,
                retryable=True,
            ) from error
        return target.getvalue()

    # Fetching

    def _unpack(self, archive: _Archive, folder: Path) -> Contents:
        log.info("Fetching the %s", archive)
        file = folder / "archive"
        with file.open("xb") as target:
            self._once_uploaded(lambda: self._download(archive, target, self._check))
        contents = folder / "contents"
        contents.mkdir()
        with _explained(archive):
            found = unpack(file, contents, self._check)
        file.unlink()
        return found

    def _download(self, archive: _Archive, target: BinaryIO, check: Callable[[int], None]) -> None:
        try:
            self._gitlab.download(archive.path, target, check)
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
    """Checks that no link is followed and no folder or file of another archive is replaced.

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


@contextmanager
def _explained(archive: _Archive) -> Iterator[None]:
    """Adds the archive's name to errors about its content."""
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
    """Turns an error of the file system into a usage error."""
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
        hint="Check the name in --artifacts or --dotenv-from.",
    )


def _taken(archive: _Archive, place: Path, why: str) -> RefusedError:
    return RefusedError(
        f"The {archive} were not unpacked: {one_line(str(place))} is in the way.",
        why=why,
        hint="Give another folder: --artifacts JOB=DIR",
    )


def _safe_name(job: str) -> str:
    """Returns a folder name for a job: `test-a-b` for `test: [a, b]`."""
    return re.sub(r"[^\w.+-]+", "-", job).strip("-.") or "job"


def _existing(folder: Path) -> Path:
    """Returns the folder, or its nearest parent that exists."""
    return next(place for place in (folder, *folder.parents) if os.path.lexists(place))
