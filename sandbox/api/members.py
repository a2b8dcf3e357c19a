"""The members of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import settings
from sandbox.routes import Routes
from sandbox.web import no_record

if TYPE_CHECKING:
    from sandbox.context import Call

routes = Routes(authenticated=True)


@routes.on("GET", "/projects/:id/members/all/:user_id", "read_member")
def show(call: Call) -> dict[str, Any]:
    """One member, be it of the project or of a group above it."""
    project = call.project()
    number = call.params.integer("user_id", 0)
    user = call.state.users.get(number)
    if user is None or number not in project.members:
        raise no_record()
    return settings.member(call.state, user, project.members[number])
