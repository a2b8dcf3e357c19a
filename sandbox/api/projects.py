"""Projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import entities
from sandbox.web import Routes

if TYPE_CHECKING:
    from sandbox.context import Call

routes = Routes()


@routes.on("GET", "/projects/:id")
def show(call: Call) -> dict[str, Any]:
    """One project."""
    project = call.project()
    return entities.project(call.state, project, call.access(project))
