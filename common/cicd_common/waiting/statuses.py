"""GitLab's statuses, of pipelines and jobs alike: each has one meaning, and it stands here."""

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
    """What is to be expected of a status."""

    ACTIVE = "active"  # it changes by itself
    BLOCKED = "blocked"  # it changes when a person does something
    FINISHED = "finished"  # it stays, unless someone retries it


@dataclass(frozen=True)
class Meaning:
    """What a status means for a wait.

    Attributes:
        phase: What is to be expected of it.
        error: How a wait that ends with it fails; None if it does not.
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
    """What a status means; one that GitLab added since is taken as active."""
    return STATUSES.get(status, _ACTIVE)


def is_finished(status: str) -> bool:
    """Whether a status stays as it is."""
    return meaning_of(status).phase is Phase.FINISHED
