"""Commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import entities, git
from sandbox.web import Routes, not_found

if TYPE_CHECKING:
    from sandbox.context import Call

routes = Routes()


@routes.on("GET", "/projects/:id/repository/commits/:sha", job_token=True)
def show(call: Call) -> dict[str, Any]:
    """The commit of a SHA, a short SHA, a branch or a tag."""
    project = call.code()
    sha = git.resolve(project.repository, call.params.text("sha"))
    if sha is None:
        raise not_found("Commit")
    pipelines = [
        pipeline
        for pipeline in call.state.pipelines.values()
        if pipeline.project is project and pipeline.sha == sha
    ]
    last = max(pipelines, key=lambda pipeline: pipeline.id, default=None)
    return entities.commit_detail(call.state, project, sha, last)
