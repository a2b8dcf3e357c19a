"""Runs a wait: polls GitLab, decides what to do, and yields events; it shows nothing.

The thread that runs it sends no requests. It only sleeps on the clock; signals, the time limit,
finished requests and hints wake it, so that it can end at any time.
"""

from __future__ import annotations

import copy
import math
import random
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError, NotFoundError, TimeLimitError
from cicd_common.waiting import poll
from cicd_common.waiting.actions import cancel_started, play_blocking_jobs
from cicd_common.waiting.artifacts import Artifacts
from cicd_common.waiting.blocked import blocked_pipelines
from cicd_common.waiting.clock import Background, Clock
from cicd_common.waiting.events import Changed, Finished, Found, Note, Presenter, Searching, Tick
from cicd_common.waiting.listing import Listing
from cicd_common.waiting.lock import hold_lock, passed_over
from cicd_common.waiting.outcome import (
    MOST_NAMES,
    Step,
    next_step,
    out_of_time,
    outcome_of,
    status_of,
    wanted_jobs,
)
from cicd_common.waiting.pipelines import Pipeline, in_words, result_of
from cicd_common.waiting.policy import DEFAULT_TIMEOUT, JOB_RESERVE
from cicd_common.waiting.poll import ProjectPoller, read_estimate
from cicd_common.waiting.report import Report, read_report
from cicd_common.waiting.state import Group, Outcome, Wait
from cicd_common.waiting.statuses import STATUSES, is_finished
from cicd_common.waiting.targets import Finder, OwnJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.artifacts import Fetched
    from cicd_common.waiting.events import Event
    from cicd_common.waiting.pipelines import Estimate, Job, WaitResult
    from cicd_common.waiting.policy import WaitPolicy
    from cicd_common.waiting.push.listener import Push
    from cicd_common.waiting.targets import Target


