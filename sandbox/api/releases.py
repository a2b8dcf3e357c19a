"""Releases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import entities, git, permissions
from sandbox.api.tags import create_tag
from sandbox.model import Access, Release
from sandbox.paging import paginate
from sandbox.routes import Routes
from sandbox.web import as_json, forbidden, not_found, refuse

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.web import Response

routes = Routes()


@routes.on("GET", "/projects/:id/releases", job_token=True)
def index(call: Call) -> Response:
    """The releases, the newest first."""
    project = call.project()
    newest_first = sorted(
        project.releases.values(), key=lambda release: release.created_at, reverse=True
    )
    return paginate(
        call, newest_first, lambda release: entities.release(call.state, project, release)
    )


@routes.on("GET", "/projects/:id/releases/:tag_name", job_token=True)
def show(call: Call) -> dict[str, Any]:
    """The release of a tag."""
    project = call.code()
    release = project.releases.get(call.params.text("tag_name"))
    if release is None:
        raise not_found()
    return entities.release(call.state, project, release)


@routes.on("POST", "/projects/:id/releases", job_token=True)
def create(call: Call) -> Response:
    """Creates a release, and its tag if there is none; order and texts of `CreateService`."""
    project = call.project()
    call.params.require("tag_name")
    role, name = call.access(project), call.params.text("tag_name")
    if role < Access.DEVELOPER:
        raise forbidden()
    if not permissions.may_update(project.protected_tags, name, role):
        raise refuse(403, "You are not allowed to create this tag as it is protected.")
    if name in project.releases:
        raise refuse(409, "Release already exists")
    if not git.tags(project.repository, name=name):
        if not call.params.text("ref"):
            raise refuse(422, "Ref is not specified")
        create_tag(call, project, call.params.text("tag_message"))
    release = Release(
        tag=name,
        name=call.params.text("name") or name,
        description=call.params.text("description"),
        created_at=call.now,
        author=call.user,
    )
    project.releases[name] = release
    return as_json(entities.release(call.state, project, release), 201)
