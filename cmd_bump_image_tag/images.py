"""An image as a document spells it, and the values of its parts after an update."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from cicd_common.errors import UsageError
from cmd_bump_image_tag.image_reference import (
    ImageReference,
    has_variable,
    is_digest,
    is_tag,
    parse_template,
    suffix_of,
)
from cmd_bump_image_tag.yaml_text.edit import content

if TYPE_CHECKING:
    from cmd_bump_image_tag.yaml_text.scan import Scalar


@dataclass(frozen=True)
class Update:
    """An update: the tag, the digest or both to set for the images of one repository.

    Attributes:
        name: The repository, such as `registry.example.com:5000/group/web` or `nginx`. It can
            hold variables, written as in the files: `$CI_REGISTRY/web`. With `is_path`: a key's
            path.
        tag: The tag to set; None leaves the tags alone.
        digest: The digest to set, with its algorithm. None keeps an old digest if the tag does
            not change, and removes it otherwise.
        is_path: Whether `name` is the path of a key whose value is set, for any image.
        reference: The image with that tag and digest.

    Raises:
        UsageError: A part is not valid, or there is neither tag nor digest.
    """

    name: str
    tag: str | None = None
    digest: str | None = None
    is_path: bool = False
    reference: ImageReference = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        reference = ImageReference("", self.name) if self.is_path else parse_template(self.name)
        if reference is None:
            raise UsageError(
                f"{self.name!r} is not an image name.", hint="Write it as in `image:`."
            )
        if reference.suffix:
            raise UsageError(
                f"{self.name!r} is more than a name.",
                why=f"It ends with {reference.suffix}.",
                hint=f"Write {reference.familiar}=TAG, or give --tag.",
            )
        if self.tag is not None and not is_tag(self.tag):
            raise UsageError(
                f"{self.tag!r} is not an image tag.",
                why="A tag has letters, digits, '_', '.', '-', at most 128, and begins with "
                "a letter, a digit or '_'.",
            )
        if self.digest is not None and not is_digest(self.digest):
            raise UsageError(
                f"{self.digest!r} is not a digest.",
                hint="Write sha256: and 64 lower-case hexadecimal digits.",
            )
        if self.tag is None and self.digest is None:
            raise UsageError(f"There is nothing to set for {self.name}.", hint="Give --tag.")
        moved = replace(reference, tag=self.tag, digest=self.digest)
        object.__setattr__(self, "reference", moved)

    @classmethod
    def parse(cls, text: str, tag: str | None = None, digest: str | None = None) -> Update:
        """Reads `NAME`, `NAME=TAG`, `NAME=TAG@DIGEST` or `NAME=@DIGEST`.

        Args:
            text: The text.
            tag: The tag of a name without one.
            digest: The digest of a name without one.

        Raises:
            UsageError: A part is not valid.
        """
        name, equals, version = text.partition("=")
        if not equals:
            return cls(name, tag, digest)
        own_tag, _, own_digest = version.partition("@")
        return cls(name, own_tag or None, own_digest or None)

    @property
    def text(self) -> str:
        """Returns the update as `parse` reads it."""
        return f"{self.name}={self.tag or ''}" + (f"@{self.digest}" if self.digest else "")

    @property
    def label(self) -> str:
        """Returns the name for messages: the image's short name, or the path."""
        return self.name if self.is_path else self.reference.familiar

    @cached_property
    def word(self) -> str:
        """Returns a word that every file with this image contains, however its name is spelled."""
        last = self.reference.last_component
        found = re.search(r"\w+", last) if has_variable(last) else None
        return found[0] if found else last


