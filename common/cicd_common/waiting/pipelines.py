"""Reads pipelines and their jobs from GitLab into records, and makes the result of a wait."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cicd_common.cleaning import one_line
from cicd_common.cli.output import pipeline_variables
from cicd_common.errors import AuthError, ForbiddenError, NotFoundError, UnavailableError
from cicd_common.gitlab import fields
from cicd_common.gitlab.client import PER_PAGE, GitLab
from cicd_common.gitlab.tokens import TokenKind
from cicd_common.waiting.reasons import DOWNSTREAM
from cicd_common.waiting.statuses import is_finished

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from cicd_common.gitlab.fields import JsonObject


@dataclass(frozen=True)
class Job:
    """Holds a job as GitLab showed it; with `bridge` it is a trigger job.

    Attributes:
        id: Its id; a retried job has a new one.
        name: Its name.
        stage: Its stage.
        status: One of `statuses.STATUSES`, or one that GitLab has added since.
        web_url: Its page.
        allow_failure: Whether its failure is a warning only; of a manual job, whether it is
            optional.
        failure_reason: GitLab's name of why it failed, such as `script_failure`; else empty.
        started_at: When it started, if it has; by GitLab's clock.
        finished_at: When it finished, if it has; by GitLab's clock.
        bridge: Whether it is a trigger job.
        downstream: The pipeline that a trigger job started, if it exists and was read.
        log: The last lines of its log, cleaned, if it was read.
    """

    id: int
    name: str
    stage: str
    status: str
    web_url: str
    allow_failure: bool = False
    failure_reason: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    bridge: bool = False
    downstream: Pipeline | None = None
    log: tuple[str, ...] = ()

    @property
    def duration(self) -> float | None:
        """Returns the seconds that it ran once it has finished; None if it never started."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class ReportedTests:
    """Holds the counts of a pipeline's test report, under GitLab's names."""

    total: int
    success: int
    failed: int
    skipped: int
    error: int


@dataclass(frozen=True)
class Pipeline:
    """Holds a pipeline as GitLab showed it.

    Attributes:
        project: The project's path, or its numeric id if the path is not known.
        project_id: The project as a URL path segment, encoded.
        id: Its id, unique on the server.
        status: One of `statuses.STATUSES`, or one that GitLab has added since.
        ref: The branch or tag.
        sha: The commit.
        source: What started it, such as `push`.
        web_url: Its page.
        created_at: When it was created, by GitLab's clock.
        updated_at: When it last changed, by GitLab's clock.
        tag: Whether the ref is a tag; None if that is not known.
        duration: Seconds that its jobs have run, if that is known.
        stages: The known stages, in their order, each with the lowest id of its jobs.
        jobs: The known jobs, in their order, without those that were retried. During a wait for
            several pipelines of a project there are none until the end.
        tests: The counts of its test report, if there is one and it was read.
        yaml_errors: The errors of its configuration, if they made it fail at once.
        iid: Its number within the project; 0 if that is not known.
    """

    project: str
    project_id: str
    id: int
    status: str
    ref: str
    sha: str
    source: str
    web_url: str
    created_at: datetime
    updated_at: datetime
    tag: bool | None = None
    duration: float | None = None
    stages: tuple[tuple[str, int], ...] = ()
    jobs: tuple[Job, ...] = ()
    tests: ReportedTests | None = None
    yaml_errors: str = ""
    iid: int = 0

    def with_jobs(self, jobs: tuple[Job, ...]) -> Pipeline:
        """Returns the pipeline with new jobs; the stages keep the order in which they were read."""
        # Ids grow with the stages; only a retried job has a late id, and its stage is known then.
        first = dict(self.stages)
        for job in jobs:
            first[job.stage] = min(first.get(job.stage, job.id), job.id)
        return replace(
            self,
            stages=tuple(sorted(first.items(), key=lambda stage: stage[1])),
            jobs=tuple(sorted(jobs, key=lambda job: (first[job.stage], job.id))),
        )


