"""The engine: it looks, decides and yields what happened; it shows nothing.

Nothing is read in the thread that runs it: it sleeps in one place, the clock, where signals, the
time limit, finished work and hints wake it, so that it can end at any time.
"""

from __future__ import annotations

import copy
import math
import random
from functools import partial
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError, NotFoundError, TimeLimitError
from cicd_common.waiting import poll
from cicd_common.waiting.actions import cancel_started, play_blocking_jobs
from cicd_common.waiting.clock import Background, Clock
from cicd_common.waiting.events import Changed, Finished, Found, Note, Searching, Tick
from cicd_common.waiting.outcome import Step, next_step, out_of_time, outcome_of
from cicd_common.waiting.pipelines import in_words, result_of
from cicd_common.waiting.poll import ProjectPoller, read_estimate
from cicd_common.waiting.report import Report, read_report
from cicd_common.waiting.state import Group, Outcome, Wait
from cicd_common.waiting.statuses import STATUSES, is_finished
from cicd_common.waiting.targets import Finder, OwnJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.events import Event
    from cicd_common.waiting.pipelines import Estimate, Job, Pipeline
    from cicd_common.waiting.policy import WaitPolicy
    from cicd_common.waiting.push.listener import Push
    from cicd_common.waiting.targets import Target


