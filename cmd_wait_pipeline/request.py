"""Which pipelines to wait for, and how."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.errors import UsageError
from cicd_common.gitlab.projects import parse_project
from cicd_common.waiting.policy import WaitPolicy
from cicd_common.waiting.targets import (
    AllRunning,
    ById,
    Newest,
    own_job,
    parse_pipeline_url,
)

if TYPE_CHECKING:
    from cicd_common.waiting.targets import OwnJob, Target


DEFAULT_POLICY = WaitPolicy()


@dataclass(frozen=True)
class WaitRequest:
    """Which pipelines to wait for, and how.

    Attributes:
        project: The project of the pipelines without a URL: its path, numeric id, or URL.
        pipelines: Pipelines by id, or by the URL of their page.
        ref: The newest pipeline of a branch; with `all_running`, all of the branch.
        tag: The newest pipeline of a tag.
        sha: The newest pipeline of a commit.
        source: The newest pipeline of a source.
        merge_request: The newest pipeline of a merge request, by its number in the project.
        newer_than: Only a newest pipeline with a higher id counts.
        all_running: Every unfinished pipeline.
        policy: How to wait.
        dry_run: Whether to return their current state instead of waiting.
    """

    project: str | None = None
    pipelines: tuple[int | str, ...] = ()
    ref: str | None = None
    tag: str | None = None
    sha: str | None = None
    source: str | None = None
    merge_request: int | None = None
    newer_than: int = 0
    all_running: bool = False
    policy: WaitPolicy = DEFAULT_POLICY
    dry_run: bool = False

    def asked(self, base_url: str, count: int) -> list[str]:
        """Returns the project of each outcome, in the order of the targets.

        Args:
            base_url: The server that URLs must belong to.
            count: How many outcomes there are.
        """
        projects = [target.project for target in self.targets(base_url, own_job(os.environ))]
        return projects * count if self.all_running else projects

    def targets(self, base_url: str, own: OwnJob) -> list[Target]:
        """Returns the pipelines to wait for, before anything is sent.

        Args:
            base_url: The server that URLs must belong to.
            own: The job that this command runs in; it cannot wait for its own pipeline.

        Returns:
            The targets in the order in which they were named, each once.

        Raises:
            UsageError: No pipeline was named, options contradict each other, or a value is wrong.
        """
        kinds = (self.tag, self.sha, self.source, self.merge_request)
        newest = any(value is not None for value in kinds)
        by_ref = self.ref is not None and not self.all_running
        named = bool(self.pipelines)
        if named + (newest or by_ref) + self.all_running != 1:
            raise UsageError(
                "Name the pipelines in exactly one way.",
                why="Pipelines are named one by one, or as the newest of something, or as all "
                "that are unfinished.",
                hint="Give ids or URLs; or --ref, --tag, --sha, --source, "
                "--merge-request; or --all-running, with --ref if need be.",
            )
        if self.newer_than and (named or self.all_running):
            raise UsageError(
                "--newer-than can be used only for the newest pipeline.",
                hint="Give it with --ref, --tag, --sha, --source or --merge-request.",
            )
        if self.ref is not None and self.tag is not None:
            raise UsageError(
                "A pipeline runs for a branch or for a tag, not for both.",
                hint="Give --ref or --tag.",
            )
        if self.all_running:
            return [AllRunning(self._project(base_url), self.ref)]
        if not named:
            return [
                Newest(
                    self._project(base_url),
                    self.ref,
                    self.tag,
                    self.sha,
                    self.source,
                    newer_than=self.newer_than,
                    merge_request=self.merge_request,
                ),
            ]
        by_id = [
            parse_pipeline_url(pipeline, base_url)
            if isinstance(pipeline, str)
            else ById(self._project(base_url), pipeline)
            for pipeline in self.pipelines
        ]
        if any(target.id == own.pipeline_id for target in by_id):
            raise UsageError(
                f"Pipeline {own.pipeline_id} is the one that this job runs in.",
                why="It would wait for itself.",
                hint="Name another pipeline.",
            )
        # GitLab ignores upper and lower case in a path.
        unique: dict[tuple[str, int], Target] = {}
        for target in by_id:
            unique.setdefault((target.project.casefold(), target.id), target)
        return list(unique.values())

    def _project(self, base_url: str) -> str:
        if self.project is None:
            raise UsageError(
                "No project was given.",
                hint="Give --project, or pass CI_PROJECT_PATH on (docker run -e CI_PROJECT_PATH).",
            )
        return parse_project(self.project, base_url)
