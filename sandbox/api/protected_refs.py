"""Protected branches and protected tags: which there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import settings
from sandbox.model import Access
from sandbox.paging import paginate
from sandbox.routes import Routes

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.web import Response

routes = Routes(authenticated=True)


@routes.on("GET", "/projects/:id/protected_tags", "read_protected_tag")
def tags(call: Call) -> Response:
    """The rules for tags; a Maintainer's to see."""
    project = call.project(Access.MAINTAINER)
    return paginate(call, project.protected_tags, settings.protected_tag)


@routes.on("GET", "/projects/:id/protected_branches", "read_protected_branch")
def branches(call: Call) -> Response:
    """The rules for branches; a Maintainer's to see."""
    project = call.project(Access.MAINTAINER)
    return paginate(call, project.protected_branches, settings.protected_branch)
