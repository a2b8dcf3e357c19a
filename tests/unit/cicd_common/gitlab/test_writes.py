from __future__ import annotations

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
from cicd_common.gitlab.retry import Patience
from cicd_common.gitlab.writes import reconcile

if TYPE_CHECKING:
    from collections.abc import Callable

LOST = UnavailableError("reset")
NEVER_SENT = UnavailableError("refused", sent=False)
THROTTLED = TimeLimitError("429", answer=Answer(429, ""))
REDIRECTED = UnavailableError("redirect", sent=False, transient=False)


class Server:
    """A server that holds what was written; each write meets the next of its fates."""

    def __init__(self, *fates: CommandError | None, happens: bool = False) -> None:
        self.fates = list(fates)
        self.happens = happens  # whether a write whose answer is lost happened
        self.writes = 0
        self.sent = 0
        self.looks = 0

    def send(self) -> str:
        self.sent += 1
        fate = self.fates.pop(0) if self.fates else None
        if fate is None or (fate is LOST and self.happens):
            self.writes += 1
        if fate is not None:
            raise fate
        return "sent"

    def look(self) -> str | None:
        self.looks += 1
        return "found" if self.writes else None


def run(server: Server, look: Callable[[], str | None] | None = None, limit: float = 60) -> str:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    patience = Patience(limit, clock=lambda: now[0], sleep=sleep)
    return reconcile(server.send, look or server.look, patience=patience, check="the tags")


def test_a_write_that_is_answered_is_not_looked_after() -> None:
    server = Server()
    assert run(server) == "sent"
    assert (server.sent, server.looks) == (1, 0)


def test_a_lost_answer_is_looked_after_and_not_sent_again() -> None:
    server = Server(LOST, happens=True)
    assert run(server) == "found"
    assert (server.sent, server.looks) == (1, 1)


def test_a_write_that_is_absent_is_sent_again() -> None:
    server = Server(LOST)
    assert run(server) == "sent"
    assert (server.sent, server.writes) == (2, 1)


@pytest.mark.parametrize("fate", [NEVER_SENT, THROTTLED])
def test_what_certainly_did_not_happen_is_sent_again_without_a_look(fate: CommandError) -> None:
    server = Server(fate)
    assert run(server) == "sent"
    assert (server.sent, server.looks) == (2, 0)


@pytest.mark.parametrize("fate", [REDIRECTED, ForbiddenError("no"), NotFoundError("none")])
def test_a_refusal_is_final(fate: CommandError) -> None:
    server = Server(fate)
    with pytest.raises(type(fate)):
        run(server)
    assert (server.sent, server.looks) == (1, 0)


def test_a_look_that_fails_leaves_the_outcome_unknown_and_says_what_to_check() -> None:
    def look() -> str | None:
        raise UnavailableError("503")

    server = Server(LOST, happens=True)
    with pytest.raises(UnavailableError, match="unknown") as raised:
        run(server, look)
    assert "the tags" in raised.value.hint
    assert server.sent == 1


@given(
    fates=st.lists(st.sampled_from([LOST, NEVER_SENT, THROTTLED, None]), max_size=20),
    happens=st.booleans(),
    limit=st.sampled_from([0, 1, 60]),
)
def test_no_sequence_of_faults_makes_it_happen_twice(
    fates: list[CommandError | None], limit: float, *, happens: bool
) -> None:
    server = Server(*fates, happens=happens)
    try:
        run(server, limit=limit)
    except CommandError:
        assert server.writes == 0
    else:
        assert server.writes == 1
