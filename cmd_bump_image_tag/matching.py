"""Which places of a file a bump concerns: by recogniser, by Flux's markers, by `--path`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cicd_common.errors import RefusedError, UsageError
from cmd_bump_image_tag.image_reference import ImageReference, is_digest, is_tag, may_be
from cmd_bump_image_tag.images import Image
from cmd_bump_image_tag.yaml_text.edit import content
from cmd_bump_image_tag.yaml_text.scan import Scalar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cmd_bump_image_tag.images import Bump
    from cmd_bump_image_tag.source import Source
    from cmd_bump_image_tag.yaml_text.comments import Marked
    from cmd_bump_image_tag.yaml_text.keypaths import KeyPath
    from cmd_bump_image_tag.yaml_text.scan import Node


class Match(NamedTuple):
    """An image of a file, and what shall become of it.

    Attributes:
        image: The image.
        bump: The bump that concerns it; None where none does.
        follows: Whether a marker or `--path` alone made it one, so that its tag may stand
            elsewhere.
    """

    image: Image
    bump: Bump | None
    follows: bool = False


def policies(source: Source, bumps: Mapping[str, Bump]) -> Iterator[tuple[str, Bump]]:
    """Yield the image policies that a file ties to bumped images, by a marked reference or name.

    Args:
        source: The file.
        bumps: The bumps by repository.
    """
    for marked in source.comments.marked:
        reference = ImageReference.parse(marked.scalar.value)
        if marked.part in ("", "name") and reference and reference.repository in bumps:
            yield marked.policy, bumps[reference.repository]


def matches(
    source: Source,
    bumps: Mapping[str, Bump],
    tied: Mapping[str, Bump],
    paths: Sequence[KeyPath],
) -> list[Match]:
    """Return the images of a file, and the bump of each.

    Args:
        source: The file.
        bumps: The bumps by repository.
        tied: The bumps by image policy.
        paths: The keys to edit as well.

    Raises:
        RefusedError: A path leads to something that no bump can set.
        UsageError: A path leads to a bare tag, and there are several bumps.
    """
    marked = [mark for mark in source.comments.marked if mark.policy in tied]
    by_tag = {mark.scalar: tied[mark.policy] for mark in marked if mark.part == "tag"}
    found = []
    for image in source.images:
        bump = _bump_of(image, bumps)
        if bump is None and image.tag in by_tag:  # a mirror, which its marker ties to the image
            bump = by_tag[image.tag]
        found.append(Match(image, bump))
    others = [_marked(mark, tied[mark.policy]) for mark in marked]
    others += [_at_path(*end, source, bumps) for end in _ends(source, paths)]
    if not others:
        return found
    known = {scalar for match in found if match.bump for scalar in match.image.scalars}
    return found + [match for match in others if match and known.isdisjoint(match.image.scalars)]


def _bump_of(image: Image, bumps: Mapping[str, Bump]) -> Bump | None:
    bump = bumps.get(image.name.repository)
    if bump is None and image.obstacle:
        bump = next((bump for bump in bumps.values() if may_be(image.name, bump.reference)), None)
    return bump


def _marked(mark: Marked, bump: Bump) -> Match | None:
    """Read a scalar that a marker ties to a bump; a name alone has nothing to set."""
    scalar = mark.scalar
    image: Image | None = None
    if mark.part == "":
        image = _as_reference(scalar, bump)
    elif mark.part == "tag":
        image = Image(bump.reference, tag=scalar, carries="@" in scalar.value)
    elif mark.part == "digest":
        image = Image(bump.reference, digest=scalar)
    return Match(image, bump, follows=True) if image else None


def _ends(source: Source, paths: Sequence[KeyPath]) -> Iterator[tuple[KeyPath, Node]]:
    for path in paths:
        for document in source.documents:
            node = path.find(document)
            if node is not None:
                yield path, node


def _at_path(path: KeyPath, node: Node, source: Source, bumps: Mapping[str, Bump]) -> Match:
    """Read what `--path` names: a reference of a bumped image, a bare tag, or a bare digest."""
    if not isinstance(node, Scalar):
        raise RefusedError(f"{source.path}: {path.text} is no single value")
    for bump in bumps.values():
        image = _as_reference(node, bump)
        if image is not None:
            return Match(image, bump, follows=True)
    bump = next(iter(bumps.values()))
    image = _as_tag(node, bump) or _as_digest(node, bump)
    if image is None:
        raise RefusedError(
            f"{source.place(node)}: {path.text} holds {node.value!r}",
            why=f"That is no tag, no digest and no reference of {bump.reference.familiar}.",
        )
    if len(bumps) > 1:
        raise UsageError(
            f"{path.text} holds a tag, and there are several images",
            hint="Run the command for each image, with its own --path.",
        )
    return Match(image, bump, follows=True)


def _as_reference(scalar: Scalar, bump: Bump) -> Image | None:
    reference = ImageReference.parse(scalar.value)
    if reference is None or reference.repository != bump.reference.repository:
        return None
    return Image(reference, reference=scalar)


def _as_tag(scalar: Scalar, bump: Bump) -> Image | None:
    tag, at, digest = content(scalar).partition("@")
    if (tag and not is_tag(tag)) or (at and not is_digest(digest)):
        return None
    return Image(bump.reference, tag=scalar, carries=bool(at))


def _as_digest(scalar: Scalar, bump: Bump) -> Image | None:
    return Image(bump.reference, digest=scalar) if is_digest(scalar.value) else None
