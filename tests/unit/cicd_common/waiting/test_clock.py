from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import CommandError, NotFoundError
from cicd_common.waiting.clock import Alarm, Background
from cicd_common.waiting.pipelines import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cicd_common.waiting.pipelines import Event


def told(answer: int | CommandError) -> Iterator[Event]:
    yield Note(f"{answer}")


def test_the_sleep_ends_at_its_moment() -> None:
    alarm = Alarm()
    moment = alarm.now() + 0.05
    alarm.sleep_until(moment)
    assert alarm.now() >= moment


@pytest.mark.parametrize("wake", [Alarm.ring, lambda alarm: alarm.hint("1")], ids=["ring", "hint"])
def test_anybody_may_end_the_sleep(wake: object) -> None:
    alarm = Alarm()
    assert callable(wake)
    threading.Thread(target=wake, args=(alarm,)).start()
    began = time.monotonic()
    alarm.sleep_until(alarm.now() + 60)
    assert time.monotonic() - began < 30


def test_a_ring_before_the_sleep_is_not_lost() -> None:
    alarm = Alarm()
    alarm.ring()
    began = time.monotonic()
    alarm.sleep_until(alarm.now() + 60)
    assert time.monotonic() - began < 30


def test_hints_are_taken_once() -> None:
    alarm = Alarm()
    for project_id in ("1", "2", "1"):
        alarm.hint(project_id)
    assert alarm.take_hints() == {"1", "2"}
    assert alarm.take_hints() == set()


def test_what_follows_from_work_is_told_in_the_thread_that_asks() -> None:
    alarm = Alarm()
    background = Background(alarm)

    def fails() -> int:
        raise NotFoundError("404 Not Found")

    background.start(lambda: 7, told)
    background.start(fails, told)
    events: list[Event] = []
    while len(events) < 2:
        alarm.sleep_until(alarm.now() + 60)
        events += background.events()
    assert {event.text for event in events if isinstance(event, Note)} == {"7", "404 Not Found"}


def test_a_bug_in_the_background_is_raised_and_not_lost() -> None:
    alarm = Alarm()
    background = Background(alarm)

    def bug() -> int:
        raise ZeroDivisionError

    background.start(bug, told)
    alarm.sleep_until(alarm.now() + 60)
    with pytest.raises(ZeroDivisionError):
        list(background.events())
