"""Start pipelines and wait for their end, in one call."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from cicd_common.errors import CommandError, Interrupted
from cicd_common.parallel import WRITE_GRACE, side_by_side
from cicd_common.waiting.clock import Clock
from cicd_common.waiting.engine import Engine
from cicd_common.waiting.events import Finished, Presenter
from cicd_common.waiting.pipelines import result_of
from cicd_common.waiting.push.listener import Push
from cicd_common.waiting.targets import Finder, OwnJob, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.policy import WaitPolicy
    from cicd_common.waiting.state import Outcome
    from cicd_common.waiting.targets import Target


E_co = TypeVar("E_co", covariant=True)


class Started(Protocol[E_co]):
    """What a command started in one project: a pipeline, or a tag that starts one."""

    def target(self) -> Target:
        """Return the pipeline to wait for."""

    def ended(self, end: Outcome, /) -> E_co:
        """Return what was started together with how its pipeline ended."""


E = TypeVar("E")


def start_and_wait(
    gitlab: GitLab,
    projects: Sequence[str],
    start: Callable[[str], Started[E]],
    policy: WaitPolicy,
    *,
    presenter: Presenter | None = None,
    own: OwnJob | None = None,
) -> list[E | CommandError]:
    """Start something in every project, side by side, and wait for the pipelines.

    Everything from the first byte that starts something stands in one `try`, so that a signal at
    any moment finds what was started.

    Args:
        gitlab: The client.
        projects: The projects.
        start: Starts it in one project.
        policy: How to wait, and what counts as a failure.
        presenter: Shows what happens; default: nothing is shown.
        own: The job that this runs in, which is not waited for.

    Returns:
        For each project, in their order: how it ended, or the error that says why not.

    Raises:
        AuthError: The token cannot do what the policy asks for.
        Interrupted: A signal came. What was started is canceled if the policy says so, and is in
            the `outcomes`.
    """
    policy.check(gitlab.require_token())
    presenter = presenter or Presenter()
    clock = Clock()
    started: dict[str, Started[E]] = {}

    def start_one(project: str) -> Started[E]:
        started[project] = start(project)
        return started[project]

    begun: list[Started[E] | CommandError] = []
    engine: Engine | None = None
    with presenter, _listening(gitlab, policy, clock) as push:
        try:
            begun = side_by_side(projects, start_one, grace=WRITE_GRACE)
            for failure in begun:
                if isinstance(failure, CommandError):
                    presenter.show(Finished(failure))
            engine = Engine(
                gitlab,
                [one.target() for one in begun if not isinstance(one, CommandError)],
                policy,
                own=own,
                every=presenter.every,
                clock=clock,
                push=push,
            )
            _show_all(engine, presenter)
        except (Interrupted, KeyboardInterrupt) as signaled:
            engine = engine or Engine(
                gitlab, [one.target() for one in started.values()], policy, clock=clock
            )
            _leave(engine, policy, presenter)
            if isinstance(signaled, Interrupted):
                signaled.outcomes = _joined(begun or signaled.outcomes, engine)
            raise
    return _joined(begun, engine)


def _joined(begun: Sequence[Started[E] | CommandError], engine: Engine) -> list[E | CommandError]:
    """Join what was started and how its pipeline ended."""
    ends = dict(engine.state)
    return [
        one if isinstance(one, CommandError) else one.ended(ends[one.target()]) for one in begun
    ]


def wait_for(
    gitlab: GitLab,
    targets: Sequence[Target],
    policy: WaitPolicy,
    *,
    presenter: Presenter | None = None,
    own: OwnJob | None = None,
) -> list[Outcome]:
    """Wait for pipelines to end.

    Args:
        gitlab: The client.
        targets: Which pipelines.
        policy: How to wait, and what counts as a failure.
        presenter: Shows what happens; default: nothing is shown.
        own: The job that this runs in, which is not waited for.

    Returns:
        For each pipeline, in the order of the targets: its result, or the error that it ended with.

    Raises:
        AuthError: The token cannot do what the policy asks for.
        Interrupted: A signal came; its `outcomes` hold what was found.
    """
    policy.check(gitlab.require_token())
    presenter = presenter or Presenter()
    clock = Clock()
    with presenter, _listening(gitlab, policy, clock) as push:
        engine = Engine(
            gitlab, targets, policy, own=own, every=presenter.every, clock=clock, push=push
        )
        try:
            _show_all(engine, presenter)
        except (Interrupted, KeyboardInterrupt) as signaled:
            _leave(engine, policy, presenter)
            if isinstance(signaled, Interrupted):
                signaled.outcomes = [end for _, end in engine.state]
            raise
    return engine.outcomes


def _show_all(engine: Engine, presenter: Presenter) -> None:
    for event in engine.events():
        presenter.show(event)


def _leave(engine: Engine, policy: WaitPolicy, presenter: Presenter) -> None:
    """After a signal: cancel what this call started, or say that it is still running."""
    with suppress(Interrupted, KeyboardInterrupt):  # a second signal does not wait for answers
        for event in engine.cancel() if "signal" in policy.cancel_on else engine.leave():
            presenter.show(event)


def _listening(
    gitlab: GitLab, policy: WaitPolicy, clock: Clock
) -> AbstractContextManager[Push | None]:
    return Push(gitlab.connection, clock) if policy.realtime else nullcontext()


def find_pipelines(
    gitlab: GitLab, targets: Sequence[Target], *, own: OwnJob | None = None
) -> list[Outcome]:
    """Find the pipelines that exist now, as a dry run does; wait for none.

    Args:
        gitlab: The client.
        targets: Which pipelines.
        own: The job that this runs in.

    Returns:
        For each pipeline, in the order of the targets: its result as it is now; an error for a
        target that has none.
    """

    def find(target: Target) -> list[Outcome]:
        finder = Finder(gitlab, target, own or OwnJob())
        found = finder.find()
        if found is None:
            return [finder.absence(0.0)]
        return [result_of(pipeline) for pipeline in found]

    outcomes: list[Outcome] = []
    for answer in side_by_side(targets, find):
        outcomes += [answer] if isinstance(answer, CommandError) else answer
    return outcomes
