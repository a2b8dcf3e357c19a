from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import Interrupted, NotFoundError, UnavailableError
from cicd_common.gitlab.transport import POOL_SIZE
from cicd_common.parallel import _Crew, side_by_side
from sandbox.world import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_outcomes_keep_the_order_of_the_items() -> None:
    gates = [threading.Event() for _ in range(4)]
    gates[3].set()

    def work(index: int) -> int:
        gates[index].wait(PATIENCE)  # the last item is done first
        gates[index - 1].set()
        return index * 10

    assert side_by_side([0, 1, 2, 3], work) == [0, 10, 20, 30]


def test_an_error_is_the_outcome_of_its_own_item_only() -> None:
    def work(index: int) -> int:
        if index == 1:
            raise NotFoundError("none")
        return index

    first, second, third = side_by_side([0, 1, 2], work)
    assert (first, third) == (0, 2)
    assert isinstance(second, NotFoundError)


@pytest.mark.parametrize("count", [1, 3])
def test_a_bug_is_raised_and_not_hidden(count: int) -> None:
    def work(_: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        side_by_side(list(range(count)), work)


def test_all_items_are_processed_if_there_are_more_items_than_threads() -> None:
    assert side_by_side(list(range(100)), lambda n: n + 1) == list(range(1, 101))


@pytest.fixture
def signals() -> Iterator[None]:
    """Lets SIGTERM raise, as it does in a command."""

    def interrupt(number: int, _: object) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("signals")
def test_after_a_signal_running_items_finish_and_no_other_item_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[int] = []
    stopped = threading.Event()
    stop = _Crew.stop

    def stop_noted(crew: _Crew[int, int]) -> None:
        stop(crew)
        stopped.set()

    monkeypatch.setattr(_Crew, "stop", stop_noted)

    def work(index: int) -> int:
        begun.append(index)
        if len(begun) == POOL_SIZE:
            os.kill(os.getpid(), signal.SIGTERM)
        stopped.wait(PATIENCE)
        return index

    with pytest.raises(Interrupted) as ended:
        side_by_side(range(100), work, grace=30)
    outcomes = ended.value.outcomes
    assert len(outcomes) == 100
    assert [index for index, outcome in enumerate(outcomes) if outcome == index] == sorted(begun)
    assert len(begun) == POOL_SIZE
    assert "Nothing was done in 99" in str(outcomes[99])


@pytest.mark.usefixtures("signals")
def test_unfinished_items_are_unknown_and_finished_items_keep_their_results() -> None:
    hanging, done = threading.Event(), threading.Event()

    def work(name: str) -> str:
        if name == "slow":
            done.wait(PATIENCE)
            os.kill(os.getpid(), signal.SIGTERM)
            hanging.wait(PATIENCE)
        done.set()
        return name

    with pytest.raises(Interrupted) as ended:
        side_by_side(["fast", "slow"], work, grace=0.01)
    hanging.set()
    fast, slow = ended.value.outcomes
    assert fast == "fast"
    assert isinstance(slow, UnavailableError)
    assert "took effect in slow is unknown" in slow.message


@pytest.mark.usefixtures("signals")
def test_without_a_grace_period_a_signal_stops_the_work_at_once() -> None:
    hanging = threading.Event()

    def work(_: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        hanging.wait(PATIENCE)

    with pytest.raises(Interrupted):
        side_by_side([1, 2], work)
    hanging.set()
