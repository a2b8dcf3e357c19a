"""Looking at the pipelines of one project: one request a look, however many there are."""

from __future__ import annotations

import logging
import math
import statistics
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cicd_common.errors import AuthError, CommandError, ForbiddenError, NotFoundError
from cicd_common.gitlab.client import PER_PAGE, GitLab
from cicd_common.waiting.pipelines import (
    Estimate,
    parse_pipeline,
    read_alone,
    read_by_bridges,
    read_by_jobs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.pipelines import Job, Pipeline


SHORTEST = 1.0  # between two looks at a project, whatever the reason to look
LONGEST = 30.0  # as often as GitLab's own pages look where nothing is pushed
LONGEST_PUSHED = 55.0  # with the jitter a minute, which an end that was not pushed may cost
JITTER = 0.1  # of a pause, at most, so that the waits of one pipeline do not look in step

# Without history a pause is this part of the pipeline's age: an end is seen that much late.
_BY_AGE = 0.1
# With history a failure on the route is seen later, and the likely end sooner.
_BY_AGE_WITH_ESTIMATE = 0.2
_BY_DISTANCE = 0.3
_AT_THE_END = 0.005
# Where GitLab pushes changes a look by the clock only makes up for a push that got lost.
_BY_DISTANCE_PUSHED = 0.5
_AT_THE_END_PUSHED = 25.0


def next_interval(
    age: float, estimate: Estimate | None, interval: float | None, *, pushed: bool = False
) -> float:
    """How long not to look at a pipeline.

    Args:
        age: Since its creation.
        estimate: How long it will take, if earlier ones tell.
        interval: A fixed pause, if one is wanted.
        pushed: Whether a change would be heard of meanwhile.
    """
    if interval is not None:
        return interval
    distance = max(0.0, abs(estimate.seconds - age) - estimate.spread) if estimate else math.inf
    if pushed:
        return min(max(distance * _BY_DISTANCE_PUSHED, _AT_THE_END_PUSHED), LONGEST_PUSHED)
    by_age = SHORTEST + max(0.0, age) * _BY_AGE
    if estimate is not None:
        around_end = max(estimate.seconds * _AT_THE_END, distance * _BY_DISTANCE)
        by_age = min(SHORTEST + max(0.0, age) * _BY_AGE_WITH_ESTIMATE, around_end)
    return min(max(by_age, SHORTEST), LONGEST)


def shortest_interval(interval: float | None) -> float:
    """The least time between two looks at a project."""
    return SHORTEST if interval is None else min(interval, SHORTEST)


def next_poll(
    now: float, wanted: float, *, floor: float, deadline: float, random: Callable[[], float]
) -> float | None:
    """When to look next.

    Args:
        now: When the look before was done.
        wanted: The pause that is wanted.
        floor: The least pause.
        deadline: When the wait ends; the last look leaves time for its answer.
        random: Gives a number from 0 up to 1.

    Returns:
        A time, at least `floor` from now and before the deadline; None if there is none.
    """
    moment = now + max(floor, wanted * (1 + JITTER * (2 * random() - 1)))
    last = deadline - floor
    if moment <= last:
        return moment
    return last if last >= now + floor else None


def appear_interval(waited: float, interval: float | None) -> float:
    """How long not to look for a pipeline that has not appeared after so much time."""
    return interval if interval is not None else min(SHORTEST + waited * _BY_AGE, LONGEST)


log = logging.getLogger(__name__)

EARLIER = 20  # recent enough to resemble the next, enough for a median
LONGEST_SECONDS = 24 * 3600  # what a later retry, or a person who was waited for, made of one


def read_estimate(gitlab: GitLab, pipeline: Pipeline) -> Estimate | None:
    """Estimates a pipeline's time from its creation to its end, in one request.

    Args:
        gitlab: The client.
        pipeline: The pipeline.

    Returns:
        The estimate; None where there is no history, or none that can be read: it is a comfort
        only, so that no wait fails for it.
    """
    try:
        answers = gitlab.get_list(
            f"projects/{pipeline.project_id}/pipelines",
            ref=pipeline.ref,
            status="success",
            source=pipeline.source,
            per_page=EARLIER,
        )
        earlier = [parse_pipeline(gitlab, answer) for answer in answers]
    except CommandError as error:
        log.debug("No history: %s", error)
        return None
    return estimate(earlier)


def estimate(earlier: Iterable[Pipeline]) -> Estimate | None:
    """The estimate that successful pipelines allow; None if there is none among them.

    A list of pipelines has no durations; a success changes last when it ends.
    """
    took = [
        seconds
        for pipeline in earlier
        if (seconds := (pipeline.updated_at - pipeline.created_at).total_seconds()) > 0
        and seconds < LONGEST_SECONDS
    ]
    if not took:
        return None
    median = statistics.median(took)
    return Estimate(median, statistics.median(abs(seconds - median) for seconds in took))


# Transactions commit a little out of the order of their times; what is seen twice does no harm.
OVERLAP = timedelta(minutes=1)
CHILD = "parent_pipeline"


class ProjectPoller:
    """What is remembered of a project from look to look. Used by one thread at a time.

    Args:
        gitlab: The client.
        project_id: The project as an address has it.

    Attributes:
        is_behind: Whether the last look said too little, so that the next one is due: more had
            changed than one answer holds, or that route of looking is closed.
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

    def poll(self, pipelines: Sequence[Pipeline], unseen_for: float) -> list[Pipeline]:
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
            return self._poll_list(pipelines, unseen_for)
        turn, place = divmod(self._turn, len(pipelines))
        return self._poll_one(pipelines[place], turn)

    def turns(self, pipelines: Sequence[Pipeline]) -> int:
        """How many looks it takes to see all of these pipelines, and all of each."""
        if len(pipelines) > 1 and self._may_list:
            return len(_kinds(pipelines))
        return len(pipelines) * max(len(self._routes(pipeline)) or 1 for pipeline in pipelines)

    def _routes(
        self, pipeline: Pipeline
    ) -> Sequence[Callable[[GitLab, str, int], Pipeline | None]]:
        if any(job.bridge for job in pipeline.jobs):
            self._with_bridges.add(pipeline.id)
        routes = [read_by_jobs] * (pipeline.id not in self._without_jobs)
        return routes + [read_by_bridges] * (pipeline.id in self._with_bridges)

    def _poll_one(self, before: Pipeline, turn: int) -> list[Pipeline]:
        """By its jobs and by its trigger jobs in turns, both of which show it; else by itself."""
        routes = self._routes(before)
        if not routes:
            now = read_alone(self._gitlab, self._project_id, before.id)
            return [_update(before, now, ())]
        route = routes[turn % len(routes)]
        seen = route(self._gitlab, self._project_id, before.id)
        if seen is None:
            self._without_jobs.add(before.id)
            self.is_behind = True
            return []
        others = tuple(job for job in before.jobs if job.bridge is (route is read_by_jobs))
        return [_update(before, seen, (*seen.jobs, *others))]

    def _poll_list(self, pipelines: Sequence[Pipeline], unseen_for: float) -> list[Pipeline]:
        """By what has changed in the project since the look before.

        GitLab lists child pipelines apart, so that with both kinds they take turns.
        """
        kinds = _kinds(pipelines)
        children = kinds[self._turn % len(kinds)]
        watched = {pipeline.id: pipeline for pipeline in pipelines}
        since = self._since.get(children) or _first_moment(pipelines, unseen_for)
        try:
            answers = self._gitlab.get_list(
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
