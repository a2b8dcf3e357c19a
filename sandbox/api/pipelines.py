"""Pipelines, and what is below one: its jobs, trigger jobs, variables and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import entities, git, pipelines, versions
from sandbox.ci import PipelineRefused, reasons_against
from sandbox.model import STATUSES, Access, Variable
from sandbox.paging import paginate
from sandbox.routes import Routes
from sandbox.web import Response, as_json, forbidden, invalid, no_record, not_found, refuse

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sandbox.context import Call
    from sandbox.model import Job, Pipeline, Project

routes = Routes(authenticated_writes=True)

SOURCES = (
    "unknown",
    "push",
    "web",
    "trigger",
    "schedule",
    "api",
    "external",
    "pipeline",
    "chat",
    "webide",
    "merge_request_event",
    "external_pull_request_event",
    "parent_pipeline",
    "ondemand_dast_scan",
    "ondemand_dast_validation",
    "security_orchestration_policy",
    "container_registry_push",
    "duo_workflow",
    "pipeline_execution_policy_schedule",
)
_SCOPES: dict[str, frozenset[str]] = {
    "running": frozenset({"running"}),
    "pending": frozenset({"pending"}),
    "finished": frozenset({"success", "failed", "canceled"}),
}
_ORDERS: dict[str, Callable[[Pipeline], Any]] = {
    "id": lambda pipeline: pipeline.id,
    "status": lambda pipeline: pipeline.status,
    "ref": lambda pipeline: pipeline.ref,
    "updated_at": lambda pipeline: pipeline.updated_at,
    "user_id": lambda pipeline: pipeline.user.id,
}


@routes.on(
    "GET", "/projects/:id/pipelines", "read_pipeline", job_token=versions.PIPELINES_BY_JOB_TOKEN
)
def index(call: Call) -> Response:
    """The project's pipelines; its child pipelines only with `source=parent_pipeline`."""
    project, params = call.project(), call.params
    source = params.choice("source", SOURCES)
    scope = params.choice("scope", (*_SCOPES, "branches", "tags"))
    order = _ORDERS[params.choice("order_by", _ORDERS, "id")]
    descending = params.choice("sort", ("asc", "desc"), "desc") == "desc"
    filters = _filters(call, source)
    found = [
        pipeline
        for pipeline in _of(call, project)
        if (pipeline.source != "parent_pipeline" or source == "parent_pipeline")
        and all(holds(pipeline) for holds in filters)
    ]
    found = _in_scope(project, found, scope)
    found.sort(key=lambda pipeline: (order(pipeline), pipeline.id), reverse=descending)
    return paginate(
        call, found, lambda pipeline: entities.pipeline_basic_with_metadata(call.state, pipeline)
    )


def _of(call: Call, project: Project) -> list[Pipeline]:
    return [
        pipeline
        for pipeline in call.state.pipelines.values()
        if pipeline.project is project and _is_readable(call, pipeline)
    ]


def _is_readable(call: Call, pipeline: Pipeline) -> bool:
    """Whether the read replica, which answers reads alone, has the pipeline by now."""
    lag = pipeline.readable_from
    return call.request.method not in ("GET", "HEAD") or lag is None or lag <= call.now


def _filters(call: Call, source: str) -> list[Callable[[Pipeline], bool]]:
    """What a listed pipeline must be."""
    params = call.params
    wanted = {
        "ref": params.text("ref"),
        "sha": params.text("sha"),
        "name": params.text("name"),
        "status": params.choice("status", STATUSES),
        "source": source,
    }
    username, broken = params.text("username"), params.has("yaml_errors")
    with_errors = params.flag("yaml_errors")
    return [
        lambda pipeline: all(getattr(pipeline, n) == v for n, v in wanted.items() if v),
        lambda pipeline: username in ("", pipeline.user.username),
        lambda pipeline: not broken or with_errors == (pipeline.yaml_errors is not None),
        *_times(call),
    ]


