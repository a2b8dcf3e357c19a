"""A pipeline whose creation was asked for, and the answer lost: which of those there are is it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.errors import (
    AuthError,
    CommandError,
    ForbiddenError,
    NotFoundError,
    UnavailableError,
)
from cicd_common.gitlab import fields
from cicd_common.gitlab.client import PER_PAGE
from cicd_common.gitlab.projects import find_commit
from cmd_trigger_pipeline.result import read_pipeline

if TYPE_CHECKING:
    from cicd_common.gitlab.projects import Project
    from cmd_trigger_pipeline.endpoint import Way
    from cmd_trigger_pipeline.result import PipelineResult


@dataclass(frozen=True)
class Before:
    """What was there before the pipeline was asked for.

    Attributes:
        newest: The id of the project's newest pipeline, 0 if it had none; None if that could not
            be read.
        problem: Why it could not.
    """

    newest: int | None
    problem: CommandError | None = None


def look_before(way: Way, project: Project) -> Before:
    """Reads what tells an older pipeline from the one that is to come.

    Ids only grow, over all projects of a server, which no clock can be trusted to do. A credential
    that cannot read pipelines may start one all the same.

    Raises:
        CommandError: There was no usable answer.
    """
    if way.reader is None:
        return Before(None)
    try:
        newest = way.reader.get_list(f"projects/{project.id}/pipelines", per_page=1)
    except (AuthError, ForbiddenError, NotFoundError) as problem:
        return Before(None, problem)
    return Before(max((fields.number(pipeline, "id") for pipeline in newest), default=0))


def find_started(way: Way, project: Project, ref: str, before: Before) -> PipelineResult | None:
    """Looks for the pipeline that was asked for.

    It is newer than all that were there, and has this ref, its commit, the way's source and, where
    the token tells, its user.

    Args:
        way: How it was asked for.
        project: The project.
        ref: The branch or tag.
        before: What was there before.

    Returns:
        The pipeline; None if there is none that it could be.

    Raises:
        UnavailableError: It cannot be told, because nothing can be read, or because there are
            several, or one of another commit; they are named.
        CommandError: There was no usable answer.
    """
    if way.reader is None or before.newest is None:
        raise UnavailableError("These credentials cannot read the project's pipelines.")
    username = way.username()
    answer = way.reader.get_list(
        f"projects/{project.id}/pipelines",
        ref=ref.removeprefix("refs/heads/").removeprefix("refs/tags/"),
        source=way.source,
        per_page=PER_PAGE,
        **({"username": username} if username else {}),
    )
    pipelines = (read_pipeline(item, project.path) for item in answer)
    new = [pipeline for pipeline in pipelines if (pipeline.id or 0) > before.newest]
    if not new:
        return None
    if [pipeline.sha for pipeline in new] == [find_commit(way.reader, project, ref)]:
        return new[0]
    urls = ", ".join(pipeline.web_url for pipeline in new)
    raise UnavailableError(f"It may be any of these, or none: {urls}")
