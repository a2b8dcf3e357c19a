"""What the engine remembers: of each wait, and of each project that it polls."""

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
    """The wait for one target, or for one of the pipelines that it stands for.

    Attributes:
        target: What was asked for.
        finder: Finds it.
        pipeline: As it was when it was last read; None until it is found.
        outcome: How the wait ended; None until then.
        watched: Whether polls show how it continues.
        announced: Whether the user knows that it does not exist yet.
        next_search: When to search for it next; None while that is under way, and once it is found.
        created: When the pipeline was created, by the clock of the wait.
        read: When it was last read.
        unsettled_since: Since when it has failed or was canceled, while a retry can change that.
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
    unsettled_since: float | None = None
    failure: CommandError | None = None
    played: frozenset[int] = frozenset()
    played_at: dict[int, datetime] = field(default_factory=dict)

    @property
    def is_lock(self) -> bool:
        """Whether it is enough that the pipeline does not run any more."""
        return isinstance(self.target, AllRunning)

    @property
    def name(self) -> str:
        """What is waited for, for people."""
        if self.pipeline is None:
            return str(self.target)
        return f"pipeline {self.pipeline.id} of {self.pipeline.project} ({self.pipeline.web_url})"

    @property
    def found(self) -> Pipeline:
        """The pipeline, where it is known to have been found."""
        if self.pipeline is None:
            raise LookupError(f"{self.target} was not found yet")
        return self.pipeline


@dataclass(eq=False)
class Group:
    """The pipelines of one project, which are polled together.

    Attributes:
        poller: Polls them.
        ref: The ref that the estimate is for: that of the first pipeline found.
        polled: When the last poll, or the last search, was done.
        next_poll: When to poll next; None where no poll is left.
        polling: Whether a poll is under way.
        owed: How many polls are due at once, because something has changed.
        not_before: When GitLab can be asked again: it was throttled.
        knows_history: Whether the history was read.
        estimate: What the history says.
        pending: The waits that are announced once it is read.
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
        """How long a pipeline will take, if the history is its own."""
        return self.estimate if pipeline.ref == self.ref else None
