"""Mentions of an old reference that a bump leaves behind in text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from cmd_bump_image_tag.formats import find_images
from cmd_bump_image_tag.image_reference import DIGEST, TAG, parse_template
from cmd_bump_image_tag.matching import read_nested
from cmd_bump_image_tag.result import Skipped
from cmd_bump_image_tag.yaml_text.keypaths import escaped, identity
from cmd_bump_image_tag.yaml_text.scan import Mapping, Scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from cmd_bump_image_tag.image_reference import ImageReference
    from cmd_bump_image_tag.images import Update
    from cmd_bump_image_tag.matching import Source
    from cmd_bump_image_tag.yaml_text.scan import Node, Scan

_SUFFIX = re.compile(rf"(?::{TAG})?(?:@(?:{DIGEST}))?")
_BEFORE_NAME = re.compile(r"://|:[-=?+]")  # a scheme, and a default such as `${IMAGE:-NAME}`
_IN_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:${}")
_LONGEST_NAME = 300


class Mention(NamedTuple):
    """A reference in a text.

    Attributes:
        reference: The reference.
        start: Where it begins in the text, in characters.
        end: Where it ends.
    """

    reference: ImageReference
    start: int
    end: int


def find_mentions(text: str, update: Update) -> Iterator[Mention]:
    """Yields the references of an image in a text, those that have a tag or a digest.

    Args:
        text: Any text.
        update: The update of the image.
    """
    last = update.word
    position = text.find(last)
    while position >= 0:
        after = position + len(last)
        found = _SUFFIX.match(text, after)
        end = after + len((found[0] if found else "").rstrip(".-"))  # a sentence's end
        if end > after:
            start = position
            while start > max(position - _LONGEST_NAME, 0) and text[start - 1] in _IN_NAME:
                start -= 1
            token = _BEFORE_NAME.split(text[start:end])[-1]
            reference = parse_template(token)
            if reference is not None and reference.repository == update.reference.repository:
                yield Mention(reference, end - len(token), end)
        position = text.find(last, after)


def find_leftovers(
    source: Source,
    update: Update,
    is_old: Callable[[ImageReference], bool],
    settled: Collection[Scalar],
) -> Iterator[Skipped]:
    """Yields the mentions of an image in the text of a YAML file.

    Args:
        source: The file.
        update: The update of the image.
        is_old: Returns whether a reference of the image counts.
        settled: The scalars that the bump has dealt with.
    """
    for scalar in source.scan.scalars:
        if update.word not in scalar.value or scalar in settled:
            continue
        first = source.line(scalar)
        is_block = scalar.style in ("|", ">")
        lines: set[int] = set()
        for line, name, path in _in_nested(source.scan, scalar, update, is_old):
            lines.add(line)
            yield _skipped(source, first + line if is_block else first, name, path)
        for mention in find_mentions(scalar.value, update):
            line = scalar.value.count("\n", 0, mention.start)
            if line not in lines and is_old(mention.reference):
                is_whole = mention.start == 0 and mention.end == len(scalar.value)
                path = path_to(source.scan, scalar) if is_whole and not scalar.is_key else ""
                yield _skipped(
                    source, first + line if is_block else first, _written(mention.reference), path
                )


def find_leftovers_in_text(
    path: str, data: bytes, update: Update, is_old: Callable[[ImageReference], bool]
) -> Iterator[Skipped]:
    """Yields the mentions of an image in a file that is not YAML, comments left out.

    Args:
        path: The file.
        data: Its bytes.
        update: The update of the image.
        is_old: Returns whether a reference of the image counts.
    """
    for number, line in enumerate(data.decode(errors="replace").split("\n"), start=1):
        if update.word in line and not line.lstrip().startswith("#"):
            for mention in find_mentions(line, update):
                if is_old(mention.reference):
                    why = f"Left behind: {_written(mention.reference)}, in a file that is not YAML."
                    yield Skipped(path, number, why)


def _written(reference: ImageReference) -> str:
    return f"{reference.familiar}{reference.suffix}"


def _skipped(source: Source, line: int, name: str, path: str) -> Skipped:
    remedy = f"--path '{path}' sets it" if path else "it is a part of a longer text"
    return Skipped(source.path, line, f"Left behind: {name}; {remedy}.")


def _in_nested(
    scan: Scan, scalar: Scalar, update: Update, is_old: Callable[[ImageReference], bool]
) -> Iterator[tuple[int, str, str]]:
    """Yields line from 0, name and path of the images in YAML that a scalar holds as a string."""
    nested = read_nested(scalar) if "\n" in scalar.value else None
    if nested is None:
        return
    key = scalar.key.value if scalar.key else ""
    for image in find_images(nested.scan, key if key.endswith((".yaml", ".yml")) else ""):
        old = image.with_old_tag()
        place = image.reference or image.tag
        same = image.name.repository == update.reference.repository
        if same and place is not None and not image.obstacle and is_old(old):
            outer, inner = path_to(scan, scalar), path_to(nested.scan, place)
            path = f"{outer}:{inner}" if outer and inner else ""
            yield nested.lines.of_scalar(place) - 1, _written(old), path


def path_to(scan: Scan, scalar: Scalar) -> str:
    """Returns the path by which `--path` finds a scalar; empty if there is none."""
    for index, root in enumerate(scan.documents):
        steps = _steps_to(root, scalar)
        if not steps:
            continue
        if len(scan.documents) == 1:
            return steps
        name = identity(root)
        names = [identity(each) for each in scan.documents]
        return f"{name if name and names.count(name) == 1 else f'[{index}]'}:{steps}"
    return ""


def _steps_to(root: Node, scalar: Scalar) -> str:
    pending: list[tuple[Node, str]] = [(root, "")]
    seen: set[int] = set()
    while pending:
        node, steps = pending.pop()
        if node is scalar:
            return steps
        if isinstance(node, Scalar) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Mapping):
            before = f"{steps}." if steps else ""
            pending += [(value, before + escaped(key.value)) for key, value in node.entries]
        else:
            pending += [(item, f"{steps}[{number}]") for number, item in enumerate(node.items)]
    return ""
