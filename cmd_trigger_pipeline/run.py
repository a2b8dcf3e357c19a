"""Starts a pipeline in a project exactly once."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError, NotFoundError, RefusedError
from cicd_common.gitlab import fields
from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.projects import (
    Project,
    find_commit,
    find_default_branch,
    find_project,
    name_project,
)
from cicd_common.gitlab.responses import MOVED_TEXT
from cicd_common.waiting.start import start_each
from cmd_trigger_pipeline.endpoint import endpoint_for
from cmd_trigger_pipeline.recovery import Attempt
from cmd_trigger_pipeline.refusals import RefNotFoundError, explain, explain_not_found
from cmd_trigger_pipeline.result import PipelineResult, read_pipeline
from cmd_trigger_pipeline.reuse import find_marked, mark_of, retry_failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cicd_common.gitlab.connection import Connection
    from cicd_common.gitlab.fields import JsonObject
    from cicd_common.waiting.events import Presenter
    from cicd_common.waiting.pipelines import WaitResult
    from cmd_trigger_pipeline.endpoint import Endpoint
    from cmd_trigger_pipeline.request import TriggerRequest
    from cmd_trigger_pipeline.reuse import Mark

log = logging.getLogger("cicd_common.trigger")

# What GitLab expands in a variable's value: lib/expand_variables.rb.
EXPANDED = re.compile(r"\$(\w|\{)")


def run(
    request: TriggerRequest, connection: Connection, presenter: Presenter | None = None
) -> list[PipelineResult | WaitResult | CommandError]:
    """Starts the pipeline in every project in parallel, and waits for their end if requested.

    Args:
        request: The pipeline to start.
        connection: The server and the token.
        presenter: Shows the progress of a wait; default: nothing is shown.

    Returns:
        The pipeline or the error of each project, in the order of the projects.

    Raises:
        UsageError: The request is not valid; nothing was sent.
        AuthError: GitLab accepts no given token for this request; nothing was sent.
    """
    request.check(connection.token)
    for variable in request.variables:
        if EXPANDED.search(variable.value.replace("$$", "")):
            log.warning(
                "GitLab expands the $ in the value of %s when a job runs; write $$ for a $.",
                variable.key,
            )
    gitlab = GitLab(connection)
    endpoint = endpoint_for(gitlab, request.trigger_token)
    mark = mark_of(request, os.environ) if request.reuse else None
    return start_each(
        gitlab,
        request.projects,
        lambda project: trigger(endpoint, project, request, mark),
        None if request.dry_run else request.wait,
        presenter,
    )


def trigger(
    endpoint: Endpoint, project: str, request: TriggerRequest, mark: Mark | None = None
) -> PipelineResult:
    """Starts a pipeline, or uses the one with a mark.

    No request checks first that the ref exists. GitLab's answer to this request tells it: the ref
    cannot change in between, it costs no request, and a trigger token cannot read refs.

    Args:
        endpoint: The endpoint.
        project: The project's path, numeric id, or URL.
        request: The pipeline to start; checked already.
        mark: Marks the pipelines that this job starts with this request; None to start one always.

    Returns:
        The pipeline; in a dry run, the one that would be started.

    Raises:
        NotFoundError: The project or the ref does not exist, or the token cannot see it.
        ForbiddenError: A role, a protected ref, an allowlist or a setting does not allow it.
        RefusedError: GitLab refused to create it; its `results` hold one that failed at once.
        UnavailableError: GitLab gave no usable response, or it is unknown whether it was created.
        CommandError: Another reason.
    """
    found, refs = _find(endpoint, project, request)
    if mark is not None:
        if (earlier := find_marked(endpoint, found, mark)) is not None:
            if not request.retry_failed:
                return earlier
            return retry_failed(endpoint, found, earlier, dry_run=request.dry_run)
        request = replace(request, variables=(*request.variables, mark.variable))
    step = _plan if request.dry_run else _start
    missing: list[RefNotFoundError] = []
    for ref in refs:
        try:
            return step(endpoint, found, ref, request)
        except RefNotFoundError as error:
            if len(refs) > 1:
                log.info("%s has no branch or tag %s.", found.path, ref)
            missing.append(error)
    if len(missing) == 1:
        raise missing[0]
    raise NotFoundError(
        f"{found.path} has none of these branches and tags: {', '.join(refs)}",
        hint="Check each --ref.",
    )


def _find(
    endpoint: Endpoint, project: str, request: TriggerRequest
) -> tuple[Project, tuple[str, ...]]:
    """Returns the project and the refs to try.

    The project is requested only if its default branch is needed, or in a dry run.
    """
    if endpoint.reader is None or (
        request.refs and (not request.dry_run or endpoint.source == "trigger")
    ):
        return name_project(endpoint.sender, project), request.refs
    found = find_project(endpoint.reader, project)
    return found, request.refs or (find_default_branch(endpoint.reader, found),)


def _start(
    endpoint: Endpoint, project: Project, ref: str, request: TriggerRequest
) -> PipelineResult:
    """Starts a pipeline for a ref.

    Raises:
        RefNotFoundError: The ref does not exist.
        CommandError: It was not started, or that is unknown.
    """
    attempt = Attempt(endpoint, project, ref, request)

    def read(answer: JsonObject) -> PipelineResult:
        pipeline = read_pipeline(answer, endpoint.sender.base_url, PipelineResult)
        if errors := fields.optional_text(answer, "yaml_errors"):
            raise RefusedError(
                f"{pipeline.project}: pipeline {pipeline.id} failed at once: {errors}",
                why="The project's CI/CD configuration is not valid at this ref.",
                hint=f"See {pipeline.web_url}",
                results=[pipeline],
            )
        return pipeline

    try:
        return endpoint.sender.write(
            "POST",
            f"projects/{project.id}/{endpoint.route}",
            endpoint.body(ref, request),
            read=read,
            find=attempt.find,
            check=f"whether {project.web_url}/-/pipelines has it",
            second_is_refused=False,
        )
    except RefusedError as refusal:
        raise explain(refusal, attempt, _saved(refusal, attempt)) from refusal
    except NotFoundError as error:
        moved = _moved(error, endpoint, project)
        if moved is not None:
            return _start(endpoint, moved, ref, request)
        raise explain_not_found(error, endpoint, project) from error


def _moved(error: NotFoundError, endpoint: Endpoint, project: Project) -> Project | None:
    """Returns the project with its new path, if GitLab says that it was moved."""
    if MOVED_TEXT not in error.message or endpoint.reader is None or project.id.isdecimal():
        return None
    found = find_project(endpoint.reader, project.path)
    return found if found.id.isdecimal() else None


def _saved(refusal: RefusedError, attempt: Attempt) -> Sequence[PipelineResult]:
    """Returns the failed pipeline that GitLab kept after a refusal, if the token can read it."""
    if refusal.answer and refusal.answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        with contextlib.suppress(CommandError):
            return [pipeline for pipeline in [attempt.find()] if pipeline]
    return []


def _plan(
    endpoint: Endpoint, project: Project, ref: str, request: TriggerRequest
) -> PipelineResult:
    """Returns what would be started; logs only the names of variables and inputs.

    Raises:
        RefNotFoundError: The ref does not exist.
        CommandError: GitLab gave no usable response.
    """
    sha = None
    if endpoint.reader:
        try:
            sha = find_commit(endpoint.reader, project, ref)
        except NotFoundError as error:
            raise RefNotFoundError(
                error.message, why=error.why, hint=error.hint, answer=error.answer
            ) from error
    names = [variable.key for variable in request.variables]
    log.info("Variables: %s. Inputs: %s.", _listed(names), _listed(request.inputs))
    return PipelineResult(
        project=project.path,
        id=None,
        iid=None,
        status=None,
        ref=ref,
        sha=sha,
        created_at=None,
        web_url=project.web_url,
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
