from __future__ import annotations

import threading

import pytest

from cicd_common.errors import NotFoundError
from cicd_common.parallel import side_by_side


def test_outcomes_keep_the_order_of_the_items() -> None:
    gates = [threading.Event() for _ in range(4)]
    gates[3].set()

    def work(index: int) -> int:
        gates[index].wait(10)  # the last item is done first
        gates[index - 1].set()
        return index * 10

    assert side_by_side([0, 1, 2, 3], work) == [0, 10, 20, 30]


def test_an_error_is_the_outcome_of_its_item_alone() -> None:
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


def test_more_items_than_threads_are_all_worked_on() -> None:
    assert side_by_side(list(range(100)), lambda n: n + 1) == list(range(1, 101))
