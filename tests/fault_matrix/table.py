"""The matrix as a table in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


UNKNOWN = 8
ROWS = "rows of the fault matrix"  # a property of a test's report


class Row(NamedTuple):
    """What came of one case.

    Attributes:
        command: The command.
        route: The way to the server.
        fault: The fault.
        request: The request that met it.
        code: The exit code; None if the run had to be killed.
        done: Whether that is the exit code of a run without a fault.
        seconds: How long the run took.
        complaints: What was wrong.
    """

    command: str
    route: str
    fault: str
    request: str
    code: int | None
    done: bool
    seconds: float
    complaints: tuple[str, ...]


def table(rows: list[Row]) -> str:
    """A line for each fault, one for each command, and one for all that is wrong in a case."""
    wrong = [
        f"- {row.command}, {row.route}, {row.request}, {row.fault}: {'; '.join(row.complaints)}"
        for row in rows
        if row.complaints
    ]
    return "\n".join(
        [
            f"{len(rows)} cases, {len(wrong)} of them wrong",
            "",
            *_lines("fault", rows, lambda row: row.fault),
            "",
            *_lines("command", rows, lambda row: f"{row.command}, {row.route}"),
            *(["", *wrong] if wrong else []),
        ]
    )


def _lines(title: str, rows: list[Row], group_of: Callable[[Row], str]) -> Iterator[str]:
    yield f"| {title} | cases | done | unknown (8) | other exits | slowest, s | wrong |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(group_of(row), []).append(row)
    for name, group in groups.items():
        done = sum(row.done for row in group)
        unknown = sum(row.code == UNKNOWN for row in group)
        counts = [len(group), done, unknown, len(group) - done - unknown]
        slowest = max(row.seconds for row in group)
        wrong = sum(bool(row.complaints) for row in group)
        cells = [name, *map(str, counts), f"{slowest:.1f}", str(wrong or "")]
        yield f"| {' | '.join(cells)} |"
