"""What jobs hand on: files, the variables of dotenv reports, the counts of JUnit reports."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from sandbox.ci.progress import latest, plan_of
from sandbox.model import Variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sandbox.ci.plan import JobPlan
    from sandbox.model import Job, State

_KEY = re.compile(r"[a-zA-Z0-9_]+")


class ReportError(Exception):
    """A report is not what it should be; the text is GitLab's where it has one."""


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
    for source in found:
        shutil.copytree(_store(state, source), directory, dirs_exist_ok=True, symlinks=True)
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


def read_reports(job: Job, plan: JobPlan, directory: Path) -> None:
    """Reads the dotenv and JUnit reports of a job into the records; `State.lock` is held.

    Raises:
        ReportError: One is malformed.
    """
    for path in _matching(plan.artifacts.dotenv, directory):
        job.dotenv.extend(_dotenv(path.read_text(errors="replace")))
    for path in _matching(plan.artifacts.junit, directory):
        _count(job, path)


def _dotenv(text: str) -> Iterator[Variable]:
    """A report's variables, as `app/services/ci/parse_dotenv_artifact_service.rb` reads them."""
    for line in text.splitlines():
        if not line.strip():
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not _KEY.fullmatch(key):
            raise ReportError("Invalid Format")
        yield Variable(key, value, raw=True)


def _count(job: Job, path: Path) -> None:
    try:
        # The report is a file of a job that this very user just ran.
        root = ET.parse(path).getroot()  # noqa: S314
    except ET.ParseError as error:
        raise ReportError(f"JUnit XML parsing failed: {error}") from error
    summary = job.pipeline.test_summary or dict.fromkeys(
        ("total", "success", "failed", "skipped", "error"), 0
    )
    for case in root.iter("testcase"):
        outcome = next(
            (_OUTCOMES[child.tag] for child in case if child.tag in _OUTCOMES), "success"
        )
        summary[outcome] += 1
        summary["total"] += 1
    job.pipeline.test_summary = summary


_OUTCOMES = {"failure": "failed", "error": "error", "skipped": "skipped"}


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
