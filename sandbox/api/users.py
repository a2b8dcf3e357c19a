"""Users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import entities
from sandbox.paging import paginate
from sandbox.routes import Routes

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.web import Response

routes = Routes(authenticated=True)


@routes.on("GET", "/users", "read_user", scopes=["read_user"])
def index(call: Call) -> Response:
    """The users, or the one of a username, in whatever case it is written."""
    username = call.params.text("username").lower()
    found = [user for user in call.state.users.values() if username in ("", user.username.lower())]
    found.sort(key=lambda user: user.id, reverse=True)
    return paginate(call, found, lambda user: entities.user_basic(call.state, user))
