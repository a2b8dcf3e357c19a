"""The difference that a bump makes, as a unified diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTEXT = 3


def unified(path: str, old: bytes, new: bytes) -> str:
    """Return the unified diff of a file before and after a bump.

    A bump never adds or removes a line, so lines are compared one by one: difflib would take
    quadratic time on a large file.

    Args:
        path: The file's path.
        old: Its bytes before.
        new: Its bytes after, with as many lines.
    """
    before = old.decode(errors="replace").split("\n")
    after = new.decode(errors="replace").split("\n")
    changed = [
        number for number, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1
    ]
    lines = [f"--- a/{path}", f"+++ b/{path}"] if changed else []
    for first, last in _hunks(changed):
        start, end = max(first - _CONTEXT, 0), min(last + _CONTEXT + 1, len(before))
        end -= end == len(before) and before[-1] == ""  # what follows the last line's end
        span = f"{start + 1},{end - start}"
        lines.append(f"@@ -{span} +{span} @@")
        for number in range(start, end):
            is_changed = before[number] != after[number]
            lines += _signed("-" if is_changed else " ", before, number)
            lines += _signed("+", after, number) if is_changed else []
    return "".join(f"{line}\n" for line in lines)


def _signed(sign: str, lines: list[str], number: int) -> list[str]:
    line = [sign + lines[number]]
    return line if number + 1 < len(lines) else [*line, "\\ No newline at end of file"]


def _hunks(changed: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last change of each stretch whose context runs together."""
    first = 0
    for index, number in enumerate(changed):
        is_last = index + 1 == len(changed)
        if is_last or changed[index + 1] - number > 2 * _CONTEXT:
            yield changed[first], number
            first = index + 1
