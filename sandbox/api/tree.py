"""The tree of a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from sandbox import contents, git
from sandbox.paging import MOST_PER_PAGE, paginate
from sandbox.routes import Routes
from sandbox.web import Response, as_json, not_found

if TYPE_CHECKING:
    from sandbox.contents import Entry
    from sandbox.context import Call

routes = Routes()


@routes.on("GET", "/projects/:id/repository/tree", "read_repository_tree")
def index(call: Call) -> Response:
    """A folder's entries, or all below it; in numbered pages, or with a keyset."""
    project, params = call.code(), call.params
    sha = git.resolve(project.repository, params.text("ref") or project.default_branch)
    if sha is None:
        raise not_found("Tree")
    path = params.text("path")
    entries = contents.tree(project.repository, sha, path, recursive=params.flag("recursive"))
    if path and not entries:
        raise not_found("invalid revision or path")
    pagination = params.choice("pagination", ("legacy", "keyset", "none"), "legacy")
    return _keyset(call, entries) if pagination == "keyset" else paginate(call, entries, _present)


def _keyset(call: Call, entries: list[Entry]) -> Response:
    """The page that follows the entry which `page_token` names by its path."""
    token = call.params.text("page_token")
    names = [entry.path for entry in entries]
    start = names.index(token) + 1 if token in names else 0
    per_page = min(call.params.integer("per_page", 20), MOST_PER_PAGE)
    shown = entries[start : start + per_page]
    headers = {}
    if start + per_page < len(entries):
        query = dict(parse_qsl(call.request.query)) | {"page_token": shown[-1].path}
        address = f"{call.state.origin}{call.request.path}?{urlencode(query)}"
        headers["Link"] = f'<{address}>; rel="next"'
    return as_json([_present(entry) for entry in shown], headers=headers)


def _present(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.sha,
        "name": entry.name,
        "type": entry.kind,
        "path": entry.path,
        "mode": entry.mode,
    }
