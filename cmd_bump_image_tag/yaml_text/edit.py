"""Changes scalars in a text, and verifies that nothing else has changed."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import takewhile, zip_longest
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from cmd_bump_image_tag.yaml_text.scan import NotYamlError, events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cmd_bump_image_tag.yaml_text.scan import Scalar


_STRING_TAGS = ("!", "tag:yaml.org,2002:str")

# An anchor and a tag precede the content, and comments can be between them.
_PROPERTIES = re.compile(r"(?:[&!]\S*+(?:\s++#[^\r\n]*+)*+\s*+)*+")

# One character of a double-quoted scalar: https://yaml.org/spec/1.2.2/#57-escaped-characters
# An escaped line break, with the indentation after it, stands for none.
_CHARACTER = re.compile(
    r"(?P<nothing>\\(?:\r\n|[\r\n])[ \t]*)"
    r"|\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)|[^\\]",
    re.DOTALL,
)

# What a plain scalar is read as, by the resolutions of YAML 1.1 (https://yaml.org/type/), of
# YAML 1.2's core schema and of Go's yaml packages, whatever number base they know; generous,
# for quotes that were not needed do no harm.
_NOT_A_STRING = re.compile(
    r"""
      ~ | null | true | false | yes | no | on | off | y | n
    | [-+]? 0 (?: x [0-9a-f]+ | o [0-7]+ | b [01]+ )
    | [-+]? (?: [0-9]+ (?: \. [0-9]* )? | \. [0-9]+ ) (?: e [-+]? [0-9]+ )?
    | [-+]? [0-9]+ (?: : [0-9]{1,2} )+ (?: \. [0-9]* )?        # sexagesimal, such as 12:30
    | [0-9]{4} - [0-9]{1,2} - [0-9]{1,2}                       # a date
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_LINE_BREAK = re.compile(r"[\r\n\x85\u2028\u2029]")
_NULLS = ("", "~", "null", "Null", "NULL")


class UnsafeError(Exception):
    """A value cannot be written without risk to something else.

    Args:
        why: What prevents it, as a sentence.
        scalar: The scalar, if the problem is in one.
    """

    def __init__(self, why: str, scalar: Scalar | None = None) -> None:
        super().__init__(why)
        self.scalar = scalar


class Splice(NamedTuple):
    """A piece of a text, by character offsets, and its replacement."""

    start: int
    end: int
    new: str


@lru_cache(maxsize=1024)  # one bump writes the same value in many places
def is_string(text: str) -> bool:
    """Returns True if YAML 1.1 and YAML 1.2 both read a plain scalar as a string."""
    return _NOT_A_STRING.fullmatch(text.replace("_", "")) is None


def content(scalar: Scalar) -> str:
    """Returns a scalar's value, with an empty text for YAML's nulls."""
    return "" if not scalar.style and scalar.value in _NULLS else scalar.value


def is_settled(scalar: Scalar, value: str) -> bool:
    """Returns True if the scalar has this value already, as a string."""
    if not value:
        return not content(scalar)
    if scalar.value != value:
        return False
    return bool(scalar.style) or scalar.tag in _STRING_TAGS or is_string(value)


def splices(text: str, scalar: Scalar, value: str) -> list[Splice]:
    """Returns the changes that give a scalar another value.

    Args:
        text: The text that holds the scalar.
        scalar: The scalar.
        value: A reference, a tag, a digest or nothing, so no character needs an escape. Or the
            YAML that the scalar holds as a string, with such values changed in it.

    Raises:
        UnsafeError: The scalar's tag or its line breaks do not allow it.
    """
    if scalar.tag is not None and scalar.tag not in _STRING_TAGS:
        raise UnsafeError(f"Its tag {scalar.tag} says that it is not a plain string.", scalar)
    start = scalar.start
    if text[start : start + 1] in ("&", "!"):
        found = _PROPERTIES.match(text, start, scalar.end)
        start = found.end() if found else start
    changes = _WRITERS[scalar.style](text, start, scalar, value)
    for change in changes:
        if _LINE_BREAK.search(text, change.start, change.end) or "\n" in change.new:
            raise UnsafeError("It spans several lines.", scalar)
    return changes


def _plain(text: str, start: int, scalar: Scalar, value: str) -> list[Splice]:
    is_json = scalar.key is not None and scalar.key.style == '"'
    written = value if is_string(value) and value and not is_json else f'"{value}"'
    if start == scalar.end and text[start - 1 : start] not in ("", " ", "\t", "\n", "\r"):
        written = f" {written}"
    return [Splice(start, scalar.end, written)]


