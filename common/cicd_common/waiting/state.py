"""Holds what the engine remembers of each wait and of each project that it polls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError
from cicd_common.waiting.pipelines import WaitResult
from cicd_common.waiting.targets import AllRunning

if TYPE_CHECKING:
    from datetime import datetime

    from cicd_common.waiting.pipelines import Estimate, Pipeline
    from cicd_common.waiting.poll import ProjectPoller
    from cicd_common.waiting.targets import Finder, Target

Outcome = WaitResult | CommandError


@dataclass(eq=False)
class Wait:
    """Holds the state of the wait for one target, or for one of the target's pipelines.

    Attributes:
        target: What to wait for.
        finder: Finds the target's pipelines.
        pipeline: The pipeline as it was last read; None until it is found.
        outcome: How the wait ended; None until then.
        watched: Whether the pipeline is being polled.
        announced: Whether the user was told that it does not exist yet.
        next_search: When to search for it next; None during a search and once it is found.
        created: When the pipeline was created, by the clock of the wait.
        read: When it was last read.
        fetching: Whether the pipeline has ended and its artifacts are being fetched.
        unsettled_since: When it failed or was canceled, as long as a retry can change that.
        failure: The temporary failure of the last request; None after a success.
        played: The ids of the manual jobs that were started.
        played_at: By pipeline id, `updated_at` of the pipeline when its manual jobs were started.
    """

    target: Target
    finder: Finder
    pipeline: Pipeline | None = None
    outcome: Outcome | None = None
    watched: bool = False
    announced: bool = False
    next_search: float | None = None
    created: float = 0.0
    read: float = 0.0
    fetching: bool = False
    unsettled_since: float | None = None
    failure: CommandError | None = None
    played: frozenset[int] = frozenset()
    played_at: dict[int, datetime] = field(default_factory=dict)

    @property
    def is_lock(self) -> bool:
        """Returns whether it is enough that the pipeline is not running any more."""
        return isinstance(self.target, AllRunning)

    @property
    def name(self) -> str:
        """Returns the name of what is waited for, for messages."""
        if self.pipeline is None:
            return str(self.target)
        return f"pipeline {self.pipeline.id} of {self.pipeline.project} ({self.pipeline.web_url})"

    @property
    def found(self) -> Pipeline:
        """Returns the pipeline; call this only after it was found."""
        if self.pipeline is None:
            raise LookupError(f"{self.target} was not found yet")
        return self.pipeline


@dataclass(eq=False)
class Group:
    """Holds the state of one project, whose pipelines are polled together.

    Attributes:
        poller: Polls them.
        ref: The ref that the estimate is for: the ref of the first pipeline found.
        polled: When the last poll, or the last search, was done.
        next_poll: When to poll next; None if no further poll is planned.
        polling: Whether a poll is under way.
        owed: How many polls are due at once, because something has changed.
        not_before: The earliest time of the next request, after GitLab throttled one.
        knows_history: Whether the history was read.
        estimate: The estimate from the history.
        pending: The waits that are announced once the history is read.
    """

    poller: ProjectPoller
    ref: str
    polled: float = 0.0
    next_poll: float | None = None
    polling: bool = False
    owed: int = 0
    not_before: float = -math.inf
    knows_history: bool = False
    estimate: Estimate | None = None
    pending: list[Wait] = field(default_factory=list)

    def estimate_for(self, pipeline: Pipeline) -> Estimate | None:
        """Returns the estimate for a pipeline; None if the history is of another ref."""
        return self.estimate if pipeline.ref == self.ref else None
