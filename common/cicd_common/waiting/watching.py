"""Looking at the pipelines of one project: one request a look, however many there are."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cicd_common.client import PER_PAGE, GitLab
from cicd_common.errors import AuthError, ForbiddenError, NotFoundError
from cicd_common.waiting.reading import (
    parse_pipeline,
    read_alone,
    read_by_bridges,
    read_by_jobs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cicd_common.waiting.model import Job, Pipeline

# Transactions commit a little out of the order of their times; what is seen twice does no harm.
OVERLAP = timedelta(minutes=1)
CHILD = "parent_pipeline"


class ProjectWatch:
    """What is remembered of a project from look to look. Used by one thread at a time.

    Args:
        gitlab: The client.
        project_id: The project as an address has it.

    Attributes:
        is_behind: Whether the last look said too little, so that the next one is due: more had
            changed than one answer holds, or that way of looking is closed.
    """

    def __init__(self, gitlab: GitLab, project_id: str) -> None:
        self._gitlab = gitlab
        self._project_id = project_id
        self._without_jobs: set[int] = set()
        self._with_bridges: set[int] = set()
        self._since: dict[bool, datetime] = {}  # of the list of child pipelines, and of the others
        self._may_list = True
        self._turn = 0
        self.is_behind = False

    def look(self, pipelines: Sequence[Pipeline], unseen_for: float) -> list[Pipeline]:
        """Looks at pipelines of the project, in one request.

        Args:
            pipelines: Those that have not ended, as they were when they were last read.
            unseen_for: Seconds since the first of them was last read.

        Returns:
            Those about which this look says something, as they are now.

        Raises:
            CommandError: There was no usable answer.
        """
        self._turn += 1
        self.is_behind = False
        if len(pipelines) > 1 and self._may_list:
            return self._look_at_list(pipelines, unseen_for)
        turn, place = divmod(self._turn, len(pipelines))
        return self._look_at_one(pipelines[place], turn)

    def turns(self, pipelines: Sequence[Pipeline]) -> int:
        """How many looks it takes to see all of these pipelines, and all of each."""
        if len(pipelines) > 1 and self._may_list:
            return len(_kinds(pipelines))
        return len(pipelines) * max(len(self._ways(pipeline)) or 1 for pipeline in pipelines)

    def _ways(self, pipeline: Pipeline) -> Sequence[Callable[[GitLab, str, int], Pipeline | None]]:
        if any(job.bridge for job in pipeline.jobs):
            self._with_bridges.add(pipeline.id)
        ways = [read_by_jobs] * (pipeline.id not in self._without_jobs)
        return ways + [read_by_bridges] * (pipeline.id in self._with_bridges)

    def _look_at_one(self, before: Pipeline, turn: int) -> list[Pipeline]:
        """By its jobs and by its trigger jobs in turns, both of which show it; else by itself."""
        ways = self._ways(before)
        if not ways:
            now = read_alone(self._gitlab, self._project_id, before.id)
            return [_update(before, now, ())]
        way = ways[turn % len(ways)]
        seen = way(self._gitlab, self._project_id, before.id)
        if seen is None:
            self._without_jobs.add(before.id)
            self.is_behind = True
            return []
        others = tuple(job for job in before.jobs if job.bridge is (way is read_by_jobs))
        return [_update(before, seen, (*seen.jobs, *others))]

    def _look_at_list(self, pipelines: Sequence[Pipeline], unseen_for: float) -> list[Pipeline]:
        """By what has changed in the project since the look before.

        GitLab lists child pipelines apart, so that with both kinds they take turns.
        """
        kinds = _kinds(pipelines)
        children = kinds[self._turn % len(kinds)]
        watched = {pipeline.id: pipeline for pipeline in pipelines}
        since = self._since.get(children) or _first_moment(pipelines, unseen_for)
        try:
            answers = self._gitlab.get(
                f"projects/{self._project_id}/pipelines",
                updated_after=since.isoformat(),
                order_by="updated_at",
                sort="asc",
                per_page=PER_PAGE,
                **({"source": CHILD} if children else {}),
            )
        except (AuthError, ForbiddenError, NotFoundError):
            # Older servers let a job token read nothing but jobs: the pipelines take turns.
            self._may_list = False
            self.is_behind = True
            return []
        seen = [parse_pipeline(self._gitlab, answer) for answer in answers]
        newest = max((pipeline.updated_at for pipeline in seen), default=since)
        # A full page is followed by the rest at the next look, so that nothing is passed over.
        self.is_behind = len(seen) >= PER_PAGE
        self._since[children] = newest if self.is_behind else max(since, newest - OVERLAP)
        # Jobs, which a list does not show, may have changed since: they are left out.
        return [_update(watched[now.id], now, ()) for now in seen if now.id in watched]


def _kinds(pipelines: Iterable[Pipeline]) -> list[bool]:
    """Whether there are pipelines that are not children, and such that are."""
    return sorted({pipeline.source == CHILD for pipeline in pipelines})


def _first_moment(pipelines: Iterable[Pipeline], unseen_for: float) -> datetime:
    """From when on changes may not have been seen yet, by GitLab's clock, which nobody asked.

    It was at least the newest change when the last of them was read.
    """
    newest = max(pipeline.updated_at for pipeline in pipelines)
    return newest - timedelta(seconds=unseen_for) - OVERLAP


def _update(before: Pipeline, now: Pipeline, jobs: tuple[Job, ...]) -> Pipeline:
    """What a look shows, with the jobs known now, and what never changes and it does not show."""
    tag = before.tag if now.tag is None else now.tag
    return replace(now, tag=tag, stages=before.stages).with_jobs(jobs)
