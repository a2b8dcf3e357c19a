"""Finds several pipelines of one project by their ids with few requests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cicd_common.errors import AuthError, CommandError, ForbiddenError, NotFoundError
from cicd_common.gitlab.client import PER_PAGE, quoted
from cicd_common.waiting.pipelines import parse_pipeline

if TYPE_CHECKING:
    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.pipelines import Pipeline


class Listing:
    """Finds pipelines of a project with one request for its newest; threads can share it.

    Args:
        gitlab: The client.
        project: The project's path or numeric id.
    """

    def __init__(self, gitlab: GitLab, project: str) -> None:
        self._gitlab = gitlab
        self._project = project
        self._lock = threading.Lock()
        self._newest: dict[int, Pipeline] | None = None
        self._failure: CommandError | None = None

    def find(self, pipeline_id: int) -> Pipeline | None:
        """Returns a pipeline without its jobs; None if the list does not show it.

        Raises:
            CommandError: GitLab gave no usable response.
        """
        before = self._failure
        with self._lock:
            if self._newest is None:
                # Each request is retried for --retry-for: threads that waited share its failure.
                if self._failure is not None and self._failure is not before:
                    raise self._failure
                try:
                    self._newest = self._list()
                except CommandError as failure:
                    self._failure = failure
                    raise
        return self._newest.get(pipeline_id)

    def _list(self) -> dict[int, Pipeline]:
        try:
            answers = self._gitlab.get_list(
                f"projects/{quoted(self._project)}/pipelines", per_page=PER_PAGE
            )
        except (AuthError, ForbiddenError, NotFoundError):
            return {}
        listed = (parse_pipeline(self._gitlab, answer) for answer in answers)
        return {pipeline.id: pipeline for pipeline in listed}
