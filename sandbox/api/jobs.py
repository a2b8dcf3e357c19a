"""Jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import entities, versions
from sandbox.model import ENDED, Access
from sandbox.routes import Routes
from sandbox.web import Response, as_json, forbidden, no_record, not_found, refuse

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.model import Job

routes = Routes(authenticated=True)


@routes.on("GET", "/job", "read_job", job_token=versions.ALWAYS)
def current(call: Call) -> dict[str, Any]:
    """The job that the request's job token belongs to."""
    if call.caller.job is None:
        raise not_found("Job")
    return entities.job(call.state, call.caller.job)


@routes.on("GET", "/projects/:id/jobs/:job_id", "read_job")
def show(call: Call) -> dict[str, Any]:
    """One job; trigger jobs are not among them."""
    return entities.job(call.state, _find(call))


@routes.on("GET", "/projects/:id/jobs/:job_id/trace", "read_job")
def trace(call: Call) -> Response:
    """A job's log, empty before it has started."""
    job = _find(call)
    start = call.params.integer("byte_offset", 0)
    end = start + call.params.integer("byte_limit", len(job.trace))
    return Response(
        200,
        bytes(job.trace[start:end]),
        {
            "Content-Type": "text/plain",
            "Content-Disposition": f'infile; filename="{job.id}.log"',
        },
    )


@routes.on("POST", "/projects/:id/jobs/:job_id/play", "play_job")
def play(call: Call) -> dict[str, Any]:
    """Starts a manual job, or a trigger job."""
    job = _find(call, Access.DEVELOPER, bridges=True)
    if job.status not in ("manual", "scheduled"):
        raise refuse(400, "400 Bad request - Unplayable Job")
    call.instance.steering(job.pipeline).play(job, call.user)
    return (entities.bridge if job.bridge else entities.job)(call.state, job)


@routes.on("POST", "/projects/:id/jobs/:job_id/retry", "retry_job")
def retry(call: Call) -> Response:
    """Puts a new job in the place of one that has ended."""
    job = _find(call, Access.DEVELOPER, bridges=True)
    if job.status not in ENDED or job.retried:
        raise forbidden("Job is not retryable")
    new = call.instance.steering(job.pipeline).retry_job(job, call.user)
    return as_json(entities.job(call.state, new), 201)


@routes.on("POST", "/projects/:id/jobs/:job_id/cancel", "cancel_job")
def cancel(call: Call) -> Response:
    """Cancels a job."""
    job = _find(call, Access.DEVELOPER)
    call.instance.steering(job.pipeline).cancel_job(job)
    return as_json(entities.job(call.state, job), 201)


@routes.on("POST", "/projects/:id/jobs/:job_id/erase", "erase_job")
def erase(call: Call) -> Response:
    """Removes a job's log and artifacts."""
    job = _find(call, Access.DEVELOPER)
    if job.status not in ENDED or job.erased_at:
        raise forbidden("Job is not erasable!")
    job.erased_at, job.artifacts = call.now, None
    job.trace.clear()
    return as_json(entities.job(call.state, job), 201)


def _find(call: Call, least: Access = Access.NONE, *, bridges: bool = False) -> Job:
    project = call.project(least)
    job = call.state.jobs.get(call.params.integer("job_id", 0))
    if job is None or job.pipeline.project is not project or (job.bridge and not bridges):
        raise no_record()
    return job