def _times(call: Call) -> list[Callable[[Pipeline], bool]]:
    updated = [call.params.time(f"updated_{side}") for side in ("after", "before")]
    created = [call.params.time(f"created_{side}") for side in ("after", "before")]
    return [
        lambda pipeline: _between(pipeline.updated_at, *updated),
        lambda pipeline: _between(pipeline.created_at, *created),
    ]


def _between(moment: datetime, after: datetime | None, before: datetime | None) -> bool:
    return (after is None or after <= moment) and (before is None or moment <= before)


def _in_scope(project: Project, found: list[Pipeline], scope: str) -> list[Pipeline]:
    if scope in _SCOPES:
        return [pipeline for pipeline in found if pipeline.status in _SCOPES[scope]]
    if not scope:
        return found
    # The newest of each branch, or tag, that still exists.
    prefix = "refs/tags/" if scope == "tags" else "refs/heads/"
    names = {ref.removeprefix(prefix) for ref in git.refs(project.repository, prefix)}
    newest = {
        pipeline.ref: pipeline
        for pipeline in sorted(found, key=_ORDERS["id"])
        if pipeline.tag == (scope == "tags") and pipeline.ref in names
    }
    return list(newest.values())


@routes.on("GET", "/projects/:id/pipelines/latest", "read_pipeline")
def latest(call: Call) -> dict[str, Any]:
    """The newest pipeline of a branch's, or the default branch's, newest commit."""
    project = call.project()
    ref = call.params.text("ref") or project.default_branch
    sha = git.resolve(project.repository, ref)
    found = [
        pipeline
        for pipeline in _of(call, project)
        if pipeline.ref == ref and pipeline.sha == sha and pipeline.source != "parent_pipeline"
    ]
    if not found:
        raise forbidden()  # GitLab asks whether nothing may be read
    return entities.pipeline_with_metadata(call.state, max(found, key=_ORDERS["id"]))


@routes.on(
    "GET",
    "/projects/:id/pipelines/:pipeline_id",
    "read_pipeline",
    job_token=versions.PIPELINES_BY_JOB_TOKEN,
)
def show(call: Call) -> dict[str, Any]:
    """One pipeline."""
    return entities.pipeline_with_metadata(call.state, _find(call, call.project()))


def _find(call: Call, project: Project) -> Pipeline:
    pipeline = call.state.pipelines.get(call.params.integer("pipeline_id", 0))
    if pipeline is None or pipeline.project is not project or not _is_readable(call, pipeline):
        raise no_record()
    return pipeline


@routes.on(
    "GET",
    "/projects/:id/pipelines/:pipeline_id/jobs",
    "read_job",
    job_token=versions.PIPELINE_JOBS_BY_JOB_TOKEN,
)
def jobs(call: Call) -> Response:
    """A pipeline's jobs without its trigger jobs, the newest first."""
    pipeline = _find(call, call.project())
    retried = call.params.flag("include_retried")
    found = [
        job
        for job in _in_job_scope(call, pipeline)
        if not job.bridge and (retried or not job.retried)
    ]
    return paginate(call, found, lambda job: entities.job(call.state, job))


@routes.on(
    "GET",
    "/projects/:id/pipelines/:pipeline_id/bridges",
    "read_job",
    job_token=versions.PIPELINES_BY_JOB_TOKEN,
)
@routes.on(
    "GET",
    "/projects/:id/pipelines/:pipeline_id/trigger_jobs",
    "read_job",
    job_token=versions.PIPELINES_BY_JOB_TOKEN,
    versions=versions.TRIGGER_JOBS,
)
def bridges(call: Call) -> Response:
    """A pipeline's trigger jobs, the newest first."""
    pipeline = _find(call, call.project())
    found = [job for job in _in_job_scope(call, pipeline) if job.bridge and not job.retried]
    return paginate(call, found, lambda job: entities.bridge(call.state, job))


def _in_job_scope(call: Call, pipeline: Pipeline) -> list[Job]:
    scope = call.params.texts("scope")
    if not set(scope) <= set(STATUSES):
        raise invalid("scope does not have a valid value")
    newest_first = sorted(pipeline.jobs, key=lambda job: job.id, reverse=True)
    return [job for job in newest_first if not scope or job.status in scope]


