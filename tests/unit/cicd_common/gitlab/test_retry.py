from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import Answer, CommandError, TimeLimitError, UnavailableError
from cicd_common.gitlab.retry import Patience


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def patience(time: Time, limit: float) -> Patience:
    return Patience(limit, clock=lambda: time.now, sleep=time.sleep)


FAILURE = UnavailableError("502 Bad Gateway")


def test_pauses_grow_until_the_limit_and_then_the_failure_is_raised() -> None:
    time = Time()
    patient = patience(time, 20)

    def go_on() -> None:
        while True:
            patient.pause(FAILURE)

    with pytest.raises(UnavailableError) as raised:
        go_on()
    assert raised.value is FAILURE
    assert sum(time.slept) == pytest.approx(20)
    assert 0.375 <= time.slept[0] <= 0.625
    assert time.slept[2] > time.slept[0]


def test_without_a_limit_there_is_no_second_try() -> None:
    time = Time()
    with pytest.raises(UnavailableError):
        patience(time, 0).pause(FAILURE)
    assert time.slept == []


def test_the_time_starts_with_the_first_failure() -> None:
    time = Time()
    patient = patience(time, 5)
    time.now += 100
    patient.pause(FAILURE)
    assert time.slept


def test_what_gitlab_asks_for_is_obeyed_to_the_second() -> None:
    time = Time()
    patience(time, 60).pause(TimeLimitError("429", answer=Answer(429, "", retry_after=17)))
    assert time.slept == [17]


def test_a_wait_past_the_limit_fails_at_once() -> None:
    time = Time()
    with pytest.raises(TimeLimitError, match="503"):
        patience(time, 60).pause(UnavailableError("503", answer=Answer(503, "", retry_after=61)))
    assert time.slept == []


@given(
    limit=st.floats(0, 1000),
    asked=st.lists(st.one_of(st.none(), st.floats(0, 2000)), max_size=40),
)
def test_it_never_sleeps_past_the_limit(limit: float, asked: list[float | None]) -> None:
    time = Time()
    patient = patience(time, limit)
    for retry_after in asked:
        failure = UnavailableError("x", answer=Answer(503, "", retry_after=retry_after))
        try:
            patient.pause(failure)
        except CommandError:
            break
    assert sum(time.slept) <= limit + 1e-6
