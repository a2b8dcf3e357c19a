"""Writes that GitLab would take twice: when a look that finds nothing counts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import Answer, CommandError, TimeLimitError, UnavailableError
from cicd_common.gitlab.retry import Patience
from cicd_common.gitlab.writes import reconcile

RESET = UnavailableError("reset")
TIMED_OUT = UnavailableError("timeout", unfinished=True)
NOT_YET = UnavailableError("503", answer=Answer(503, "", retry_after=3600))


@dataclass
class Server:
    """A server whose first write meets a fate, and is seen only some looks later, if ever."""

    fate: CommandError
    seen_after: int | None
    sent: int = 0
    looks: int = 0

    def send(self) -> str:
        self.sent += 1
        if self.sent == 1:
            raise self.fate
        return "sent"

    def look(self) -> str | None:
        self.looks += 1
        return "found" if self.seen_after is not None and self.looks > self.seen_after else None


def run(server: Server, *, limit: float = 0.02, settle: float = 0.01) -> str:
    patience = Patience(limit, first=0.002)
    return reconcile(
        server.send, server.look, patience=patience, check="the pipelines", settle=settle
    )


def test_what_shows_up_late_is_found_and_not_sent_again() -> None:
    server = Server(RESET, seen_after=1)
    assert run(server) == "found"
    assert (server.sent, server.looks) == (1, 2)


def test_what_never_shows_up_is_sent_again() -> None:
    server = Server(RESET, seen_after=None)
    assert run(server) == "sent"
    assert server.sent == 2
    assert server.looks > 1


def test_without_settling_one_look_is_enough() -> None:
    server = Server(TIMED_OUT, seen_after=None)
    assert run(server, settle=0) == "sent"
    assert server.looks == 1


def test_after_a_timeout_it_is_never_sent_again() -> None:
    server = Server(TIMED_OUT, seen_after=None)
    with pytest.raises(UnavailableError, match="unknown") as raised:
        run(server)
    assert "the pipelines" in raised.value.hint
    assert server.sent == 1


def test_how_long_gitlab_asks_to_wait_is_for_the_write_and_not_for_looks() -> None:
    server = Server(NOT_YET, seen_after=None)
    with pytest.raises(TimeLimitError):
        run(server)
    assert server.sent == 1
    assert server.looks > 1


def test_what_shows_up_during_the_last_pause_is_found_too() -> None:
    first_looks = Server(RESET, seen_after=None)
    run(first_looks)
    server = Server(RESET, seen_after=first_looks.looks - 1)
    assert run(server) == "found"
    assert server.sent == 1


@given(seen_after=st.integers(0, 3))
def test_after_a_timeout_looks_go_on_until_it_is_seen(seen_after: int) -> None:
    server = Server(TIMED_OUT, seen_after)
    assert run(server, limit=5) == "found"
    assert server.sent == 1