class Engine:
    """One wait, for any number of pipelines.

    Args:
        gitlab: The client.
        targets: What to wait for.
        policy: How.
        own: The job that this runs in.
        every: Seconds between ticks; None for no ticks.
        clock: Where it sleeps.
        background: Where it reads.
        jitter: Gives a number from 0 up to 1.
        push: Listens to GitLab, and hints by the clock; None where nobody does.
    """

    def __init__(
        self,
        gitlab: GitLab,
        targets: Sequence[Target],
        policy: WaitPolicy,
        *,
        own: OwnJob | None = None,
        every: float | None = None,
        clock: Clock | None = None,
        background: Callable[[Clock], Background] = Background,
        jitter: Callable[[], float] = random.random,
        push: Push | None = None,
    ) -> None:
        self._gitlab = gitlab
        self._policy = policy
        self._every = every
        self._clock = clock or Clock()
        self._make_background = background
        self._background = background(self._clock)
        self._jitter = jitter
        self._push = push
        self._floor = poll.shortest_interval(policy.interval)
        own = own or OwnJob()
        self._waits = [Wait(target, Finder(gitlab, target, own)) for target in targets]
        self._groups: dict[str, Group] = {}
        self._unknown_statuses: set[str] = set()
        self._started = self._clock.now()
        self._deadline = self._started + policy.timeout
        self._next_tick = self._started + every if every else math.inf

    @property
    def outcomes(self) -> list[Outcome]:
        """How the waits ended, in the order of the targets."""
        return [wait.outcome for wait in self._waits if wait.outcome is not None]

    @property
    def state(self) -> list[tuple[Target, Outcome]]:
        """Each target with how the wait for it stands now."""
        return [(wait.target, wait.outcome or _interrupted(wait)) for wait in self._waits]

    def events(self) -> Iterator[Event]:
        """Waits; ends when every target has an outcome."""
        for wait in self._waits:
            self._search(wait)
        while self._open():
            if self._clock.now() >= self._deadline:
                yield from self._run_out()
                return
            self._start_what_is_due()
            self._clock.sleep_until(self._next_moment())
            yield from self._background.events()
            yield from self._tick()

    def cancel(self) -> Iterator[Event]:
        """Cancels the pipelines that this very call started, as far as they go on."""
        background = self._make_background(self._clock)
        yield from cancel_started(self._gitlab, self._open(), self._clock, background)

    def leave(self) -> Iterator[Event]:
        """Say what is still running when nobody waits for it any more."""
        for wait in self._open():
            if wait.pipeline is None:
                if wait.target.ours:
                    yield Note(f"Nobody waits any more for {wait.target}, which was started.")
            elif not is_finished(wait.pipeline.status):
                yield Note(f"Pipeline {wait.pipeline.id} is still running: {wait.pipeline.web_url}")

    # When

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
        if self._every and now >= self._next_tick:
            self._next_tick = now + self._every
            yield Tick(self._clock.time(), max(0.0, self._deadline - now))

    # Finding

    def _search(self, wait: Wait) -> None:
        wait.next_search = None
        wait.read = self._clock.now()
        self._background.start(wait.finder.find, partial(self._searched, wait))

    def _searched(
        self, wait: Wait, answer: tuple[Pipeline, ...] | CommandError | None
    ) -> Iterator[Event]:
        if isinstance(answer, CommandError):
            yield from self._end(wait, answer)
        elif answer is None:
            yield from self._search_again(wait)
        else:
            place = self._waits.index(wait)
            waits = [
                Wait(wait.target, wait.finder, pipeline, read=wait.read) for pipeline in answer
            ]
            self._waits[place : place + 1] = waits
            for found in waits:
                yield from self._found(found)

    def _search_again(self, wait: Wait) -> Iterator[Event]:
        now = self._clock.now()
        limit = self._started + self._policy.appear_timeout
        if not wait.announced:
            wait.announced = True
            yield Searching(str(wait.target), limit - now)
        wait.next_search = poll.next_poll(
            now,
            poll.appear_interval(now - self._started, self._policy.interval),
            floor=self._floor,
            deadline=min(limit + self._floor, self._deadline),
            random=self._jitter,
        )
        if wait.next_search is None and limit < self._deadline:
            self._background.start(
                partial(wait.finder.absence, self._policy.appear_timeout),
                partial(self._end, wait),
            )

    def _found(self, wait: Wait) -> Iterator[Event]:
        pipeline = wait.found
        now = self._clock.now()
        age = (self._clock.time() - pipeline.created_at).total_seconds()
        wait.created = now - max(0.0, age)
        group = self._groups.get(pipeline.project_id)
        if group is None:
            poller = ProjectPoller(self._gitlab, pipeline.project_id)
            group = self._groups[pipeline.project_id] = Group(poller, pipeline.ref)
        group.polled = now
        self._listen(pipeline)
        if group.knows_history or is_finished(pipeline.status):
            yield from self._announce(wait, group)
            return
        group.pending.append(wait)
        if len(group.pending) == 1:
            self._background.start(
                partial(read_estimate, self._gitlab, pipeline), partial(self._estimated, group)
            )

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

    # Looking

    def _watched(self, group: Group) -> list[Wait]:
        return [
            wait
            for wait in self._waits
            if wait.watched and self._groups[wait.found.project_id] is group
        ]

    def _schedule(self, group: Group) -> None:
        """Decides when to look at a project next, unless it is looked at just now."""
        group.next_poll = None
        waits = self._watched(group)
        if group.polling or not waits:
            return
        at_once = group.owed or group.poller.is_behind
        group.next_poll = poll.next_poll(
            group.polled,
            0.0 if at_once else min(self._interval(wait, group) for wait in waits),
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
        if wait.failed_since is None:
            return wanted
        return min(wanted, wait.failed_since + self._policy.settle - now)

    def _listen(self, pipeline: Pipeline) -> None:
        if self._push and not is_finished(pipeline.status):
            self._push.listen(pipeline)

    def _is_pushed(self, wait: Wait) -> bool:
        return self._push is not None and self._push.covers(wait.found.id)

    def _round(self, group: Group) -> int:
        """How many looks show all that may have changed."""
        waits = self._watched(group)
        return group.poller.turns([wait.found for wait in waits]) if waits else 1

    def _poll(self, group: Group) -> None:
        now = self._clock.now()
        waits = self._watched(group)
        if not group.owed and all(map(self._is_pushed, waits)):
            group.owed = self._round(group)  # the next one by the clock is far away
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
        self, group: Group, began: float, seen: list[Pipeline] | CommandError
    ) -> Iterator[Event]:
        group.polling, group.polled = False, self._clock.now()
        for wait in self._watched(group):
            if isinstance(seen, CommandError):
                yield from self._end(wait, seen)
                continue
            before = wait.found
            for pipeline in seen:
                if pipeline.id == before.id:
                    wait.pipeline, wait.read = pipeline, began
                    self._listen(pipeline)
                    if (pipeline.status, pipeline.jobs) != (before.status, before.jobs):
                        yield Changed(pipeline, before)
            # Without news too: whether a failure has stood long enough is told by the clock.
            yield from self._judge(wait)
        self._schedule(group)

    # Deciding

    def _judge(self, wait: Wait) -> Iterator[Event]:
        pipeline = wait.found
        if pipeline.status not in STATUSES and pipeline.status not in self._unknown_statuses:
            self._unknown_statuses.add(pipeline.status)
            yield Note(
                f"The status {pipeline.status!r} of pipeline {pipeline.id} is unknown here; "
                "it is taken for one that goes on.",
                warning=True,
            )
        if pipeline.status != "failed":
            wait.failed_since = None
        match next_step(pipeline, self._policy):
            case Step.FINISH if not self._may_be_retried(wait):
                wait.watched = False
                self._background.start(
                    partial(read_report, self._gitlab, pipeline, self._policy),
                    partial(self._reported, wait),
                )
            case Step.PLAY if wait.played_at != pipeline.updated_at:
                wait.played_at = pipeline.updated_at
                self._background.start(
                    partial(play_blocking_jobs, self._gitlab, pipeline, wait.played),
                    partial(self._played, wait),
                )

    def _may_be_retried(self, wait: Wait) -> bool:
        """Whether a failure is too young to count."""
        if wait.found.status != "failed" or not self._policy.settle:
            return False
        now = self._clock.now()
        if wait.failed_since is None:
            wait.failed_since = now
        return now < wait.failed_since + self._policy.settle

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
            wait.pipeline = report.pipeline
            for gap in report.gaps:
                yield Note(gap, warning=True)
        yield from self._end(wait, outcome_of(wait.found, self._policy))

    def _run_out(self) -> Iterator[Event]:
        if "timeout" in self._policy.cancel_on:
            yield from self.cancel()
        for wait in self._open():
            if wait.pipeline is not None:
                yield from self._end(wait, out_of_time(wait.pipeline, self._policy))
            else:
                yield from self._end(
                    wait,
                    TimeLimitError(
                        f"{in_words(self._policy.timeout)} were not enough to find {wait.target}.",
                        hint="Allow more with --timeout.",
                    ),
                )

    def _end(self, wait: Wait, outcome: Outcome) -> Iterator[Event]:
        if isinstance(outcome, CommandError):
            outcome = copy.copy(outcome)  # one failed look may end several waits
            if wait.pipeline is not None:
                outcome.results = (result_of(wait.pipeline),)
        wait.outcome = outcome
        wait.watched = False
        yield Finished(outcome, wait.pipeline, wait.target.project)


def _interrupted(wait: Wait) -> Outcome:
    """What a wait that has not ended has reached."""
    if wait.pipeline is not None:
        return result_of(wait.pipeline)
    what = "was started, but" if wait.target.ours else "was not found:"
    return NotFoundError(
        f"{str(wait.target).capitalize()} {what} the signal came before GitLab showed it.",
        hint="See the project's pipelines.",
    )
