from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.waiting.report import last_lines


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", ()),
        ("one\ntwo\nthree\nfour\n", ("two", "three", "four")),
        ("one\r\ntwo\r\n\n\n", ("one", "two")),
        ("one\n\nthree", ("one", "", "three")),
        ("\x1b[31;1mred\x1b[0;m \x1b]8;;https://a\x1b\\link\x1b]8;;\x1b\\", ("red link",)),
        ("  5%\r 50%\r100%\rdone\n", ("done",)),
        (
            "section_start:1:step[collapsed=true]\r\x1b[0KRun\nx\nsection_end:2:step\r\x1b[0K\n",
            ("Run", "x"),
        ),
        (
            "2026-01-05T09:00:00.01Z 00O one\n2026-01-05T09:00:00.02Z 00O+, still\n",
            ("one, still",),
        ),
        (
            "2026-01-05T09:00:00Z 00O one\n2026-01-05T09:00:01Z 0aE two\n",
            ("one", "two"),
        ),
        ("bell\x07 and\x00 \x9bcontrol", ("bell and control",)),
        ("a\tb", ("a       b",)),
        ("abc\r\x1b[K", ()),
        ("abc\r\x1b[Kdef", ("def",)),
        ("see section_start:12:foo in the docs", ("see section_start:12:foo in the docs",)),
    ],
)
def test_the_end_of_a_log_is_the_text_that_a_terminal_would_show(
    log: str, expected: tuple[str, ...]
) -> None:
    assert last_lines(log, 3) == expected


@given(st.text(), st.integers(1, 5))
def test_the_end_of_a_log_has_no_control_characters_and_a_limited_number_of_lines(
    log: str, count: int
) -> None:
    lines = last_lines(log, count)
    assert len(lines) <= count
    assert all(line.isprintable() for line in lines)


def test_a_hostile_log_is_read_in_linear_time() -> None:
    hostile = "section_start:1:a[" * 80_000
    assert last_lines(hostile, 20)[0].startswith("section_start:1:a[section_start")


def test_a_long_line_is_cut_and_shows_how_much_is_missing() -> None:
    [line] = last_lines("x" * 2500, 20)
    assert line == "x" * 2000 + "… [500 more characters]"
    assert last_lines("x" * 2000, 20) == ("x" * 2000,)


def test_the_newest_lines_of_a_long_log_are_kept_and_the_cut_is_shown() -> None:
    lines = last_lines("\n".join(f"{number:05} {'x' * 994}" for number in range(100)), 1000)
    assert lines[0] == "[35 earlier lines left out: too long]"
    assert [lines[1][:5], lines[-1][:5]] == ["00035", "00099"]
    assert sum(len(line) + 1 for line in lines[1:]) <= 65536


def test_an_unlimited_number_of_lines_is_not_an_error() -> None:
    assert last_lines("one\ntwo", 10**30) == ("one", "two")