@dataclass(frozen=True)
class FailedJob:
    """Describes a failed job in the result.

    Attributes:
        project: The path of its project.
        pipeline_id: The id of its pipeline: the one waited for, or one downstream of it.
        id: Its id.
        stage: Its stage.
        name: Its name.
        failure_reason: GitLab's name of why it failed.
        allow_failure: Whether the wait can succeed although the job failed.
        web_url: Its page.
        log: The end of its log, cleaned, if it was read.
        downstream_url: The page of the pipeline that a trigger job started; empty without one.
    """

    project: str
    pipeline_id: int
    id: int
    stage: str
    name: str
    failure_reason: str
    allow_failure: bool
    web_url: str
    log: str
    downstream_url: str = ""


def why_failed(job: Job) -> str:
    """Returns GitLab's name of why a job failed; for a trigger job, maybe the downstream status."""
    if job.failure_reason:
        return job.failure_reason
    if job.downstream:
        return f"{DOWNSTREAM}{job.downstream.status}"
    return "unknown_failure"


def failed_jobs(pipeline: Pipeline, *, allowed: bool = False) -> Iterator[FailedJob]:
    """Yields the failed jobs that are known of a pipeline and of its downstream pipelines.

    A trigger job is left out if a job downstream of it failed, because that made it fail.

    Args:
        pipeline: The pipeline.
        allowed: Whether every failure in it is allowed, as below an optional trigger job.
    """
    for job in pipeline.jobs:
        may_fail = allowed or job.allow_failure
        below = list(failed_jobs(job.downstream, allowed=may_fail)) if job.downstream else []
        yield from below
        if job.status == "failed" and not below:
            yield FailedJob(
                project=pipeline.project,
                pipeline_id=pipeline.id,
                id=job.id,
                stage=job.stage,
                name=job.name,
                failure_reason=why_failed(job),
                allow_failure=may_fail,
                web_url=job.web_url,
                log="\n".join(job.log),
                downstream_url=job.downstream.web_url if job.downstream else "",
            )


@dataclass(frozen=True)
class WaitResult:
    """Holds the result of a wait for one pipeline; its fields are the fields of the JSON output.

    Attributes:
        project: The project's path.
        id: The pipeline's id.
        iid: Its number within the project.
        status: Its last status.
        ref: The branch or tag.
        sha: The commit.
        created_at: When it was created, in UTC.
        web_url: Its page.
        duration: Seconds that its jobs have run, if that is known.
        failed_jobs: The jobs that failed, including downstream jobs and jobs that may fail.
        tests: The counts of its test report, if the server has them.
        variables: The variables of the dotenv files that were read of its jobs' artifacts.
    """

    project: str
    id: int
    iid: int
    status: str
    ref: str
    sha: str
    created_at: str
    web_url: str
    duration: float | None
    failed_jobs: tuple[FailedJob, ...] = ()
    tests: ReportedTests | None = None
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)

    def text(self) -> str:
        """Returns one short line for the user."""
        took = "" if self.duration is None else f" in {in_words(self.duration)}"
        return f"{self.project}: pipeline {self.id} {self.status}{took} {self.web_url}"

    def dotenv(self) -> dict[str, str]:
        """Returns the variables for later jobs, by name."""
        own = pipeline_variables(self.id, self.project, self.web_url, self.status, self.sha)
        return own | dict(self.variables)


def result_of(pipeline: Pipeline) -> WaitResult:
    """Returns the result of a wait that ended with a pipeline."""
    return WaitResult(
        project=pipeline.project,
        id=pipeline.id,
        iid=pipeline.iid,
        status=pipeline.status,
        ref=pipeline.ref,
        sha=pipeline.sha,
        created_at=pipeline.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        web_url=pipeline.web_url,
        duration=pipeline.duration,
        failed_jobs=tuple(failed_jobs(pipeline)),
        tests=pipeline.tests,
    )


