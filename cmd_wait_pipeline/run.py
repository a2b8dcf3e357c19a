"""Waits for pipelines; in a dry run, returns their current state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.projects import check_distinct
from cicd_common.waiting.targets import ById, own_job
from cicd_common.waiting.wait import find_pipelines, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cicd_common.errors import CommandError
    from cicd_common.gitlab.connection import Connection
    from cicd_common.waiting.events import Presenter
    from cicd_common.waiting.pipelines import WaitResult
    from cicd_common.waiting.targets import Target
    from cmd_wait_pipeline.request import WaitRequest


def run(
    request: WaitRequest, connection: Connection, presenter: Presenter | None = None
) -> list[WaitResult | CommandError]:
    """Waits for the pipelines to end.

    Args:
        request: Which pipelines, and how to wait.
        connection: The server and the token.
        presenter: Shows the progress; default: nothing is shown.

    Returns:
        How each pipeline ended, in the order in which they were named.

    Raises:
        UsageError: The request is not valid.
        AuthError: GitLab accepts no given token for this request; nothing was sent.
    """
    gitlab = GitLab(connection)
    targets = request.targets(gitlab.base_url, own_job(os.environ))
    for same in _named_alike(targets):
        check_distinct(gitlab, same)
    if request.dry_run:
        return find_pipelines(gitlab, targets, request.policy)
    return wait_for(gitlab, targets, request.policy, presenter)


def _named_alike(targets: Sequence[Target]) -> Iterator[list[str]]:
    """Yields the projects of targets that have the same pipeline id, which can be one pipeline."""
    projects: dict[int, list[str]] = {}
    for target in targets:
        if isinstance(target, ById):
            projects.setdefault(target.id, []).append(target.project)
    yield from (names for names in projects.values() if len(names) > 1)