class Image(NamedTuple):
    """An image in a document: one scalar with the whole reference, or its parts in several.

    Attributes:
        name: The image's name, as far as it is known; of a whole reference, all of it.
        reference: The scalar that ends with the whole reference.
        tag: The scalar with the tag, which `@` and a digest can follow.
        digest: The scalar with the digest.
        hexadecimal: Whether that digest has no `sha256:`.
        carries: Whether the tag's scalar is the place for a digest too.
        stale: Other digests of the same image, which a new tag makes stale.
        foreign: Digests next to it, under keys that do not name a digest.
        needs_digest: Whether a key next to it says that the digest is used.
        lines: Other scalars that belong to it, such as keys and the name; a comment on their
            lines freezes it too.
        obstacle: The reason why it cannot be set; empty if it can.
        in_global_registry: Its name in the registry that `global` sets for all images of a chart.
    """

    name: ImageReference
    reference: Scalar | None = None
    tag: Scalar | None = None
    digest: Scalar | None = None
    hexadecimal: bool = False
    carries: bool = False
    stale: tuple[Scalar, ...] = ()
    foreign: tuple[Scalar, ...] = ()
    needs_digest: bool = False
    lines: tuple[Scalar, ...] = ()
    obstacle: str = ""
    in_global_registry: ImageReference | None = None

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """Returns the scalars that an update can change."""
        found = (self.reference, self.tag, self.digest, *self.stale)
        return tuple(scalar for scalar in found if scalar is not None)

    def with_old_tag(self) -> ImageReference:
        """Returns the image's name with the tag that it has now."""
        return self.name if self.reference is not None else replace(self.name, tag=self.old_tag)

    @property
    def old_tag(self) -> str:
        """Returns the tag before the update; empty if there is none."""
        if self.reference is not None:
            return self.name.tag or ""
        return content(self.tag).partition("@")[0] if self.tag is not None else ""


class OutOfReachError(Exception):
    """An image matches, but has no place for the new value; the text says why."""


class StaleDigestError(Exception):
    """A digest would stay while its tag changes, and nothing shows that it can be emptied.

    Args:
        why: Why the digest cannot be emptied.
        scalar: Its place.
    """

    def __init__(self, why: str, scalar: Scalar) -> None:
        super().__init__(why)
        self.scalar = scalar


def new_values(image: Image, update: Update) -> dict[Scalar, str]:
    """Returns the values of the image's scalars after an update.

    Only what was requested changes. If the tag changes, its digest is removed; a digest in a
    separate value becomes empty, which charts and Kustomize treat as no digest.

    Raises:
        OutOfReachError: The image has no place for the value.
        StaleDigestError: A digest would stay while its tag changes.
    """
    if image.obstacle:
        raise OutOfReachError(image.obstacle)
    if image.reference is None and image.tag is None:
        if image.digest is None:
            raise OutOfReachError("has no tag here")
        if update.digest is None:
            raise OutOfReachError("is pinned by its digest alone; give --digest")
    if image.reference is not None:
        values = {image.reference: _new_reference(image, image.reference, update)}
    else:
        values = _new_tag(image, update)
    moves = update.tag is not None and update.tag != image.old_tag
    if image.digest is not None and update.digest:
        is_short = image.hexadecimal
        values[image.digest] = update.digest.partition(":")[2] if is_short else update.digest
    elif image.digest is not None and moves:
        values[image.digest] = ""
    if moves:
        values.update(dict.fromkeys(image.stale, ""))
        _check_use_of_digest(image, update)
    return values


def _check_use_of_digest(image: Image, update: Update) -> None:
    digests = [scalar for scalar in (image.digest, *image.stale) if scalar is not None]
    if image.needs_digest and digests and not (update.digest and image.digest):
        raise StaleDigestError("`useDigest: true` needs the digest of the new tag", digests[0])


def _new_reference(image: Image, reference: Scalar, update: Update) -> str:
    name = image.name
    tag = update.tag or name.tag
    kept = name.digest if tag == name.tag else None
    digest = kept if image.digest is not None and not name.digest else update.digest or kept
    return reference.value.removesuffix(name.suffix) + suffix_of(tag, digest)


def _new_tag(image: Image, update: Update) -> dict[Scalar, str]:
    if image.tag is None:
        return {}
    old_tag, _, old_digest = content(image.tag).partition("@")
    new_tag = update.tag or old_tag
    carried = old_digest if new_tag == old_tag and not update.digest else ""
    if update.digest and image.carries:
        carried = update.digest
    if carried and not new_tag:
        raise OutOfReachError("has no tag that a digest could follow; give --tag")
    if not update.tag and not carried:
        return {}
    return {image.tag: f"{new_tag}@{carried}" if carried else new_tag}
