"""Reads the comments `# bump: ignore` and Flux's `# {"$imagepolicy": "NS:NAME:tag"}`."""

from __future__ import annotations

import re
import sys
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cmd_bump_image_tag.yaml_text.scan import Scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cmd_bump_image_tag.yaml_text.scan import Scan

POLICY_WORD = "$imagepolicy"

_WISH = re.compile(r"\bbump:[ \t]*ignore\b|\$imagepolicy")
_COMMENT = re.compile(r"(?<!\S)#([^\r\n]*)")
_IGNORE = re.compile(r"\bbump:[ \t]*ignore\b")
# https://fluxcd.io/flux/guides/image-update/#configure-image-update-for-custom-resources
_POLICY = re.compile(
    r'\{\s*"\$imagepolicy"\s*:\s*"(?P<policy>[^":\s]+:[^":\s]+)(?::(?P<part>name|tag|digest))?"'
)
_WIDEST = 1000  # characters at the beginning of a line that are searched for a comment
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Marked:
    """A scalar whose line names an image policy.

    Attributes:
        scalar: The scalar.
        policy: `NAMESPACE:NAME`.
        part: What the scalar is: `name`, `tag`, `digest`, or nothing for the whole reference.
    """

    scalar: Scalar
    policy: str
    part: str


@dataclass(frozen=True)
class Comments:
    """The comments of a text that freeze or mark values.

    Attributes:
        frozen: The numbers of the lines that stay as they are, from 1.
        frozen_parts: The parts of the text that stay, as start and end in characters: the value
            of a key, or an item of a list, whose line is frozen.
        marked: The scalars that follow a policy.
    """

    frozen: frozenset[int] = frozenset()
    frozen_parts: tuple[tuple[int, int], ...] = ()
    marked: tuple[Marked, ...] = ()

    def is_in_frozen_part(self, offset: int) -> bool:
        """Returns True if the character at an offset is within a frozen part."""
        index = bisect_right(self.frozen_parts, (offset, sys.maxsize)) - 1
        return index >= 0 and offset < self.frozen_parts[index][1]


@dataclass(frozen=True)
class Lines:
    """The lines of a text."""

    ends: list[int] = field(repr=False)  # the offset after each line end

    @classmethod
    def of(cls, text: str) -> Lines:
        """Returns the lines of a text, which end with LF, CRLF or CR."""
        return cls([found.end() for found in _LINE_END.finditer(text)])

    def number(self, offset: int) -> int:
        """Returns the number, from 1, of the line that holds the character at an offset."""
        return bisect_left(self.ends, offset + 1) + 1

    def of_scalar(self, scalar: Scalar) -> int:
        """Returns the number of the line on which a scalar's text is, or begins in a block."""
        if scalar.style in ("|", ">"):
            return self.number(scalar.start) + 1
        return self.number(max(scalar.end - 1, 0))

    def start(self, number: int) -> int:
        """Returns the offset of a line's first character."""
        return self.ends[number - 2] if number > 1 else 0


def find_comments(scan: Scan, lines: Lines) -> Comments:
    """Finds the comments that freeze or mark values.

    Args:
        scan: The text's documents.
        lines: Its lines.
    """
    starts: list[int] = []
    frozen: set[int] = set()
    above: set[int] = set()  # comments that have a line of their own
    marked: list[Marked] = []
    # The plain searches are many times faster, and almost always find nothing.
    if POLICY_WORD not in scan.text and "bump:" not in scan.text:
        return Comments()
    for number in sorted({lines.number(wish.start()) for wish in _WISH.finditer(scan.text)}):
        starts = starts or [scalar.start for scalar in scan.scalars]
        scalar, comment = _comment(scan, starts, lines.start(number))
        if _IGNORE.search(comment):
            (above if _is_comment(scan.text, lines.start(number)) else frozen).add(number)
        policy = _POLICY.search(comment)
        if policy and scalar is not None and not scalar.is_key:
            marked.append(Marked(scalar, policy["policy"], policy["part"] or ""))
    below = _lines_below(scan.text, lines, above)
    parts = _frozen_parts(scan, lines, frozen | below, below) if frozen | below else ()
    return Comments(frozenset(frozen | below), _disjoint(parts), tuple(marked))


def _is_comment(text: str, line_start: int) -> bool:
    """Returns True if a line holds only a comment."""
    return text[line_start : line_start + _WIDEST].lstrip(" \t").startswith("#")


def _lines_below(text: str, lines: Lines, above: set[int]) -> set[int]:
    """Returns the lines below some comments, past the comments that follow them directly."""
    found: dict[int, int] = {}
    for number in sorted(above, reverse=True):
        line = number + 1
        while line not in found and line <= len(lines.ends):
            if not _is_comment(text, lines.start(line)):
                break
            line += 1
        found[number] = found.get(line, line)
    return set(found.values())


def _disjoint(parts: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Returns parts of a text in order, without those that lie within others."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(parts):
        if not found or end > found[-1][1]:
            found.append((start, end))
    return tuple(found)


def _frozen_parts(
    scan: Scan, lines: Lines, frozen: set[int], below: set[int]
) -> Iterator[tuple[int, int]]:
    """Yields the parts of the text that a frozen line freezes below it.

    Args:
        scan: The text's documents.
        lines: Its lines.
        frozen: The lines that are frozen.
        below: Those that a comment above has frozen; it freezes an item of a list as a whole.
    """
    for mapping in scan.mappings:
        if mapping.is_item and below and lines.number(mapping.start) in below:
            yield mapping.start, mapping.end
        for key, value in mapping.entries:
            # The value of an alias is elsewhere.
            is_below = not isinstance(value, Scalar) and key.start < value.start < mapping.end
            if is_below and lines.number(key.start) in frozen:
                yield key.start, value.end


def _comment(scan: Scan, starts: list[int], line_start: int) -> tuple[Scalar | None, str]:
    """Returns a line's comment, and the last scalar before it or the block that it heads."""
    found = _LINE_END.search(scan.text, line_start)
    line_end = found.start() if found else len(scan.text)
    index = bisect_left(starts, line_end) - 1
    scalar = scan.scalars[index] if index >= 0 else None
    tail = line_start
    if scalar is not None and scalar.end > line_start:
        is_header = scalar.style in ("|", ">") and scalar.start >= line_start
        tail = scalar.start if is_header else scalar.end
    comment = _COMMENT.search(scan.text, tail, line_end) if tail < line_end else None
    is_beside = scalar is not None and tail > line_start
    return scalar if is_beside else None, comment[1] if comment else ""
