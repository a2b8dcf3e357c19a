"""A file that was read, and the places that an update concerns: by format, marker or path."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from cicd_common.errors import RefusedError, UsageError
from cmd_bump_image_tag.finder import find_images
from cmd_bump_image_tag.image_reference import (
    can_become,
    has_variable,
    is_digest,
    is_tag,
    parse_template,
)
from cmd_bump_image_tag.images import Image
from cmd_bump_image_tag.yaml_text.comments import Comments, Lines, find_comments
from cmd_bump_image_tag.yaml_text.edit import content
from cmd_bump_image_tag.yaml_text.keypaths import find
from cmd_bump_image_tag.yaml_text.scan import NotYamlError, Scalar, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cmd_bump_image_tag.images import Update
    from cmd_bump_image_tag.yaml_text.comments import Marked
    from cmd_bump_image_tag.yaml_text.keypaths import KeyPath
    from cmd_bump_image_tag.yaml_text.scan import Node, Scan

LARGEST_FILE = 64 * 1024 * 1024  # bytes; reading YAML takes about 25 times as much memory

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Nested:
    """YAML that a scalar holds as a string.

    Attributes:
        outer: The scalar.
        scan: Its documents.
        lines: Its lines.
    """

    outer: Scalar
    scan: Scan
    lines: Lines


@dataclass(frozen=True)
class Source:
    """A file that was read.

    Attributes:
        path: Its path in the repository.
        mark: Its byte-order mark, if it has one.
        text: Its text after that.
        lines: The lines of the text.
        scan: Its documents.
        images: Its images.
        comments: Its comments that freeze or mark values.
        nested: By scalar, the YAML in a string of this file that the scalar belongs to.
    """

    path: str
    mark: bytes
    text: str
    lines: Lines
    scan: Scan
    images: tuple[Image, ...]
    comments: Comments
    nested: dict[Scalar, Nested] = field(default_factory=dict)

    def line(self, scalar: Scalar) -> int:
        """Returns the line of a scalar, from 1."""
        if scalar not in self.nested:
            return self.lines.of_scalar(scalar)
        nested = self.nested[scalar]
        is_block = nested.outer.style in ("|", ">")
        return self.line(nested.outer) + (nested.lines.of_scalar(scalar) - 1 if is_block else 0)

    def place(self, scalar: Scalar) -> str:
        """Returns `PATH:LINE` of a scalar."""
        return f"{self.path}:{self.line(scalar)}"

    def is_frozen(self, image: Image) -> bool:
        """Returns True if a comment asks to leave the image alone."""
        comments = self.comments
        return bool(comments.frozen) and any(
            self.lines.number(scalar.start) in comments.frozen
            or self.lines.of_scalar(scalar) in comments.frozen
            or comments.is_in_frozen_part(scalar.start)
            for scalar in map(self._outermost, (*image.scalars, *image.lines))
        )

    def _outermost(self, scalar: Scalar) -> Scalar:
        while scalar in self.nested:
            scalar = self.nested[scalar].outer
        return scalar

    def locate(self, path: KeyPath) -> list[Node]:
        """Returns the values that a path leads to, one from each document that has it."""
        found = [find(root, path.parts[0]) for root in path.documents(self.scan.documents)]
        nodes = [node for node in found if node is not None]
        for steps in path.parts[1:]:
            inner = [
                (nested, find(root, steps))
                for node in nodes
                if (nested := read_nested(node))
                for root in nested.scan.documents[:1]
            ]
            nodes = [node for _, node in inner if node is not None]
            self.nested.update({node: nested for nested, node in inner if isinstance(node, Scalar)})
        return nodes


def read_nested(node: Node) -> Nested | None:
    """Returns the YAML that a value holds as a string; None if it holds none."""
    if not isinstance(node, Scalar):
        return None
    try:
        return Nested(node, scan(node.value), Lines.of(node.value))
    except NotYamlError:
        return None


def read_file(path: str, data: bytes) -> Source:
    """Reads a file.

    Args:
        path: Its path in the repository, which identifies some formats.
        data: Its bytes, in UTF-8.

    Raises:
        NotYamlError: It is not YAML in UTF-8, or too large.
    """
    if len(data) > LARGEST_FILE:
        raise NotYamlError(1, f"is larger than {LARGEST_FILE // 1024 // 1024} MB")
    if data.startswith(_LFS_POINTER):
        raise NotYamlError(1, "is a pointer to a file in Git LFS")
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    try:
        text = data[len(mark) :].decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise NotYamlError(line, f"is not UTF-8: {error.reason}") from error
    scanned = scan(text)
    lines = Lines.of(text)
    images = tuple(find_images(scanned, path))
    return Source(path, mark, text, lines, scanned, images, find_comments(scanned, lines))


class Match(NamedTuple):
    """An image of a file, and the update that concerns it.

    Attributes:
        image: The image.
        update: The update that concerns it; None if none does.
        follows: Whether only a marker or `--path` made a part of it one, so that its tag can be
            elsewhere.
    """

    image: Image
    update: Update | None
    follows: bool = False


@dataclass(frozen=True)
class Updates:
    """The updates to make, by repository, image policy or path.

    Attributes:
        by_repository: The updates of images.
        by_policy: The updates of image policies, which Flux's markers name.
        paths: The keys to edit as well, each with its own update if no image was given.
    """

    by_repository: Mapping[str, Update]
    by_policy: Mapping[str, Update]
    paths: Sequence[tuple[KeyPath, Update | None]]


def policies(source: Source, updates: Mapping[str, Update]) -> Iterator[tuple[str, Update]]:
    """Yields the image policies that a file ties to images, by a marked reference or name.

    Args:
        source: The file.
        updates: The updates by repository.
    """
    for marked in source.comments.marked:
        reference = parse_template(marked.scalar.value)
        if marked.part in ("", "name") and reference and reference.repository in updates:
            yield marked.policy, updates[reference.repository]


def find_matches(source: Source, updates: Updates) -> list[Match]:
    """Returns the images of a file, and the update of each.

    Args:
        source: The file.
        updates: What to set.

    Raises:
        RefusedError: A path leads to something that no update can set.
        UsageError: A path leads to a bare tag, and there are several updates.
    """
    marked = [mark for mark in source.comments.marked if mark.policy in updates.by_policy]
    by_tag = {mark.scalar: updates.by_policy[mark.policy] for mark in marked if mark.part == "tag"}
    found = []
    for image in source.images:
        match = _match(image, updates.by_repository)
        if match.update is None and image.tag in by_tag:  # a mirror, tied by its marker
            match = Match(image, by_tag[image.tag])
        found.append(match)
    others = [_marked(mark, updates.by_policy[mark.policy]) for mark in marked]
    for path, update in updates.paths:
        nodes = source.locate(path)
        found = [match for match in found if not _is_bare(match, nodes)]
        if update is not None:
            found = [_owned(match, nodes, found, update) for match in found]
        others += _at_path(path, nodes, source, update, updates)
    if not others:
        return found
    known = {scalar for match in found if match.update for scalar in match.image.scalars}
    return found + [match for match in others if match and known.isdisjoint(match.image.scalars)]


def _match(image: Image, updates: Mapping[str, Update]) -> Match:
    update = updates.get(image.name.repository)
    if update is None and image.in_global_registry:
        update = updates.get(image.in_global_registry.repository)
    if update is None and has_variable(image.name.repository):
        for each in updates.values():
            if can_become(image.name, each.reference):
                filled = image._replace(obstacle=f"is filled in later: {image.name.familiar}")
                return Match(filled, each)
    return Match(image, update)


def _marked(mark: Marked, update: Update) -> Match | None:
    """Reads a scalar that a marker ties to an update; a name alone gives no value to set."""
    if mark.part == "name":
        return None
    read = {"": _as_reference, "tag": _as_tag, "digest": _as_digest}[mark.part]
    image = read(mark.scalar, update)
    if image is not None:
        return Match(image, update, follows=image.reference is None)
    what = mark.part or "reference"
    obstacle = f"has a marker at {mark.scalar.value!r}, which is not its {what}"
    return Match(Image(update.reference, lines=(mark.scalar,), obstacle=obstacle), update)


def _is_bare(match: Match, nodes: Sequence[Node]) -> bool:
    """Returns True if a path names a value without a tag: a name, or a bare tag below `image`."""
    return match.image.reference in nodes and not match.image.name.suffix


def _owned(match: Match, nodes: Sequence[Node], found: Sequence[Match], update: Update) -> Match:
    """Returns the match with the update, if a path without an image names only its value."""
    named = [scalar for scalar in match.image.scalars if scalar in nodes]
    if not named or match.image.obstacle:
        return match
    owners = [each for each in found if named[0] in each.image.scalars]
    return Match(match.image, update, follows=True) if len(owners) == 1 else match


def _at_path(
    path: KeyPath,
    nodes: Sequence[Node],
    source: Source,
    own: Update | None,
    updates: Updates,
) -> list[Match]:
    """Reads the values that `--path` names: references, bare tags or bare digests."""
    scalars = [node for node in nodes if isinstance(node, Scalar)]
    if len(scalars) < len(nodes):
        raise RefusedError(f"{source.path}: {path.text} is not a single value.")
    if own is not None:
        return [
            Match(_as_value(scalar, own, path, source), own, follows=True) for scalar in scalars
        ]
    # If there are several documents, only those with a reference to the image count.
    matches = [
        Match(image, update)
        for scalar in scalars
        for update in updates.by_repository.values()
        if (image := _as_reference(scalar, update))
    ]
    if matches:
        return matches
    return [_bare(path, scalar, source, updates.by_repository) for scalar in scalars]


def _bare(path: KeyPath, scalar: Scalar, source: Source, updates: Mapping[str, Update]) -> Match:
    update = next(iter(updates.values()))
    image = _as_tag(scalar, update) or _as_digest(scalar, update)
    if image is None:
        raise RefusedError(
            f"{source.place(scalar)}: {path.text} holds {scalar.value!r}.",
            why=f"That is not a tag, a digest or a reference of {update.label}.",
        )
    if len(updates) > 1:
        raise UsageError(
            f"{path.text} holds a tag, and there are several images.",
            hint="Run the command for each image, with its own --path.",
        )
    return Match(image, update, follows=True)


def _as_reference(scalar: Scalar, update: Update) -> Image | None:
    reference = parse_template(scalar.value)
    if reference is None or reference.repository != update.reference.repository:
        return None
    obstacle = f"is filled in later: {scalar.value}" if has_variable(reference.suffix) else ""
    return Image(reference, reference=scalar, obstacle=obstacle)


def _as_tag(scalar: Scalar, update: Update) -> Image | None:
    tag, at, digest = content(scalar).partition("@")
    if (tag and not is_tag(tag)) or (at and not is_digest(digest)):
        return None
    return Image(update.reference, tag=scalar, carries=bool(at))


def _as_digest(scalar: Scalar, update: Update) -> Image | None:
    return Image(update.reference, digest=scalar) if is_digest(scalar.value) else None


def _as_value(scalar: Scalar, update: Update, path: KeyPath, source: Source) -> Image:
    """Reads a value that is set whatever it is; a reference keeps its name."""
    value = content(scalar)
    image = _as_digest(scalar, update)
    reference = parse_template(value)
    if image is None and reference is not None and reference.suffix:
        image = Image(reference, reference=scalar)
    if image is None and not has_variable(value) and len(value.split()) <= 1:
        image = Image(update.reference, tag=scalar)
    if image is None:
        raise RefusedError(
            f"{source.place(scalar)}: {path.text} holds {scalar.value!r}.",
            why="That is not a single word, or a variable fills it in later.",
        )
    return image
