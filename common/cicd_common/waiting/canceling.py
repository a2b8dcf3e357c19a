"""Canceling what a call started, when nobody waits for it any more."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError
from cicd_common.waiting.model import Note
from cicd_common.waiting.statuses import has_ended
from cicd_common.waiting.steering import cancel_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cicd_common.client import GitLab
    from cicd_common.waiting.alarm import Alarm, Background
    from cicd_common.waiting.model import Event, Pipeline
    from cicd_common.waiting.state import Wait

# Docker kills a container 10 s after it asked it to end.
LIMIT = 5.0

Canceled = list[tuple["Pipeline", str]]  # with the status that each has now


def cancel_started(
    gitlab: GitLab, waits: Iterable[Wait], alarm: Alarm, background: Background
) -> Iterator[Event]:
    """Cancels the pipelines that this very call started, as far as they go on, within a limit.

    One that was not read yet is looked for once more: it may have been started all the same.

    Args:
        gitlab: The client.
        waits: Those that are open; what somebody else started is left alone.
        alarm: Where to sleep meanwhile.
        background: Where to do it; used for nothing else.
    """
    limit = alarm.now() + LIMIT
    unanswered = {
        id(wait): wait
        for wait in waits
        if wait.target.ours and not (wait.pipeline and has_ended(wait.pipeline.status))
    }

    def stopped(wait: Wait, answer: Canceled | CommandError) -> Iterator[Event]:
        del unanswered[id(wait)]
        if isinstance(answer, CommandError):
            yield Note(f"Cannot cancel {wait.name}: {answer.message}", warning=True)
            return
        for pipeline, status in answer:
            yield Note(
                f"Canceled pipeline {pipeline.id} of {pipeline.project}, which is {status} now: "
                f"{pipeline.web_url}"
            )

    for wait in list(unanswered.values()):
        background.start(partial(_stop, gitlab, wait), partial(stopped, wait))
    while unanswered and alarm.now() < limit:
        alarm.sleep_until(limit)
        yield from background.events()
    for wait in unanswered.values():
        yield Note(f"Whether {wait.name} was canceled is unknown.", warning=True)


def _stop(gitlab: GitLab, wait: Wait) -> Canceled:
    found = (wait.pipeline,) if wait.pipeline else wait.seeker.seek() or ()
    going = [pipeline for pipeline in found if not has_ended(pipeline.status)]
    return [(pipeline, cancel_pipeline(gitlab, pipeline)) for pipeline in going]
