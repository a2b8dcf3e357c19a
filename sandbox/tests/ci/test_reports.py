"""Reports by GitLab's rules, with the inputs that it takes and refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox.ci import reports
from sandbox.model import State, TestCounts

if TYPE_CHECKING:
    from pathlib import Path

MANY = "".join(f"K{number}=1\n" for number in range(21)).encode()
KEY = "Validation failed: Key can contain only letters, digits and '_'."
CASE = '<testcase classname="c" name="n">{}</testcase>'


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", {}),
        (b"A=1\nB=2", {"A": "1", "B": "2"}),
        (b"A=1\r\nB = two words \r\n", {"A": "1", "B": "two words"}),
        (b"\xef\xbb\xbfA=1\n", {"A": "1"}),
        (b"A=1\nA=2\n", {"A": "2"}),
        (b'A="quoted"=b#c\n', {"A": '"quoted"=b#c'}),
        ("A=1\u2028B=2\n".encode(), {"A": "1\u2028B=2"}),
        (b"A=\xff\n", {"A": "\ufffd"}),
        (MANY.replace(b"K20=1\n", b""), {f"K{number}": "1" for number in range(20)}),
    ],
)
def test_a_valid_dotenv_report_is_parsed(
    state: State, content: bytes, expected: dict[str, str]
) -> None:
    found = reports.dotenv(content, state)
    assert {variable.key: variable.value for variable in found} == expected
    assert not any(variable.raw for variable in found)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"A=1\n\nB=2\n", "Invalid Format"),
        (b"A=1\nnonsense\n", "Invalid Format"),
        (b"\n", "Invalid Format"),
        (b"A-B=1\n", KEY),
        ("Ä=1\n".encode(), KEY),
        (b"K" * 256 + b"=1\n", "Validation failed: Key is too long (maximum is 255 characters)"),
        (MANY, "Dotenv files cannot have more than 20 variables"),
        (b"A=" + b"x" * 5118, "Dotenv Artifact Too Big. Maximum Allowable Size: 5120"),
    ],
)
def test_an_invalid_dotenv_report_is_refused(state: State, content: bytes, text: str) -> None:
    with pytest.raises(reports.ReportError) as refused:
        reports.dotenv(content, state)
    assert str(refused.value) == text


def test_two_test_cases_with_the_same_name_and_outcome_count_as_one() -> None:
    failed, passed = CASE.format("<failure/>"), CASE.format("")
    suite = f'<testsuite name="s">{failed * 2}{passed * 3}</testsuite>'
    other = f'<testsuite name="t">{passed}</testsuite>'
    found = reports.junit([f"<testsuites>{suite}{other}</testsuites>".encode()])
    assert found == TestCounts(success=2, failed=1)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"<testsuite>", "JUnit XML parsing failed: no element found: line 1, column 11"),
        (b" " * (30 * 1024 * 1024 + 1), "The XML file must be less than 30 MB"),
    ],
)
def test_an_unreadable_junit_report_is_an_error_of_the_suite(content: bytes, error: str) -> None:
    assert reports.junit([content]) == TestCounts(suite_error=error)
