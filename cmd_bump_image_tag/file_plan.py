"""Plans the changes to one file: the values of its scalars, and what is left alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING

from cicd_common.errors import RefusedError
from cmd_bump_image_tag.image_reference import has_variable
from cmd_bump_image_tag.images import OutOfReachError, StaleDigestError, new_values
from cmd_bump_image_tag.matching import find_matches
from cmd_bump_image_tag.result import Change, Skipped
from cmd_bump_image_tag.tag_order import is_lower
from cmd_bump_image_tag.yaml_text.edit import UnsafeError, edit, is_settled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cmd_bump_image_tag.image_reference import ImageReference
    from cmd_bump_image_tag.images import Image, Update
    from cmd_bump_image_tag.matching import Match, Source, Updates
    from cmd_bump_image_tag.request import BumpRequest
    from cmd_bump_image_tag.yaml_text.scan import Scalar


@dataclass(frozen=True)
class Missed:
    """An image that matches, but has no place for the new value.

    Attributes:
        place: Its place, as `PATH:LINE`.
        update: The update that concerns it.
        why: The reason.
        follows: Whether only a marker or `--path` made a part of it one, so that its tag can be
            elsewhere.
        name: The image's name, as far as the file says.
    """

    place: str
    update: Update
    why: str
    follows: bool
    name: ImageReference

    @property
    def remedy(self) -> str:
        """Returns what the user can do to set it."""
        if has_variable(self.name.repository):
            return f"Name the image as the file does: --image '{self.name.familiar}'."
        return "Write the tag into the file, or name the key that has it with --path."


@dataclass
class FilePlan:
    """The changes to one file.

    Attributes:
        source: The file.
        values: The values of its scalars after the run, including those that have them already.
        kept: The scalars that stay, each with the owner of its value.
        foreign: Digests under keys that do not name a digest, next to a tag that changes.
        changes: The scalars that change, in the order of the text.
        up_to_date: The places that have the value already, as `PATH:LINE`.
        skipped: The places that are left alone, and why.
        notes: Other information for the user.
        old: The tags and digests before the update, by update.
        reached: The updates that concern it.
        missed: The images that have no place for the new value.
    """

    source: Source
    values: dict[Scalar, tuple[str, Update]] = field(default_factory=dict)
    kept: dict[Scalar, str] = field(default_factory=dict)
    foreign: dict[Scalar, Update] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    up_to_date: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    old: dict[Update, set[str]] = field(default_factory=dict)
    reached: set[Update] = field(default_factory=set)
    missed: list[Missed] = field(default_factory=list)

    def add(self, match: Match, *, allow_downgrade: bool) -> None:
        """Adds an image.

        Raises:
            RefusedError: The new version is lower, or two images that differ share a value.
        """
        image, update = match.image, match.update
        if update is None:
            self._keep(image, image.name.familiar)
            return
        first = (*image.scalars, *image.lines)[0]
        if self.source.is_frozen(image):
            self.reached.add(update)
            self._skip(first, "Left alone, as '# bump: ignore' asks.")
            self._keep(image, "a line with '# bump: ignore'")
            return
        try:
            values = new_values(image, update)
        except OutOfReachError as error:
            place = self.source.place(first)
            self.missed.append(Missed(place, update, str(error), match.follows, image.name))
            self._skip(first, f"Left alone: {update.label} {error}.")
            self._keep(image, f"another use of {image.name.familiar}")
            return
        except StaleDigestError as error:
            raise outlives(self.source.place(error.scalar), update, f"{error}.") from error
        self.reached.add(update)
        if all(is_settled(scalar, value) for scalar, value in values.items()):
            self.up_to_date.append(self.source.place(first))
        elif not allow_downgrade and is_lower(update.tag or "", image.old_tag):
            raise RefusedError(
                f"{self.source.place(first)}: {update.label} is at {image.old_tag} already.",
                why=f"{update.tag} is lower.",
                hint="To go back, give --allow-downgrade.",
            )
        self._set(first, image, update, values)

    def _set(
        self, first: Scalar, image: Image, update: Update, values: Mapping[Scalar, str]
    ) -> None:
        for scalar, value in values.items():
            if self.values.setdefault(scalar, (value, update))[0] != value:
                place = self.source.place(first)
                raise _shared(place, "two images that are to have different tags")
        old = {image.old_tag, (image.reference and image.name.digest) or ""} - {""}
        self.old.setdefault(update, set()).update(old)
        if update.tag is None or update.tag == image.old_tag:
            return
        self.foreign |= dict.fromkeys(image.foreign, update)
        if image.reference and image.name.digest and not image.name.tag and not update.digest:
            self.notes.append(
                f"{self.source.place(first)}: {update.label} was pinned by its digest alone, and "
                "now has only a tag. To pin it, give --digest or --pin-digest."
            )

    def finish(self) -> None:
        """Works out the changes.

        Raises:
            RefusedError: An image that stays shares a value, or a digest would be stale.
        """
        for scalar in self.foreign.keys() - self.values.keys():
            why = f"{scalar.value} can be the digest of the old tag."
            place, update = self.source.place(scalar), self.foreign[scalar]
            raise outlives(place, update, why, takes_digest=False)
        self.changes = tuple(self._changes())

    def _changes(self) -> Iterator[Change]:
        by_line = sorted(
            ((self.source.line(scalar), scalar) for scalar in self.values), key=itemgetter(0)
        )
        for line, scalar in by_line:
            value, update = self.values[scalar]
            if is_settled(scalar, value):
                continue
            if scalar in self.kept:
                raise _shared(self.source.place(scalar), self.kept[scalar])
            yield Change(self.source.path, line, scalar.value, value, update.label)

    def _keep(self, image: Image, owner: str) -> None:
        self.kept.update(dict.fromkeys(image.scalars, owner))

    def _skip(self, scalar: Scalar, why: str) -> None:
        self.skipped.append(Skipped(self.source.path, self.source.line(scalar), why))

    def edited(self) -> bytes:
        """Returns the file's new bytes.

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
            while inner := [scalar for scalar in values if scalar in source.nested]:
                nested = source.nested[inner[0]]
                same = [each for each in inner if source.nested[each].outer is nested.outer]
                values[nested.outer] = edit(
                    nested.scan.text, {each: values.pop(each) for each in same}
                )
            return source.mark + edit(source.text, values).encode()
        except UnsafeError as error:
            place = source.place(error.scalar) if error.scalar else source.path
            raise RefusedError(f"{place}: Cannot be edited safely.", why=str(error)) from error


