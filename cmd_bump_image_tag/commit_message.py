"""The message of the bump's commit, with its trailers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from cicd_common.cleaning import one_line
from cicd_common.errors import RefusedError, UsageError
from cmd_bump_image_tag.image_reference import is_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cmd_bump_image_tag.images import Update
    from cmd_bump_image_tag.result import Change


# GitLab starts no pipeline for a commit with this: https://docs.gitlab.com/ci/pipelines/#skip-a-pipeline
SKIP_CI = " [skip ci]"
_SKIPS_CI = re.compile(r"\[(skip[ _-]ci|ci[ _-]skip)\]", re.IGNORECASE)
# A line of the last paragraph: git-interpret-trailers(1)
_TRAILER = re.compile(r"[A-Za-z0-9-]+: ?\S.*|[ \t]+\S.*")
PLACEHOLDERS = ("image", "old", "tag", "digest", "files", "upstream")

_PLACEHOLDER = re.compile(r"\{(\w*)\}")


def check_template(template: str, what: str = "commit message") -> None:
    """Checks that a template can be filled.

    Args:
        template: A text with placeholders.
        what: The template's name in the error message.

    Raises:
        UsageError: It is empty, or has an unknown placeholder.
    """
    if not template.strip():
        raise UsageError(f"The {what} is empty.", hint="Give a text, or leave it out.")
    for name in _PLACEHOLDER.findall(template):
        if name not in PLACEHOLDERS:
            raise UsageError(
                f"The {what} has a placeholder {{{name}}}, which does not exist.",
                hint=f"The placeholders are {', '.join(f'{{{each}}}' for each in PLACEHOLDERS)}.",
            )


def subject(
    template: str, updates: Sequence[Update], changes: Sequence[Change], upstream: str
) -> str:
    """Returns a filled template.

    Args:
        template: A text with placeholders; checked already.
        updates: The requested updates.
        changes: The changes; each value of a placeholder is listed once, in order.
        upstream: The upstream pipeline's URL, if there is one.
    """
    images = {change.image for change in changes}
    reached = [update for update in updates if update.label in images]
    values = {
        "image": _listed(update.label for update in reached),
        "old": _listed(_tag_in(change.old) for change in changes),
        "tag": _listed(update.tag or update.digest or "" for update in reached),
        "digest": _listed(update.digest or "" for update in reached),
        "files": _listed(change.path for change in changes),
        "upstream": upstream,
    }
    # Names of files and branches can contain line breaks, which would begin a trailer.
    return _PLACEHOLDER.sub(lambda found: one_line(values[found[1]]), template).strip()


def commit_message(
    template: str,
    updates: Sequence[Update],
    changes: Sequence[Change],
    *,
    upstream: str = "",
    skip_ci: bool = True,
    names_images: bool = False,
) -> str:
    """Returns the whole message: the filled template, and trailers.

    Args:
        template: A text with placeholders; checked already.
        updates: The requested updates.
        changes: The changes.
        upstream: The upstream pipeline's URL, if there is one; a trailer names it and the images.
        skip_ci: Whether GitLab starts no pipeline for the commit.
        names_images: Whether trailers name the images even without an upstream pipeline.
    """
    text = subject(template, updates, changes, upstream)
    if skip_ci and not _SKIPS_CI.search(text):
        first, end, rest = text.partition("\n")
        text = f"{first.rstrip()}{SKIP_CI}{end}{rest}"
    if not upstream and not names_images:
        return f"{text}\n"
    added = trailers(upstream, dict.fromkeys(change.image for change in changes))
    return f"{text}{_gap(text)}{added}\n"


def _gap(text: str) -> str:
    """Returns the separator before the trailers: none if the message ends with trailers."""
    _, gap, last = text.rpartition("\n\n")
    has_trailers = gap and all(_TRAILER.fullmatch(line) for line in last.split("\n"))
    return "\n" if has_trailers else "\n\n"


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, values)))


def _tag_in(old: str) -> str:
    """Returns the tag in an old value, which is a tag, a digest or a whole reference."""
    if is_digest(old):
        return old
    tag = old.partition("@")[0].rpartition(":")[2]
    return "" if "/" in tag else tag  # then it is a name, or follows a registry's port


_PIPELINE = re.compile(r"(?P<project>\S+)/-/pipelines/(?P<id>\d+)/?")
_UPSTREAM = re.compile(r"^Upstream-Pipeline: *(\S+)$", re.MULTILINE)
_IMAGE = re.compile(r"^Bumped-Image: *(\S+)$", re.MULTILINE)


class _Pipeline(NamedTuple):
    """A pipeline; within one project a newer pipeline has a higher id."""

    project: str
    id: int


def trailers(upstream: str, images: Iterable[str]) -> str:
    """Returns the trailers of a commit.

    Args:
        upstream: The pipeline's URL, if there is one.
        images: The images that the commit updates.
    """
    lines = [f"Upstream-Pipeline: {one_line(upstream)}"] if upstream else []
    return "\n".join([*lines, *(f"Bumped-Image: {one_line(image)}" for image in images)])


def is_bump(message: str) -> bool:
    """Returns True if a commit's message has the trailers of a bump in a merge request."""
    return _IMAGE.search(message) is not None


def check_not_older(
    upstream: str, changes: Sequence[Change], messages: Callable[[str], Iterable[str]]
) -> None:
    """Checks that no newer pipeline of the same project has already bumped the same images.

    Args:
        upstream: The URL of the pipeline that bumps now; those of other projects are not compared.
        changes: The planned changes.
        messages: The messages of the last commits that changed a file, the newest first.

    Raises:
        RefusedError: A newer pipeline has bumped one of them.
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
                    hint="To go back, give --allow-older-pipeline.",
                )
            images -= bumped  # only the last commit of each image counts
            if not images:
                break


def _parse(url: str) -> _Pipeline | None:
    found = _PIPELINE.fullmatch(url)
    return _Pipeline(found["project"], int(found["id"])) if found else None
