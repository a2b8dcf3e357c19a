"""The result of a bump, and its forms: one line, dotenv variables, a diff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.cleaning import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Change:
    """One value that changes.

    Attributes:
        path: The file.
        line: The line, from 1.
        old: The value before: a reference, a tag or a digest.
        new: The value after.
        image: The image's name.
    """

    path: str
    line: int
    old: str
    new: str
    image: str


@dataclass(frozen=True)
class Skipped:
    """A place that a bump left alone.

    Attributes:
        path: The file.
        line: The line, from 1.
        why: Why it was left alone, and what the user can do.
    """

    path: str
    line: int
    why: str

    def text(self) -> str:
        """Returns one line for stderr."""
        return one_line(f"{self.path}:{self.line}: {self.why}")


@dataclass(frozen=True)
class BumpResult:
    """The changes of a bump, or those of a dry run.

    Attributes:
        changed: Whether this call wrote anything.
        files: The changes: path, line, old and new value, image.
        skipped: The places that were left alone: path, line, why.
        commit: The commit's SHA; None if there is no commit.
        web_url: The commit's page on GitLab.
        merge_request: The merge request's page.
        merge_request_state: Its state: `open`, `set to auto-merge` or `merged`.
        would_change: Whether a dry run found something to change.
    """

    changed: bool
    files: tuple[Change, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    commit: str | None = None
    web_url: str | None = None
    merge_request: str | None = None
    merge_request_state: str | None = None
    would_change: bool = False

    def text(self) -> str:
        """Returns one short line for stdout."""
        if not self.files:
            line = "up to date"
        else:
            paths = len({change.path for change in self.files})
            places = _counted(len(self.files), "change")
            verb = "would make" if self.would_change else "made"
            line = f"{verb} {places} in {_counted(paths, 'file')}"
        where = self.merge_request or (self.commit and f"commit {self.commit[:8]}")
        if self.merge_request_state not in {None, "open"}:
            where = f"{where} ({self.merge_request_state})"
        return f"{line}: {where}" if where else line

    def dotenv(self) -> dict[str, str]:
        """Returns the variables for later jobs."""
        return {
            "BUMP_CHANGED": str(self.changed).lower(),
            "BUMP_COMMIT_SHA": self.commit or "",
            "BUMP_URL": self.merge_request or self.web_url or "",
        }


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_CONTEXT = 3


def unified_diff(path: str, old: bytes, new: bytes) -> str:
    """Returns the unified diff of a file before and after a bump.

    A bump never adds or removes a line, so it compares line by line: difflib would take
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
    name = one_line(path)
    lines = [f"--- a/{name}", f"+++ b/{name}"] if changed else []
    for first, last in _hunks(changed):
        start, end = max(first - _CONTEXT, 0), min(last + _CONTEXT + 1, len(before))
        end -= end == len(before) and before[-1] == ""  # the text after the last line break
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
    """Yields the first and last line of each group of changes with overlapping context."""
    first = 0
    for index, number in enumerate(changed):
        is_last = index + 1 == len(changed)
        if is_last or changed[index + 1] - number > 2 * _CONTEXT:
            yield changed[first], number
            first = index + 1
