"""Waits for pipelines, and starts them before that if wanted, in one call."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from cicd_common.cleaning import one_line
from cicd_common.errors import CommandError, Interrupted
from cicd_common.gitlab.projects import check_distinct
from cicd_common.parallel import WRITE_GRACE, side_by_side
from cicd_common.waiting.artifacts import check_folders
from cicd_common.waiting.clock import Clock
from cicd_common.waiting.engine import Engine
from cicd_common.waiting.events import Finished, Presenter
from cicd_common.waiting.lock import check_lock, hold_lock
from cicd_common.waiting.pipelines import result_of
from cicd_common.waiting.push.listener import Push
from cicd_common.waiting.show.junit import JUnitFile
from cicd_common.waiting.show.presenter import Together
from cicd_common.waiting.targets import AllRunning, Finder, own_job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.policy import WaitPolicy
    from cicd_common.waiting.start import Started
    from cicd_common.waiting.state import Outcome
    from cicd_common.waiting.targets import Target

log = logging.getLogger(__name__)


def start_and_wait(
    gitlab: GitLab,
    names: Sequence[str],
    start: Callable[[str], Started],
    policy: WaitPolicy,
    presenter: Presenter | None,
) -> list[Any]:
    """Does the work of `start_each` with a policy, all after the first write in one `try`.

    Args:
        gitlab: The client.
        names: The projects.
        start: Starts it in one project.
        policy: How to wait, and what counts as a failure.
        presenter: Shows what happens; None for nothing.

    Raises:
        Interrupted: As for `start_each`.
    """
    check_folders(policy.artifacts)
    check_distinct(gitlab, names)
    started: list[Started] = []

    def start_one(name: str) -> Started:
        started.append(one := start(name))
        return one

    begun: list[Started | CommandError] = []
    clock = Clock()
    engine: Engine | None = None
    with _shown(gitlab, presenter, policy) as shown, _listening(gitlab, policy, clock) as push:
        try:
            begun = side_by_side(names, start_one, grace=WRITE_GRACE)
            for name, failure in zip(names, begun, strict=True):
                if isinstance(failure, CommandError):
                    shown.show(Finished(failure, project=name))
            engine = Engine(
                gitlab,
                _targets(begun),
                policy,
                own=own_job(os.environ),
                presenter=shown,
                clock=clock,
                push=push,
            )
            for event in engine.events():
                shown.show(event)
        except (Interrupted, KeyboardInterrupt) as signaled:
            engine = engine or Engine(gitlab, _targets(started), policy)
            _leave(engine, policy, shown)
            if isinstance(signaled, Interrupted):
                signaled.outcomes = _joined(begun or signaled.outcomes, engine)
            raise
    return _joined(begun, engine)


def _joined(begun: Sequence[Started | CommandError], engine: Engine) -> list[Any]:
    """Joins what was started and how its pipeline ended."""
    ends = dict(engine.state)
    joined: list[Any] = []
    for one in begun:
        target = None if isinstance(one, CommandError) else one.target()
        if isinstance(one, CommandError) or target is None:
            joined.append(one)
        else:
            joined.append(one.ended(ends[target]))
    return joined


def _targets(begun: Sequence[Started | CommandError]) -> list[Target]:
    found = [None if isinstance(one, CommandError) else one.target() for one in begun]
    return [target for target in found if target is not None]


def wait_for(
    gitlab: GitLab,
    targets: Sequence[Target],
    policy: WaitPolicy,
    presenter: Presenter | None = None,
) -> list[Outcome]:
    """Waits for pipelines to end.

    Args:
        gitlab: The client.
        targets: Which pipelines.
        policy: How to wait, and what counts as a failure.
        presenter: Shows what happens; default: nothing is shown.

    Returns:
        For each pipeline, in the order of the targets: its result, or the error that it ended with.

    Raises:
        UsageError: A lock would start manual jobs, or wait for its own pipeline.
        AuthError: The token cannot do what the policy asks for.
        Interrupted: A signal arrived; its `outcomes` hold what was found.
    """
    check_lock(targets, policy, os.environ)
    policy.check(gitlab.require_token())
    check_folders(policy.artifacts)
    clock = Clock()
    with _shown(gitlab, presenter, policy) as shown, _listening(gitlab, policy, clock) as push:
        engine = Engine(
            gitlab,
            targets,
            policy,
            own=own_job(os.environ),
            presenter=shown,
            clock=clock,
            push=push,
        )
        try:
            for event in engine.events():
                shown.show(event)
        except (Interrupted, KeyboardInterrupt) as signaled:
            _leave(engine, policy, shown)
            if isinstance(signaled, Interrupted):
                signaled.outcomes = [end for _, end in engine.state]
            raise
    return engine.outcomes


def _leave(engine: Engine, policy: WaitPolicy, shown: Presenter) -> None:
    """After a signal, cancels what this command started, or reports that it is still running."""
    with suppress(Interrupted, KeyboardInterrupt):  # a second signal does not wait for responses
        for event in engine.cancel() if "signal" in policy.cancel_on else engine.leave():
            shown.show(event)


def _shown(gitlab: GitLab, presenter: Presenter | None, policy: WaitPolicy) -> Presenter:
    """Returns the presenter, together with the JUnit report if one is wanted."""
    shown = presenter or Presenter()
    shown.now = gitlab.now
    return Together([shown, JUnitFile(policy.junit)]) if policy.junit else shown


def _listening(
    gitlab: GitLab, policy: WaitPolicy, clock: Clock
) -> AbstractContextManager[Push | None]:
    return Push(gitlab.connection, clock) if policy.realtime else nullcontext()


def find_pipelines(gitlab: GitLab, targets: Sequence[Target], policy: WaitPolicy) -> list[Outcome]:
    """Finds the pipelines that exist now, for a dry run, without waiting for them.

    Args:
        gitlab: The client.
        targets: Which pipelines.
        policy: How a wait would be, which decides what a lock waits for.

    Returns:
        For each pipeline, in the order of the targets: its result as it is now; or an error for a
        target without a pipeline.

    Raises:
        UsageError: A lock would wait for its own pipeline.
    """
    check_lock(targets, policy, os.environ)

    def find(target: Target) -> list[Outcome]:
        finder = Finder(gitlab, target, own_job(os.environ))
        found = finder.find()
        notes = list(finder.notes)
        if found is None:
            return [finder.absence(0.0)]
        if isinstance(target, AllRunning):
            found, more = hold_lock(target, found, policy)
            notes += more
        for note in notes:
            log.log(logging.WARNING if note.warning else logging.INFO, "%s", one_line(note.text))
        return [result_of(pipeline) for pipeline in found]

    outcomes: list[Outcome] = []
    for answer in side_by_side(targets, find):
        outcomes += [answer] if isinstance(answer, CommandError) else answer
    return outcomes