def in_words(seconds: float) -> str:
    """Returns a duration in words: `45 s`, `3 min 5 s`, `2 h 0 min`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{whole} s"


@dataclass(frozen=True)
class Estimate:
    """Estimates how long a pipeline takes, from earlier successful pipelines of its ref.

    Attributes:
        seconds: The median time from creation to end of the earlier pipelines.
        spread: Half of the earlier pipelines differed from the median by at most this many seconds.
    """

    seconds: float
    spread: float


CHILD = "parent_pipeline"  # the source of child pipelines, which GitLab lists separately


def jobs_path(pipeline: Pipeline) -> str:
    """Returns the API path of a pipeline's jobs; it leaves out trigger jobs."""
    return f"projects/{pipeline.project_id}/pipelines/{pipeline.id}/jobs"


def read_by_jobs(
    gitlab: GitLab, project_id: str, pipeline_id: int, *, every: bool = False
) -> Pipeline | None:
    """Reads a pipeline and its jobs from the list of the jobs, each of which shows the pipeline.

    Every server accepts a job token for this request.

    Args:
        gitlab: The client.
        project_id: The project as a URL path segment.
        pipeline_id: The pipeline.
        every: Whether to read all jobs, 100 in each request; otherwise only the first 100.

    Returns:
        The pipeline; None if it has only trigger jobs, which this list leaves out, or if its jobs
        do not show it.

    Raises:
        CommandError: GitLab gave no usable response.
    """
    path = f"projects/{project_id}/pipelines/{pipeline_id}/jobs"
    answers = list(gitlab.get_all(path)) if every else gitlab.get_list(path, per_page=PER_PAGE)
    return _pipeline_of(gitlab, answers, parse_jobs(answers))


def read_by_bridges(gitlab: GitLab, project_id: str, pipeline_id: int) -> Pipeline | None:
    """Reads a pipeline, its trigger jobs and their downstream pipelines, as `read_by_jobs` does.

    Raises:
        CommandError: GitLab gave no usable response.
    """
    # GitLab 19.2 renamed this to `trigger_jobs`, and still accepts the old name.
    path = f"projects/{project_id}/pipelines/{pipeline_id}/bridges"
    answers = gitlab.get_list(path, per_page=PER_PAGE)
    return _pipeline_of(gitlab, answers, parse_bridges(gitlab, answers))


def read_bridges(gitlab: GitLab, pipeline: Pipeline) -> tuple[Job, ...]:
    """Reads all trigger jobs of a pipeline, with their downstream pipelines.

    Raises:
        CommandError: GitLab gave no usable response.
    """
    path = f"projects/{pipeline.project_id}/pipelines/{pipeline.id}/bridges"
    return parse_bridges(gitlab, gitlab.get_all(path))


