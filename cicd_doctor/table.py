"""The table of findings, as a user reads it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cicd_common import cleaning
from cicd_common.cli import console
from cicd_doctor.findings import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cicd_doctor.findings import Finding

MARKS = {
    Verdict.PASSED: "ok",
    Verdict.WARNING: "warn",
    Verdict.FAILED: "FAIL",
    Verdict.NOT_APPLICABLE: "-",
}
_COLORS = {Verdict.WARNING: "yellow", Verdict.FAILED: "red"}


def table(findings: Sequence[Finding]) -> list[str]:
    """Returns the lines of the table: one for each check, with the reason and the remedy below it.

    The last lines name the checks that were not made.

    Args:
        findings: What the checks found.
    """
    lines = [line for each in findings if not each.blocked_by for line in _rows(each)]
    return [*lines, *_unchecked(findings)]


def _rows(finding: Finding) -> Iterator[str]:
    yield _row(finding.verdict, finding.check, _in_project(finding.project, finding.message))
    if finding.why:
        yield f"        why: {cleaning.one_line(finding.why)}"
    if finding.hint:
        yield f"         do: {cleaning.one_line(finding.hint)}"


def _unchecked(findings: Sequence[Finding]) -> Iterator[str]:
    """Yields a line for each failed check, with the checks that were not made because of it."""
    names: dict[tuple[str, str | None], list[str]] = {}
    for each in findings:
        if each.blocked_by:
            project = each.project if each.blocked_by == "project" else None
            group = names.setdefault((each.blocked_by, project), [])
            if each.check not in group:
                group.append(each.check)
    for (gate, project), checks in names.items():
        text = f"{', '.join(checks)} ({gate} failed)"
        yield _row(Verdict.NOT_APPLICABLE, "not checked", _in_project(project, text))


def _row(verdict: Verdict, check: str, text: str) -> str:
    mark = f"{MARKS[verdict]:<4}"
    if color := _COLORS.get(verdict):
        mark = console.styled(mark, color, sys.stdout)
    return f"{mark}  {check:<18}  {cleaning.one_line(text)}"


def _in_project(project: str | None, text: str) -> str:
    return f"{project}: {text}" if project else text
