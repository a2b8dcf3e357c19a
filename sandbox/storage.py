"""Archives of artifacts, and the object storage that GitLab sends clients to for them.

The storage is a server of its own, so that a redirect to it leads to another origin.
"""

from __future__ import annotations

import io
import re
import secrets
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from sandbox.web import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.model import Job, State
    from sandbox.web import Request

_CREDENTIALS = ("Authorization", "PRIVATE-TOKEN", "JOB-TOKEN")
_ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code></Error>'
_XML = {"Content-Type": "application/xml"}


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of files, content by path."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return target.getvalue()


def available(state: State, job: Job) -> bytes | None:
    """Return the archive of a job's artifacts; None if there is none, or it has expired."""
    expired = job.artifacts_expire_at is not None and job.artifacts_expire_at <= state.clock.now()
    return None if expired else job.artifacts


@dataclass
class Storage:
    """Files by address, each of which opens with the signature in its address alone."""

    _files: dict[str, bytes] = field(default_factory=dict)

    def address(self, content: bytes) -> str:
        """Keep a file. Return its path and query."""
        signature = secrets.token_hex(16)
        self._files[signature] = content
        return f"/gitlab-artifacts/{len(self._files)}/artifacts.zip?X-Amz-Signature={signature}"

    def answer(self, request: Request) -> Response:
        """Answer a request as S3 does; it takes no second kind of credential."""
        if any(name in request.headers for name in _CREDENTIALS):
            return Response(400, _ERROR.format("InvalidArgument").encode(), _XML)
        signature = parse_qs(request.query).get("X-Amz-Signature", [""])[0]
        content = self._files.get(signature)
        if content is None:
            return Response(403, _ERROR.format("SignatureDoesNotMatch").encode(), _XML)
        headers = {"Content-Type": "application/zip", "Accept-Ranges": "bytes"}
        start = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if start is None:
            return Response(200, content, headers)
        first, size = int(start[1]), len(content)
        if first >= size:
            return Response(416, headers={"Content-Range": f"bytes */{size}"})
        part = {"Content-Range": f"bytes {first}-{size - 1}/{size}"}
        return Response(206, content[first:], headers | part)
