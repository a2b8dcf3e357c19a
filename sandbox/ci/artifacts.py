"""What jobs hand on: files, and the variables of dotenv reports."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

from sandbox import storage
from sandbox.ci import reports
from sandbox.ci.progress import latest, plan_of
from sandbox.ci.variables import merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sandbox.ci.plan import JobPlan
    from sandbox.model import Job, State, Variable


def sources(job: Job) -> list[Job]:
    """The jobs whose artifacts a job gets: what it `needs`, its `dependencies`, or all before."""
    plan, pipeline = plan_of(job), job.pipeline
    others = [other for other in latest(pipeline) if not other.bridge]
    if plan.dependencies is not None:
        return [other for other in others if plan_of(other).base in plan.dependencies]
    if plan.needs is not None:
        wanted = {need.job for need in plan.needs if need.artifacts}
        return [other for other in others if plan_of(other).base in wanted]
    earlier = pipeline.stages[: pipeline.stages.index(job.stage)]
    return [other for other in others if other.stage in earlier]


def inherited_dotenv(job: Job) -> list[Variable]:
    """The variables that a job gets from the dotenv reports of others."""
    return [variable for source in sources(job) for variable in source.dotenv]


def download(state: State, job: Job, directory: Path) -> list[Job]:
    """Puts the artifacts that a job gets into its directory.

    Returns:
        The jobs that they came from.
    """
    found = [source for source in sources(job) if _store(state, source).is_dir()]
    mode = directory.stat().st_mode
    for source in found:
        shutil.copytree(_store(state, source), directory, dirs_exist_ok=True, symlinks=True)
    directory.chmod(mode)  # which the user of a job's image writes to; copytree changed it
    return found


def upload(state: State, job: Job, patterns: Iterable[str], directory: Path) -> int:
    """Keeps what a job leaves.

    Args:
        state: The records.
        job: The job.
        patterns: Globs below the directory; what leads out of it is left alone.
        directory: The job's directory.

    Returns:
        How many files and folders matched.
    """
    store = _store(state, job)
    matching = list(_matching(patterns, directory))
    for path in matching:
        target = store / path.relative_to(directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True, symlinks=True)
        else:
            shutil.copy2(path, target, follow_symlinks=False)
    return len(matching)


def archive(state: State, job: Job) -> None:
    """Makes the archive of what a job has left so far; `State.lock` is held."""
    kept = _store(state, job)
    files = sorted(path for path in kept.rglob("*") if path.is_file() and not path.is_symlink())
    if files:
        job.artifacts = storage.zipped(
            {str(path.relative_to(kept)): path.read_bytes() for path in files}
        )
        seconds, access = plan_of(job).artifacts.expire_in, plan_of(job).artifacts.access
        job.artifacts_access = access
        if seconds is not None:
            job.artifacts_expire_at = state.clock.now() + timedelta(seconds=seconds)


def read_reports(state: State, job: Job, plan: JobPlan, directory: Path) -> list[str]:
    """Reads the dotenv and JUnit reports of a job into the records; `State.lock` is held.

    Returns:
        The patterns that no file matched.

    Raises:
        ReportError: GitLab refuses one.
    """
    patterns = (*plan.artifacts.dotenv, *plan.artifacts.junit)
    for path in _matching(plan.artifacts.dotenv, directory):
        job.dotenv = merge(job.dotenv, reports.dotenv(path.read_bytes(), state))
    junit = [path.read_bytes() for path in _matching(plan.artifacts.junit, directory)]
    if junit:
        job.tests = reports.junit(junit)
    return [pattern for pattern in patterns if not list(_matching([pattern], directory))]


def _matching(patterns: Iterable[str], directory: Path) -> Iterator[Path]:
    root = directory.resolve()
    for pattern in patterns:
        relative = pattern.removeprefix(f"{directory}/").strip("/")
        if ".." in relative.split("/") or not relative:
            continue
        for path in sorted(directory.glob(relative)):
            if path.resolve().is_relative_to(root):
                yield path


def _store(state: State, job: Job) -> Path:
    return state.root / "artifacts" / str(job.id)
