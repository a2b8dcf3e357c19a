"""The keyword `release`: what the runner does by `glab release create` after a job's script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import git
from sandbox.ci.variables import expand
from sandbox.model import Release

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.ci.plan import ReleasePlan
    from sandbox.model import Job, State


class ReleaseError(Exception):
    """The release cannot be made; the job fails."""


def publish(
    state: State, job: Job, plan: ReleasePlan, directory: Path, values: Mapping[str, str]
) -> str:
    """Makes a job's release; call it with `State.lock` held.

    Args:
        state: The records.
        job: The job, whose user is the release's author.
        plan: What its `release` says.
        directory: The job's working directory, for a description in a file.
        values: The job's variables.

    Returns:
        The tag.

    Raises:
        ReleaseError: There is no such tag, or it has a release.
    """
    project = job.pipeline.project
    tag, text = expand(plan.tag_name, values), expand(plan.description, values)
    if not git.tags(project.repository, name=tag):
        raise ReleaseError(f"The sandbox releases only tags that exist: {tag} does not.")
    if tag in project.releases:
        raise ReleaseError(f"Release {tag} already exists.")
    file = directory / text
    project.releases[tag] = Release(
        tag=tag,
        name=expand(plan.name or tag, values),
        description=file.read_text("utf-8") if "\n" not in text and file.is_file() else text,
        created_at=state.clock.now(),
        author=job.user or job.pipeline.user,
    )
    return tag
