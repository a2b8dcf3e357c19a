"""Branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import entities, git, versions
from sandbox.api.tags import matches
from sandbox.paging import paginate
from sandbox.routes import Routes
from sandbox.web import not_found

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.web import Response

routes = Routes()

_PREFIX = "refs/heads/"


@routes.on("GET", "/projects/:id/repository/branches", "read_branch", job_token=versions.ALWAYS)
def index(call: Call) -> Response:
    """The branches by name, or those that match `search`."""
    project = call.code()
    heads = git.refs(project.repository, _PREFIX)
    search = call.params.text("search")
    found = [
        (name, sha)
        for name, sha in ((ref.removeprefix(_PREFIX), sha) for ref, sha in heads.items())
        if matches(search, name)
    ]
    role = call.access(project)
    return paginate(
        call, found, lambda head: entities.branch(call.state, project, head[0], head[1], role)
    )


@routes.on("GET", "/projects/:id/repository/branches/:branch", "read_branch")
def show(call: Call) -> dict[str, Any]:
    """One branch."""
    project = call.code()
    name = call.params.text("branch")
    sha = git.refs(project.repository, _PREFIX + name).get(_PREFIX + name)
    if sha is None:
        raise not_found("Branch")
    return entities.branch(call.state, project, name, sha, call.access(project))
