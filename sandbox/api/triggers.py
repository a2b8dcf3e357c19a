"""Pipelines started with a trigger token or a job token, which stand in the body."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sandbox import auth, entities, permissions, pipelines, versions
from sandbox.api.pipelines import read_inputs
from sandbox.ci import PipelineRefused
from sandbox.model import Variable
from sandbox.routes import Routes
from sandbox.web import as_json, invalid, not_found, refuse

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.model import Job, Project, User
    from sandbox.web import Response

routes = Routes()


@routes.on("POST", "/projects/:id/trigger/pipeline", "create_pipeline")
def create(call: Call) -> Response:
    """Starts a pipeline as the trigger token's owner, or as the job's user.

    Order and texts are those of GitLab's `API::Ci::Triggers` and `Ci::PipelineTriggerService`. A
    pipeline that is saved and fails at once is a 422, and stays.
    """
    call.params.require("ref", "token")
    if not call.params.text("ref"):
        raise invalid("ref is empty")
    variables = _read_variables(call)
    inputs = read_inputs(call, versions.TRIGGER_INPUTS)
    project = permissions.find_project(call.state, call.params.text("id"))
    if project is None:
        raise not_found()
    user, job = _who(call, project, call.params.text("token"))
    try:
        pipeline = pipelines.start(
            call.state,
            project,
            ref=call.params.text("ref"),
            source="pipeline" if job else "trigger",
            user=user,
            variables=variables,
            payload=_payload(call),
            inputs=inputs,
            upstream=job,
        )
    except PipelineRefused as refusal:
        status = 422 if refusal.pipeline else 400
        raise refuse(status, {refusal.field: refusal.messages}) from None
    return as_json(entities.pipeline(call.state, pipeline), 201)


def _read_variables(call: Call) -> list[Variable]:
    given = call.params.any("variables") or {}
    if not isinstance(given, dict):
        raise invalid("variables is invalid")
    if not all(isinstance(value, str) for value in given.values()):
        raise refuse(400, "variables needs to be a map of key-valued strings")
    return [Variable(key, value) for key, value in given.items()]


def _payload(call: Call) -> Variable:
    """The file variable that GitLab adds: the request's parameters, without the token."""
    content = {name: call.params.any(name) for name in ("ref", "id", "variables", "inputs")}
    sent = {name: value for name, value in content.items() if value is not None}
    return Variable("TRIGGER_PAYLOAD", json.dumps(sent), kind="file")


def _who(call: Call, project: Project, token: str) -> tuple[User, Job | None]:
    """As whom the pipeline starts, and the job that asks, if one does.

    Raises:
        ApiError: 404 for a token that is unknown, another project's, or whose user may not see
            the project; 401 for that of a job that has ended.
    """
    for trigger in project.trigger_tokens:
        if trigger.secret == token:
            return trigger.owner, None
    job = auth.find_job(call.state, token)
    if job is None:
        raise not_found()
    if not auth.is_live(job):
        raise refuse(401, "Job is not running")
    user = job.user or job.pipeline.user
    allowed = permissions.takes_job_token_of(project, job)
    if not (allowed and permissions.may_see(project, user)):
        raise not_found()
    return user, job
