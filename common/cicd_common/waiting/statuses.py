"""Defines what each of GitLab's statuses of pipelines and jobs means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from cicd_common.errors import (
    CommandError,
    PipelineCanceledError,
    PipelineFailedError,
    PipelineManualError,
    PipelineSkippedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class Phase(Enum):
    """Tells how a status can still change."""

    ACTIVE = "active"  # it changes by itself
    BLOCKED = "blocked"  # it changes when the user does something
    FINISHED = "finished"  # it does not change, unless someone retries it


@dataclass(frozen=True)
class Meaning:
    """Describes what a status means for a wait.

    Attributes:
        phase: How the status can still change.
        error: The error of a wait that ends with this status; None if it succeeds.
    """

    phase: Phase
    error: type[CommandError] | None = None


_ACTIVE = Meaning(Phase.ACTIVE)

# https://docs.gitlab.com/api/pipelines/ and `Ci::HasStatus` in GitLab's source.
STATUSES: Mapping[str, Meaning] = MappingProxyType(
    {
        "created": _ACTIVE,
        "waiting_for_resource": _ACTIVE,
        "preparing": _ACTIVE,
        "waiting_for_callback": _ACTIVE,
        "pending": _ACTIVE,
        "running": _ACTIVE,
        "canceling": _ACTIVE,  # its jobs are still cleaning up
        "scheduled": _ACTIVE,  # a delayed job starts by itself
        "manual": Meaning(Phase.BLOCKED, PipelineManualError),
        "success": Meaning(Phase.FINISHED),
        "failed": Meaning(Phase.FINISHED, PipelineFailedError),
        "canceled": Meaning(Phase.FINISHED, PipelineCanceledError),
        "skipped": Meaning(Phase.FINISHED, PipelineSkippedError),
    }
)


def meaning_of(status: str) -> Meaning:
    """Returns what a status means; an unknown one, which GitLab has added since, is active."""
    return STATUSES.get(status, _ACTIVE)


def is_finished(status: str) -> bool:
    """Returns whether a status is final."""
    return meaning_of(status).phase is Phase.FINISHED