@routes.on("GET", "/projects/:id/pipelines/:pipeline_id/variables", "read_pipeline_variable")
def variables(call: Call) -> list[dict[str, Any]]:
    """A pipeline's own variables; source: `app/policies/ci/pipeline_policy.rb`."""
    project = call.project(Access.DEVELOPER)
    pipeline = _find(call, project)
    if pipeline.user is not call.user and call.access(project) < Access.MAINTAINER:
        raise forbidden()
    return [entities.variable(variable) for variable in pipeline.variables]


@routes.on(
    "GET", "/projects/:id/pipelines/:pipeline_id/test_report_summary", "read_pipeline_test_report"
)
def test_report_summary(call: Call) -> dict[str, Any]:
    """The counts of a pipeline's tests."""
    return entities.test_report_summary(_find(call, call.project()))


@routes.on("POST", "/projects/:id/pipelines/:pipeline_id/cancel", "cancel_pipeline")
def cancel(call: Call) -> dict[str, Any]:
    """Cancels what can be canceled; 200 even if that is nothing."""
    pipeline = _find(call, call.project(Access.DEVELOPER))
    call.instance.steering(pipeline).cancel(pipeline)
    return entities.pipeline(call.state, pipeline)


@routes.on("POST", "/projects/:id/pipelines/:pipeline_id/retry", "retry_pipeline")
def retry(call: Call) -> Response:
    """Runs the failed and canceled jobs again."""
    pipeline = _find(call, call.project(Access.DEVELOPER))
    call.instance.steering(pipeline).retry(pipeline, call.user)
    return as_json(entities.pipeline(call.state, pipeline), 201)


@routes.on("POST", "/projects/:id/pipeline", "create_pipeline")
def create(call: Call) -> Response:
    """Starts a pipeline with an access token; one that is refused is not saved."""
    project = call.project(Access.DEVELOPER)
    call.params.require("ref")
    variables = _read_variables(call)
    inputs = read_inputs(call, versions.PIPELINE_INPUTS)
    try:
        pipeline = pipelines.start(
            call.state,
            project,
            ref=call.params.text("ref"),
            source="api",
            user=call.user,
            variables=variables,
            inputs=inputs,
        )
    except PipelineRefused as refusal:
        raise refuse(400, {refusal.field: refusal.messages}) from None
    return as_json(entities.pipeline(call.state, pipeline), 201)


@routes.on("GET", "/projects/:id/ci/lint", "read_ci_config")
def lint(call: Call) -> dict[str, object]:
    """Checks a commit's configuration; with `dry_run`, whether a push to a branch starts jobs.

    Source: `API::Lint`. The sandbox simulates only, and returns no merged configuration.
    """
    project, params = call.project(Access.DEVELOPER), call.params
    if not params.flag("dry_run"):
        raise invalid("the sandbox only simulates: dry_run must be true")
    ref, content = params.text("dry_run_ref"), params.text("content_ref")
    sha = git.resolve(project.repository, content)
    if sha is None:
        raise not_found("404 Commit Not Found")
    errors = reasons_against(call.state, project, call.user, ref=ref, sha=sha)
    return {"valid": not errors, "errors": errors, "warnings": [], "includes": []}


def _read_variables(call: Call) -> list[Variable]:
    found = []
    given = call.params.maps("variables", ("key", "value", "variable_type"))
    for number, item in enumerate(given):
        kind = item.get("variable_type", "env_var")
        if kind not in ("env_var", "file"):
            raise invalid(f"variables[{number}][variable_type] does not have a valid value")
        found.append(Variable(str(item.get("key", "")), str(item.get("value", "")), kind))
    return found


def read_inputs(call: Call, taken_by: versions.Span) -> dict[str, object]:
    """The `inputs` of a new pipeline; an older version ignores them."""
    inputs = call.params.any("inputs") or {}
    if not isinstance(inputs, dict):
        raise invalid("inputs is invalid")
    return inputs if call.state.version.has(taken_by) else {}
