"""Semantic versions, by the examples of the specification and of node-semver."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version

from cicd_common.versions import parse_version


def version(text: str) -> Version:
    parsed = parse_version(text)
    assert parsed is not None
    return parsed


VALID = [
    "0.0.0",
    "1.2.3",
    "10.20.30",
    "1.0.0-alpha",
    "1.0.0-0.3.7",
    "1.0.0-x-y-z.--",
    "1.0.0-0a.1",
    "1.0.0-alpha+001",
    "1.0.0+20130313144700",
    "1.0.0+21AF26D3----117B344092BD",
]


@pytest.mark.parametrize("text", VALID)
def test_a_parsed_version_prints_the_same_text(text: str) -> None:
    assert str(version(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "v1.2.3",
        "01.2.3",
        "1.02.3",
        "1.2.3-",
        "1.2.3-01",
        "1.2.3-a..b",
        "1.2.3+",
        "1.2.3\n",
        " 1.2.3",
        "1.2.٣",
        "1.2.3-ß",
        "9" * 5000 + ".0.0",
        "1.2.3-" + "0" * 100_000 + "!",
    ],
)
def test_text_that_is_not_a_version_returns_none(text: str) -> None:
    assert parse_version(text) is None


def test_versions_sort_in_the_order_of_the_specification() -> None:
    ascending = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.0.1",
        "1.2.0",
        "1.10.0",
        "2.0.0-0",
        "2.0.0",
    ]
    assert all(version(low) < version(high) for low, high in pairwise(ascending))
    assert not any(version(low) >= version(high) for low, high in pairwise(ascending))


def test_builds_of_one_version_have_the_same_precedence() -> None:
    assert version("1.0.0+a").compare("1.0.0+b") == 0
    assert not version("1.0.0+a") < version("1.0.0+b")


@pytest.mark.parametrize(
    ("current", "part", "expected"),
    [
        ("1.2.3", "major", "2.0.0"),
        ("1.2.3", "minor", "1.3.0"),
        ("1.2.3", "patch", "1.2.4"),
        ("1.2.3-rc.1", "major", "2.0.0"),
        ("1.2.0-rc.1", "major", "2.0.0"),
        ("2.0.0-rc.1", "major", "2.0.0"),
        ("1.2.3-rc.1", "minor", "1.3.0"),
        ("1.2.0-rc.1", "minor", "1.2.0"),
        ("1.2.3-rc.1", "patch", "1.2.3"),
        ("1.2.3+build.7", "patch", "1.2.4"),
        ("0.0.0", "patch", "0.0.1"),
    ],
)
def test_the_next_version_is_the_same_as_in_npm(current: str, part: str, expected: str) -> None:
    assert str(version(current).next_version(part)) == expected


@given(st.text(max_size=300))
def test_parsing_fails_on_no_text(text: str) -> None:
    parse_version(text)
