"""Finds the pipeline that an earlier run of the same job started.

GitLab keeps no link from a job to a pipeline that it started with an access token. So the command
passes the pipeline a variable that names the job and the request, and later finds it by that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from cicd_common.errors import ForbiddenError, NotFoundError, RefusedError, UsageError
from cmd_trigger_pipeline.recovery import shown_variables
from cmd_trigger_pipeline.result import FoundPipeline, read_pipeline
from cmd_trigger_pipeline.variables import Variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cicd_common.gitlab.client import GitLab
    from cicd_common.gitlab.fields import JsonObject
    from cicd_common.gitlab.projects import Project
    from cmd_trigger_pipeline.endpoint import Endpoint
    from cmd_trigger_pipeline.request import TriggerRequest

log = logging.getLogger("cicd_common.trigger")

KEY = "CMD_TRIGGER_PIPELINE_REUSE"
NEEDED = ("CI_PIPELINE_URL", "CI_PIPELINE_CREATED_AT", "CI_JOB_NAME")
# The job's pipeline can be on another server, whose clock differs.
CLOCKS_DIFFER = timedelta(minutes=5)
# Each pipeline costs a request for its variables.
MOST_PIPELINES = 200
RETRIED = frozenset({"failed", "canceled"})


@dataclasses.dataclass(frozen=True)
class Mark:
    """Marks the pipelines that one job starts with one request.

    Attributes:
        variable: The variable that such a pipeline has.
        since: No such pipeline is older than this.
    """

    variable: Variable
    since: datetime


def mark_of(request: TriggerRequest, environment: Mapping[str, str]) -> Mark:
    """Returns the mark of a request in the job that this command runs in.

    A retried job has a new id. Its name and its pipeline, and so its commit, stay.

    Args:
        request: The request; its variables are part of the mark.
        environment: The environment variables.

    Raises:
        UsageError: A variable of the job is missing, or the request has a variable of that name.
    """
    missing = [name for name in NEEDED if not environment.get(name)]
    if missing:
        raise UsageError(
            f"--reuse needs {', '.join(missing)}.",
            why="These variables of a GitLab job tell which job this is.",
            hint=f"In docker run, pass them on: {' '.join(f'-e {name}' for name in NEEDED)}",
        )
    if any(variable.key == KEY for variable in request.variables):
        raise UsageError(f"The variable {KEY} is set by --reuse.", hint="Give it another name.")
    pipeline, created_at, job = (environment[name] for name in NEEDED)
    try:
        since = datetime.fromisoformat(created_at) - CLOCKS_DIFFER
    except (ValueError, OverflowError) as error:
        raise UsageError(f"CI_PIPELINE_CREATED_AT is not a time: {created_at!r}.") from error
    name = quote(job, safe=" :[],/", errors="surrogateescape")
    return Mark(Variable(KEY, f"{pipeline} {name} {_digest(request)}"), since)


def _digest(request: TriggerRequest) -> str:
    """Returns a digest of what a request asks for, whatever the order of variables and inputs."""
    variables = sorted(dataclasses.astuple(variable) for variable in request.variables)
    asked = json.dumps([request.refs, variables, dict(request.inputs)], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:32]


def find_marked(endpoint: Endpoint, project: Project, mark: Mark) -> FoundPipeline | None:
    """Finds the newest pipeline with a mark.

    Args:
        endpoint: The endpoint, whose reader can read a pipeline's variables.
        project: The project.
        mark: The mark.

    Returns:
        The pipeline; None if it is certain that there is none.

    Raises:
        ForbiddenError: The variables of a pipeline cannot be read.
        RefusedError: There are too many pipelines to read.
        CommandError: GitLab gave no usable response.
    """
    reader = _reader(endpoint)
    username = endpoint.username()
    listed = reader.get_all(
        f"projects/{project.id}/pipelines",
        source=endpoint.source,
        updated_after=mark.since.isoformat(),
        **({"username": username} if username else {}),
    )
    wanted = (mark.variable.key, mark.variable.value, mark.variable.variable_type)
    for number, item in enumerate(listed):
        pipeline = read_pipeline(item, reader.base_url, FoundPipeline)
        if number == MOST_PIPELINES:
            raise RefusedError(
                f"{project.path}: --reuse cannot check more than {MOST_PIPELINES} pipelines.",
                why="So many were started since this job's pipeline began; any of them can be "
                "this job's.",
                hint="See the project's pipelines; leave out --reuse to start another.",
            )
        try:
            shown = shown_variables(reader, project, pipeline)
        except NotFoundError:
            continue  # it was deleted after it was listed
        if shown is None:
            raise ForbiddenError(
                f"The variables of pipeline {pipeline.id} cannot be read: {pipeline.web_url}",
                why="By a variable --reuse recognizes the pipeline that this job started.",
                hint="Give an access token of the user who starts the pipelines, or of a "
                "Maintainer.",
            )
        if wanted in shown:
            log.info(
                "Pipeline %s was started by an earlier run of this job, and is reused: %s",
                pipeline.id,
                pipeline.web_url,
            )
            return pipeline
    return None


def retry_failed(
    endpoint: Endpoint, project: Project, pipeline: FoundPipeline, *, dry_run: bool
) -> FoundPipeline:
    """Retries the failed and canceled jobs of a pipeline that has failed or was canceled.

    Args:
        endpoint: The endpoint, whose reader can retry the jobs.
        project: The project.
        pipeline: The pipeline.
        dry_run: Whether to log only what would be done.

    Returns:
        The pipeline as it is now.

    Raises:
        CommandError: GitLab refused, or the outcome is unknown.
    """
    if pipeline.status not in RETRIED:
        return pipeline
    if dry_run:
        log.info("The failed jobs of pipeline %s would be retried.", pipeline.id)
        return pipeline
    reader = _reader(endpoint)
    path = f"projects/{project.id}/pipelines/{pipeline.id}"

    def read(answer: JsonObject) -> FoundPipeline:
        return read_pipeline(answer, reader.base_url, FoundPipeline)

    before = reader.get(path)
    if (now := read(before)).status not in RETRIED:
        return now

    def find() -> FoundPipeline | None:
        # Its status is not enough: the retried jobs can have failed again by now.
        answer = reader.get(path)
        return None if answer.get("updated_at") == before.get("updated_at") else read(answer)

    log.info("The failed jobs of pipeline %s are retried.", pipeline.id)
    return reader.write(
        "POST",
        f"{path}/retry",
        {},
        read=read,
        find=find,
        check=pipeline.web_url,
        second_is_refused=False,
    )


def _reader(endpoint: Endpoint) -> GitLab:
    if endpoint.reader is None:
        raise ValueError("--reuse needs an access token; the request is checked for one")
    return endpoint.reader
