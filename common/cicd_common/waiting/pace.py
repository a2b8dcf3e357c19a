"""When to look next: rarely while nothing is due, often around the likely end.

Pure functions of time; all times are in seconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cicd_common.waiting.model import Estimate

FLOOR = 1.0  # between two looks at a project, whatever the reason to look
LONGEST = 30.0  # as often as GitLab's own pages look where nothing is pushed
LONGEST_PUSHED = 55.0  # with the jitter a minute, which an end that was not pushed may cost
JITTER = 0.1  # of a pause, at most, so that the waits of one pipeline do not look in step

# Without history a pause is this part of the pipeline's age: an end is seen that much late.
_BY_AGE = 0.1
# With history a failure on the way is seen later, and the likely end sooner.
_BY_AGE_WITH_ESTIMATE = 0.2
_BY_DISTANCE = 0.3
_AT_THE_END = 0.005
# Where GitLab pushes changes a look by the clock only makes up for a push that got lost.
_BY_DISTANCE_PUSHED = 0.5
_AT_THE_END_PUSHED = 25.0


def pause(
    age: float, estimate: Estimate | None, interval: float | None, *, pushed: bool = False
) -> float:
    """How long not to look at a pipeline.

    Args:
        age: Since its creation.
        estimate: How long it will take, if earlier ones tell.
        interval: A fixed pause, if one is wanted.
        pushed: Whether a change would be heard of meanwhile.
    """
    if interval is not None:
        return interval
    distance = max(0.0, abs(estimate.seconds - age) - estimate.spread) if estimate else math.inf
    if pushed:
        return min(max(distance * _BY_DISTANCE_PUSHED, _AT_THE_END_PUSHED), LONGEST_PUSHED)
    by_age = FLOOR + max(0.0, age) * _BY_AGE
    if estimate is not None:
        around_end = max(estimate.seconds * _AT_THE_END, distance * _BY_DISTANCE)
        by_age = min(FLOOR + max(0.0, age) * _BY_AGE_WITH_ESTIMATE, around_end)
    return min(max(by_age, FLOOR), LONGEST)


def floor_of(interval: float | None) -> float:
    """The least time between two looks at a project."""
    return FLOOR if interval is None else min(interval, FLOOR)


def next_look(
    now: float, wanted: float, *, floor: float, deadline: float, random: Callable[[], float]
) -> float | None:
    """When to look next.

    Args:
        now: When the look before was done.
        wanted: The pause that is wanted.
        floor: The least pause.
        deadline: When the wait ends; the last look leaves time for its answer.
        random: Gives a number from 0 up to 1.

    Returns:
        A time, at least `floor` from now and before the deadline; None if there is none.
    """
    moment = now + max(floor, wanted * (1 + JITTER * (2 * random() - 1)))
    last = deadline - floor
    if moment <= last:
        return moment
    return last if last >= now + floor else None


def seeking_pause(waited: float, interval: float | None) -> float:
    """How long not to look for a pipeline that has not appeared after so much time."""
    return interval if interval is not None else min(FLOOR + waited * _BY_AGE, LONGEST)
