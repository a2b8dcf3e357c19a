"""Starting something and waiting for its pipeline, so that a signal in between cancels it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cicd_common.errors import CommandError, Interrupted
from cicd_common.parallel import side_by_side
from cicd_common.waiting.engine import Engine
from cicd_common.waiting.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cicd_common.client import GitLab
    from cicd_common.waiting.finding import OwnJob, Target
    from cicd_common.waiting.model import Presenter
    from cicd_common.waiting.policy import WaitPolicy
    from cicd_common.waiting.state import Outcome

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
