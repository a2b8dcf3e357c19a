"""Plans what a bump changes in files that are held in memory."""

from __future__ import annotations

import gc
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

from cicd_common.errors import NotFoundError, RefusedError, UsageError
from cmd_bump_image_tag.image_reference import has_variable
from cmd_bump_image_tag.images import OutOfReachError, StaleDigestError, new_values
from cmd_bump_image_tag.leftovers import find_leftovers, find_leftovers_in_text
from cmd_bump_image_tag.matching import Updates, find_matches, policies, read_file
from cmd_bump_image_tag.result import BumpResult, Change, Skipped
from cmd_bump_image_tag.targets.files import is_below, is_text
from cmd_bump_image_tag.yaml_text.edit import UnsafeError, edit, is_settled
from cmd_bump_image_tag.yaml_text.keypaths import KeyPath
from cmd_bump_image_tag.yaml_text.scan import NotYamlError, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cmd_bump_image_tag.image_reference import ImageReference
    from cmd_bump_image_tag.images import Image, Update
    from cmd_bump_image_tag.matching import Match, Source
    from cmd_bump_image_tag.request import BumpRequest
    from cmd_bump_image_tag.targets import Snapshot


# A comparison of one name with this many takes about a tenth of a second.
_MOST_NAMES = 2000
_MOST_SHOWN = 3  # places or names in a message


@dataclass(frozen=True)
class Plan:
    """The changes that a bump is to make.

    Attributes:
        changes: What changes, by path and line.
        contents: The new bytes of each file that changes.
        up_to_date: The places that have the value already, as `PATH:LINE`.
        skipped: The places that are left alone, and why.
        notes: Other information for the user, one line each.
    """

    changes: tuple[Change, ...]
    contents: Mapping[str, bytes]
    up_to_date: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def plan_bump(snapshot: Snapshot, request: BumpRequest) -> Plan:
    """Plans the edit of some files: images' tags and digests, and nothing else.

    Args:
        snapshot: The files.
        request: What to bump.

    Returns:
        The changes, with the new bytes of the files that change; there can be none.

    Raises:
        NotFoundError: An update or a path matches nothing.
        RefusedError: An edit is not safe, the new version is lower, a named file is not YAML, or
            with --strict the old reference would be left behind.
        UsageError: Two updates contradict each other, or a path is wrong.
    """
    files = {
        path: data
        for path, data in snapshot.contents.items()
        if not any(is_below(path, pattern) for pattern in request.exclude)
    }
    with _collector_paused():
        reading = _read(files, snapshot.named & files.keys(), request)
        _check_paths(reading, chosen=bool(request.file))
        plans = [_plan_file(source, reading.updates, request) for source in reading.sources]
        _check_digests(plans)
        for update in request.updates:
            _check_reached(update, plans, files)
        leftovers = _leftovers(plans, files)
        if request.strict and leftovers:
            raise RefusedError(
                f"{len(leftovers)} mentions of the old reference would be left behind.",
                why=" ".join(each.text() for each in leftovers[:_MOST_SHOWN]),
                hint="Set them with --path, exclude the files, or leave out --strict.",
                results=(BumpResult(changed=False, skipped=tuple(leftovers)),),
            )
        skipped = [
            *_unreadable(snapshot),
            *reading.skipped,
            *(each for plan in plans for each in plan.skipped),
            *leftovers,
        ]
        return Plan(
            tuple(change for plan in plans for change in plan.changes),
            {plan.source.path: plan.edited() for plan in plans if plan.changes},
            tuple(place for plan in plans for place in plan.up_to_date),
            tuple(dict.fromkeys(skipped)),
            tuple(note for plan in plans for note in plan.notes),
        )


def _unreadable(snapshot: Snapshot) -> Iterator[Skipped]:
    for folder, reason in sorted(snapshot.unreadable.items()):
        yield Skipped(folder, 1, f"Skipped, because the folder cannot be read: {reason}.")


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pauses the cyclic garbage collector, which takes a third of the time of a large file.

    It would find nothing: the trees have no cycles, except for an anchor within itself.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass(frozen=True)
