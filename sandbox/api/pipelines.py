"""Pipelines, and what is below one: its jobs, trigger jobs, variables and tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox import entities, git, pipelines
from sandbox.ci import PipelineRefused
from sandbox.model import STATUSES, Access, Variable
from sandbox.paging import paginate
from sandbox.routes import Routes
from sandbox.web import Response, as_json, forbidden, invalid, no_record, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

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


@routes.on("GET", "/projects/:id/pipelines", job_token=True)
def index(call: Call) -> Response:
    """The project's pipelines; its child pipelines only with `source=parent_pipeline`."""
    project, params = call.project(), call.params
    source = params.choice("source", SOURCES)
    scope = params.choice("scope", (*_SCOPES, "branches", "tags"))
    order = _ORDERS[params.choice("order_by", _ORDERS, "id")]
    descending = params.choice("sort", ("asc", "desc"), "desc") == "desc"
    wanted = {
        "ref": params.text("ref"),
        "sha": params.text("sha"),
        "name": params.text("name"),
        "status": params.choice("status", STATUSES),
        "source": source,
    }
    found = [
        pipeline
        for pipeline in _of(call, project)
        if (pipeline.source != "parent_pipeline" or source == "parent_pipeline")
        and all(getattr(pipeline, field) == value for field, value in wanted.items() if value)
        and params.text("username", pipeline.user.username) == pipeline.user.username
        and _in_time(call, pipeline)
    ]
    found = _in_scope(project, found, scope)
    found.sort(key=lambda pipeline: (order(pipeline), pipeline.id), reverse=descending)
    return paginate(call, found, lambda pipeline: entities.pipeline_basic(call.state, pipeline))


def _of(call: Call, project: Project) -> list[Pipeline]:
    return [pipeline for pipeline in call.state.pipelines.values() if pipeline.project is project]


def _in_time(call: Call, pipeline: Pipeline) -> bool:
    return all(
        _time(call, f"{field}_after", moment) <= moment <= _time(call, f"{field}_before", moment)
        for field, moment in (("updated", pipeline.updated_at), ("created", pipeline.created_at))
    )


def _time(call: Call, name: str, default: datetime) -> datetime:
    text = call.params.text(name)
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(f"{name} is invalid") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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


@routes.on("GET", "/projects/:id/pipelines/latest")
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


@routes.on("GET", "/projects/:id/pipelines/:pipeline_id", job_token=True)
def show(call: Call) -> dict[str, Any]:
    """One pipeline."""
    return entities.pipeline_with_metadata(call.state, _find(call, call.project()))


def _find(call: Call, project: Project) -> Pipeline:
    pipeline = call.state.pipelines.get(call.params.integer("pipeline_id", 0))
    if pipeline is None or pipeline.project is not project:
        raise no_record()
    return pipeline


@routes.on("GET", "/projects/:id/pipelines/:pipeline_id/jobs", job_token=True)
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


@routes.on("GET", "/projects/:id/pipelines/:pipeline_id/bridges", job_token=True)
@routes.on("GET", "/projects/:id/pipelines/:pipeline_id/trigger_jobs", job_token=True)
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


@routes.on("GET", "/projects/:id/pipelines/:pipeline_id/variables")
def variables(call: Call) -> list[dict[str, Any]]:
    """A pipeline's own variables."""
    pipeline = _find(call, call.project(Access.DEVELOPER))
    return [entities.variable(variable) for variable in pipeline.variables]


@routes.on("GET", "/projects/:id/pipelines/:pipeline_id/test_report_summary")
def test_report_summary(call: Call) -> dict[str, Any]:
    """The counts of a pipeline's tests."""
    return entities.test_report_summary(_find(call, call.project()))


@routes.on("POST", "/projects/:id/pipelines/:pipeline_id/cancel")
def cancel(call: Call) -> dict[str, Any]:
    """Cancels what can be canceled; 200 even if that is nothing."""
    pipeline = _find(call, call.project(Access.DEVELOPER))
    call.instance.steering(pipeline).cancel(pipeline)
    return entities.pipeline(call.state, pipeline)


@routes.on("POST", "/projects/:id/pipelines/:pipeline_id/retry")
def retry(call: Call) -> Response:
    """Runs the failed and canceled jobs again."""
    pipeline = _find(call, call.project(Access.DEVELOPER))
    call.instance.steering(pipeline).retry(pipeline, call.user)
    return as_json(entities.pipeline(call.state, pipeline), 201)


@routes.on("POST", "/projects/:id/pipeline")
def create(call: Call) -> Response:
    """Starts a pipeline with an access token; one that is refused is not saved."""
    project = call.project(Access.DEVELOPER)
    call.params.require("ref")
    try:
        pipeline = pipelines.start(
            call.state,
            project,
            ref=call.params.text("ref"),
            source="api",
            user=call.user,
            variables=_read_variables(call),
            inputs=read_inputs(call),
        )
    except PipelineRefused as refusal:
        raise refuse(400, {"base": refusal.messages}) from None
    return as_json(entities.pipeline(call.state, pipeline), 201)


def _read_variables(call: Call) -> list[Variable]:
    given = call.params.values.get("variables") or []
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise invalid("variables is invalid")
    found = []
    for item in given:
        kind = item.get("variable_type", "env_var")
        if kind not in ("env_var", "file"):
            raise invalid("variables[0][variable_type] does not have a valid value")
        found.append(Variable(str(item.get("key", "")), str(item.get("value", "")), kind))
    return found


def read_inputs(call: Call) -> dict[str, object]:
    """The `inputs` of a new pipeline."""
    inputs = call.params.values.get("inputs") or {}
    if not isinstance(inputs, dict):
        raise invalid("inputs is invalid")
    return inputs
