"""A whole repository, or a folder of it, in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import contents, git
from sandbox.routes import Routes
from sandbox.web import Response, not_found

if TYPE_CHECKING:
    from sandbox.context import Call

routes = Routes()


@routes.on("GET", "/projects/:id/repository/archive", "download_code")
@routes.on("GET", "/projects/:id/repository/archive.tar.gz", "download_code")
def show(call: Call) -> Response:
    """A tar.gz, whose one folder is named as `Gitlab::Git::Repository#archive_prefix` does."""
    project = call.code()
    ref = call.params.text("sha") or project.default_branch
    path = call.params.text("path")
    call.params.flag("include_lfs_blobs")  # the sandbox has none
    sha = git.resolve(project.repository, ref)
    if sha is None or (path and contents.find(project.repository, sha, path) is None):
        raise not_found("File")
    parts = [project.path.rpartition("/")[2], ref, *([sha] if ref != sha else []), path]
    prefix = "-".join(part.replace("/", "-") for part in parts if part)
    return Response(
        200,
        contents.archive(project.repository, sha, prefix=prefix, path=path),
        {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{prefix}.tar.gz"',
        },
    )
