"""A file, read: its images and what its comments ask for."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cmd_bump_image_tag.formats import images
from cmd_bump_image_tag.yaml_text.comments import Comments, Lines, comments
from cmd_bump_image_tag.yaml_text.scan import NotYamlError, scan

if TYPE_CHECKING:
    from cmd_bump_image_tag.images import Image
    from cmd_bump_image_tag.yaml_text.scan import Node, Scalar


@dataclass(frozen=True)
class Source:
    """A file that was read.

    Attributes:
        path: Its path in the repository.
        mark: Its byte-order mark, if it has one.
        text: Its text after that.
        lines: Where its lines are.
        documents: The root of each of its documents.
        images: Its images.
        comments: What its comments ask for.
    """

    path: str
    mark: bytes
    text: str
    lines: Lines
    documents: list[Node]
    images: tuple[Image, ...]
    comments: Comments

    def place(self, scalar: Scalar) -> str:
        """Return `PATH:LINE` of a scalar."""
        return f"{self.path}:{self.lines.of_scalar(scalar)}"

    def place_of(self, image: Image) -> str:
        """Return `PATH:LINE` of an image."""
        return self.place((*image.scalars, *image.lines)[0])

    def is_frozen(self, image: Image) -> bool:
        """Return whether a comment on one of the image's lines asks to leave it alone."""
        frozen = self.comments.frozen
        return bool(frozen) and any(
            self.lines.number(scalar.start) in frozen or self.lines.of_scalar(scalar) in frozen
            for scalar in (*image.scalars, *image.lines)
        )


def read(path: str, data: bytes) -> Source:
    """Read a file.

    Args:
        path: Its path in the repository, by which some formats are told.
        data: Its bytes, in UTF-8.

    Raises:
        NotYamlError: It is no YAML in UTF-8.
    """
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    try:
        text = data[len(mark) :].decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise NotYamlError(line, f"is not UTF-8: {error.reason}") from error
    scanned = scan(text)
    lines = Lines.of(text)
    return Source(
        path,
        mark,
        text,
        lines,
        scanned.documents,
        tuple(images(scanned, path)),
        comments(scanned, lines),
    )