class _Reading:
    """The files that an update can concern.

    Attributes:
        sources: The files, by path.
        updates: The updates to make.
        skipped: The files that could not be read.
    """

    sources: list[Source]
    updates: Updates
    skipped: list[Skipped]


def _read(files: Mapping[str, bytes], named: frozenset[str], request: BumpRequest) -> _Reading:
    images = _by_repository(update for update in request.updates if not update.is_path)
    own = {update.name: update for update in request.updates if update.is_path}
    paths = [(KeyPath.parse(path), own.get(path)) for path in request.path]
    mentioned = {
        path
        for path, data in files.items()
        if path in named or (not is_text(path) and _mentions(data, images, paths))
    }
    sources, skipped = _parse(files, mentioned, named)
    tied = _tied(sources, images)
    followers = {path for path, data in files.items() if _follows(data, tied)} - mentioned
    more, more_skipped = _parse(files, followers, named)
    sources = sorted([*sources, *more], key=lambda source: source.path)
    return _Reading(sources, Updates(images, tied, paths), [*skipped, *more_skipped])


def _by_repository(updates: Iterable[Update]) -> dict[str, Update]:
    found: dict[str, Update] = {}
    for update in updates:
        other = found.setdefault(update.reference.repository, update)
        if other.reference.suffix != update.reference.suffix:
            raise UsageError(
                f"{update.label} would get two different values.",
                why=f"{other.reference.suffix} and {update.reference.suffix} were asked for.",
            )
    return found


# Escapes that can spell a part of a name, in double quotes: \x77, \u0077, \/, a line's end.
_ESCAPE = re.compile(rb"\\[xuU/\r\n]")


def _mentions(
    data: bytes, images: Mapping[str, Update], paths: Sequence[tuple[KeyPath, Update | None]]
) -> bool:
    """Returns True if an update can concern a file; parsing every file would be slow."""
    words = {update.word for update in images.values()}
    return (
        any(_has_word(data, word) for word in words)
        or any(path.last_key.encode() in data for path, _ in paths)
        or (b"\\" in data and _ESCAPE.search(data) is not None)
    )


def _has_word(data: bytes, name: str) -> bool:
    word = name.encode()
    # The plain search is many times faster, and almost always finds nothing.
    return word in data and bool(re.search(rb"(?<![\w.-])%b(?![\w-])" % re.escape(word), data))


def _follows(data: bytes, tied: Mapping[str, Update]) -> bool:
    return any(f'"{policy}:'.encode() in data for policy in tied)


def _parse(
    files: Mapping[str, bytes], paths: Iterable[str], named: frozenset[str]
) -> tuple[list[Source], list[Skipped]]:
    sources, skipped = [], []
    for path in sorted(paths):
        try:
            source = read_file(path, files[path])
        except NotYamlError as error:
            if path in named:
                raise RefusedError(
                    f"{path} is not YAML.", why=f"Line {error.line}: {error.problem}."
                ) from error
            why = f"Skipped, because it is not YAML: {error.problem}."
            skipped.append(Skipped(path, error.line, why))
            continue
        roots = source.scan.documents
        if path in named and roots and all(isinstance(root, Scalar) for root in roots):
            raise RefusedError(
                f"{path} is not YAML.",
                why="It is text without keys.",
                hint="Name YAML files. Other files are not edited; mentions in them are reported.",
            )
        sources.append(source)
    return sources, skipped


def _tied(sources: Iterable[Source], images: Mapping[str, Update]) -> dict[str, Update]:
    tied: dict[str, Update] = {}
    for source in sources:
        for policy, update in policies(source, images):
            other = tied.setdefault(policy, update)
            if other is not update:
                raise RefusedError(
                    f"The image policy {policy} is tied to two images.",
                    why=f"{other.label} and {update.label} have its marker.",
                )
    return tied


def _check_paths(reading: _Reading, *, chosen: bool) -> None:
    for path, _ in reading.updates.paths:
        holders = [source.path for source in reading.sources if source.locate(path)]
        if not holders:
            raise NotFoundError(
                f"No file has the key {path.text}.", hint="Check --path and --file."
            )
        if len(holders) > 1 and not chosen:
            raise RefusedError(
                f"{len(holders)} files have the key {path.text}.",
                why=f"{', '.join(holders[:3])}, and it may be another image's in some of them.",
                hint="Name the files with --file.",
            )


