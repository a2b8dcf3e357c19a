"""Changing scalars in a text, and the proof that nothing else has changed."""

from __future__ import annotations

from itertools import zip_longest
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from cmd_bump_image_tag.scan import NotYamlError, events
from cmd_bump_image_tag.splices import UnsafeError, splice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cmd_bump_image_tag.scan import Scalar

# What a loader sees of an event, but for where it stands.
_SEEN = {
    "DocumentStartEvent": attrgetter("explicit", "version", "tags"),
    "DocumentEndEvent": attrgetter("explicit"),
    "MappingStartEvent": attrgetter("anchor", "tag", "implicit", "flow_style"),
    "SequenceStartEvent": attrgetter("anchor", "tag", "implicit", "flow_style"),
    "AliasEvent": attrgetter("anchor"),
    "ScalarEvent": attrgetter("anchor", "tag", "implicit", "value", "style"),
}


def edit(text: str, values: Mapping[Scalar, str]) -> str:
    """Return a text with new values for some of its scalars.

    Args:
        text: The text, without a byte-order mark.
        values: The scalars of this text that change, and what each says then.

    Raises:
        UnsafeError: One of them cannot be written, or the result would differ in more than that.
    """
    pieces = []
    position = 0
    for change in sorted(splice(text, scalar, value) for scalar, value in values.items()):
        pieces += [text[position : change.start], change.new]
        position = change.end
    edited = "".join([*pieces, text[position:]])
    _verify(text, edited, {scalar.start: value for scalar, value in values.items()})
    return edited


def _verify(text: str, edited: str, wanted: dict[int, str]) -> None:
    """Parse both texts and compare them event by event.

    Args:
        text: The text as it was.
        edited: The text as it is now.
        wanted: By offset in the old text, what the scalar there says now.
    """
    try:
        for old, new in zip_longest(events(text), events(edited)):
            if not _is_same(old, new, wanted):
                raise UnsafeError("the result would differ in more than that")
    except NotYamlError as error:
        raise UnsafeError("the result would be no YAML") from error


def _is_same(old: Any, new: Any, wanted: dict[int, str]) -> bool:
    if old is None or type(old) is not type(new):
        return False
    name = type(old).__name__
    if name == "ScalarEvent" and old.start_mark.index in wanted:
        expected = (old.anchor, old.tag, wanted[old.start_mark.index])
        return expected == (new.anchor, new.tag, new.value)
    return name not in _SEEN or _SEEN[name](old) == _SEEN[name](new)
