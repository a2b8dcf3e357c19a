"""Which pipeline a bump comes from, so that an older one never overwrites a newer one's bump.

A commit made in a GitLab job names the pipeline and the images in its trailers:

    Upstream-Pipeline: https://gitlab.example.com/group/web/-/pipelines/42
    Bumped-Image: registry.example.com/group/web
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from cicd_common.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cmd_bump_image_tag.planning import Change

_PIPELINE = re.compile(r"(?P<project>\S+)/-/pipelines/(?P<id>\d+)/?")
_UPSTREAM = re.compile(r"^Upstream-Pipeline: *(\S+)$", re.MULTILINE)
_IMAGE = re.compile(r"^Bumped-Image: *(\S+)$", re.MULTILINE)


class _Pipeline(NamedTuple):
    """A pipeline: the ids of one project's grow with time."""

    project: str
    id: int


def trailers(upstream: str, images: Iterable[str]) -> str:
    """The trailers of a commit.

    Args:
        upstream: The pipeline's URL.
        images: The images that the commit bumps.
    """
    lines = [f"Upstream-Pipeline: {upstream}", *(f"Bumped-Image: {image}" for image in images)]
    return "\n".join(lines)


def check_not_older(
    upstream: str, changes: Sequence[Change], messages: Callable[[str], Iterable[str]]
) -> None:
    """Makes sure that no newer pipeline of the same project has bumped the same images before.

    Args:
        upstream: The URL of the pipeline that bumps now; nothing is looked at if it is none.
        changes: What would change.
        messages: The messages of the last commits that touched a file, the newest first.

    Raises:
        RefusedError: One has.
    """
    ours = _parse(upstream)
    if ours is None:
        return
    for path in dict.fromkeys(change.path for change in changes):
        images = {change.image for change in changes if change.path == path}
        for message in messages(path):
            bumped = images.intersection(_IMAGE.findall(message))
            theirs = _parse("".join(_UPSTREAM.findall(message)[-1:]))
            if bumped and theirs and theirs.project == ours.project and theirs.id > ours.id:
                raise RefusedError(
                    f"{path}: {', '.join(sorted(bumped))} was set by pipeline {theirs.id}, "
                    f"which is newer than {ours.id}.",
                    why="An older pipeline that ends later would bring back an older image.",
                    hint="To go back all the same, give --allow-downgrade.",
                )
            images -= bumped  # only the last commit of each image counts
            if not images:
                break


def _parse(url: str) -> _Pipeline | None:
    found = _PIPELINE.fullmatch(url)
    return _Pipeline(found["project"], int(found["id"])) if found else None
