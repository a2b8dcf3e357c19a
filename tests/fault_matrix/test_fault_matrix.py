"""Whatever happens to a request: done once, or not at all, or unknown; and the exit code says so.

`make test` runs a sample, which has each fault and each command; `make fault-matrix` runs all.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, get_args

import pytest

from tests.fault_matrix.commands import COMMANDS
from tests.fault_matrix.faults import FAULTS
from tests.fault_matrix.front import Route
from tests.fault_matrix.matrix import Cell
from tests.fault_matrix.table import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fault_matrix.conftest import Cases

GROUPS_OF_SAMPLE = 2
GROUPS_OF_WHOLE = 8
ROUTES: tuple[Route, ...] = get_args(Route)


def whole() -> Iterator[Cell]:
    for command in COMMANDS:
        for fault in FAULTS:
            for route in ROUTES if fault.by_proxy else ROUTES[:1]:
                yield Cell((command,), route, fault)


def sample() -> Iterator[Cell]:
    """Each fault, and each command with a fault of the connection; the other parts in turn."""
    for number, fault in enumerate(FAULTS):
        ways = ROUTES if fault.by_proxy else ROUTES[:1]
        first = number % len(COMMANDS)
        # If a command cannot meet the fault, the next one takes its turn.
        commands = (*COMMANDS[first:], *COMMANDS[:first])
        yield Cell(commands, ways[number % len(ways)], fault, one=number)
    faults = [fault for fault in FAULTS if fault.is_part_of == "transport" and not fault.lasting]
    turns = zip(COMMANDS, itertools.cycle(ROUTES), itertools.cycle(faults), strict=False)
    for command, route, fault in turns:
        yield Cell((command,), route, fault, one=-1)  # the last, often a write


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Name each cell by its group, which one worker runs side by side, for most of them wait."""
    if "cell" in metafunc.fixturenames:
        all_of_it = metafunc.config.getoption("--whole-matrix", default=False)
        cells = list(whole() if all_of_it else sample())
        groups = GROUPS_OF_WHOLE if all_of_it else GROUPS_OF_SAMPLE
        ids = [f"group {number % groups}: {cell}" for number, cell in enumerate(cells)]
        metafunc.parametrize("cell", cells, ids=ids)


@pytest.mark.timeout(900)  # the first of a group waits for the whole group
def test_it_is_done_once_or_not_at_all_and_the_exit_code_says_so(
    cell: Cell, cases: Cases, record_property: Callable[[str, object], None]
) -> None:
    rows = cases(cell)
    record_property(ROWS, [tuple(row) for row in rows])

    assert not [f"{row.request}: {'; '.join(row.complaints)}" for row in rows if row.complaints]
