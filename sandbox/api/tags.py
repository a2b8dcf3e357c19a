"""Tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sandbox import entities, git, permissions, pushes, versions
from sandbox.model import Access
from sandbox.paging import paginate
from sandbox.routes import Routes
from sandbox.web import Response, as_json, forbidden, not_found, refuse

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.model import Project

routes = Routes()

_SORT_KEYS = {"updated": "creatordate", "name": "refname", "version": "version:refname"}


def matches(search: str, name: str) -> bool:
    """Whether a ref's name matches a search: `^start`, `end$`, or a part of it, with `*` in it.

    Source: `regex_search` of `GitRefsFinder` in GitLab's source.
    """
    start, end = search.startswith("^"), search.endswith("$")
    wanted = re.escape(search.removeprefix("^").removesuffix("$")).replace(r"\*", ".*?")
    pattern = ("^" if start else "") + wanted + ("$" if end else "")
    return re.search(pattern, name, re.IGNORECASE) is not None


@routes.on("GET", "/projects/:id/repository/tags", "read_tag", job_token=versions.ALWAYS)
def index(call: Call) -> Response:
    """The tags, the newest first unless told otherwise."""
    project = call.code()
    order_by = call.params.choice("order_by", _SORT_KEYS, "updated")
    descending = call.params.choice("sort", ("asc", "desc"), "desc") == "desc"
    key = ("-" if descending else "") + _SORT_KEYS[order_by]
    search = call.params.text("search")
    found = [tag for tag in git.tags(project.repository, sort=key) if matches(search, tag.name)]
    return paginate(call, found, lambda tag: entities.tag(call.state, project, tag))


@routes.on(
    "GET",
    "/projects/:id/repository/tags/:tag_name",
    "read_tag",
    job_token=versions.TAG_BY_JOB_TOKEN,
)
def show(call: Call) -> dict[str, Any]:
    """One tag."""
    project = call.code()
    return entities.tag(call.state, project, _find(project, call.params.text("tag_name")))


@routes.on("POST", "/projects/:id/repository/tags", "create_tag")
def create(call: Call) -> Response:
    """Creates a tag; its pipeline starts after the answer."""
    project = call.code()
    call.params.require("tag_name", "ref")
    if call.access(project) < Access.DEVELOPER:
        raise forbidden()
    tag = create_tag(call, project, call.params.text("message"))
    return as_json(entities.tag(call.state, project, tag), 201)


def create_tag(call: Call, project: Project, message: str) -> git.Tag:
    """Creates the tag `tag_name` at `ref`, for this route and for releases.

    The checks, their order and their texts are those of `Tags::CreateService`; the API turns
    every one of them into a 400.

    Raises:
        ApiError: 400.
    """
    name, ref = call.params.text("tag_name"), call.params.text("ref")
    if not ref:
        raise refuse(400, "Target is empty")
    if not permissions.valid_ref_name(name):
        raise refuse(400, "Tag name invalid")
    sha = git.resolve(project.repository, ref)
    if sha is None:
        raise refuse(400, f"Target {ref} is invalid")
    refusal = permissions.tag_refusal(project, call.access(project), name, exists=False)
    if refusal is not None:
        raise refuse(400, refusal)
    if git.tags(project.repository, name=name):
        raise refuse(400, f"Tag {name} already exists")
    try:
        tag = git.write_tag(
            project.repository,
            name,
            sha,
            message=message.strip(),
            author=call.user,
            when=call.now,
        )
    except git.GitError:
        raise refuse(400, f"Failed to create a tag: {name}") from None
    push = pushes.Push(project, f"refs/tags/{name}", tag.sha, call.user)
    pushes.announce(call.state, [push])
    return tag


@routes.on("DELETE", "/projects/:id/repository/tags/:tag_name", "delete_tag")
def delete(call: Call) -> Response:
    """Removes a tag."""
    project = call.code(Access.DEVELOPER)
    name = call.params.text("tag_name")
    _find(project, name)
    protected = permissions.protection(project.protected_tags, name) is not None
    if protected and call.access(project) < Access.MAINTAINER:
        raise forbidden()
    git.delete_ref(project.repository, f"refs/tags/{name}")
    return Response(204)


def _find(project: Project, name: str) -> git.Tag:
    found = git.tags(project.repository, name=name)
    if not found:
        raise not_found("Tag")
    return found[0]