def read_alone(gitlab: GitLab, project_id: str, pipeline_id: int) -> Pipeline:
    """Reads a pipeline without its jobs.

    Args:
        gitlab: The client.
        project_id: The project as a URL path segment.
        pipeline_id: The pipeline.

    Raises:
        AuthError: The server accepts no job token here, like servers before about 19.x.
        CommandError: GitLab gave no usable response.
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


def read_pipeline(
    gitlab: GitLab, project_id: str, pipeline_id: int, *, every_job: bool = False
) -> Pipeline:
    """Reads a pipeline with its jobs, and with its trigger jobs unless it has finished.

    Args:
        gitlab: The client.
        project_id: The project as a URL path segment.
        pipeline_id: The pipeline.
        every_job: Whether all its jobs are needed; otherwise the first 100 are enough, or none if
            they cannot be read.

    Raises:
        CommandError: GitLab gave no usable response.
    """
    try:
        by_jobs = read_by_jobs(gitlab, project_id, pipeline_id, every=every_job)
    except (ForbiddenError, UnavailableError):
        if every_job:
            raise
        return read_alone(gitlab, project_id, pipeline_id)
    if by_jobs is not None and is_finished(by_jobs.status):
        return by_jobs
    try:
        by_bridges = read_by_bridges(gitlab, project_id, pipeline_id)
    except (AuthError, ForbiddenError, NotFoundError):
        by_bridges = None  # older servers do not show them to a job token
    if by_jobs and by_bridges:
        return by_bridges.with_jobs((*by_jobs.jobs, *by_bridges.jobs))
    return by_jobs or by_bridges or read_alone(gitlab, project_id, pipeline_id)


def parse_pipeline(gitlab: GitLab, answer: JsonObject) -> Pipeline:
    """Reads a pipeline from any of the JSON forms in which GitLab sends it.

    Raises:
        UnavailableError: A field that every pipeline has is missing.
    """
    web_url = fields.url(answer, "web_url")
    project_id = str(fields.number(answer, "project_id"))
    created_at = fields.time(answer, "created_at")
    return Pipeline(
        project=_project_path(gitlab, web_url) or project_id,
        project_id=project_id,
        id=fields.number(answer, "id"),
        status=fields.text(answer, "status"),
        ref=one_line(fields.text(answer, "ref")),
        sha=fields.text(answer, "sha"),
        source=fields.optional_text(answer, "source"),
        web_url=web_url,
        created_at=created_at,
        updated_at=fields.optional_time(answer, "updated_at") or created_at,
        tag=None if answer.get("tag") is None else fields.flag(answer, "tag"),
        yaml_errors=one_line(fields.optional_text(answer, "yaml_errors")),
        iid=fields.number(answer, "iid") if "iid" in answer else 0,
    )


def parse_jobs(answers: Iterable[JsonObject]) -> tuple[Job, ...]:
    """Reads jobs, and trigger jobs without their downstream pipelines, from JSON.

    Raises:
        UnavailableError: A field that every job has is missing.
    """
    return tuple(map(_parse_job, answers))


def parse_bridges(gitlab: GitLab, answers: Iterable[JsonObject]) -> tuple[Job, ...]:
    """Reads trigger jobs, with their downstream pipelines if these exist, from JSON.

    Raises:
        UnavailableError: A field that every job has is missing.
    """
    return tuple(
        replace(_parse_job(answer), downstream=_parse_downstream(gitlab, answer), bridge=True)
        for answer in answers
    )


def _parse_downstream(gitlab: GitLab, bridge: JsonObject) -> Pipeline | None:
    if bridge.get("downstream_pipeline") is None:
        return None
    return parse_pipeline(gitlab, fields.record(bridge, "downstream_pipeline"))


def _pipeline_of(
    gitlab: GitLab, answers: list[JsonObject], jobs: tuple[Job, ...]
) -> Pipeline | None:
    shown = answers[-1].get("pipeline") if answers else None
    if not isinstance(shown, dict) or not shown.keys() >= _SHOWN_BY_JOBS:
        return None
    pipeline = parse_pipeline(gitlab, shown)
    return replace(pipeline, tag=fields.flag(answers[0], "tag")).with_jobs(jobs)


# The fields of a pipeline that a job shows; if some are missing (older servers), it is read itself.
_SHOWN_BY_JOBS = {"id", "project_id", "status", "ref", "sha", "web_url", "created_at"}


def _parse_job(answer: JsonObject) -> Job:
    return Job(
        id=fields.number(answer, "id"),
        name=one_line(fields.text(answer, "name")),
        stage=one_line(fields.text(answer, "stage")),
        status=fields.text(answer, "status"),
        web_url=fields.url(answer, "web_url"),
        allow_failure=fields.flag(answer, "allow_failure"),
        failure_reason=fields.optional_text(answer, "failure_reason"),
        started_at=fields.optional_time(answer, "started_at"),
        finished_at=fields.optional_time(answer, "finished_at"),
        bridge="downstream_pipeline" in answer,
    )


def _project_path(gitlab: GitLab, web_url: str) -> str:
    """Returns the project path in a pipeline's URL, whose host can be an alias of the server."""
    root = urlsplit(gitlab.base_url).path
    path = urlsplit(web_url).path.removeprefix(root)
    return path.partition("/-/")[0].strip("/")
