"""The order of tags that are versions."""

from __future__ import annotations

import re
from functools import lru_cache

_VERSION = re.compile(
    r"v?(?P<core>[0-9]{1,9}(?:\.[0-9]{1,9}){1,2})"
    # The kinds of pre-release whose numbers count up; other suffixes have no order.
    r"(?:-(?P<kind>alpha|beta|rc|pre|preview|dev|canary|next|nightly|milestone|m|a|b)"
    r"[.-]?(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})*)|-.*)?"
)


@lru_cache
def is_lower(new: str, old: str) -> bool:
    """Returns True if a tag is a lower version than another one.

    It is lower in major, minor or patch; with those equal only if both are pre-releases of the
    same kind. A tag that is not a version has no order.

    Args:
        new: The tag to set.
        old: The tag before.
    """
    ours, theirs = _VERSION.fullmatch(new), _VERSION.fullmatch(old)
    if ours is None or theirs is None:
        return False
    pairs = zip(_numbers(ours["core"]), _numbers(theirs["core"]), strict=False)
    for our, their in pairs:
        if our != their:
            return our < their
    if ours["core"].count(".") != theirs["core"].count(".") or ours["kind"] is None:
        return False
    return ours["kind"] == theirs["kind"] and _numbers(ours["number"]) < _numbers(theirs["number"])


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
