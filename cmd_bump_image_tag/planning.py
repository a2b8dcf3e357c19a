"""What becomes of one file: which scalars change, what stands already, what cannot be."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from cicd_common.errors import RefusedError
from cicd_common.semver import SemVer
from cmd_bump_image_tag.edit import edit
from cmd_bump_image_tag.images import OutOfReachError, wanted
from cmd_bump_image_tag.splices import UnsafeError, is_settled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cmd_bump_image_tag.images import Bump, Image
    from cmd_bump_image_tag.matching import Match
    from cmd_bump_image_tag.scan import Scalar
    from cmd_bump_image_tag.source import Source


@dataclass(frozen=True)
class Change:
    """One scalar that changes.

    Attributes:
        path: The file.
        line: The line, from 1.
        old: What stood there: a reference, a tag or a digest.
        new: What stands there now.
        image: The image's name.
    """

    path: str
    line: int
    old: str
    new: str
    image: str


@dataclass(frozen=True)
class Missed:
    """An image that matches, but has no place for what is wanted.

    Attributes:
        place: Where it is, as `PATH:LINE`.
        bump: What is wanted.
        why: Why not.
        follows: Whether it is a part whose tag may stand elsewhere.
    """

    place: str
    bump: Bump
    why: str
    follows: bool


@dataclass
class Plan:
    """What becomes of one file.

    Attributes:
        source: The file.
        values: What its scalars say after the run, those that say it already included.
        changes: The scalars that change, as they stand in the text.
        up_to_date: Where all is as wanted, as `PATH:LINE`.
        warnings: What was left alone, and why.
        reached: The bumps that concern it.
        missed: The images that have no place for what is wanted.
    """

    source: Source
    values: dict[Scalar, tuple[str, Bump]] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    up_to_date: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    reached: set[Bump] = field(default_factory=set)
    missed: list[Missed] = field(default_factory=list)

    def edited(self) -> bytes:
        """Return the file's new bytes.

        Raises:
            RefusedError: The edit is not safe.
        """
        source = self.source
        values = {
            scalar: value
            for scalar, (value, _) in self.values.items()
            if not is_settled(scalar, value)
        }
        try:
            return source.mark + edit(source.text, values).encode()
        except UnsafeError as error:
            place = source.place(error.scalar) if error.scalar else source.path
            raise RefusedError(f"{place}: cannot be edited safely", why=f"{error}.") from error


def plan_edits(source: Source, found: Iterable[Match], *, allow_downgrade: bool) -> Plan:
    """Decide what becomes of a file.

    Args:
        source: The file.
        found: Its images, and the bump of each.
        allow_downgrade: Whether a lower SemVer may replace a higher.

    Raises:
        RefusedError: A tag would go back, or an anchor is shared by what shall not change.
    """
    plan = Plan(source)
    kept: dict[Scalar, str] = {}  # by whom
    for match in found:
        image, wish = match.image, match.bump
        if wish is None:
            kept.update(dict.fromkeys(image.scalars, image.name.familiar))
            continue
        if source.is_frozen(image):
            plan.reached.add(wish)
            plan.warnings.append(f"{source.place_of(image)}: left alone, as '# bump: ignore' asks")
            kept.update(dict.fromkeys(image.scalars, "a line with '# bump: ignore'"))
            continue
        try:
            values = wanted(image, wish)
        except OutOfReachError as error:
            place = source.place_of(image)
            plan.missed.append(Missed(place, wish, str(error), match.follows))
            plan.warnings.append(f"{place}: {wish.reference.familiar} {error}: left alone")
            kept.update(dict.fromkeys(image.scalars, f"another use of {image.name.familiar}"))
            continue
        plan.reached.add(wish)
        if all(is_settled(scalar, value) for scalar, value in values.items()):
            plan.up_to_date.append(source.place_of(image))
        elif not allow_downgrade:
            _check_downgrade(source, image, wish)
        for scalar, value in values.items():
            if plan.values.setdefault(scalar, (value, wish))[0] != value:
                other = "two images that are to have different tags"
                raise _shared(source.place_of(image), other)
    _finish(plan, kept)
    return plan


def _finish(plan: Plan, kept: dict[Scalar, str]) -> None:
    changes = []
    for scalar, (value, wish) in sorted(plan.values.items(), key=lambda item: item[0].start):
        if is_settled(scalar, value):
            continue
        if scalar in kept:
            raise _shared(plan.source.place(scalar), kept[scalar])
        line = plan.source.lines.of_scalar(scalar)
        name = wish.reference.familiar
        changes.append(Change(plan.source.path, line, scalar.value, value, name))
    plan.changes = tuple(changes)


def _shared(place: str, other: str) -> RefusedError:
    return RefusedError(
        f"{place}: this value is not one image's alone",
        why=f"It is shared with {other}.",
        hint="Give each image a value of its own.",
    )


@lru_cache
def _is_lower(new: str, old: str) -> bool:
    """Return whether both tags are SemVer, with or without a `v`, and the new one is lower."""
    lower, higher = SemVer.parse(new.removeprefix("v")), SemVer.parse(old.removeprefix("v"))
    return lower is not None and higher is not None and lower < higher


def _check_downgrade(source: Source, image: Image, wish: Bump) -> None:
    if _is_lower(wish.tag or "", image.old_tag):
        raise RefusedError(
            f"{source.place_of(image)}: {wish.reference.familiar} is at {image.old_tag} already",
            why=f"{wish.tag} is lower.",
            hint="To go back all the same, give --allow-downgrade.",
        )
