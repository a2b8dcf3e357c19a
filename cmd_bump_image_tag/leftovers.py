"""Finds mentions of an old reference that a bump leaves behind in text."""

from __future__ import annotations

import re
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from cmd_bump_image_tag.finder import find_images
from cmd_bump_image_tag.image_parts import exact, part_of
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
    """Yields the references to an image in a text that have a tag or a digest.

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


class _Found(NamedTuple):
    """A mention in a scalar.

    Attributes:
        scalar: The scalar.
        line: The line in the file, from 1.
        name: The reference.
        inner: The path in the YAML that the scalar holds as a string; empty if it is the whole
            scalar; None if no path leads to it.
    """

    scalar: Scalar
    line: int
    name: str
    inner: str | None


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
        is_old: Returns True if a reference to the image counts.
        settled: The scalars that the bump has handled.
    """
    naming = [
        scalar
        for scalar in source.scan.scalars
        if update.word in scalar.value and scalar not in settled
    ]
    found = [each for scalar in naming for each in _in_scalar(source, scalar, update, is_old)]
    if naming:
        found += (each for each in _in_pairs(source, update, is_old) if each.scalar not in settled)
    paths = paths_to(source.scan, {each.scalar for each in found}) if found else {}
    for each in sorted(found, key=attrgetter("line")):
        path = paths.get(each.scalar)
        remedy = "it is a part of a longer text"
        if path and each.inner is not None:
            path += f":{each.inner}" if each.inner else ""
            remedy = f"--path '{path}' sets it"
        yield Skipped(source.path, each.line, f"Left behind: {each.name}; {remedy}.")


def _in_scalar(
    source: Source, scalar: Scalar, update: Update, is_old: Callable[[ImageReference], bool]
) -> Iterator[_Found]:
    first = source.line(scalar)
    is_block = scalar.style in ("|", ">")
    lines: set[int] = set()
    for line, name, inner in _in_nested(scalar, update, is_old):
        lines.add(line)
        yield _Found(scalar, first + line if is_block else first, name, inner)
    for mention in find_mentions(scalar.value, update):
        line = scalar.value.count("\n", 0, mention.start)
        if line not in lines and is_old(mention.reference):
            is_whole = mention.start == 0 and mention.end == len(scalar.value)
            inner = "" if is_whole and not scalar.is_key else None
            line = first + line if is_block else first
            yield _Found(scalar, line, _written(mention.reference), inner)


# The keys of a value in a list of parameters; Tekton has `default`.
_VALUE_KEYS = ("value", "default")


def _in_pairs(
    source: Source, update: Update, is_old: Callable[[ImageReference], bool]
) -> Iterator[_Found]:
    """Yields the tags in lists of names and values, such as Helm parameters.

    There `image.repository` and `image.tag` are items of one list.
    """
    lists: dict[tuple[int | None, str, str, str], dict[str, Scalar]] = {}
    for mapping in source.scan.mappings:
        entries = exact(mapping) if mapping.is_item else {}
        values = [entries[key][1] for key in _VALUE_KEYS if key in entries]
        if values and "name" in entries:
            before, _, last = entries["name"][1].value.rpartition(".")
            if part := part_of(last):
                items = lists.setdefault((mapping.outer, mapping.key, before, part.prefix), {})
                items[part.kind] = values[0]
    for items in lists.values():
        if "name" in items and "tag" in items:
            registry = f"{items['registry'].value}/" if "registry" in items else ""
            written = f"{registry}{items['name'].value}:{items['tag'].value}"
            name = parse_template(written)
            if name and name.repository == update.reference.repository and is_old(name):
                yield _Found(items["tag"], source.line(items["tag"]), _written(name), "")


def find_leftovers_in_text(
    path: str, data: bytes, update: Update, is_old: Callable[[ImageReference], bool]
) -> Iterator[Skipped]:
    """Yields the mentions of an image in a file that is not YAML, except in comments.

    Args:
        path: The file.
        data: Its bytes.
        update: The update of the image.
        is_old: Returns True if a reference to the image counts.
    """
    for number, line in enumerate(data.decode(errors="replace").split("\n"), start=1):
        if update.word in line and not line.lstrip().startswith("#"):
            for mention in find_mentions(line, update):
                if is_old(mention.reference):
                    why = f"Left behind: {_written(mention.reference)}, in a file that is not YAML."
                    yield Skipped(path, number, why)


def _written(reference: ImageReference) -> str:
    return f"{reference.familiar}{reference.suffix}"


def _in_nested(
    scalar: Scalar, update: Update, is_old: Callable[[ImageReference], bool]
) -> Iterator[tuple[int, str, str | None]]:
    """Yields line (from 0), name and path of each reference in YAML that a scalar holds."""
    nested = read_nested(scalar) if "\n" in scalar.value else None
    if nested is None:
        return
    key = scalar.key.value if scalar.key else ""
    found = {
        scalar: _written(mention.reference)
        for scalar in nested.scan.scalars
        if update.word in scalar.value and not scalar.is_key
        for mention in find_mentions(scalar.value, update)
        if len(scalar.value) == mention.end - mention.start and is_old(mention.reference)
    }
    found |= {
        place: _written(image.with_old_tag())
        for image in find_images(nested.scan, key if key.endswith((".yaml", ".yml")) else "")
        if image.name.repository == update.reference.repository and not image.obstacle
        if (place := image.reference or image.tag) is not None and is_old(image.with_old_tag())
    }
    paths = paths_to(nested.scan, found.keys()) if found else {}
    for place, name in found.items():
        yield nested.lines.of_scalar(place) - 1, name, paths.get(place)


def paths_to(scan: Scan, scalars: Collection[Scalar]) -> dict[Scalar, str]:
    """Returns the `--path` of each of these scalars; a scalar that has none is left out.

    Args:
        scan: The documents that hold them.
        scalars: The scalars.
    """
    names = [identity(root) for root in scan.documents]
    counts = Counter(names)
    found: dict[Scalar, str] = {}
    for index, root in enumerate(scan.documents):
        name = names[index] if counts[names[index]] == 1 else ""
        document = f"{name or f'[{index}]'}:" if len(names) > 1 else ""
        for scalar, steps in _steps_to(root, scalars):
            found.setdefault(scalar, document + steps)
    return found


def _steps_to(root: Node, scalars: Collection[Scalar]) -> Iterator[tuple[Scalar, str]]:
    pending: list[tuple[Node, str]] = [(root, "")]
    seen: set[int] = set()
    while pending:
        node, steps = pending.pop()
        if isinstance(node, Scalar):
            if node in scalars and steps:
                yield node, steps
        elif id(node) not in seen:
            seen.add(id(node))
            if isinstance(node, Mapping):
                before = f"{steps}." if steps else ""
                inner = [(value, before + escaped(key.value)) for key, value in node.entries]
            else:
                inner = [(item, f"{steps}[{number}]") for number, item in enumerate(node.items)]
            pending += reversed(inner)
