"""Brings the records up to the clock: what GitLab's background workers have done by now."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from sandbox import merge_requests, scripted

if TYPE_CHECKING:
    from sandbox.model import State


def catch_up(state: State) -> None:
    """Do the work that is due, and bring scripted pipelines to where the clock is.

    A bug in that work must not end the request that met it; it is kept in `State.problems`.

    Args:
        state: The records, their lock held.
    """
    scripted.refresh(state)
    while (work := state.agenda.due()) or merge_requests.queue_auto_merges(state):
        if work:
            try:
                work()
            except Exception:  # noqa: BLE001 - see above
                state.problems.append(traceback.format_exc())
            scripted.refresh(state)
