"""Decides when to poll, and polls: one request for each project, however many pipelines."""

from __future__ import annotations

import logging
import math
import statistics
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cicd_common.errors import (
    AuthError,
    CommandError,
    ForbiddenError,
    NotFoundError,
    UnavailableError,
)
from cicd_common.gitlab.client import PER_PAGE, GitLab
from cicd_common.waiting.blocked import (
    blocked_pipelines,
    keep_downstream,
    needs_downstream,
    with_downstream,
)
from cicd_common.waiting.events import Note
from cicd_common.waiting.pipelines import (
    CHILD,
    Estimate,
    parse_pipeline,
    read_alone,
    read_by_bridges,
    read_by_jobs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cicd_common.waiting.pipelines import Job, Pipeline

    Route = Callable[[Pipeline], Pipeline | None]


SHORTEST = 1.0  # seconds between two polls of a project at least, whatever causes them
LONGEST = 30.0  # as often as GitLab's own pages poll if nothing is pushed
LONGEST_PUSHED = 55.0  # with the jitter a minute: the delay if GitLab's push missed an end
JITTER = 0.1  # part of an interval, so that the waits of one pipeline do not poll together

# Without history an interval is this part of the pipeline's age, and so is the greatest delay.
_BY_AGE = 0.1
# With history an early failure is seen later, and the estimated end sooner.
_BY_AGE_WITH_ESTIMATE = 0.2
_BY_DISTANCE = 0.3
_AT_THE_END = 0.005
# If GitLab pushes changes, a regular poll only makes up for a lost push message.
_BY_DISTANCE_PUSHED = 0.5
_AT_THE_END_PUSHED = 25.0
_SHARE_OF_AGE = 0.7  # the rest is for the jitter and the response


def next_interval(
    age: float, estimate: Estimate | None, fixed: float | None, *, pushed: bool = False
) -> float:
    """Returns the interval before the next poll of a pipeline, in seconds.

    Args:
        age: Seconds since its creation.
        estimate: How long it will take, if its history is known.
        fixed: A fixed interval in seconds, if one is wanted.
        pushed: Whether GitLab's push would report a change meanwhile.
    """
    if fixed is not None:
        return fixed
    distance = max(0.0, abs(estimate.seconds - age) - estimate.spread) if estimate else math.inf
    if pushed:
        return min(max(distance * _BY_DISTANCE_PUSHED, _AT_THE_END_PUSHED), LONGEST_PUSHED)
    by_age = SHORTEST + max(0.0, age) * _BY_AGE
    if estimate is not None:
        around_end = max(estimate.seconds * _AT_THE_END, distance * _BY_DISTANCE)
        by_age = min(SHORTEST + max(0.0, age) * _BY_AGE_WITH_ESTIMATE, around_end)
    return min(max(by_age, SHORTEST), LONGEST)


def shortest_interval(fixed: float | None) -> float:
    """Returns the shortest time between two polls of a project, in seconds."""
    return SHORTEST if fixed is None else min(fixed, SHORTEST)


def next_poll(
    now: float, wanted: float, *, floor: float, deadline: float, random: Callable[[], float]
) -> float | None:
    """Returns when to poll next.

    Args:
        now: When the previous poll was done.
        wanted: The wanted interval, in seconds.
        floor: The shortest interval, in seconds.
        deadline: When the wait ends; the last poll leaves time for its response.
        random: Returns a random number from 0 up to 1.

    Returns:
        A time, at least `floor` from now and before the deadline; None if there is none.
    """
    moment = now + max(floor, wanted * (1 + JITTER * (2 * random() - 1)))
    last = deadline - floor
    if moment <= last:
        return moment
    return last if last >= now + floor else None


def fresh_interval(max_age: float, turns: int) -> float:
    """Returns the interval that keeps everything shown newer than a maximum age.

    Args:
        max_age: The maximum age in seconds, including the time of the responses.
        turns: How many polls it takes to read everything.
    """
    return max_age * _SHARE_OF_AGE / turns


def appear_interval(waited: float, fixed: float | None) -> float:
    """Returns the seconds until the next search for a pipeline that has not appeared yet."""
    return fixed if fixed is not None else min(SHORTEST + waited * _BY_AGE, LONGEST)


log = logging.getLogger(__name__)

EARLIER = 20  # recent enough to resemble the next, enough for a median
LONGEST_SECONDS = 24 * 3600  # longer ones were retried late, or waited for a manual job


def read_estimate(gitlab: GitLab, pipeline: Pipeline) -> Estimate | None:
    """Estimates the time from a pipeline's creation to its end, with one request.

    Args:
        gitlab: The client.
        pipeline: The pipeline.

    Returns:
        The estimate; None if there is no history or it cannot be read. A wait does not need it, so
        that a failure to read it does not fail the wait.
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
    """Estimates the time from earlier pipelines; None if none of them succeeded.

    GitLab's list has no durations; the last update of a successful pipeline is its end.
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


# GitLab can commit changes in another order than their times. Reading one twice does no harm.
OVERLAP = timedelta(minutes=1)
_ALONE_EVERY = 5  # every so many polls of a busy project, one reads a single pipeline


class ProjectPoller:
    """Polls the pipelines of one project with one request each time; not safe between threads.

    Args:
        gitlab: The client.
        project_id: The project as a URL path segment.
        every_job: Whether to read all jobs, which takes one request for every 100.
        by_list: Whether a list of pipelines, which shows no jobs, is enough for several pipelines.

    Attributes:
        is_behind: Whether the next poll is due at once, because the last one showed too little:
            more had changed than fits one response, the route is closed, or a pipeline is missing.
        notes: What the user should know about the last poll.
    """

    def __init__(
        self, gitlab: GitLab, project_id: str, *, every_job: bool = False, by_list: bool = True
    ) -> None:
        self._gitlab = gitlab
        self._project_id = project_id
        self._every_job = every_job
        self._without_jobs: set[int] = set()
        self._has_bridges: dict[int, bool] = {}  # by the pipeline; True if that is not known
        self._missing: set[int] = set()
        self._since: dict[bool, datetime] = {}  # by whether it is the list of child pipelines
        self._may_list = by_list
        self._turn = 0
        self.is_behind = False
        self.notes: list[Note] = []

    def poll(
        self, pipelines: Sequence[Pipeline], unseen_for: float
    ) -> dict[int, Pipeline | NotFoundError]:
        """Polls pipelines of the project once.

        Args:
            pipelines: The active pipelines, as they were last read.
            unseen_for: Seconds since the first of them was last read.

        Returns:
            By id, the pipelines that this poll showed, as they are now, or an error for a pipeline
            that was deleted.

        Raises:
            CommandError: GitLab gave no usable response.
        """
        self._turn += 1
        self.is_behind = False
        self.notes.clear()
        self._missing &= {pipeline.id for pipeline in pipelines}
        for each in pipelines:
            self._may_have_bridges(each)
        if missing := next((each for each in pipelines if each.id in self._missing), None):
            self._missing.discard(missing.id)
            self.is_behind = bool(self._missing)
            return self._poll_one(missing, 0)
        if len(pipelines) > 1 and self._may_list:
            if below := self._next_below(pipelines):
                return self._poll_below(below)
            return self._poll_list(pipelines, unseen_for)
        turn, place = divmod(self._turn, len(pipelines))
        return self._poll_one(pipelines[place], turn)

    def turns(self, pipelines: Sequence[Pipeline]) -> int:
        """Returns how many polls it takes to read all of these pipelines with all their jobs."""
        if len(pipelines) > 1 and self._may_list:
            return len(_kinds(pipelines))
        return len(pipelines) * max(len(self._routes(pipeline)) or 1 for pipeline in pipelines)

    def _routes(self, pipeline: Pipeline) -> Sequence[Route]:
        routes: list[Route] = []
        if pipeline.id not in self._without_jobs:
            routes.append(self._by_jobs)
        if self._may_have_bridges(pipeline):
            routes.append(self._by_bridges)
        if needs_downstream(pipeline):
            routes.append(self._by_downstream)
        return routes

    def _may_have_bridges(self, pipeline: Pipeline) -> bool:
        """Returns whether to read trigger jobs; those of a pipeline from a list are not known."""
        known = bool(pipeline.jobs) and not any(job.bridge for job in pipeline.jobs)
        return self._has_bridges.setdefault(pipeline.id, not known)

    def _by_jobs(self, before: Pipeline) -> Pipeline | None:
        try:
            seen = read_by_jobs(self._gitlab, self._project_id, before.id, every=self._every_job)
        except (ForbiddenError, UnavailableError) as error:
            # Only if the pipeline itself can be read: otherwise GitLab is down.
            seen = read_alone(self._gitlab, self._project_id, before.id)
            self._without_jobs.add(before.id)
            self._warn(f"The jobs of pipeline {before.id} cannot be read: {error.message}")
        if seen is None:
            self._without_jobs.add(before.id)
            return None
        return _update(before, seen, (*seen.jobs, *(job for job in before.jobs if job.bridge)))

    def _by_bridges(self, before: Pipeline) -> Pipeline | None:
        try:
            seen = read_by_bridges(self._gitlab, self._project_id, before.id)
        except (AuthError, ForbiddenError):
            seen = None  # older servers do not show them to a job token
        if seen is None:
            self._has_bridges[before.id] = False
            return None
        bridges = keep_downstream(seen.jobs, before.jobs)
        return _update(before, seen, (*bridges, *(job for job in before.jobs if not job.bridge)))

    def _by_downstream(self, before: Pipeline) -> Pipeline:
        return with_downstream(self._gitlab, before)

    def _poll_one(self, before: Pipeline, turn: int) -> dict[int, Pipeline | NotFoundError]:
        try:
            seen = self._read_one(before, turn)
        except NotFoundError as error:
            return {before.id: _gone(before, error)}
        return {} if seen is None else {before.id: seen}

    def _read_one(self, before: Pipeline, turn: int) -> Pipeline | None:
        """Reads a pipeline by its jobs, trigger jobs or downstream, in turns; else directly."""
        routes = self._routes(before)
        if not routes:
            return _update(before, read_alone(self._gitlab, self._project_id, before.id), ())
        seen = routes[turn % len(routes)](before)
        self.is_behind = self.is_behind or seen is None
        return seen

    def _warn(self, text: str) -> None:
        self.notes.append(Note(text, warning=True))

    def _poll_list(
        self, pipelines: Sequence[Pipeline], unseen_for: float
    ) -> dict[int, Pipeline | NotFoundError]:
        """Polls with the list of pipelines that changed since the oldest change of these pipelines.

        GitLab lists child pipelines separately, so that polls read the two lists in turns.
        """
        kinds = _kinds(pipelines)
        children = kinds[self._turn % len(kinds)]
        watched = {each.id: each for each in pipelines if (each.source == CHILD) is children}
        oldest = min(each.updated_at for each in watched.values())
        since = self._since.get(children) or oldest - OVERLAP
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
            # Older servers let a job token read only jobs: the pipelines are read in turns.
            self._may_list = False
            self.is_behind = True
            return {}
        seen = [parse_pipeline(self._gitlab, answer) for answer in answers]
        newest = max((each.updated_at for each in seen), default=since)
        if len(seen) >= PER_PAGE:
            # Changes before the last read were seen then; the rest follows at the next poll.
            self._since[children] = max(newest, _first_moment(pipelines, unseen_for))
            self.is_behind = True
        elif children in self._since:
            self._since[children] = max(since, newest - OVERLAP)
            self._check_alone(pipelines)
        else:
            # The list is complete. A missing pipeline is read directly: a replica can lag behind.
            self._missing |= watched.keys() - {each.id for each in seen}
        self.is_behind = self.is_behind or bool(self._missing)
        return {
            each.id: _update(watched[each.id], each, _jobs_after_list(watched[each.id], each))
            for each in seen
            if each.id in watched
        }

    def _next_below(self, pipelines: Sequence[Pipeline]) -> Pipeline | None:
        """Returns a pipeline whose trigger jobs are to be read now; a list does not show them."""
        turn, rest = divmod(self._turn, _ALONE_EVERY)
        candidates = [each for each in pipelines if self._may_have_bridges(each)]
        return candidates[turn % len(candidates)] if candidates and not rest else None

    def _poll_below(self, before: Pipeline) -> dict[int, Pipeline | NotFoundError]:
        """Finds out whether one of several pipelines waits for a person downstream."""
        self.is_behind = True  # the list, which shows changes of the others, is still to be read
        try:
            seen = self._by_bridges(before)
        except NotFoundError as error:
            return {before.id: _gone(before, error)}
        if seen is None:
            return {}
        if not blocked_pipelines(whole := self._by_downstream(seen)):
            return {before.id: replace(seen, jobs=())}
        jobs = self._by_jobs(whole)  # an active job of it is not in the list of its trigger jobs
        return {before.id: jobs or whole}

    def _check_alone(self, pipelines: Sequence[Pipeline]) -> None:
        """Finds deleted pipelines in a busy project, where the list shows only those that changed.

        Each pipeline is read directly from time to time.
        """
        turn, rest = divmod(self._turn, _ALONE_EVERY)
        if rest == 1:  # not the turn of `_next_below`
            self._missing.add(pipelines[turn % len(pipelines)].id)


def _gone(pipeline: Pipeline, error: NotFoundError) -> NotFoundError:
    return NotFoundError(
        f"Pipeline {pipeline.id} of {pipeline.project} no longer exists",
        why="It was deleted during the wait, or the token can no longer see the project.",
        hint="See the project's pipelines.",
        answer=error.answer,
        url=pipeline.web_url,
    )


def _kinds(pipelines: Iterable[Pipeline]) -> list[bool]:
    """Returns which kinds there are: False for parent pipelines, True for child pipelines."""
    return sorted({pipeline.source == CHILD for pipeline in pipelines})


def _first_moment(pipelines: Iterable[Pipeline], unseen_for: float) -> datetime:
    """Returns the time, by GitLab's clock, from which on changes are read again.

    It is the newest known change, less the time since the last read and an overlap.
    """
    newest = max(pipeline.updated_at for pipeline in pipelines)
    return newest - timedelta(seconds=unseen_for) - OVERLAP


def _jobs_after_list(before: Pipeline, now: Pipeline) -> tuple[Job, ...]:
    """Returns the jobs that show why a pipeline is blocked; a list can mean that others changed."""
    return before.jobs if now.status == before.status and blocked_pipelines(before) else ()


def _update(before: Pipeline, now: Pipeline, jobs: tuple[Job, ...]) -> Pipeline:
    """Returns the pipeline that a poll showed, with its known jobs and its fixed fields."""
    tag = before.tag if now.tag is None else now.tag
    return replace(now, tag=tag, stages=before.stages).with_jobs(jobs)
