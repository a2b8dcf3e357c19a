"""Releases, and their links to assets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import entities, git, permissions, versions
from sandbox.api.tags import create_tag
from sandbox.model import Access, Release, ReleaseLink
from sandbox.paging import paginate
from sandbox.routes import Routes
from sandbox.web import as_json, forbidden, invalid, not_found, refuse

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.model import Project
    from sandbox.web import Response

routes = Routes(authenticated_writes=True)

_KINDS = ("other", "runbook", "image", "package")
_SCHEMES = ("http://", "https://", "ftp://")
_RELEASE = "/projects/:id/releases/:tag_name"
_LINKS = f"{_RELEASE}/assets/links"


@routes.on("GET", "/projects/:id/releases", "read_release", job_token=versions.ALWAYS)
def index(call: Call) -> Response:
    """The releases, the newest first."""
    project, params = call.project(), call.params
    descending = params.choice("sort", ("asc", "desc"), "desc") == "desc"
    params.choice("order_by", ("released_at", "created_at"), "released_at")  # the same here
    found = sorted(
        project.releases.values(), key=lambda release: release.created_at, reverse=descending
    )
    return paginate(call, found, lambda release: entities.release(call.state, project, release))


@routes.on("GET", _RELEASE, "read_release", job_token=versions.ALWAYS)
def show(call: Call) -> dict[str, Any]:
    """The release of a tag."""
    project = call.code()
    return entities.release(call.state, project, _find(call, project))


@routes.on("POST", "/projects/:id/releases", "create_release", job_token=versions.ALWAYS)
def create(call: Call) -> Response:
    """Creates a release, and its tag if there is none; order and texts of `CreateService`."""
    project, params = call.project(), call.params
    params.require("tag_name")
    role, name = call.access(project), params.text("tag_name")
    links = _read_links(call)
    ref, message = params.text("ref"), params.text("tag_message")
    if role < Access.DEVELOPER:
        raise forbidden()
    if not permissions.may_update(project.protected_tags, name, role):
        raise refuse(403, "You are not allowed to create this tag as it is protected.")
    if name in project.releases:
        raise refuse(409, "Release already exists")
    if not git.tags(project.repository, name=name):
        if not ref:
            raise refuse(422, "Ref is not specified")
        create_tag(call, project, message)
    release = Release(
        tag=name,
        name=params.text("name") or name,
        description=params.text("description"),
        created_at=call.now,
        author=call.user,
        links=links,
    )
    project.releases[name] = release
    return as_json(entities.release(call.state, project, release), 201)


@routes.on("PUT", _RELEASE, "update_release", job_token=versions.ALWAYS)
def update(call: Call) -> dict[str, Any]:
    """Changes a release's name or description."""
    project, params = call.code(Access.DEVELOPER), call.params
    release = _find(call, project)
    if not (params.has("name") or params.has("description")):
        raise invalid(
            "name, description, milestones, released_at are missing, "
            "at least one parameter must be provided"
        )
    release.name = params.text("name", release.name)
    release.description = params.text("description", release.description)
    return entities.release(call.state, project, release)


@routes.on("DELETE", _RELEASE, "delete_release", job_token=versions.ALWAYS)
def delete(call: Call) -> dict[str, Any]:
    """Removes a release; its tag stays."""
    project = call.code(Access.DEVELOPER)
    release = _find(call, project)
    answer = entities.release(call.state, project, release)
    del project.releases[release.tag]
    return answer


def _find(call: Call, project: Project) -> Release:
    release = project.releases.get(call.params.text("tag_name"))
    if release is None:
        raise not_found()
    return release


def _read_links(call: Call) -> list[ReleaseLink]:
    """The links that a new release comes with."""
    assets = call.params.any("assets") or {}
    if not isinstance(assets, dict) or not isinstance(assets.get("links", []), list):
        raise invalid("assets is invalid")
    if strange := set(assets) - {"links"}:
        raise invalid(f"the sandbox does not read assets[{min(strange)}]")
    found: list[ReleaseLink] = []
    for number, link in enumerate(assets.get("links", [])):
        if not isinstance(link, dict) or not {"name", "url"} <= set(link):
            raise invalid(f"assets[links][{number}][name] is missing")
        if strange := set(link) - {"name", "url", "link_type"}:
            raise invalid(f"the sandbox does not read assets[links][{number}][{min(strange)}]")
        kind = str(link.get("link_type", "other"))
        found.append(_new_link(call, found, str(link["name"]), str(link["url"]), kind))
    return found


def _new_link(call: Call, others: list[ReleaseLink], name: str, url: str, kind: str) -> ReleaseLink:
    """A link as `Releases::Link` in GitLab's source takes it: names and addresses are unique."""
    if kind not in _KINDS:
        raise invalid("link_type does not have a valid value")
    problems: dict[str, list[str]] = {}
    if not url.startswith(_SCHEMES):
        problems["url"] = ["is blocked: Only allowed schemes are http, https, ftp"]
    elif any(link.url == url for link in others):
        problems["url"] = ["has already been taken"]
    if any(link.name == name for link in others):
        problems["name"] = ["has already been taken"]
    if problems:
        raise refuse(400, problems)
    return ReleaseLink(next(call.state.ids), name, url, kind)


@routes.on("GET", _LINKS, "read_release_link", job_token=versions.ALWAYS)
def links(call: Call) -> Response:
    """A release's links, the newest first."""
    release = _find(call, call.code())
    newest = sorted(release.links, key=lambda link: link.id, reverse=True)
    return paginate(call, newest, entities.release_link)


@routes.on("POST", _LINKS, "create_release_link", job_token=versions.ALWAYS)
def add_link(call: Call) -> Response:
    """Adds a link to a release."""
    project, params = call.code(Access.DEVELOPER), call.params
    params.require("name", "url")
    release = _find(call, project)
    link = _new_link(
        call,
        release.links,
        params.text("name"),
        params.text("url"),
        params.text("link_type", "other"),
    )
    release.links.append(link)
    return as_json(entities.release_link(link), 201)


@routes.on("PUT", f"{_LINKS}/:link_id", "update_release_link", job_token=versions.ALWAYS)
def change_link(call: Call) -> dict[str, Any]:
    """Changes a link."""
    release, params = _find(call, call.code(Access.DEVELOPER)), call.params
    link = _find_link(call, release)
    others = [other for other in release.links if other is not link]
    checked = _new_link(
        call,
        others,
        params.text("name", link.name),
        params.text("url", link.url),
        params.text("link_type", link.kind),
    )
    link.name, link.url, link.kind = checked.name, checked.url, checked.kind
    return entities.release_link(link)


@routes.on("DELETE", f"{_LINKS}/:link_id", "delete_release_link", job_token=versions.ALWAYS)
def remove_link(call: Call) -> dict[str, Any]:
    """Removes a link."""
    release = _find(call, call.code(Access.DEVELOPER))
    link = _find_link(call, release)
    release.links.remove(link)
    return entities.release_link(link)


def _find_link(call: Call, release: Release) -> ReleaseLink:
    number = call.params.integer("link_id", 0)
    found = next((link for link in release.links if link.id == number), None)
    if found is None:
        raise not_found()
    return found
