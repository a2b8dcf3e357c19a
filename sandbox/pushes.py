"""What follows when refs have changed: pipelines of source `push`, some time after the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.context import Instance
    from sandbox.model import Project, User


@dataclass(frozen=True)
class Push:
    """A ref that now leads to another commit."""

    project: Project
    ref: str  # in full: `refs/tags/v1`
    sha: str  # the commit's, also of an annotated tag
    user: User


def announce(instance: Instance, pushes: Sequence[Push]) -> None:
    """Has the pipelines of pushes started later, one by one, in order."""
