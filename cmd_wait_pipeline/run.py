"""Waits for pipelines; in a dry run, returns their current state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cicd_common.gitlab.client import GitLab
from cicd_common.waiting.targets import own_job
from cicd_common.waiting.wait import find_pipelines, wait_for

if TYPE_CHECKING:
    from cicd_common.errors import CommandError
    from cicd_common.gitlab.connection import Connection
    from cicd_common.waiting.events import Presenter
    from cicd_common.waiting.pipelines import WaitResult
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
        UsageError: The request is not valid; nothing was sent.
        AuthError: GitLab accepts no given token for this request; nothing was sent.
    """
    gitlab = GitLab(connection)
    targets = request.targets(gitlab.base_url, own_job(os.environ))
    if request.dry_run:
        return find_pipelines(gitlab, targets)
    return wait_for(gitlab, targets, request.policy, presenter)
