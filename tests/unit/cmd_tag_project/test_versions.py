"""Which part of the version a commit asks for, and which version is the next of a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version

from cicd_common.errors import RefusedError
from cmd_tag_project.versions import Highest, part_of


@pytest.mark.parametrize(
    ("message", "part"),
    [
        ("feat: a", "minor"),
        ("FEAT: a", "minor"),
        ("feat(the api): a", "minor"),
        ("fix: a", "patch"),
        ("perf: a", "patch"),
        ("feat!: a", "major"),
        ("docs!: a", "major"),
        ("fix(api)!: a", "major"),
        ("fix: a\n\nBREAKING CHANGE: b", "major"),
        ("docs: a\n\nBREAKING-CHANGE: b", "major"),
        ("fix: a\n\nNot a BREAKING CHANGE: b", "patch"),
        ("fix: a\n\nbreaking change: b", "patch"),
        ("docs: a", None),
        ("revert: feat: a", None),
        ("feature: a", None),
        ("feat:a", None),
        ("feat a", None),
        ("Merge branch 'x'\n\nfeat: a", None),
        ("feat: a (b)!: c", "minor"),
        ("fix(a(b)): c", "patch"),
        ("fix(a)!: b (c): d", "major"),
        ("words\n\nBREAKING CHANGE: b", "major"),
        ("words\n\nBREAKING CHANGE:\n- b", "major"),
        ("words\n\nBREAKING CHANGES: b", None),
        ("fix: a\n\n  BREAKING CHANGE:b", "major"),
        ("", None),
    ],
)
def test_a_commit_message_decides_the_part_by_conventional_commits(
    message: str, part: str | None
) -> None:
    assert part_of(message) == part


@given(st.text(max_size=200))
def test_any_commit_message_can_be_read(message: str) -> None:
    assert part_of(message) in {None, "major", "minor", "patch"}


@pytest.mark.parametrize(
    ("version", "part", "within", "following"),
    [
        (None, "patch", None, "v0.0.1"),
        (None, "major", None, "v1.0.0"),
        (None, "patch", "1.4", "v1.4.0"),
        (None, "minor", "2", "v2.0.0"),
        ("1.4.9", "patch", "1.4", "v1.4.10"),
        ("1.4.9", "minor", "1", "v1.5.0"),
        ("2.0.0-rc.1", "patch", "2", "v2.0.0"),
    ],
)
def test_the_next_version_stays_in_the_range_of_within(
    version: str | None, part: str, within: str | None, following: str
) -> None:
    highest = Highest("v", Version.parse(version) if version else None)
    assert highest.next(part, within) == following


@pytest.mark.parametrize(
    ("version", "part", "within"), [("1.4.9", "minor", "1.4"), ("1.4.9", "major", "1")]
)
def test_12_a_version_outside_within_is_refused(version: str, part: str, within: str) -> None:
    with pytest.raises(RefusedError, match=f"not within {within}"):
        Highest("v", Version.parse(version)).next(part, within)
