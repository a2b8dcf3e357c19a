"""Waiting, in one call."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from cicd_common.errors import CommandError, Interrupted
from cicd_common.gitlab.projects import parse_projects
from cicd_common.parallel import side_by_side
from cicd_common.waiting.clock import Alarm
from cicd_common.waiting.engine import Engine
from cicd_common.waiting.pipelines import result_of
from cicd_common.waiting.push.listener import Push
from cicd_common.waiting.show.junit import JUnitFile
from cicd_common.waiting.show.presenter import Silent, Together
from cicd_common.waiting.targets import Seeker, own_job

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
    presenter: Presenter | None = None,
) -> list[Outcome]:
    """Waits for pipelines to end.

    Args:
        gitlab: The client.
        targets: Which pipelines.
        policy: How to wait, and what is a failure.
        presenter: Who shows what happens; default: nobody.

    Returns:
        For each pipeline, in the order of the targets, its result or the error that it is.

    Raises:
        AuthError: The token cannot do what the policy asks for.
        Interrupted: A signal ended it; what this call started is canceled if the policy says so.
    """
    policy.check(gitlab.require_token())
    alarm = Alarm()
    shown = _with_report(presenter, policy)
    with shown, _listening(gitlab, policy, alarm) as push:
        engine = Engine(
            gitlab,
            targets,
            policy,
            own=own_job(os.environ),
            every=shown.every,
            alarm=alarm,
            push=push,
        )
        try:
            for event in engine.events():
                shown.show(event)
        except (Interrupted, KeyboardInterrupt):
            for event in engine.cancel() if "signal" in policy.cancel_on else engine.leave():
                shown.show(event)
            raise
    return engine.outcomes


def _with_report(presenter: Presenter | None, policy: WaitPolicy) -> Presenter:
    """The presenter, and the JUnit report if one is wanted."""
    shown = presenter or Silent()
    return Together([shown, JUnitFile(policy.junit)]) if policy.junit else shown


def _listening(
    gitlab: GitLab, policy: WaitPolicy, alarm: Alarm
) -> AbstractContextManager[Push | None]:
    return Push(gitlab.connection, alarm) if policy.realtime else nullcontext()


def look_once(gitlab: GitLab, targets: Sequence[Target]) -> list[Outcome]:
    """Looks which pipelines there are, as a dry run does, and waits for none.

    Args:
        gitlab: The client.
        targets: Which pipelines.

    Returns:
        For each pipeline, in the order of the targets, its result as it is now; an error for a
        target that has none.
    """

    def look(target: Target) -> list[Outcome]:
        seeker = Seeker(gitlab, target, own_job(os.environ))
        found = seeker.seek()
        if found is None:
            return [seeker.absence(0.0)]
        return [result_of(pipeline) for pipeline in found]

    outcomes: list[Outcome] = []
    for answer in side_by_side(targets, look):
        outcomes += [answer] if isinstance(answer, CommandError) else answer
    return outcomes


class Started(Protocol):
    """Something that was started, and whose pipeline can be waited for."""

    def target(self) -> Target:
        """Its pipeline."""

    def ended(self, end: Outcome) -> Any:
        """It and how its pipeline ended, as one result or error."""


def start_each(
    gitlab: GitLab,
    projects: Sequence[str],
    start: Callable[[str], Started],
    policy: WaitPolicy | None,
    presenter: Presenter | None = None,
) -> list[Any]:
    """Starts something in every project, side by side, and waits for its pipelines if wanted.

    Args:
        gitlab: The client.
        projects: The projects, as the user named them.
        start: Starts it in one.
        policy: How to wait, and what is a failure; None not to wait.
        presenter: Who shows what happens; default: nobody.

    Returns:
        What was started and how it ended, or why it was not started, in the order of the projects.

    Raises:
        UsageError: One of them is not a project of this server, or is named twice.
        AuthError: The token cannot do what the policy asks for.
        Interrupted: A signal ended it; what was started is canceled if the policy says so.
    """
    names = parse_projects(projects, gitlab.base_url)
    if policy is None:
        return side_by_side(names, start)
    policy.check(gitlab.token_kind)
    targets: list[Target] = []

    def noted(name: str) -> Started:
        result = start(name)
        targets.append(result.target())
        return result

    try:
        started = side_by_side(names, noted)
    except (Interrupted, KeyboardInterrupt):
        if "signal" in policy.cancel_on:
            with _with_report(presenter, policy) as shown:
                for event in Engine(gitlab, targets, policy).cancel():
                    shown.show(event)
        raise
    running = [one.target() for one in started if not isinstance(one, CommandError)]
    ends = iter(wait_for(gitlab, running, policy, presenter) if running else ())
    return [one if isinstance(one, CommandError) else one.ended(next(ends)) for one in started]
