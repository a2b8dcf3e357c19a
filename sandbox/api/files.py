"""The files of a repository, one by one."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from sandbox import contents, git, versions
from sandbox.routes import Routes
from sandbox.web import Response, not_found

if TYPE_CHECKING:
    from sandbox.contents import Entry
    from sandbox.context import Call
    from sandbox.model import Project

routes = Routes()


@routes.on("GET", "/projects/:id/repository/files/:file_path", "read_repository_file")
def show(call: Call) -> dict[str, Any]:
    """A file with its content, and the last commit that touched it."""
    project = call.code()
    call.params.require("ref")
    ref = call.params.text("ref")
    sha, entry = _find(call, project, ref)
    content = contents.read(project.repository, entry)
    return {
        "file_name": entry.name,
        "file_path": entry.path,
        "size": len(content),
        "encoding": "base64",
        "content_sha256": hashlib.sha256(content).hexdigest(),
        "ref": ref,
        "blob_id": entry.sha,
        "commit_id": sha,
        "last_commit_id": contents.last_commit(project.repository, sha, entry.path),
        "execute_filemode": entry.mode == contents.EXECUTABLE,
        "content": base64.b64encode(content).decode(),
    }


@routes.on(
    "GET",
    "/projects/:id/repository/files/:file_path/raw",
    "read_repository_file",
    job_token=versions.ALWAYS,
)
def raw(call: Call) -> Response:
    """A file's bytes."""
    project = call.code()
    _, entry = _find(call, project, call.params.text("ref") or project.default_branch)
    content = contents.read(project.repository, entry)
    return Response(200, content, {"Content-Type": "text/plain; charset=utf-8"})


def _find(call: Call, project: Project, ref: str) -> tuple[str, Entry]:
    sha = git.resolve(project.repository, ref)
    if sha is None:
        raise not_found("Commit")
    entry = contents.find(project.repository, sha, call.params.text("file_path"))
    if entry is None or entry.kind != "blob":
        raise not_found("File")
    return sha, entry
