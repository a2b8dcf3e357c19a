from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

import pytest

from tests.fault_matrix.matrix import Matrix
from tests.fault_matrix.table import ROWS, Row, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fault_matrix.matrix import Cell

Cases: TypeAlias = "Callable[[Cell], list[Row]]"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole-matrix", action="store_true", help="Run each case, and show them as a table."
    )


def groups(items: list[pytest.Item]) -> list[list[Cell]]:
    """The cells of the tests, by the group that their names begin with."""
    found: dict[str, list[Cell]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and "cases" in item.fixturenames:
            group, _, _ = item.name.partition(":")
            found.setdefault(group, []).append(cast("Cell", item.callspec.params["cell"]))
    return list(found.values())


@pytest.fixture(scope="session")
def cases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cases]:
    """What comes of a cell; the first of a group waits until all of the group have run.

    For pytest changes the environment between tests, and the sandbox's threads read it.
    """
    chosen = groups(request.session.items)
    done: dict[Cell, list[Row] | Exception] = {}

    def of(cell: Cell) -> list[Row]:
        if cell not in done:
            group = next(group for group in chosen if cell in group)
            done.update(zip(group, matrix.run(group), strict=True))
        rows = done[cell]
        if isinstance(rows, Exception):
            raise rows
        return rows

    with Matrix(tmp_path_factory.mktemp("matrix")) as matrix:
        yield of


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if not config.getoption("--whole-matrix", default=False):
        return
    rows = [
        Row(*value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, values in report.user_properties
        if name == ROWS
        for value in values
    ]
    terminalreporter.section("fault matrix")
    terminalreporter.write_line(table(rows))
