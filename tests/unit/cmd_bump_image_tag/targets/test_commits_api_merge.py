from __future__ import annotations

import pytest

from cicd_common.errors import ConflictError
from cmd_bump_image_tag.targets.commits_api import merge_lines

BEFORE = b"web: 1\r\napi: 1\r\ndb: 1"


@pytest.mark.parametrize(
    ("theirs", "now", "merged"),
    [
        (b"web: 1\r\napi: 2\r\ndb: 1", b"web: 2\r\napi: 1\r\ndb: 1", b"web: 2\r\napi: 2\r\ndb: 1"),
        # Somebody else has built upon it meanwhile.
        (b"web: 1\r\napi: 2\r\ndb: 1", b"web: 2\r\napi: 1\r\ndb: 3", b"web: 2\r\napi: 2\r\ndb: 3"),
        # The same line: the later edit stands.
        (b"web: 2\r\napi: 1\r\ndb: 1", b"web: 3\r\napi: 1\r\ndb: 1", b"web: 3\r\napi: 1\r\ndb: 1"),
        (BEFORE, BEFORE, BEFORE),
    ],
)
def test_both_edits_are_in_the_result(theirs: bytes, now: bytes, merged: bytes) -> None:
    assert merge_lines("a.yaml", BEFORE, theirs, now) == merged


@pytest.mark.parametrize(
    ("theirs", "now"), [(BEFORE + b"\n", BEFORE), (BEFORE, BEFORE + b"\nmore: 1"), (b"", BEFORE)]
)
def test_a_merge_of_added_or_removed_lines_is_refused(theirs: bytes, now: bytes) -> None:
    with pytest.raises(ConflictError, match=r"a\.yaml"):
        merge_lines("a.yaml", BEFORE, theirs, now)
