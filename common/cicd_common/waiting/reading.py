"""Pipelines and jobs, read from GitLab; each function is one request, or pages of one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cicd_common.client import PER_PAGE, GitLab, field
from cicd_common.errors import AuthError, ForbiddenError, NotFoundError, UnavailableError
from cicd_common.tokens import TokenKind
from cicd_common.waiting.model import Job, Pipeline
from cicd_common.waiting.statuses import has_ended

if TYPE_CHECKING:
    from collections.abc import Iterable


def read_by_jobs(gitlab: GitLab, project_id: str, pipeline_id: int) -> Pipeline | None:
    """Reads a pipeline and its first hundred jobs in one request, from its jobs.

    Each job holds its pipeline as it is now. Every server takes a job token here.

    Args:
        gitlab: The client.
        project_id: The project as an address has it.
        pipeline_id: The pipeline.

    Returns:
        The pipeline; None if it has no jobs but trigger jobs, which this route leaves out, or if
        they do not show it.

    Raises:
        CommandError: There was no usable answer.
    """
    answers = gitlab.get(f"projects/{project_id}/pipelines/{pipeline_id}/jobs", per_page=PER_PAGE)
    return _pipeline_of(gitlab, answers, parse_jobs(answers))


def read_by_bridges(gitlab: GitLab, project_id: str, pipeline_id: int) -> Pipeline | None:
    """Reads a pipeline and its trigger jobs, with what is downstream, as `read_by_jobs` does.

    Raises:
        CommandError: There was no usable answer.
    """
    # GitLab 19.2 renamed this to `trigger_jobs`, and still takes the old name.
    path = f"projects/{project_id}/pipelines/{pipeline_id}/bridges"
    answers = gitlab.get(path, per_page=PER_PAGE)
    return _pipeline_of(gitlab, answers, parse_bridges(gitlab, answers))


def read_alone(gitlab: GitLab, project_id: str, pipeline_id: int) -> Pipeline:
    """Reads a pipeline without its jobs.

    Args:
        gitlab: The client.
        project_id: The project as an address has it.
        pipeline_id: The pipeline.

    Raises:
        AuthError: The server takes no job token here, as those before about 18.x do not.
        CommandError: There was no usable answer.
    """
    try:
        answer = gitlab.get(f"projects/{project_id}/pipelines/{pipeline_id}")
    except NotFoundError as error:
        if gitlab.token_kind is not TokenKind.JOB:
            raise
        raise AuthError(
            f"Pipeline {pipeline_id} has no jobs, and without one a CI job token cannot see its "
            "status on this server.",
            why="Older GitLab servers let a job token read a pipeline's jobs only.",
            hint="Give an access token with the read_api scope (COMMANDS_API_TOKEN).",
            answer=error.answer,
        ) from error
    return parse_pipeline(gitlab, answer)


def read_pipeline(gitlab: GitLab, project_id: str, pipeline_id: int) -> Pipeline:
    """Reads a pipeline with its first jobs, and with its trigger jobs unless it has ended.

    Raises:
        CommandError: There was no usable answer.
    """
    by_jobs = read_by_jobs(gitlab, project_id, pipeline_id)
    if by_jobs is not None and has_ended(by_jobs.status):
        return by_jobs
    try:
        by_bridges = read_by_bridges(gitlab, project_id, pipeline_id)
    except (AuthError, ForbiddenError, NotFoundError):
        by_bridges = None  # older servers do not let a job token see them
    if by_jobs and by_bridges:
        return by_bridges.with_jobs((*by_jobs.jobs, *by_bridges.jobs))
    return by_jobs or by_bridges or read_alone(gitlab, project_id, pipeline_id)


def parse_pipeline(gitlab: GitLab, answer: Any) -> Pipeline:
    """Reads a pipeline in any of the forms in which GitLab sends it.

    Raises:
        UnavailableError: It lacks what every pipeline has.
    """
    web_url = str(field(answer, "web_url"))
    project_id = str(field(answer, "project_id"))
    tag = answer.get("tag")
    return Pipeline(
        project=_project_path(gitlab, web_url) or project_id,
        project_id=project_id,
        id=int(field(answer, "id")),
        status=str(field(answer, "status")),
        ref=_printable(field(answer, "ref")),
        sha=str(field(answer, "sha")),
        source=str(answer.get("source") or ""),
        web_url=web_url,
        created_at=_time(field(answer, "created_at")),
        updated_at=_time(answer.get("updated_at") or field(answer, "created_at")),
        tag=None if tag is None else bool(tag),
        yaml_errors=_printable(answer.get("yaml_errors") or ""),
    )


def parse_jobs(answers: Iterable[Any]) -> tuple[Job, ...]:
    """Reads jobs, and trigger jobs without what is downstream of them.

    Raises:
        UnavailableError: One lacks what every job has.
    """
    return tuple(map(_parse_job, answers))


def parse_bridges(gitlab: GitLab, answers: Iterable[Any]) -> tuple[Job, ...]:
    """Reads trigger jobs, with the pipelines downstream as far as they exist.

    Raises:
        UnavailableError: One lacks what every job has.
    """
    return tuple(
        replace(_parse_job(answer), downstream=below and parse_pipeline(gitlab, below))
        for answer in answers
        for below in [answer.get("downstream_pipeline")]
    )


def _pipeline_of(gitlab: GitLab, answers: list[Any], jobs: tuple[Job, ...]) -> Pipeline | None:
    shown = answers[0].get("pipeline") if answers else None
    if not isinstance(shown, dict) or not shown.keys() >= _SHOWN_BY_JOBS:
        return None
    pipeline = parse_pipeline(gitlab, shown)
    return replace(pipeline, tag=bool(answers[0].get("tag"))).with_jobs(jobs)


# What a job holds of its pipeline; older servers hold less, and are asked for the pipeline itself.
_SHOWN_BY_JOBS = {"id", "project_id", "status", "ref", "sha", "web_url", "created_at"}


def _parse_job(answer: Any) -> Job:
    started_at, finished_at = (
        _time(answer[name]) if answer.get(name) else None for name in ("started_at", "finished_at")
    )
    return Job(
        id=int(field(answer, "id")),
        name=_printable(field(answer, "name")),
        stage=_printable(field(answer, "stage")),
        status=str(field(answer, "status")),
        web_url=str(field(answer, "web_url")),
        allow_failure=bool(answer.get("allow_failure")),
        failure_reason=str(answer.get("failure_reason") or ""),
        started_at=started_at,
        finished_at=finished_at,
        bridge="downstream_pipeline" in answer,
    )


def _printable(text: object) -> str:
    """A project's own text on one line, without what would steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def _project_path(gitlab: GitLab, web_url: str) -> str:
    """The path in a pipeline's address, whose host may be another name of the server."""
    root = urlsplit(gitlab.base_url).path
    path = urlsplit(web_url).path.removeprefix(root)
    return path.partition("/-/")[0].strip("/")


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UnavailableError(f"GitLab's answer holds {text!r} in place of a time.") from error
