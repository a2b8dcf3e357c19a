"""Finds the pipeline that was created if GitLab's response to the request was lost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from cicd_common.errors import AuthError, ForbiddenError, NotFoundError, UnavailableError
from cicd_common.gitlab import fields
from cicd_common.gitlab.client import PER_PAGE
from cicd_common.gitlab.projects import find_commit
from cmd_trigger_pipeline.result import FoundPipeline, read_pipeline

if TYPE_CHECKING:
    from cicd_common.gitlab.client import GitLab
    from cicd_common.gitlab.projects import Project
    from cmd_trigger_pipeline.endpoint import Endpoint
    from cmd_trigger_pipeline.request import TriggerRequest
    from cmd_trigger_pipeline.result import PipelineResult

# GitLab adds it to a pipeline that a trigger token or a job token starts:
# https://docs.gitlab.com/ci/triggers/#access-webhook-payload
PAYLOAD = "TRIGGER_PAYLOAD"


@dataclass(frozen=True)
class Attempt:
    """A request for a pipeline whose response was lost.

    Attributes:
        endpoint: The endpoint that was used.
        project: The project.
        ref: The branch or tag.
        request: The pipeline to start.
        began: The time of the first request, by this machine's monotonic clock.
    """

    endpoint: Endpoint
    project: Project
    ref: str
    request: TriggerRequest
    began: float = field(default_factory=time.monotonic)

    def find(self) -> PipelineResult | None:
        """Finds the pipeline that the request created.

        By the server's clock it was created after the request, and it has the same ref, commit,
        source, variables and, if the token's user is known, user.

        Returns:
            The pipeline; None if no pipeline matches.

        Raises:
            UnavailableError: The answer is not clear: nothing can be read, GitLab does not show
                what was sent, several pipelines match, or one of another commit; they are named.
            CommandError: GitLab gave no usable response.
        """
        if self.endpoint.reader is None:
            raise UnavailableError("These credentials cannot read the project's pipelines.")
        candidates = self._candidates(self.endpoint.reader)
        if not candidates:
            return None
        commit = find_commit(self.endpoint.reader, self.project, self.ref)
        if len(candidates) == 1 and candidates[0].sha == commit and self._is_shown(candidates[0]):
            return candidates[0]
        urls = ", ".join(pipeline.web_url for pipeline in candidates)
        raise UnavailableError(f"It can be any of these, or none: {urls}")

    def _candidates(self, reader: GitLab) -> list[FoundPipeline]:
        """Returns the new pipelines of the same kind, without those that are known to differ."""
        username = self.endpoint.username()
        listed = reader.get_list(
            f"projects/{self.project.id}/pipelines",
            ref=self.ref.removeprefix("refs/heads/").removeprefix("refs/tags/"),
            source=self.endpoint.source,
            per_page=PER_PAGE,
            **({"username": username} if username else {}),
        )
        since = reader.now() - timedelta(seconds=time.monotonic() - self.began)
        new = [item for item in listed if fields.time(item, "created_at") >= since]
        found = [read_pipeline(item, reader.base_url, FoundPipeline) for item in new]
        return [pipeline for pipeline in found if self._may_be_same_work(pipeline)]

    def _may_be_same_work(self, pipeline: FoundPipeline) -> bool:
        shown = self._variables(pipeline)
        return shown is None or shown == self._sent

    def _is_shown(self, pipeline: FoundPipeline) -> bool:
        """Returns True if the server shows everything that was sent; it never shows inputs."""
        if self.request.inputs:
            return False
        return not self.request.variables or self._variables(pipeline) is not None

    @property
    def _sent(self) -> set[tuple[str, str, str]]:
        return {
            (variable.key, variable.value, variable.variable_type)
            for variable in self.request.variables
        }

    def _variables(self, pipeline: FoundPipeline) -> set[tuple[str, str, str]] | None:
        """Returns the variables of a pipeline; None if this token cannot read them."""
        assert self.endpoint.reader is not None  # noqa: S101 - for the type checker; `find` checks
        try:
            return shown_variables(self.endpoint.reader, self.project, pipeline)
        except NotFoundError:
            return None


def shown_variables(
    reader: GitLab, project: Project, pipeline: FoundPipeline
) -> set[tuple[str, str, str]] | None:
    """Returns the key, value and type of each variable that a pipeline was given.

    Returns:
        The variables; None if this token cannot read them.

    Raises:
        NotFoundError: There is no such pipeline, or this token cannot see it.
        CommandError: GitLab gave no usable response.
    """
    try:
        shown = reader.get_list(f"projects/{project.id}/pipelines/{pipeline.id}/variables")
    except (AuthError, ForbiddenError):
        return None
    return {
        (
            fields.text(variable, "key"),
            fields.optional_text(variable, "value"),
            fields.optional_text(variable, "variable_type") or "env_var",
        )
        for variable in shown
        if variable.get("key") != PAYLOAD
    }
