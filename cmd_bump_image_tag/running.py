"""One bump from beginning to end, in the working directory or elsewhere."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from cmd_bump_image_tag.landing import land, tell
from cmd_bump_image_tag.result import result_of
from cmd_bump_image_tag.ways.directory import Directory

if TYPE_CHECKING:
    from cicd_common.connection import Connection
    from cmd_bump_image_tag.request import BumpRequest, Destination
    from cmd_bump_image_tag.result import BumpResult


def bump_images(
    request: BumpRequest, destination: Destination, connection: Connection
) -> BumpResult:
    """Bumps images; the diff and what was left alone go to the log.

    Args:
        request: What to bump; checked already.
        destination: Where; checked already.
        connection: The server, with an empty base URL if none is needed.

    Raises:
        CommandError: It did not happen; the subclass says why.
    """
    if request.verify_image or request.pin_digest:
        request = _verified(request, connection)
    if destination.way != "files":
        # python-gitlab is slow to import, and a working directory does not need it.
        from cmd_bump_image_tag.remote import bump_remotely  # noqa: PLC0415

        return bump_remotely(request, destination, connection)
    way = Directory(destination.directory, request.patterns)
    landing = land(way, way.read(), request, retry_for=connection.retry_for)
    tell(landing)
    written = bool(landing.changes) and not request.dry_run
    return result_of(landing, request, changed=written)


def _verified(request: BumpRequest, connection: Connection) -> BumpRequest:
    # Slow to import, as it needs requests.
    from cmd_bump_image_tag.registry import verify  # noqa: PLC0415

    bumps = verify(request.bumps, pin=request.pin_digest, connection=connection, environ=os.environ)
    return replace(request, bumps=bumps)
