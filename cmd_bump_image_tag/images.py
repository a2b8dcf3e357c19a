"""An image as a document spells it, and what its parts say after a update."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cicd_common.errors import UsageError
from cmd_bump_image_tag.image_reference import ImageReference, is_digest, is_tag, suffix_of
from cmd_bump_image_tag.yaml_text.edit import content

if TYPE_CHECKING:
    from cmd_bump_image_tag.yaml_text.scan import Scalar


@dataclass(frozen=True)
class Update:
    """A update: this repository's images shall have this tag, this digest, or both.

    Attributes:
        name: The repository, such as `registry.example.com:5000/group/web` or `nginx`.
        tag: The tag to set; None leaves the tags alone.
        digest: The digest to set, with its algorithm; None lets a digest stand only where its
            tag stays.
        reference: The image with that tag and digest.

    Raises:
        UsageError: A part is not what it should be, or there is neither tag nor digest.
    """

    name: str
    tag: str | None = None
    digest: str | None = None
    reference: ImageReference = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        reference = ImageReference.parse(self.name)
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
            tag: The tag of a name that comes without any.
            digest: Its digest.

        Raises:
            UsageError: A part is not what it should be.
        """
        name, equals, version = text.partition("=")
        if not equals:
            return cls(name, tag, digest)
        own_tag, _, own_digest = version.partition("@")
        return cls(name, own_tag or None, own_digest or None)

    @property
    def text(self) -> str:
        """The update as `parse` reads it."""
        return f"{self.name}={self.tag or ''}" + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True)
class Image:
    """An image in a document: one scalar with the whole reference, or its parts in several.

    Attributes:
        name: What it is, as far as the document says; of a whole reference, all of it.
        reference: The scalar that ends with the whole reference.
        tag: The scalar with the tag, maybe followed by `@` and a digest.
        digest: The scalar with the digest.
        hexadecimal: Whether that digest stands there without its `sha256:`.
        carries: Whether the tag's scalar is the place for a digest too.
        lines: What else belongs to it, so that a comment there freezes it: keys, the name.
        obstacle: Why it cannot be set, where it cannot.
    """

    name: ImageReference
    reference: Scalar | None = None
    tag: Scalar | None = None
    digest: Scalar | None = None
    hexadecimal: bool = False
    carries: bool = False
    lines: tuple[Scalar, ...] = ()
    obstacle: str = ""

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The scalars that a bump may change."""
        if self.reference is not None:
            return (self.reference,)
        return tuple(part for part in (self.tag, self.digest) if part is not None)

    @property
    def old_tag(self) -> str:
        """The tag that stands there now; nothing where there is none."""
        if self.reference is not None:
            return self.name.tag or ""
        return content(self.tag).partition("@")[0] if self.tag is not None else ""


class OutOfReachError(Exception):
    """An image matches, but has no place for what is wanted; the text says why."""


def new_values(image: Image, update: Update) -> dict[Scalar, str]:
    """Returns what the image's scalars shall say after a update.

    What was not asked for stays, but for a digest whose tag changes: it goes, or, in a place of
    its own, becomes the empty text that charts and Kustomize take for none.

    Raises:
        OutOfReachError: The image has no place for it.
    """
    if image.obstacle:
        raise OutOfReachError(image.obstacle)
    if image.reference is not None:
        written = image.reference.value.removesuffix(image.name.suffix)
        return {image.reference: written + _moved_suffix(image.name, update)}
    if image.tag is not None:
        return _new_parts(image, image.tag, update)
    if image.digest is None:
        raise OutOfReachError("has no tag here")
    if update.digest is None:
        raise OutOfReachError("is pinned by its digest alone; give --digest")
    return {image.digest: _digest_text(image, update.digest)}


def _moved_suffix(reference: ImageReference, update: Update) -> str:
    tag = update.tag or reference.tag
    kept = reference.digest if tag == reference.tag else None
    return suffix_of(tag, update.digest or kept)


def _new_parts(image: Image, tag: Scalar, update: Update) -> dict[Scalar, str]:
    old_tag, _, old_digest = content(tag).partition("@")
    new_tag = update.tag or old_tag
    stays = new_tag == old_tag
    carried = old_digest if stays and not update.digest else ""
    if update.digest and image.carries:
        carried = update.digest
    if carried and not new_tag:
        raise OutOfReachError("has no tag that a digest could follow; give --tag")
    values = {}
    if update.tag or carried:
        values[tag] = f"{new_tag}@{carried}" if carried else new_tag
    if image.digest is not None and update.digest:
        values[image.digest] = _digest_text(image, update.digest)
    elif image.digest is not None and not stays:
        values[image.digest] = ""
    return values


def _digest_text(image: Image, digest: str) -> str:
    return digest.partition(":")[2] if image.hexadecimal else digest