@dataclass(frozen=True)
class _Missed:
    """An image that matches, but has no place for the new value.

    Attributes:
        place: Its place, as `PATH:LINE`.
        update: The update that concerns it.
        why: The reason.
        follows: Whether only a marker or `--path` made it one, so that its tag can be elsewhere.
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
class _FilePlan:
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
    missed: list[_Missed] = field(default_factory=list)

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
        place = self.source.place(first)
        try:
            values = new_values(image, update)
        except OutOfReachError as error:
            self.missed.append(_Missed(place, update, str(error), match.follows, image.name))
            self._skip(first, f"Left alone: {update.label} {error}.")
            self._keep(image, f"another use of {image.name.familiar}")
            return
        except StaleDigestError as error:
            raise _outlives(self.source.place(error.scalar), update, f"{error}.") from error
        self.reached.add(update)
        if all(is_settled(scalar, value) for scalar, value in values.items()):
            self.up_to_date.append(place)
        elif not allow_downgrade:
            _check_downgrade(place, image, update)
        self._set(place, image, update, values)

    def _set(self, place: str, image: Image, update: Update, values: Mapping[Scalar, str]) -> None:
        for scalar, value in values.items():
            if self.values.setdefault(scalar, (value, update))[0] != value:
                raise _shared(place, "two images that are to have different tags")
        old = {image.old_tag, (image.reference and image.name.digest) or ""} - {""}
        self.old.setdefault(update, set()).update(old)
        if update.tag is None or update.tag == image.old_tag:
            return
        self.foreign |= dict.fromkeys(image.foreign, update)
        if image.reference and image.name.digest and not image.name.tag and not update.digest:
            self.notes.append(
                f"{place}: {update.label} was pinned by its digest alone, and now has only a tag. "
                "To pin it, give --digest or --pin-digest."
            )

    def finish(self) -> None:
        """Works out the changes.

        Raises:
            RefusedError: An image that stays shares a value, or a digest would be stale.
        """
        for scalar in self.foreign.keys() - self.values.keys():
            why = f"{scalar.value} can be the digest of the old tag."
            raise _outlives(self.source.place(scalar), self.foreign[scalar], why)
        self.changes = tuple(self._changes())

    def _changes(self) -> Iterator[Change]:
        by_line = sorted(self.values.items(), key=lambda item: self.source.line(item[0]))
        for scalar, (value, update) in by_line:
            if is_settled(scalar, value):
                continue
            if scalar in self.kept:
                raise _shared(self.source.place(scalar), self.kept[scalar])
            line = self.source.line(scalar)
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


def _plan_file(source: Source, updates: Updates, request: BumpRequest) -> _FilePlan:
    plan = _FilePlan(source)
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


def _outlives(place: str, update: Update, why: str) -> RefusedError:
    return RefusedError(
        f"{place}: A digest of {update.label} would stay while its tag changes.",
        why=why,
        hint="Give --digest, or empty that value first.",
    )


def _check_downgrade(place: str, image: Image, update: Update) -> None:
    if is_lower(update.tag or "", image.old_tag):
        raise RefusedError(
            f"{place}: {update.label} is at {image.old_tag} already.",
            why=f"{update.tag} is lower.",
            hint="To go back, give --allow-downgrade.",
        )


_VERSION = re.compile(
    r"v?(?P<core>[0-9]{1,9}(?:\.[0-9]{1,9}){1,2})"
    # The kinds of pre-release whose numbers count up; other suffixes have no order.
    r"(?:-(?P<kind>alpha|beta|rc|pre|preview|dev|canary|next|nightly|milestone|m|a|b)"
    r"[.-]?(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})*)|-.*)?"
)


@lru_cache
def is_lower(new: str, old: str) -> bool:
    """Returns True if a tag is a lower version than another one.

    It is lower in major, minor or patch; with those equal only if both are pre-releases of the
    same kind. A tag that is not a version has no order.

    Args:
        new: The tag to set.
        old: The tag before.
    """
    ours, theirs = _VERSION.fullmatch(new), _VERSION.fullmatch(old)
    if ours is None or theirs is None:
        return False
    pairs = zip(_numbers(ours["core"]), _numbers(theirs["core"]), strict=False)
    for our, their in pairs:
        if our != their:
            return our < their
    if ours["core"].count(".") != theirs["core"].count(".") or ours["kind"] is None:
        return False
    return ours["kind"] == theirs["kind"] and _numbers(ours["number"]) < _numbers(theirs["number"])


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _check_digests(plans: Sequence[_FilePlan]) -> None:
    """Checks that no digest in a separate value stays while its tag changes elsewhere."""
    moved = {change.image for plan in plans for change in plan.changes}
    for plan in plans:
        for missed in plan.missed:
            if missed.follows and missed.update.label in moved:
                raise _outlives(missed.place, missed.update, "Its tag changes elsewhere.")


def _leftovers(plans: Sequence[_FilePlan], files: Mapping[str, bytes]) -> list[Skipped]:
    """Returns the mentions of the images' old tags and digests in all files that were read."""
    old: dict[Update, set[str]] = {}
    for plan in plans:
        for update, values in plan.old.items():
            old.setdefault(update, set()).update(values - {update.tag, update.digest})
    found: list[Skipped] = []
    for update, values in old.items():
        if values and not update.is_path:
            found += _mentioned(update, plans, files, frozenset(values))
    return found


