"""Finds several pipelines of one project by their ids with few requests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cicd_common.errors import AuthError, ForbiddenError, NotFoundError
from cicd_common.gitlab.client import PER_PAGE, quoted
from cicd_common.waiting.pipelines import parse_pipeline, read_bridges

if TYPE_CHECKING:
    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.pipelines import Pipeline


class Listing:
    """Finds several pipelines of a project with one request for its newest; threads can share it.

    Args:
        gitlab: The client.
        project: The project's path or numeric id.
        by_bridges: Whether to read the trigger jobs of running pipelines too, because a pipeline
            downstream of them can wait for a manual job.
    """

    def __init__(self, gitlab: GitLab, project: str, *, by_bridges: bool) -> None:
        self._gitlab = gitlab
        self._project = project
        self._by_bridges = by_bridges
        self._lock = threading.Lock()
        self._newest: dict[int, Pipeline] | None = None

    def find(self, pipeline_id: int) -> Pipeline | None:
        """Returns a pipeline; None if it is not among the newest, or the token cannot list them.

        Raises:
            CommandError: GitLab gave no usable response.
        """
        with self._lock:
            if self._newest is None:
                self._newest = self._list()
        found = self._newest.get(pipeline_id)
        if found is None or not self._by_bridges or found.status not in {"running", "manual"}:
            return found
        try:
            return found.with_jobs(read_bridges(self._gitlab, found))
        except (AuthError, ForbiddenError, NotFoundError):
            return found

    def _list(self) -> dict[int, Pipeline]:
        try:
            answers = self._gitlab.get_list(
                f"projects/{quoted(self._project)}/pipelines", per_page=PER_PAGE
            )
        except (AuthError, ForbiddenError, NotFoundError):
            return {}
        listed = (parse_pipeline(self._gitlab, answer) for answer in answers)
        return {pipeline.id: pipeline for pipeline in listed}
