"""Starts something in each project, and waits for the pipelines if wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from cicd_common.gitlab.projects import check_distinct, parse_projects
from cicd_common.parallel import WRITE_GRACE, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.events import Presenter
    from cicd_common.waiting.policy import WaitPolicy
    from cicd_common.waiting.state import Outcome
    from cicd_common.waiting.targets import Target


class Started(Protocol):
    """Describes what a command started in one project: a pipeline, or a tag that starts one."""

    def target(self) -> Target | None:
        """Returns the pipeline to wait for; None if nothing was started."""

    def ended(self, end: Outcome) -> Any:
        """Returns what was started together with how its pipeline ended."""


def start_each(
    gitlab: GitLab,
    projects: Sequence[str],
    start: Callable[[str], Started],
    policy: WaitPolicy | None,
    presenter: Presenter | None = None,
) -> list[Any]:
    """Starts something in every project in parallel, and waits for the pipelines if requested.

    Args:
        gitlab: The client.
        projects: The projects, as the user named them.
        start: Starts it in one project.
        policy: How to wait, and what counts as a failure; None not to wait.
        presenter: Shows what happens; default: nothing is shown.

    Returns:
        For each project, in their order: what was started and how it ended, or the error that
        prevented it.

    Raises:
        UsageError: A project is not on this server, or is named twice.
        Interrupted: A signal arrived. Started pipelines are canceled if the policy says so, and are
            in its `outcomes`.
    """
    names = parse_projects(projects, gitlab.base_url)
    if policy is None:
        check_distinct(gitlab, names)
        return side_by_side(names, start, grace=WRITE_GRACE)
    # Imported here: a third of all imports is what waits, and only --wait needs it.
    from cicd_common.waiting.wait import start_and_wait  # noqa: PLC0415

    return start_and_wait(gitlab, names, start, policy, presenter)
