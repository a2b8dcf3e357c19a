"""Writes against a server that is a few lines long, by a clock that only sleeping moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import (
    Answer,
    CommandError,
    ForbiddenError,
    NotFoundError,
    TimeLimitError,
    UnavailableError,
)
from cicd_common.gitlab.retry import Backoff, Clock
from cicd_common.gitlab.writes import SERVER_LIMIT, reconcile

if TYPE_CHECKING:
    from collections.abc import Callable

LOST = UnavailableError("reset")
NEVER_SENT = UnavailableError("refused", sent=False)
NOT_PASSED_ON = UnavailableError("523", sent=False, answer=Answer(523, ""))
THROTTLED = TimeLimitError("429", answer=Answer(429, ""), retryable=True)
REDIRECTED = UnavailableError("redirect", sent=False, retryable=False)
NOT_SUPPORTED = UnavailableError("501", retryable=False)
BUSY = UnavailableError("503", answer=Answer(503, "", retry_after=3600))
NEVER = float("inf")


@dataclass
class Server:
    """A server that holds what was written; each write meets the next of its fates.

    Attributes:
        fates: What becomes of the writes' answers; None is an answer. When there are no more, each
            write is answered.
        done_after: Seconds after which a write whose answer is lost happens.
        writes: When each write happens.
        sent: How often one was sent.
        finds: How often the server was asked whether it happened.
    """

    fates: list[CommandError | None] = field(default_factory=list)
    done_after: float = NEVER
    now: float = 1000.0
    writes: list[float] = field(default_factory=list)
    sent: int = 0
    finds: int = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def send(self) -> str:
        self.sent += 1
        fate = self.fates.pop(0) if self.fates else None
        if fate is None:
            self.writes.append(self.now)
            return "sent"
        if isinstance(fate, UnavailableError) and fate.sent and self.done_after != NEVER:
            self.writes.append(self.now + self.done_after)
        raise fate

    def find(self) -> str | None:
        self.finds += 1
        return "found" if any(moment <= self.now for moment in self.writes) else None

    def write(
        self,
        *,
        limit: float = 60,
        find: Callable[[], str | None] | None = None,
        second_is_refused: bool = True,
    ) -> str:
        return reconcile(
            self.send,
            find or self.find,
            backoff=Backoff(limit, clock=Clock(lambda: self.now, self.sleep)),
            check="the tags",
            second_is_refused=second_is_refused,
        )


either = pytest.mark.parametrize("refused", [True, False], ids=["refused", "accepted"])


@either
def test_a_write_with_a_response_is_not_checked(*, refused: bool) -> None:
    server = Server()
    assert server.write(second_is_refused=refused) == "sent"
    assert (server.sent, server.finds) == (1, 0)


@either
def test_a_write_that_is_found_is_not_sent_again(*, refused: bool) -> None:
    server = Server([LOST], done_after=0)
    assert server.write(second_is_refused=refused) == "found"
    assert (server.sent, server.finds) == (1, 1)


def test_a_bug_is_not_taken_for_a_lost_response() -> None:
    server = Server([LOST])

    def find() -> str | None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        server.write(find=find)
    with pytest.raises(KeyError):
        reconcile(find, server.find, backoff=Backoff(60), check="the tags")
    assert (server.sent, server.finds) == (1, 0)


def test_a_missing_write_is_sent_again_if_gitlab_refuses_duplicates() -> None:
    server = Server([LOST])
    assert server.write() == "sent"
    assert (server.sent, server.finds) == (2, 1)


@either
@pytest.mark.parametrize("fate", [NEVER_SENT, THROTTLED])
def test_a_write_that_did_not_reach_the_server_is_sent_again_without_a_check(
    fate: CommandError, *, refused: bool
) -> None:
    server = Server([fate])
    assert server.write(second_is_refused=refused) == "sent"
    assert (server.sent, server.finds) == (2, 0)


@either
def test_a_write_that_a_proxy_did_not_forward_is_checked_once(*, refused: bool) -> None:
    server = Server([NOT_PASSED_ON])
    assert server.write(second_is_refused=refused) == "sent"
    assert (server.sent, server.finds) == (2, 1)
    happened = Server([NOT_PASSED_ON], writes=[0.0])
    assert happened.write(second_is_refused=refused) == "found"
    assert happened.sent == 1


@either
@pytest.mark.parametrize("fate", [REDIRECTED, ForbiddenError("no"), NotFoundError("none")])
def test_a_refused_write_is_not_sent_again(fate: CommandError, *, refused: bool) -> None:
    server = Server([fate])
    with pytest.raises(type(fate)):
        server.write(second_is_refused=refused)
    assert (server.sent, server.finds) == (1, 0)


@either
def test_a_lost_write_that_is_not_retryable_is_checked_and_not_sent_again(*, refused: bool) -> None:
    assert Server([NOT_SUPPORTED], done_after=0).write(second_is_refused=refused) == "found"
    server = Server([NOT_SUPPORTED])
    with pytest.raises(UnavailableError, match="501"):
        server.write(limit=90, second_is_refused=refused)
    assert server.sent == 1
    assert server.finds >= 1


def test_a_lost_write_that_is_not_retryable_can_still_happen_within_the_servers_limit() -> None:
    server = Server([NOT_SUPPORTED], done_after=SERVER_LIMIT / 2)
    assert server.write(limit=2 * SERVER_LIMIT, second_is_refused=False) == "found"
    assert server.sent == 1


@either
@pytest.mark.parametrize("failure", [UnavailableError("503"), ForbiddenError("403")])
def test_a_failed_check_leaves_the_outcome_unknown_and_the_hint_says_what_to_check(
    failure: CommandError, *, refused: bool
) -> None:
    def find() -> str | None:
        raise failure

    server = Server([LOST], done_after=0)
    with pytest.raises(UnavailableError, match="unknown") as raised:
        server.write(find=find, second_is_refused=refused)
    assert failure.message in raised.value.why
    assert "the tags" in raised.value.hint
    assert not raised.value.retryable
    assert server.sent == 1


@pytest.mark.parametrize("fate", [LOST, BUSY])
@pytest.mark.parametrize("done_after", [1, 9, 59])
def test_a_slow_server_gets_one_write_if_gitlab_accepts_duplicates(
    fate: CommandError, done_after: float
) -> None:
    server = Server([fate], done_after=done_after)
    assert server.write(limit=600, second_is_refused=False) == "found"
    assert server.sent == 1


def test_if_gitlab_accepts_duplicates_a_write_is_missing_only_after_the_server_timeout() -> None:
    server = Server([LOST])
    assert server.write(limit=600, second_is_refused=False) == "sent"
    assert server.sent == 2
    assert server.now - 1000 >= SERVER_LIMIT


@pytest.mark.parametrize("limit", [0, 10])
def test_if_gitlab_refuses_duplicates_a_missing_write_raises_the_original_failure(
    limit: float,
) -> None:
    server = Server([LOST] * 100)
    with pytest.raises(UnavailableError) as raised:
        server.write(limit=limit)
    assert raised.value is LOST
    assert server.finds == server.sent


@pytest.mark.parametrize("limit", [0, 10, 60])
def test_the_outcome_is_unknown_if_retry_for_ends_before_the_server_timeout(limit: float) -> None:
    server = Server([LOST])
    with pytest.raises(UnavailableError, match="unknown") as raised:
        server.write(limit=limit, second_is_refused=False)
    assert "the tags" in raised.value.hint
    assert server.sent == 1
    assert server.finds >= 1
    assert server.now - 1000 <= limit


def test_retry_after_delays_the_write_and_not_the_checks() -> None:
    server = Server([BUSY], done_after=5)
    assert server.write(limit=60, second_is_refused=False) == "found"
    absent = Server([BUSY])
    with pytest.raises(TimeLimitError, match="503"):
        absent.write(limit=600, second_is_refused=False)
    assert absent.finds > 1
    assert absent.sent == 1


def test_a_write_that_appears_during_the_last_pause_is_found() -> None:
    # The answer asks for a pause that is longer than the server's limit.
    fate = UnavailableError("503", answer=Answer(503, "", retry_after=100))
    server = Server([fate], done_after=SERVER_LIMIT + 50)
    assert server.write(limit=600, second_is_refused=False) == "found"
    assert server.sent == 1


@given(
    fates=st.lists(st.sampled_from([LOST, NEVER_SENT, THROTTLED, BUSY, None]), max_size=20),
    done_after=st.one_of(st.just(NEVER), st.floats(0, SERVER_LIMIT)),
    limit=st.sampled_from([0, 1, 60, 1000]),
)
def test_no_sequence_of_faults_makes_a_write_happen_twice(
    fates: list[CommandError | None], done_after: float, limit: float
) -> None:
    server = Server(list(fates), done_after)
    try:
        server.write(limit=limit, second_is_refused=False)
    except CommandError as error:
        assert not server.writes or "unknown" in error.message  # noqa: PT017 - either way ends well
    assert len(server.writes) <= 1
