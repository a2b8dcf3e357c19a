"""What comments ask for: `# bump: ignore`, and Flux's `# {"$imagepolicy": "NS:NAME:tag"}`."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmd_bump_image_tag.yaml_text.scan import Scalar, Scan

POLICY_WORD = "$imagepolicy"

_WISH = re.compile(r"\bbump:[ \t]*ignore\b|\$imagepolicy")
_COMMENT = re.compile(r"\s#([^\r\n]*)")
_IGNORE = re.compile(r"\bbump:[ \t]*ignore\b")
# https://fluxcd.io/flux/guides/image-update/#configure-image-update-for-custom-resources
_POLICY = re.compile(
    r'\{\s*"\$imagepolicy"\s*:\s*"(?P<policy>[^":\s]+:[^":\s]+)(?::(?P<part>name|tag|digest))?"'
)
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
    """The comments of a text that ask for something.

    Attributes:
        frozen: The numbers of the lines that shall stay, from 1.
        marked: The scalars that follow a policy.
    """

    frozen: frozenset[int] = frozenset()
    marked: tuple[Marked, ...] = ()


@dataclass(frozen=True)
class Lines:
    """The lines of a text."""

    ends: list[int] = field(repr=False)  # the offset after each line end

    @classmethod
    def of(cls, text: str) -> Lines:
        """Counts a text's lines, ended by LF, CRLF or CR."""
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
    """Finds the comments that ask for something.

    Args:
        scan: The text's documents.
        lines: Its lines.
    """
    starts: list[int] = []
    frozen: set[int] = set()
    marked: list[Marked] = []
    # The plain searches are many times faster, and nearly always say no.
    if POLICY_WORD not in scan.text and "bump:" not in scan.text:
        return Comments()
    for number in sorted({lines.number(update.start()) for update in _WISH.finditer(scan.text)}):
        starts = starts or [scalar.start for scalar in scan.scalars]
        scalar, comment = _comment(scan, starts, lines.start(number))
        if _IGNORE.search(comment):
            frozen.add(number)
        policy = _POLICY.search(comment)
        if policy and scalar is not None and not scalar.is_key:
            marked.append(Marked(scalar, policy["policy"], policy["part"] or ""))
    return Comments(frozenset(frozen), tuple(marked))


def _comment(scan: Scan, starts: list[int], line_start: int) -> tuple[Scalar | None, str]:
    """Returns a line's comment and the last scalar that ends before it, or the block it heads."""
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