def plan_file(source: Source, updates: Updates, request: BumpRequest) -> FilePlan:
    """Plans the changes to a file.

    Args:
        source: The file.
        updates: What to set.
        request: The bump.

    Raises:
        RefusedError: An edit is not safe, or the new version is lower.
        UsageError: A path leads to a bare tag, and there are several updates.
    """
    plan = FilePlan(source)
    for match in find_matches(source, updates):
        plan.add(match, allow_downgrade=request.allow_downgrade)
    plan.finish()
    return plan


def _shared(place: str, other: str) -> RefusedError:
    return RefusedError(
        f"{place}: This value belongs to more than one image.",
        why=f"It is shared with {other}.",
        hint="Give each image a value of its own, or bump both in one run.",
    )


def outlives(place: str, update: Update, why: str, *, takes_digest: bool = True) -> RefusedError:
    """Returns the error for a digest that would stay while its tag changes.

    Args:
        place: The place of the digest, as `PATH:LINE`.
        update: The update that moves the tag.
        why: Why the digest cannot be emptied.
        takes_digest: Whether a new digest would replace it.
    """
    hint = "Empty that value first."
    if takes_digest and not update.digest:
        hint = f"Give --digest. Or: {hint}"
    return RefusedError(
        f"{place}: A digest of {update.label} would stay while its tag changes.",
        why=why,
        hint=hint,
    )