def _mentioned(
    update: Update,
    plans: Sequence[_FilePlan],
    files: Mapping[str, bytes],
    values: frozenset[str] | None,
) -> Iterator[Skipped]:
    """Yields the mentions of an image in text, with these old tags and digests, or with any."""

    def is_old(reference: ImageReference) -> bool:
        found = {reference.tag, reference.digest} - {None, update.tag, update.digest}
        return bool(found if values is None else found & values)

    by_path = {plan.source.path: plan for plan in plans}
    for path, data in sorted(files.items()):
        if update.word.encode() not in data:
            continue
        plan = by_path.get(path)
        if plan is None:
            yield from find_leftovers_in_text(path, data, update, is_old)
            continue
        known = {each.line for each in plan.skipped}
        known |= {
            plan.source.line(scalar) for scalar in plan.values if scalar in plan.source.nested
        }
        for each in find_leftovers(plan.source, update, is_old, plan.values.keys()):
            if each.line not in known:
                yield each


def _check_reached(update: Update, plans: Sequence[_FilePlan], files: Mapping[str, bytes]) -> None:
    if any(update in plan.reached for plan in plans):
        return
    missed = [missed for plan in plans for missed in plan.missed if missed.update == update]
    if missed:
        raise RefusedError(
            f"{update.label} cannot be set.",
            why="; ".join(f"{each.place}: {each.why}" for each in missed[:_MOST_SHOWN]) + ".",
            hint=missed[0].remedy,
        )
    mentions = [] if update.is_path else list(_mentioned(update, plans, files, None))
    hints = [each.text() for each in mentions[:_MOST_SHOWN]]
    sources, skipped = _parse(files, (path for path in files if not is_text(path)), frozenset())
    names = _nearest(update, sources)
    hints += [f"The nearest: {', '.join(names)}."] if names else []
    hints += [each.text() for each in skipped[:1]]
    raise NotFoundError(
        f"No image {update.label} found; files read: {len(files)}.",
        why=" ".join(hints) or "The files name no image.",
        hint="Check --image and --file; --path reaches a field that no format has.",
    )


def _nearest(update: Update, sources: Iterable[Source]) -> list[str]:
    """Returns up to three names similar to the one that was not found, else any names there are."""
    names: set[str] = set()
    for image in (image for source in sources for image in source.images):
        if not image.obstacle and len(names) < _MOST_NAMES:
            names.add(image.name.familiar)
    last = update.reference.last_component
    akin = [name for name in names if last in name.rpartition("/")[2]]
    akin.sort(key=lambda name: (name.rpartition("/")[2] != last, name))
    alike = get_close_matches(update.reference.familiar, sorted(names), n=_MOST_SHOWN)
    return list(dict.fromkeys([*akin, *alike]) or sorted(names))[:_MOST_SHOWN]
