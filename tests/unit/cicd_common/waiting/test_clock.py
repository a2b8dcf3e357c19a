from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import CommandError, NotFoundError
from cicd_common.waiting.clock import Background, Clock
from cicd_common.waiting.events import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cicd_common.waiting.events import Event

A_DAY = 86400


def told(answer: int | CommandError) -> Iterator[Event]:
    yield Note(f"{answer}")


def test_the_sleep_ends_at_the_given_time() -> None:
    clock = Clock()
    moment = clock.now() + 0.05
    clock.sleep_until(moment)
    assert clock.now() >= moment


@pytest.mark.parametrize("wake", [Clock.wake, lambda clock: clock.hint("1")], ids=["ring", "hint"])
def test_any_thread_can_end_the_sleep(wake: object) -> None:
    clock = Clock()
    assert callable(wake)
    threading.Thread(target=wake, args=(clock,)).start()
    clock.sleep_until(clock.now() + A_DAY)


def test_a_ring_before_the_sleep_is_not_lost() -> None:
    clock = Clock()
    clock.wake()
    clock.sleep_until(clock.now() + A_DAY)


def test_hints_are_taken_once() -> None:
    clock = Clock()
    for project_id in ("1", "2", "1"):
        clock.hint(project_id)
    assert clock.take_hints() == {"1", "2"}
    assert clock.take_hints() == set()


def test_results_of_background_work_are_delivered_in_the_calling_thread() -> None:
    clock = Clock()
    background = Background(clock)

    def fails() -> int:
        raise NotFoundError("404 Not Found")

    background.start(lambda: 7, told)
    background.start(fails, told)
    events: list[Event] = []
    while len(events) < 2:
        clock.sleep_until(clock.now() + 60)
        events += background.events()
    assert {event.text for event in events if isinstance(event, Note)} == {"7", "404 Not Found"}


def test_a_bug_in_the_background_is_raised_and_not_lost() -> None:
    clock = Clock()
    background = Background(clock)

    def bug() -> int:
        raise ZeroDivisionError

    background.start(bug, told)
    clock.sleep_until(clock.now() + 60)
    with pytest.raises(ZeroDivisionError):
        list(background.events())
