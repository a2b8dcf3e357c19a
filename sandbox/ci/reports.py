"""Reports of jobs, as GitLab reads them: dotenv and JUnit, with its limits and its texts.

Sources: `app/services/ci/parse_dotenv_artifact_service.rb`, `Ci::JobVariable`,
`lib/gitlab/ci/parsers/test/junit.rb` and `lib/gitlab/ci/reports/test_suite.rb` in GitLab's source.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from sandbox.model import TestCounts, Variable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.model import State

_LINE = re.compile(r"([^\n]*?)=([^\n]*)")
_KEY = re.compile(r"[a-zA-Z0-9_]+")
_LONGEST_KEY = 255
# What Ruby's `strip` takes away, at both ends and at the right one.
_BLANK = " \t\v\f\r\n"
_MOST_XML = 30 * 1024 * 1024  # bytes
_OUTCOMES = {"failure": "failed", "error": "error", "skipped": "skipped"}


class ReportError(Exception):
    """GitLab refuses a report; the text is its own."""


def dotenv(content: bytes, state: State) -> list[Variable]:
    """The variables of a dotenv report; a later line of the same key wins.

    Args:
        content: The file.
        state: The records, for the server's limits.

    Raises:
        ReportError: GitLab refuses it.
    """
    if len(content) >= state.dotenv_bytes:
        raise ReportError(f"Dotenv Artifact Too Big. Maximum Allowable Size: {state.dotenv_bytes}")
    text = content.decode(errors="replace").removeprefix("\ufeff")
    # Ruby's lines end at \n alone, and an empty one does not match.
    lines = text.removesuffix("\n").split("\n") if text else []
    found = dict(_pair(line) for line in lines)
    if len(found) > state.dotenv_variables:
        raise ReportError(f"Dotenv files cannot have more than {state.dotenv_variables} variables")
    for key in found:
        _check_key(key)
    return [Variable(key, value) for key, value in found.items()]


def _pair(line: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ReportError("Invalid Format")
    key, value = (part.lstrip(_BLANK + "\0").rstrip(_BLANK + "\0") for part in match.groups())
    return key, value


def _check_key(key: str) -> None:
    problems = []
    if not key:
        problems.append("Key can't be blank")
    if len(key) > _LONGEST_KEY:
        problems.append(f"Key is too long (maximum is {_LONGEST_KEY} characters)")
    if not _KEY.fullmatch(key):
        problems.append("Key can contain only letters, digits and '_'.")
    if problems:
        raise ReportError(f"Validation failed: {', '.join(problems)}")


def junit(files: Iterable[bytes]) -> TestCounts:
    """The counts of a job's JUnit reports.

    GitLab knows a case by its suite, class and name; of two with the same outcome it keeps one. A
    file that it cannot read is an error of the whole suite, and the job's upload succeeds.
    """
    cases: set[tuple[str, str, str, str]] = set()
    for content in files:
        if len(content) > _MOST_XML:
            return TestCounts(suite_error="The XML file must be less than 30 MB")
        try:
            # The report is a file of a job that this very user just ran.
            root = ET.fromstring(content)  # noqa: S314
        except ET.ParseError as error:
            return TestCounts(suite_error=f"JUnit XML parsing failed: {error}")
        for suite in root.iter("testsuite"):
            for case in suite.findall("testcase"):
                outcome = next(
                    (_OUTCOMES[tag] for tag in _OUTCOMES if case.find(tag) is not None), ""
                )
                key = (suite.get("name", ""), case.get("classname", ""), case.get("name", ""))
                cases.add((outcome or "success", *key))
    counts = [outcome for outcome, *_ in cases]
    return TestCounts(
        success=counts.count("success"),
        failed=counts.count("failed"),
        error=counts.count("error"),
        skipped=counts.count("skipped"),
    )
