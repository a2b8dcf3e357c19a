"""Projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import entities, git, projects
from sandbox.model import Access
from sandbox.permissions import find_project
from sandbox.routes import Routes
from sandbox.web import as_json, invalid, refuse

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.web import Response

routes = Routes(authenticated_writes=True)

_VARIABLES_ROLES = {
    "no_one_allowed": Access.OWNER + 1,
    "developer": Access.DEVELOPER,
    "maintainer": Access.MAINTAINER,
    "owner": Access.OWNER,
}


@routes.on("GET", "/projects/:id", "read_project")
def show(call: Call) -> dict[str, Any]:
    """One project."""
    project = call.project()
    shown = entities.project(call.state, project, call.access(project))
    if call.params.flag("license"):
        shown |= {"license": None, "license_url": None}
    call.params.flag("with_custom_attributes")  # GitLab shows them to administrators alone
    return shown


@routes.on("POST", "/projects", "create_project")
def create(call: Call) -> Response:
    """Creates a private project in the user's own namespace."""
    name = call.params.text("name")
    if not name:
        raise invalid("name, path are missing, at least one parameter must be provided")
    path = f"{call.user.username}/{name}"
    if find_project(call.state, path):
        taken = {"name": ["has already been taken"], "path": ["has already been taken"]}
        raise refuse(400, taken)
    project = projects.create(
        call.state,
        path,
        default_branch=call.params.text("default_branch", "main"),
        visibility="private",
        members={call.user: Access.OWNER},
    )
    if call.params.flag("initialize_with_readme"):
        git.write_commit(
            project.repository,
            project.default_branch,
            {"README.md": f"# {name}\n"},
            message="Initial commit",
            author=call.user,
            when=call.now,
            parent=None,
        )
    return as_json(entities.project(call.state, project, Access.OWNER), 201)


@routes.on("PUT", "/projects/:id", "update_project")
def update(call: Call) -> dict[str, Any]:
    """Changes the one setting that the tests change."""
    project = call.project(Access.MAINTAINER)
    name = "ci_pipeline_variables_minimum_override_role"
    role = call.params.choice(name, _VARIABLES_ROLES)
    if not role:
        raise invalid("at least one parameter must be provided")
    project.pipeline_variables_role = _VARIABLES_ROLES[role]
    return entities.project(call.state, project, call.access(project))


@routes.on("DELETE", "/projects/:id", "delete_project")
def delete(call: Call) -> Response:
    """Deletes a project; its pipelines and jobs stay in the records, which nobody sees."""
    project = call.project(Access.OWNER)
    del call.state.projects[project.id]
    return as_json({"message": "202 Accepted"}, 202)
