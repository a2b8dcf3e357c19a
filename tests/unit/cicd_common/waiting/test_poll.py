from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.waiting import poll
from cicd_common.waiting.pipelines import Estimate

moments = st.floats(0, 1e6)
TEN_MINUTES = Estimate(600.0, 20.0)


@pytest.mark.parametrize(
    ("age", "estimate", "expected"),
    [
        (0, None, 1.0),
        (60, None, 7.0),
        (3600, None, 30.0),
        (60, TEN_MINUTES, 13.0),
        (300, TEN_MINUTES, 30.0),
        (570, TEN_MINUTES, 3.0),
        (600, TEN_MINUTES, 3.0),
        (630, TEN_MINUTES, 3.0),
        (720, TEN_MINUTES, 30.0),
        (20, Estimate(20.0, 1.0), 1.0),
    ],
)
def test_the_interval_is_long_at_first_and_short_near_the_expected_end(
    age: float, estimate: Estimate | None, expected: float
) -> None:
    assert poll.next_interval(age, estimate, None) == pytest.approx(expected)


def test_a_fixed_interval_is_kept_with_any_estimate() -> None:
    assert poll.next_interval(300, TEN_MINUTES, 5.0) == 5.0


@given(
    now=moments,
    wanted=st.floats(0, 100),
    floor=st.floats(0.01, 1.0),
    deadline=moments,
    random=st.floats(0, 1, exclude_max=True),
)
def test_a_poll_keeps_the_minimum_interval_and_the_deadline(
    now: float, wanted: float, floor: float, deadline: float, random: float
) -> None:
    moment = poll.next_poll(now, wanted, floor=floor, deadline=deadline, random=lambda: random)
    if moment is None:
        assert deadline < now + 2 * floor + 1e-6 * now
    else:
        assert now + floor <= moment <= deadline - floor
        assert moment <= now + max(floor, wanted * (1 + poll.JITTER))


def test_the_last_poll_leaves_time_for_its_response_before_the_deadline() -> None:
    assert poll.next_poll(90, 30, floor=1, deadline=100, random=lambda: 0.5) == 99


def adaptive_looks(end: float, estimate: Estimate | None) -> tuple[int, float]:
    """How many looks it takes to see an end, and how late it is seen."""
    at, looks = 0.0, 0
    while at < end:
        at += poll.next_interval(at, estimate, None)
        looks += 1
    return looks, at - end


def test_with_history_a_wait_needs_fewer_polls_than_a_fixed_interval_and_ends_as_early() -> None:
    looks, late = adaptive_looks(603, TEN_MINUTES)
    assert looks < 120 / 2
    assert late < 5


def test_an_early_failure_is_found_within_half_a_minute() -> None:
    assert all(adaptive_looks(end, TEN_MINUTES)[1] <= poll.LONGEST for end in range(1, 600))
