"""The server's version, and who is asking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import entities
from sandbox.routes import Routes
from sandbox.web import not_found, refuse

if TYPE_CHECKING:
    from sandbox.context import Call

_OTHER_KIND = "This endpoint requires token type to be a personal access token"

routes = Routes(authenticated=True)


@routes.on("GET", "/version", "read_version", scopes=["read_user"])
@routes.on("GET", "/metadata", "read_metadata", scopes=["read_user"])
def version(call: Call) -> dict[str, Any]:
    """The server's version."""
    return {
        "version": str(call.state.version),
        "revision": "0" * 11,
        "kas": {"enabled": False, "externalUrl": None, "version": None},
        "enterprise": False,
    }


@routes.on("GET", "/user", "read_user", scopes=["read_user"])
def user(call: Call) -> dict[str, Any]:
    """The token's user."""
    return entities.current_user(call.state, call.user)


@routes.on("GET", "/personal_access_tokens/self", "read_personal_access_token", scopes=["*"])
def token(call: Call) -> dict[str, Any]:
    """The token itself, whatever its scopes; source: `lib/api/personal_access_tokens/self_…`."""
    if call.caller.token is None:
        raise not_found()
    if call.caller.token.kind == "oauth":
        raise refuse(400, f"400 Bad request - {_OTHER_KIND}")
    return entities.access_token(call.state, call.caller.token)
