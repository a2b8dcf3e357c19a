from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import (
    Answer,
    CommandError,
    NotFoundError,
    TimeLimitError,
    UnavailableError,
)
from cicd_common.gitlab import retry as module
from cicd_common.gitlab.retry import Backoff, Clock, retry


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def backoff_of(time: Time, limit: float) -> Backoff:
    return Backoff(limit, clock=Clock(lambda: time.now, time.sleep))


def exhaust(backoff: Backoff, failure: CommandError) -> None:
    while True:
        backoff.wait(failure)


FAILURE = UnavailableError("502 Bad Gateway")


def test_pauses_grow_until_the_limit_and_then_the_failure_is_raised() -> None:
    time = Time()
    backoff = backoff_of(time, 20)

    with pytest.raises(UnavailableError) as raised:
        exhaust(backoff, FAILURE)
    assert raised.value is FAILURE
    assert sum(time.slept) == pytest.approx(20)
    assert 0.375 <= time.slept[0] <= 0.625
    assert time.slept[2] > time.slept[0]


def test_a_bug_is_not_retried() -> None:
    time = Time()

    def read() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        retry(read, backoff_of(time, 20))
    assert time.slept == []


def test_without_a_limit_there_is_no_second_try() -> None:
    time = Time()
    with pytest.raises(UnavailableError):
        backoff_of(time, 0).wait(FAILURE)
    assert time.slept == []


def test_the_time_starts_with_the_first_failure() -> None:
    time = Time()
    backoff = backoff_of(time, 5)
    time.now += 100
    backoff.wait(FAILURE)
    assert time.slept


def test_the_pause_is_exactly_as_long_as_gitlab_requests() -> None:
    time = Time()
    backoff_of(time, 60).wait(TimeLimitError("429", answer=Answer(429, "", retry_after=17)))
    assert time.slept == [17]


def test_a_requested_pause_longer_than_the_limit_fails_at_once() -> None:
    time = Time()
    with pytest.raises(TimeLimitError, match="503"):
        backoff_of(time, 60).wait(UnavailableError("503", answer=Answer(503, "", retry_after=61)))
    assert time.slept == []


@pytest.mark.parametrize("asked", [0.0, 0.1])
def test_a_server_cannot_shorten_our_own_pause(asked: float) -> None:
    time = Time()
    backoff = backoff_of(time, 60)
    failure = UnavailableError("503", answer=Answer(503, "", retry_after=asked))
    with pytest.raises(CommandError, match="503"):
        exhaust(backoff, failure)
    assert time.slept[0] >= 0.375
    assert len(time.slept) < 20


def test_no_pause_is_longer_than_the_maximum_plus_jitter() -> None:
    time = Time()
    backoff = backoff_of(time, 600)
    with pytest.raises(UnavailableError):
        exhaust(backoff, FAILURE)
    assert 7.5 <= max(time.slept) <= 12.5


@pytest.mark.parametrize("limit", [0, 5])
def test_at_the_limit_the_original_failure_is_raised(limit: float) -> None:
    time = Time()
    backoff = backoff_of(time, limit)
    failure = UnavailableError("503", answer=Answer(503, "", retry_after=0.0))
    with pytest.raises(UnavailableError) as raised:
        exhaust(backoff, failure)
    assert raised.value is failure


@pytest.mark.parametrize(
    ("failure", "tries"),
    [
        (UnavailableError("reset"), 2),
        (TimeLimitError("429", retryable=True), 2),
        (TimeLimitError("a limit of ours"), 1),
        (UnavailableError("a redirect", retryable=False), 1),
        (NotFoundError("404"), 1),
    ],
)
def test_only_retryable_failures_are_retried(failure: CommandError, tries: int) -> None:
    time = Time()
    failures = iter([failure])
    sent: list[int] = []

    def read() -> str:
        sent.append(1)
        for each in failures:
            raise each
        return "done"

    if tries == 1:
        with pytest.raises(type(failure)):
            retry(read, backoff_of(time, 60))
    else:
        assert retry(read, backoff_of(time, 60)) == "done"
    assert len(sent) == tries


def test_the_default_clock_is_used_if_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    monkeypatch.setattr(module, "CLOCK", Clock(lambda: time.now, time.sleep))
    Backoff(60).wait(FAILURE)
    assert time.slept


@given(
    limit=st.floats(0, 1000),
    asked=st.lists(st.one_of(st.none(), st.floats(0, 2000)), max_size=40),
)
def test_the_backoff_never_sleeps_past_the_limit(limit: float, asked: list[float | None]) -> None:
    time = Time()
    backoff = backoff_of(time, limit)
    for retry_after in asked:
        failure = UnavailableError("x", answer=Answer(503, "", retry_after=retry_after))
        try:
            backoff.wait(failure)
        except CommandError:
            break
    assert sum(time.slept) <= limit + 1e-6
