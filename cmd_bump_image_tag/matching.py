"""A file that was read, and which of its places an update concerns: by format, marker or path."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cicd_common.errors import RefusedError, UsageError
from cmd_bump_image_tag.formats import find_images
from cmd_bump_image_tag.image_reference import ImageReference, is_digest, is_tag, may_be
from cmd_bump_image_tag.images import Image
from cmd_bump_image_tag.yaml_text.comments import Comments, Lines, find_comments
from cmd_bump_image_tag.yaml_text.edit import content
from cmd_bump_image_tag.yaml_text.scan import NotYamlError, Scalar, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cmd_bump_image_tag.images import Update
    from cmd_bump_image_tag.yaml_text.comments import Marked
    from cmd_bump_image_tag.yaml_text.keypaths import KeyPath
    from cmd_bump_image_tag.yaml_text.scan import Node


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
        """Returns `PATH:LINE` of a scalar."""
        return f"{self.path}:{self.lines.of_scalar(scalar)}"

    def place_of(self, image: Image) -> str:
        """Returns `PATH:LINE` of an image."""
        return self.place((*image.scalars, *image.lines)[0])

    def is_frozen(self, image: Image) -> bool:
        """Returns whether a comment on one of the image's lines asks to leave it alone."""
        frozen = self.comments.frozen
        return bool(frozen) and any(
            self.lines.number(scalar.start) in frozen or self.lines.of_scalar(scalar) in frozen
            for scalar in (*image.scalars, *image.lines)
        )


def read_file(path: str, data: bytes) -> Source:
    """Reads a file.

    Args:
        path: Its path in the repository, by which some formats are told.
        data: Its bytes, in UTF-8.

    Raises:
        NotYamlError: It is not YAML in UTF-8.
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
        tuple(find_images(scanned, path)),
        find_comments(scanned, lines),
    )


class Match(NamedTuple):
    """An image of a file, and the update that concerns it.

    Attributes:
        image: The image.
        bump: The update that concerns it; None where none does.
        follows: Whether a marker or `--path` alone made it one, so that its tag may be
            elsewhere.
    """

    image: Image
    update: Update | None
    follows: bool = False


def policies(source: Source, updates: Mapping[str, Update]) -> Iterator[tuple[str, Update]]:
    """Yields the image policies that a file ties to images, by a marked reference or name.

    Args:
        source: The file.
        updates: The updates by repository.
    """
    for marked in source.comments.marked:
        reference = ImageReference.parse(marked.scalar.value)
        if marked.part in ("", "name") and reference and reference.repository in updates:
            yield marked.policy, updates[reference.repository]


def find_matches(
    source: Source,
    updates: Mapping[str, Update],
    tied: Mapping[str, Update],
    paths: Sequence[KeyPath],
) -> list[Match]:
    """Returns the images of a file, and the update of each.

    Args:
        source: The file.
        updates: The updates by repository.
        tied: The updates by image policy.
        paths: The keys to edit as well.

    Raises:
        RefusedError: A path leads to something that no update can set.
        UsageError: A path leads to a bare tag, and there are several updates.
    """
    marked = [mark for mark in source.comments.marked if mark.policy in tied]
    by_tag = {mark.scalar: tied[mark.policy] for mark in marked if mark.part == "tag"}
    found = []
    for image in source.images:
        update = _update_of(image, updates)
        if update is None and image.tag in by_tag:  # a mirror, which its marker ties to the image
            update = by_tag[image.tag]
        found.append(Match(image, update))
    others = [_marked(mark, tied[mark.policy]) for mark in marked]
    others += [_at_path(*end, source, updates) for end in _ends(source, paths)]
    if not others:
        return found
    known = {scalar for match in found if match.update for scalar in match.image.scalars}
    return found + [match for match in others if match and known.isdisjoint(match.image.scalars)]


def _update_of(image: Image, updates: Mapping[str, Update]) -> Update | None:
    update = updates.get(image.name.repository)
    if update is None and image.obstacle:
        update = next(
            (update for update in updates.values() if may_be(image.name, update.reference)), None
        )
    return update


def _marked(mark: Marked, update: Update) -> Match | None:
    """Reads a scalar that a marker ties to a update; a name alone has nothing to set."""
    scalar = mark.scalar
    image: Image | None = None
    if mark.part == "":
        image = _as_reference(scalar, update)
    elif mark.part == "tag":
        image = Image(update.reference, tag=scalar, carries="@" in scalar.value)
    elif mark.part == "digest":
        image = Image(update.reference, digest=scalar)
    return Match(image, update, follows=True) if image else None


def _ends(source: Source, paths: Sequence[KeyPath]) -> Iterator[tuple[KeyPath, Node]]:
    for path in paths:
        for document in source.documents:
            node = path.find(document)
            if node is not None:
                yield path, node


def _at_path(path: KeyPath, node: Node, source: Source, updates: Mapping[str, Update]) -> Match:
    """Reads what `--path` names: a reference of the image, a bare tag, or a bare digest."""
    if not isinstance(node, Scalar):
        raise RefusedError(f"{source.path}: {path.text} is not a single value.")
    for update in updates.values():
        image = _as_reference(node, update)
        if image is not None:
            return Match(image, update, follows=True)
    update = next(iter(updates.values()))
    image = _as_tag(node, update) or _as_digest(node, update)
    if image is None:
        raise RefusedError(
            f"{source.place(node)}: {path.text} holds {node.value!r}.",
            why=f"That is not a tag, a digest or a reference of {update.reference.familiar}.",
        )
    if len(updates) > 1:
        raise UsageError(
            f"{path.text} holds a tag, and there are several images.",
            hint="Run the command for each image, with its own --path.",
        )
    return Match(image, update, follows=True)


def _as_reference(scalar: Scalar, update: Update) -> Image | None:
    reference = ImageReference.parse(scalar.value)
    if reference is None or reference.repository != update.reference.repository:
        return None
    return Image(reference, reference=scalar)


def _as_tag(scalar: Scalar, update: Update) -> Image | None:
    tag, at, digest = content(scalar).partition("@")
    if (tag and not is_tag(tag)) or (at and not is_digest(digest)):
        return None
    return Image(update.reference, tag=scalar, carries=bool(at))


def _as_digest(scalar: Scalar, update: Update) -> Image | None:
    return Image(update.reference, digest=scalar) if is_digest(scalar.value) else None
