"""The archives of jobs' artifacts."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from sandbox import storage, versions
from sandbox.model import Access
from sandbox.routes import Routes
from sandbox.web import Response, forbidden, no_record, not_found

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.model import Job

routes = Routes()


@routes.on(
    "GET",
    "/projects/:id/jobs/artifacts/*ref_name/download",
    "read_job_artifact",
    job_token=versions.ALWAYS,
)
def of_ref(call: Call) -> Response:
    """The artifacts of a job by its name, of the newest pipeline of a ref that succeeded."""
    project, params = call.project(), call.params
    params.require("job")
    ref, name = params.text("ref_name"), params.text("job")
    passed = [
        pipeline
        for pipeline in call.state.pipelines.values()
        if pipeline.project is project and pipeline.ref == ref and pipeline.status == "success"
    ]
    newest = max(passed, key=lambda pipeline: pipeline.id, default=None)
    jobs = newest.jobs if newest else []
    found = [job for job in jobs if job.name == name and not job.bridge and not job.retried]
    if not found:
        raise no_record()
    return _download(call, found[-1])


@routes.on(
    "GET", "/projects/:id/jobs/:job_id/artifacts", "read_job_artifact", job_token=versions.ALWAYS
)
def of_job(call: Call) -> Response:
    """The artifacts of a job."""
    return _download(call, _find(call))


@routes.on(
    "GET",
    "/projects/:id/jobs/:job_id/artifacts/*artifact_path",
    "read_job_artifact",
    job_token=versions.ALWAYS,
)
def file_of_job(call: Call) -> Response:
    """One file of a job's archive, which GitLab itself sends, never the storage."""
    archive = _archive(call, _find(call))
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        try:
            content = opened.read(call.params.text("artifact_path"))
        except KeyError:
            raise not_found() from None
    return Response(200, content, {"Content-Type": "application/octet-stream"})


def _find(call: Call) -> Job:
    project = call.project()
    job = call.state.jobs.get(call.params.integer("job_id", 0))
    if job is None or job.pipeline.project is not project or job.bridge:
        raise no_record()
    return job


def _archive(call: Call, job: Job) -> bytes:
    least = {"all": Access.NONE, "developer": Access.DEVELOPER, "none": Access.OWNER + 1}
    if call.access(job.pipeline.project) < least[job.artifacts_access]:
        raise forbidden()
    archive = storage.available(call.state, job)
    if archive is None:
        raise not_found()
    return archive


def _download(call: Call, job: Job) -> Response:
    """The archive itself, or where it is stored; source: `lib/api/ci/job_artifacts.rb`."""
    archive = _archive(call, job)
    if call.instance.storage:
        return Response(302, headers={"Location": call.instance.storage(archive)})
    return Response(
        200,
        archive,
        {
            "Content-Type": "application/zip",
            "Content-Disposition": 'attachment; filename="artifacts.zip"',
        },
    )