class Engine:
    """Waits for any number of pipelines.

    Args:
        gitlab: The client.
        targets: What to wait for.
        policy: How to wait.
        own: The job that this command runs in.
        presenter: Tells how often it needs a tick, and whether it shows jobs.
        clock: The clock to sleep on.
        background: Makes what runs the requests.
        jitter: Returns a random number from 0 up to 1.
        push: Receives GitLab's push messages and wakes the clock; None without push.
    """

    def __init__(
        self,
        gitlab: GitLab,
        targets: Sequence[Target],
        policy: WaitPolicy,
        *,
        own: OwnJob | None = None,
        presenter: Presenter | None = None,
        clock: Clock | None = None,
        background: Callable[[Clock], Background] = Background,
        jitter: Callable[[], float] = random.random,
        push: Push | None = None,
    ) -> None:
        self._gitlab = gitlab
        self._policy = policy
        self._presenter = presenter or Presenter()
        self._clock = clock or Clock()
        self._make_background = background
        self._background = background(self._clock)
        self._jitter = jitter
        self._push = push
        self._artifacts = Artifacts(gitlab, policy.artifacts, policy.dotenv_from)
        self._floor = poll.shortest_interval(policy.interval)
        own = own or OwnJob()
        listings = self._listings(targets)
        self._waits = [
            Wait(
                target,
                Finder(
                    gitlab, target, own, listings.get(target.project), every_job=bool(policy.jobs)
                ),
            )
            for target in targets
        ]
        self._groups: dict[str, Group] = {}
        self._unknown_statuses: set[str] = set()
        self._started = self._clock.now()
        self._limit = policy.timeout or DEFAULT_TIMEOUT
        self._knows_limit = policy.timeout is not None
        every = self._presenter.every
        self._next_tick = self._started + every if every else math.inf

    def _listings(self, targets: Sequence[Target]) -> dict[str, Listing]:
        """Returns a listing for each project of several pipelines, if nothing shows their jobs."""
        if self._presenter.shows_jobs or self._policy.jobs:
            return {}
        counts = Counter(target.project for target in targets)
        return {each: Listing(self._gitlab, each) for each, count in counts.items() if count > 1}

    @property
    def outcomes(self) -> list[Outcome]:
        """Returns how the waits ended, in the order of the targets."""
        return [wait.outcome for wait in self._waits if wait.outcome is not None]

    @property
    def state(self) -> list[tuple[Target, Outcome]]:
        """Returns each target with its outcome so far."""
        return [(wait.target, wait.outcome or _interrupted(wait)) for wait in self._waits]

    def events(self) -> Iterator[Event]:
        """Waits until every target has an outcome, and yields what happens meanwhile."""
        for wait in self._waits:
            self._search(wait)
        while self._open():
            if self._clock.now() >= self._deadline:
                yield from self._run_out()
                return
            self._start_what_is_due()
            self._clock.sleep_until(self._next_moment())
            for event in self._background.events():
                yield from self._learn_limit()
                yield event
            yield from self._tick()

    def cancel(self) -> Iterator[Event]:
        """Cancels the active pipelines that this command started, and names those of others."""
        self._artifacts.stop()
        background = self._make_background(self._clock)
        yield from cancel_started(self._gitlab, self._open(), self._clock, background)
        for wait in self._open():
            pipeline = wait.pipeline
            if pipeline and not wait.target.ours and not is_finished(pipeline.status):
                yield Note(
                    f"Pipeline {pipeline.id} of {pipeline.project} is not canceled: no response "
                    "showed that this call started it."
                )

    def leave(self) -> Iterator[Event]:
        """Reports the pipelines that are still running when the wait stops early."""
        self._artifacts.stop()
        for wait in self._open():
            if wait.pipeline is None:
                if wait.target.ours:
                    yield Note(f"The wait for {wait.target}, which was started, has stopped.")
            elif not is_finished(wait.pipeline.status):
                pipeline = wait.pipeline
                yield Note(f"Pipeline {pipeline.id} of {pipeline.project} is still running.")

    # Times

    @property
    def _deadline(self) -> float:
        return self._started + self._limit

    def _learn_limit(self) -> Iterator[Event]:
        """Sets the time limit by the server's clock, which the first response tells."""
        if self._knows_limit:
            return
        self._knows_limit = True
        passed = self._clock.now() - self._started
        left = self._policy.limit(self._gitlab.now())
        self._limit = passed + left
        if left < JOB_RESERVE.total_seconds():
            yield Note(
                f"The time limit is {in_words(left)}: the rest of the job's time minus a minute. "
                "Give --timeout to wait longer.",
                warning=True,
            )

    def _open(self) -> list[Wait]:
        return [wait for wait in self._waits if wait.outcome is None]

    def _next_moment(self) -> float:
        due = [wait.next_search for wait in self._waits]
        due += [group.next_poll for group in self._groups.values()]
        return min(
            self._deadline, self._next_tick, *(moment for moment in due if moment is not None)
        )

    def _start_what_is_due(self) -> None:
        now = self._clock.now()
        for project_id in self._clock.take_hints() & self._groups.keys():
            group = self._groups[project_id]
            group.owed = self._round(group)
            self._schedule(group)
        for wait in self._waits:
            if wait.next_search is not None and wait.next_search <= now:
                self._search(wait)
        for group in self._groups.values():
            if group.next_poll is not None and group.next_poll <= now:
                self._poll(group)

    def _tick(self) -> Iterator[Event]:
        now = self._clock.now()
        if self._presenter.every and now >= self._next_tick:
            self._next_tick = now + self._presenter.every
            yield Tick(self._gitlab.now(), max(0.0, self._deadline - now))

    # Finding

    def _search(self, wait: Wait) -> None:
        wait.next_search = None
        wait.read = self._clock.now()
        self._background.start(wait.finder.find, partial(self._searched, wait))

    def _searched(
        self, wait: Wait, answer: tuple[Pipeline, ...] | CommandError | None
    ) -> Iterator[Event]:
        if isinstance(answer, CommandError):
            if self._is_ridden_out(answer):
                yield from self._tell_failure([wait], answer)
                wait.next_search = self._next_try(answer, self._clock.now() - self._started)
            else:
                yield from self._end(wait, answer)
            return
        wait.failure = None
        yield from wait.finder.notes
        if answer is None:
            yield from self._search_again(wait)
            return
        if wait.is_lock:
            answer, notes = hold_lock(wait.target, answer, self._policy)
            yield from notes
        place = self._waits.index(wait)
        waits = [Wait(wait.target, wait.finder, pipeline, read=wait.read) for pipeline in answer]
        self._waits[place : place + 1] = waits
        for found in waits:
            yield from self._found(found)

    def _search_again(self, wait: Wait) -> Iterator[Event]:
        now = self._clock.now()
        limit = self._started + self._policy.appear_timeout
        if not wait.announced:
            wait.announced = True
            yield Searching(str(wait.target), limit - now)
        if now >= limit:
            self._background.start(
                partial(wait.finder.absence, self._policy.appear_timeout),
                partial(self._end, wait),
            )
            return
        # The last search happens exactly at the limit.
        interval = poll.appear_interval(now - self._started, self._policy.interval)
        wait.next_search = min(limit, now + max(self._floor, interval))

    def _found(self, wait: Wait) -> Iterator[Event]:
        pipeline = wait.found
        now = self._clock.now()
        age = (self._gitlab.now() - pipeline.created_at).total_seconds()
        wait.created = now - max(0.0, age)
        group = self._groups.get(pipeline.project_id)
        if group is None:
            poller = ProjectPoller(
                self._gitlab,
                pipeline.project_id,
                every_job=self._presenter.shows_jobs or bool(self._policy.jobs),
                by_list=not self._policy.jobs,
            )
            group = self._groups[pipeline.project_id] = Group(poller, pipeline.ref)
        group.polled = now
        self._listen(pipeline)
        if group.knows_history or is_finished(pipeline.status) or not self._needs_estimate():
            yield from self._announce(wait, group)
            return
        group.pending.append(wait)
        if len(group.pending) == 1:
            self._background.start(
                partial(read_estimate, self._gitlab, pipeline), partial(self._estimated, group)
            )

    def _needs_estimate(self) -> bool:
        """Returns whether the display, or an interval that is not fixed, uses an estimate."""
        return self._presenter.shows_jobs or self._policy.interval is None

    def _estimated(self, group: Group, estimate: Estimate | CommandError | None) -> Iterator[Event]:
        group.knows_history = True
        group.estimate = None if isinstance(estimate, CommandError) else estimate
        for wait in group.pending:
            yield from self._announce(wait, group)

    def _announce(self, wait: Wait, group: Group) -> Iterator[Event]:
        wait.watched = True
        yield Found(wait.found, group.estimate_for(wait.found))
        yield from self._judge(wait)
        self._schedule(group)

    # Polling

    def _watched(self, group: Group) -> list[Wait]:
        return [
            wait
            for wait in self._waits
            if wait.watched and self._groups[wait.found.project_id] is group
        ]

    def _schedule(self, group: Group) -> None:
        """Decides when to poll a project next, unless a poll is under way."""
        group.next_poll = None
        waits = self._watched(group)
        if group.polling or not waits:
            return
        at_once = group.owed or group.poller.is_behind
        wanted = 0.0 if at_once else min(self._interval(wait, group) for wait in waits)
        group.next_poll = poll.next_poll(
            group.polled,
            max(wanted, group.not_before - group.polled),
            floor=self._floor,
            deadline=self._deadline,
            random=self._jitter,
        )

    def _interval(self, wait: Wait, group: Group) -> float:
        now = self._clock.now()
        wanted = poll.next_interval(
            now - wait.created,
            group.estimate_for(wait.found),
            self._policy.interval,
            pushed=self._is_pushed(wait),
        )
        if self._presenter.max_age is not None and self._policy.interval is None:
            wanted = min(wanted, poll.fresh_interval(self._presenter.max_age, self._round(group)))
        if wait.unsettled_since is None:
            return wanted
        return min(wanted, wait.unsettled_since + self._policy.settle - now)

    def _listen(self, pipeline: Pipeline) -> None:
        if self._push and not is_finished(pipeline.status):
            self._push.listen(pipeline)

    def _is_pushed(self, wait: Wait) -> bool:
        return self._push is not None and self._push.covers(wait.found.id)

    def _round(self, group: Group) -> int:
        """Returns how many polls are needed to see every possible change."""
        waits = self._watched(group)
        return group.poller.turns([wait.found for wait in waits]) if waits else 1

    def _poll(self, group: Group) -> None:
        now = self._clock.now()
        waits = self._watched(group)
        if not group.owed and all(map(self._is_pushed, waits)):
            group.owed = self._round(group)  # the next regular poll is far away
        group.next_poll, group.polling, group.owed = None, True, max(0, group.owed - 1)
        self._background.start(
            partial(
                group.poller.poll,
                [wait.found for wait in waits],
                now - min(wait.read for wait in waits),
            ),
            partial(self._polled, group, now),
        )

    def _polled(
        self,
        group: Group,
        began: float,
        seen: Mapping[int, Pipeline | NotFoundError] | CommandError,
    ) -> Iterator[Event]:
        group.polling, group.polled = False, self._clock.now()
        waits = self._watched(group)
        if isinstance(seen, CommandError):
            yield from self._poll_failed(group, waits, seen)
            return
        yield from group.poller.notes
        for wait in waits:
            wait.failure = None
            before = wait.found
            match seen.get(before.id):
                case NotFoundError() as gone:
                    yield from self._gone(wait, gone)
                    continue
                case Pipeline() as pipeline:
                    wait.pipeline, wait.read = pipeline, began
                    self._listen(pipeline)
                    if (pipeline.status, pipeline.jobs) != (before.status, before.jobs):
                        yield Changed(pipeline, before)
            # Also without a change: the time alone can decide that a failure counts (--settle).
            yield from self._judge(wait)
        self._schedule(group)

    # Temporary failures

    def _poll_failed(self, group: Group, waits: list[Wait], error: CommandError) -> Iterator[Event]:
        if not self._is_ridden_out(error):
            for wait in waits:
                yield from self._end(wait, error)
            return
        yield from self._tell_failure(waits, error)
        group.not_before = self._next_try(error, 0.0)
        self._schedule(group)

    def _is_ridden_out(self, error: CommandError) -> bool:
        """Returns whether to retry until the wait's own limit, as no --retry-for was given."""
        return error.retryable and not self._gitlab.connection.retry_for_given

    def _next_try(self, error: CommandError, waited: float) -> float:
        asked = (error.answer and error.answer.retry_after) or 0.0
        interval = poll.appear_interval(waited, self._policy.interval)
        return self._clock.now() + max(self._floor, interval, asked)

    def _tell_failure(self, waits: list[Wait], error: CommandError) -> Iterator[Event]:
        """Reports once that GitLab cannot be read, however many retries follow."""
        if any(wait.failure is None for wait in waits):
            left = in_words(max(0.0, self._deadline - self._clock.now()))
            yield Note(f"{error.message} The wait continues for up to {left}.", warning=True)
        for wait in waits:
            wait.failure = error

    # Deciding

    def _judge(self, wait: Wait) -> Iterator[Event]:
        pipeline = wait.found
        if pipeline.status not in STATUSES and pipeline.status not in self._unknown_statuses:
            self._unknown_statuses.add(pipeline.status)
            yield Note(
                f"The status {pipeline.status!r} of pipeline {pipeline.id} is unknown here; "
                "the pipeline is taken to be still active.",
                warning=True,
            )
        if status_of(pipeline, self._policy) not in _SETTLING:
            wait.unsettled_since = None
        match next_step(pipeline, self._policy, lock=wait.is_lock):
            case Step.FINISH if not self._can_be_retried(wait):
                wait.watched = False
                if wait.is_lock and not is_finished(pipeline.status):
                    yield passed_over(pipeline)
                self._background.start(
                    partial(
                        read_report,
                        self._gitlab,
                        pipeline,
                        self._policy,
                        shown=self._presenter.shows_ends,
                    ),
                    partial(self._reported, wait),
                )
            case Step.PLAY:
                self._play(wait)

    def _play(self, wait: Wait) -> None:
        """Starts the blocking manual jobs, including those of the downstream pipelines it needs."""
        pipeline = wait.found
        wanted = [
            job.id
            for name in self._policy.jobs
            for job in wanted_jobs(pipeline, name)
            if job.status == "manual"
        ]
        for blocked in (pipeline,) if wanted else blocked_pipelines(pipeline):
            if wait.played_at.get(blocked.id) == blocked.updated_at:
                continue
            wait.played_at[blocked.id] = blocked.updated_at
            self._background.start(
                partial(play_blocking_jobs, self._gitlab, blocked, wait.played, wanted),
                partial(self._played, wait),
            )

    def _can_be_retried(self, wait: Wait) -> bool:
        """Returns whether a failure, or a cancel, is too recent to count."""
        status = status_of(wait.found, self._policy)
        if status not in _SETTLING or not self._policy.settle:
            return False
        now = self._clock.now()
        if wait.unsettled_since is None:
            wait.unsettled_since = now
        return now < wait.unsettled_since + self._policy.settle

    def _played(self, wait: Wait, jobs: tuple[Job, ...] | CommandError) -> Iterator[Event]:
        if isinstance(jobs, CommandError):
            yield from self._end(wait, jobs)
            return
        wait.played |= {job.id for job in jobs}
        for job in jobs:
            yield Note(f"Started the manual job {job.name}: {job.web_url}")
        self._clock.hint(wait.found.project_id)

    # Ending

    def _reported(self, wait: Wait, report: Report | CommandError) -> Iterator[Event]:
        if isinstance(report, Report):
            before, wait.pipeline = wait.found, report.pipeline
            # The last poll can have shown only trigger jobs: the other jobs' changes are reported.
            if _statuses(report.pipeline) != _statuses(before):
                yield Changed(report.pipeline, before)
            for gap in report.gaps:
                yield Note(gap, warning=True)
            yield from self._still_running(wait.found)
        outcome = outcome_of(wait.found, self._policy, lock=wait.is_lock)
        if isinstance(outcome, CommandError) or not self._artifacts.are_wanted:
            yield from self._end(wait, outcome)
            return
        wait.fetching = True
        self._background.start(
            partial(self._artifacts.fetch, wait.found), partial(self._fetched, wait, outcome)
        )

    def _fetched(
        self, wait: Wait, result: WaitResult, fetched: Fetched | CommandError
    ) -> Iterator[Event]:
        if isinstance(fetched, CommandError):
            yield from self._end(wait, fetched)
            return
        yield from map(Note, fetched.told)
        yield from self._end(wait, replace(result, variables=fetched.variables))

    def _still_running(self, pipeline: Pipeline) -> Iterator[Event]:
        """Reports that a pipeline is still running after the jobs that were waited for."""
        running = [job.name for job in pipeline.jobs if not is_finished(job.status)]
        if self._policy.jobs and running:
            more = f", and {len(running) - MOST_NAMES} more" if len(running) > MOST_NAMES else ""
            yield Note(f"Not finished yet: {', '.join(running[:MOST_NAMES])}{more}.")

    def _run_out(self) -> Iterator[Event]:
        if "timeout" in self._policy.cancel_on:
            yield from self.cancel()
        self._artifacts.stop()
        for wait in self._open():
            yield from self._end(wait, wait.failure or self._out_of_time(wait))

    def _out_of_time(self, wait: Wait) -> Outcome:
        if wait.fetching:
            return TimeLimitError(
                f"The artifacts of {wait.name} were not fetched within {in_words(self._limit)}.",
                hint="Allow more with --timeout.",
            )
        if wait.pipeline is not None:
            return out_of_time(wait.pipeline, self._policy, self._limit, lock=wait.is_lock)
        return TimeLimitError(
            f"{in_words(self._limit)} were not enough to find {wait.target}.",
            hint="Allow more with --timeout.",
        )

    def _gone(self, wait: Wait, gone: NotFoundError) -> Iterator[Event]:
        """Ends the wait for a deleted pipeline, which does not hold a lock any more."""
        if wait.is_lock:
            yield Note(gone.message)
        yield from self._end(wait, result_of(wait.found) if wait.is_lock else gone)

    def _end(self, wait: Wait, outcome: Outcome) -> Iterator[Event]:
        if isinstance(outcome, CommandError):
            outcome = copy.copy(outcome)  # one failed poll can end several waits
            if wait.pipeline is not None:
                outcome.results = (result_of(wait.pipeline),)
        wait.outcome = outcome
        wait.watched = False
        yield Finished(outcome, wait.pipeline, wait.target.project)


_SETTLING = frozenset({"failed", "canceled"})  # a retry changes these to `running`


def _statuses(pipeline: Pipeline) -> dict[int, str]:
    return {job.id: job.status for job in pipeline.jobs}


def _interrupted(wait: Wait) -> Outcome:
    """Returns the outcome of a wait that was interrupted."""
    if wait.pipeline is not None:
        return result_of(wait.pipeline)
    what = "was started, but" if wait.target.ours else "was not found:"
    return NotFoundError(
        f"{str(wait.target).capitalize()} {what} the signal came before GitLab showed it.",
        hint="See the project's pipelines.",
    )
