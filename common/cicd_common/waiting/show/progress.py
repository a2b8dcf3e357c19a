"""Collects the events of a wait, and holds what is known so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cicd_common.waiting.events import Changed, Finished, Found, Searching, Tick

if TYPE_CHECKING:
    from cicd_common.waiting.events import Event
    from cicd_common.waiting.pipelines import Estimate, Pipeline


@dataclass(frozen=True)
class Watched:
    """Holds what is known about a pipeline that is waited for.

    Attributes:
        pipeline: The pipeline as it was last read.
        estimate: How long it will take, if that is known.
        over: Whether the wait for it is over.
    """

    pipeline: Pipeline
    estimate: Estimate | None = None
    over: bool = False


@dataclass
class Progress:
    """Holds what is known about all pipelines that are waited for.

    Attributes:
        watched: The pipelines that were found, by id, in the order in which they were found.
        searched: The names of pipelines that do not exist yet.
        left: Seconds until the time limit, once it is known.
    """

    watched: dict[int, Watched] = field(default_factory=dict)
    searched: list[str] = field(default_factory=list)
    left: float | None = None

    def note(self, event: Event) -> None:
        """Records an event."""
        match event:
            case Searching() if event.what not in self.searched:
                self.searched.append(event.what)
            case Found():
                # The event does not say which one was found; the others are soon named again.
                self.searched.clear()
                self.watched[event.pipeline.id] = Watched(event.pipeline, event.estimate)
            case Changed():
                self._update(event.pipeline, over=False)
            case Finished():
                self.searched.clear()
                if event.pipeline is not None:
                    self._update(event.pipeline, over=True)
            case Tick():
                self.left = event.left

    def pending(self) -> list[Watched]:
        """Returns the pipelines that are still waited for."""
        return [watched for watched in self.watched.values() if not watched.over]

    def _update(self, pipeline: Pipeline, *, over: bool) -> None:
        before = self.watched.get(pipeline.id, Watched(pipeline))
        self.watched[pipeline.id] = replace(before, pipeline=pipeline, over=over)
