"""Waiting, in one call."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

from cicd_common.errors import CommandError, Interrupted
from cicd_common.parallel import side_by_side
from cicd_common.waiting.clock import Alarm
from cicd_common.waiting.engine import Engine
from cicd_common.waiting.pipelines import result_of
from cicd_common.waiting.push.listener import Push
from cicd_common.waiting.show.presenter import Silent
from cicd_common.waiting.targets import OwnJob, Seeker, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.pipelines import Presenter
    from cicd_common.waiting.policy import WaitPolicy
    from cicd_common.waiting.state import Outcome
    from cicd_common.waiting.targets import Target


def wait_for(
    gitlab: GitLab,
    targets: Sequence[Target],
    policy: WaitPolicy,
    *,
    presenter: Presenter | None = None,
    own: OwnJob | None = None,
) -> list[Outcome]:
    """Waits for pipelines to end.

    Args:
        gitlab: The client.
        targets: Which pipelines.
        policy: How to wait, and what is a failure.
        presenter: Who shows what happens; default: nobody.
        own: The job that this runs in, which is not waited for.

    Returns:
        For each pipeline, in the order of the targets, its result or the error that it is.

    Raises:
        AuthError: The token cannot do what the policy asks for.
        Interrupted: A signal ended it; what this call started is canceled if the policy says so.
    """
    policy.check(gitlab.require_token())
    presenter = presenter or Silent()
    alarm = Alarm()
    with presenter, _listening(gitlab, policy, alarm) as push:
        engine = Engine(
            gitlab, targets, policy, own=own, every=presenter.every, alarm=alarm, push=push
        )
        try:
            for event in engine.events():
                presenter.show(event)
        except (Interrupted, KeyboardInterrupt):
            for event in engine.cancel() if "signal" in policy.cancel_on else engine.leave():
                presenter.show(event)
            raise
    return engine.outcomes


def _listening(
    gitlab: GitLab, policy: WaitPolicy, alarm: Alarm
) -> AbstractContextManager[Push | None]:
    return Push(gitlab.connection, alarm) if policy.realtime else nullcontext()


def look_once(
    gitlab: GitLab, targets: Sequence[Target], *, own: OwnJob | None = None
) -> list[Outcome]:
    """Looks which pipelines there are, as a dry run does, and waits for none.

    Args:
        gitlab: The client.
        targets: Which pipelines.
        own: The job that this runs in.

    Returns:
        For each pipeline, in the order of the targets, its result as it is now; an error for a
        target that has none.
    """

    def look(target: Target) -> list[Outcome]:
        seeker = Seeker(gitlab, target, own or OwnJob())
        found = seeker.seek()
        if found is None:
            return [seeker.absence(0.0)]
        return [result_of(pipeline) for pipeline in found]

    outcomes: list[Outcome] = []
    for answer in side_by_side(targets, look):
        outcomes += [answer] if isinstance(answer, CommandError) else answer
    return outcomes


R = TypeVar("R")


def start_and_wait(
    gitlab: GitLab,
    names: Sequence[str],
    start: Callable[[str], R],
    policy: WaitPolicy,
    *,
    target_of: Callable[[R], Target],
    joined: Callable[[R, Outcome], Outcome],
    presenter: Presenter,
    own: OwnJob,
) -> list[Outcome]:
    """Starts something in every project, side by side, and waits for its pipelines.

    Args:
        gitlab: The client.
        names: The projects.
        start: Starts it in one.
        policy: How to wait, and what is a failure.
        target_of: The one pipeline to wait for.
        joined: What was started and how its pipeline ended, as one outcome.
        presenter: Who shows what happens.
        own: The job that this runs in, which is not waited for.

    Returns:
        How each ended, or why it was not started, in the order of the projects.

    Raises:
        Interrupted: A signal ended it; what was started is canceled if the policy says so.
    """
    targets: list[Target] = []

    def noted(name: str) -> R:
        result = start(name)
        targets.append(target_of(result))
        return result

    try:
        started = side_by_side(names, noted)
    except (Interrupted, KeyboardInterrupt):
        if "signal" in policy.cancel_on:
            with presenter:
                for event in Engine(gitlab, targets, policy).cancel():
                    presenter.show(event)
        raise
    running = [target_of(one) for one in started if not isinstance(one, CommandError)]
    ends = iter(wait_for(gitlab, running, policy, presenter=presenter, own=own) if running else ())
    return [one if isinstance(one, CommandError) else joined(one, next(ends)) for one in started]
