"""Whose job tokens may come into a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import entities, settings
from sandbox.model import Access
from sandbox.paging import paginate
from sandbox.routes import Routes

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.model import Project
    from sandbox.web import Response

routes = Routes(authenticated=True)


@routes.on("GET", "/projects/:id/job_token_scope", "read_job_token_scope")
def show(call: Call) -> dict[str, Any]:
    """Whether the allowlist is in force."""
    project = call.project(Access.MAINTAINER)
    return {
        "inbound_enabled": project.job_token_allowlist is not None,
        "outbound_enabled": False,
    }


@routes.on("GET", "/projects/:id/job_token_scope/allowlist", "read_job_token_scope")
def projects(call: Call) -> Response:
    """The projects of the allowlist, of which the project itself is always one."""
    project = call.project(Access.MAINTAINER)
    listed = [
        other
        for other in call.state.projects.values()
        if other is project or other.path in (project.job_token_allowlist or ())
    ]
    return paginate(call, listed, lambda each: entities.basic_project(call.state, each))


@routes.on("GET", "/projects/:id/job_token_scope/groups_allowlist", "read_job_token_scope")
def groups(call: Call) -> Response:
    """The groups of the allowlist, whose projects may all come in."""
    project = call.project(Access.MAINTAINER)
    return paginate(
        call, _groups(call, project), lambda path: settings.basic_group(call.state, path)
    )


def _groups(call: Call, project: Project) -> list[str]:
    paths = {other.path for other in call.state.projects.values()}
    return sorted((project.job_token_allowlist or set()) - paths)
