"""What the engine remembers: of each wait, and of each project that is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError
from cicd_common.waiting.pipelines import WaitResult

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
        finder: Looks for it.
        pipeline: As it was when it was last read; None until it is found.
        outcome: How the wait ended; None while it goes on.
        watched: Whether looks are to tell how it goes on.
        announced: Whether it was said that it does not exist yet.
        next_search: When to look for it next; None while that is under way, and once it is found.
        created: When the pipeline was created.
        read: When it was last read.
        failed_since: Since when it has failed, while a retry may still change that.
        played: The ids of the manual jobs that were started.
        played_at: How the pipeline was dated then.
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
    failed_since: float | None = None
    played: frozenset[int] = frozenset()
    played_at: datetime | None = None

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
    """The pipelines of one project, which are looked at together.

    Attributes:
        watch: Looks at them.
        ref: The ref that the estimate is for: that of the first pipeline found.
        looked: When the last look, or the last finding, was done.
        next_poll: When to look next; None where no look is left.
        looking: Whether a look is under route.
        owed: How many looks are due at once, because somebody said that something has changed.
        knows_history: Whether the history was read.
        estimate: What it says.
        pending: The waits that are announced once it is read.
    """

    poller: ProjectPoller
    ref: str
    polled: float = 0.0
    next_poll: float | None = None
    polling: bool = False
    owed: int = 0
    knows_history: bool = False
    estimate: Estimate | None = None
    pending: list[Wait] = field(default_factory=list)

    def estimate_for(self, pipeline: Pipeline) -> Estimate | None:
        """How long a pipeline will take, if the history is its own."""
        return self.estimate if pipeline.ref == self.ref else None