def _quoted(text: str, start: int, scalar: Scalar, value: str) -> list[Splice]:
    """Replaces what differs in the middle, so that the rest keeps its escapes."""
    first, last = _difference(scalar.value, value)
    new = value[first : len(value) - last]
    position, end = start + 1, scalar.end - 1
    if "\\" not in text[start : scalar.end] or scalar.style == "'":
        if len(scalar.value) != end - position:  # doubled quotes, or folded lines
            return [Splice(position + first, end, value[first:])]
        return [Splice(position + first, end - last, new)]
    visible = [
        found for found in _CHARACTER.finditer(text, position, end) if found["nothing"] is None
    ]
    begin = visible[first - 1].end() if first else position
    stop = visible[len(visible) - last].start() if last else end
    return [Splice(begin, max(begin, stop), new)]


def _difference(old: str, new: str) -> tuple[int, int]:
    """Returns how many characters two texts share at the beginning, and then at the end."""
    first = sum(1 for _ in takewhile(_are_equal, zip(old, new, strict=False)))
    pairs = zip(reversed(old[first:]), reversed(new[first:]), strict=False)
    return first, sum(1 for _ in takewhile(_are_equal, pairs))


def _are_equal(pair: tuple[str, str]) -> bool:
    return pair[0] == pair[1]


def _block(text: str, start: int, scalar: Scalar, value: str) -> list[Splice]:
    """Replaces lines of a block scalar; its header and indentation stay."""
    if not value or not scalar.value:
        raise UnsafeError("It is a block of text.", scalar)
    if scalar.style == ">" and "\n" in scalar.value.rstrip("\n"):
        raise UnsafeError("Its lines are folded.", scalar)
    raw = list(_RAW_LINE.finditer(text, start, scalar.end))[1:]  # without the header
    old, new = scalar.value.split("\n"), value.split("\n")
    if len(old) != len(new) or len(raw) < len(value.rstrip("\n").split("\n")):
        raise UnsafeError("It is a block of text.", scalar)
    changes = []
    for found, before, after in zip(raw, old, new, strict=False):
        if before != after:
            end = found.start() + len(found[0].rstrip("\r\n"))
            if not text.endswith(before, found.start(), end):
                raise UnsafeError("It is a block of text.", scalar)
            changes.append(Splice(end - len(before), end, after))
    return changes


_RAW_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_WRITERS = {"": _plain, "'": _quoted, '"': _quoted, "|": _block, ">": _block}


# What a loader reads from an event, except for its position.
_SEEN = {
    "DocumentStartEvent": attrgetter("explicit", "version", "tags"),
    "DocumentEndEvent": attrgetter("explicit"),
    "MappingStartEvent": attrgetter("anchor", "tag", "implicit", "flow_style"),
    "SequenceStartEvent": attrgetter("anchor", "tag", "implicit", "flow_style"),
    "AliasEvent": attrgetter("anchor"),
    "ScalarEvent": attrgetter("anchor", "tag", "implicit", "value", "style"),
}


def edit(text: str, values: Mapping[Scalar, str]) -> str:
    """Returns a text with new values for some of its scalars.

    Args:
        text: The text, without a byte-order mark.
        values: The scalars of this text that change, and their new values.

    Raises:
        UnsafeError: A value cannot be written, or the result would differ in more than the values.
    """
    pieces = []
    position = 0
    changes = (splices(text, scalar, value) for scalar, value in values.items())
    for change in sorted(change for each in changes for change in each):
        pieces += [text[position : change.start], change.new]
        position = change.end
    edited = "".join([*pieces, text[position:]])
    _verify(text, edited, {scalar.start: value for scalar, value in values.items()})
    return edited


def _verify(text: str, edited: str, wanted: dict[int, str]) -> None:
    """Parses both texts and compares them event by event.

    Args:
        text: The text as it was.
        edited: The text as it is now.
        wanted: The new values, by the scalars' offsets in the old text.
    """
    try:
        for old, new in zip_longest(events(text), events(edited)):
            if not _is_same(old, new, wanted):
                raise UnsafeError("The result would differ in more than the new value.")
    except NotYamlError as error:
        raise UnsafeError("The result would not be YAML.") from error


def _is_same(old: Any, new: Any, wanted: dict[int, str]) -> bool:
    if old is None or type(old) is not type(new):
        return False
    name = type(old).__name__
    if name == "ScalarEvent" and old.start_mark.index in wanted:
        expected = (old.anchor, old.tag, wanted[old.start_mark.index])
        return expected == (new.anchor, new.tag, new.value)
    return name not in _SEEN or _SEEN[name](old) == _SEEN[name](new)
