"""What a bump changes in files that are held in memory, or why it changes nothing."""

from __future__ import annotations

import gc
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

from cicd_common.errors import NotFoundError, RefusedError, UsageError
from cicd_common.versions import parse_version
from cmd_bump_image_tag.images import OutOfReachError, new_values
from cmd_bump_image_tag.matching import find_matches, policies, read_file
from cmd_bump_image_tag.result import Change
from cmd_bump_image_tag.yaml_text.edit import UnsafeError, edit, is_settled
from cmd_bump_image_tag.yaml_text.keypaths import KeyPath
from cmd_bump_image_tag.yaml_text.scan import NotYamlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cmd_bump_image_tag.images import Image, Update
    from cmd_bump_image_tag.matching import Match, Source
    from cmd_bump_image_tag.request import BumpRequest
    from cmd_bump_image_tag.targets import Snapshot
    from cmd_bump_image_tag.yaml_text.scan import Scalar


@dataclass(frozen=True)
class Plan:
    """What a bump comes to.

    Attributes:
        changes: What changes, by path and line.
        contents: The new bytes of each file that changes.
        up_to_date: The places that have the value already, as `PATH:LINE`.
        warnings: What was left alone, and why.
    """

    changes: tuple[Change, ...]
    contents: Mapping[str, bytes]
    up_to_date: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Missed:
    """An image that matches, but has no place for the new value.

    Attributes:
        place: Its place, as `PATH:LINE`.
        update: The update that concerns it.
        why: Why it has no place.
        follows: Whether a marker or `--path` alone made it one, so that its tag may be elsewhere.
    """

    place: str
    update: Update
    why: str
    follows: bool


@dataclass
class _FilePlan:
    """What becomes of one file.

    Attributes:
        source: The file.
        values: The values of its scalars after the run, those that have it already included.
        changes: The scalars that change, in the order of the text.
        up_to_date: The places that have the value already, as `PATH:LINE`.
        warnings: What was left alone, and why.
        reached: The updates that concern it.
        missed: The images that have no place for the new value.
    """

    source: Source
    values: dict[Scalar, tuple[str, Update]] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    up_to_date: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    reached: set[Update] = field(default_factory=set)
    missed: list[_Missed] = field(default_factory=list)

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
            return source.mark + edit(source.text, values).encode()
        except UnsafeError as error:
            place = source.place(error.scalar) if error.scalar else source.path
            raise RefusedError(f"{place}: Cannot be edited safely.", why=f"{error}.") from error


def plan_bump(snapshot: Snapshot, request: BumpRequest) -> Plan:
    """Plans the edit of some files: images' tags and digests, and nothing else.

    Args:
        snapshot: The files.
        request: What to bump.

    Returns:
        The changes, with the new bytes of the files that change. No change is a plan too.

    Raises:
        NotFoundError: An update or a path matches nothing.
        RefusedError: An edit is not safe, a tag would go back, or a named file is not YAML.
        UsageError: Two updates contradict each other, or a path is wrong.
    """
    updates = _by_repository(request.updates)
    paths = [KeyPath.parse(path) for path in request.path]
    with _collector_paused():
        sources, warnings, tied = _read(snapshot, updates, paths)
        _check_paths(sources, paths, chosen=bool(request.file))
        plans = [
            _plan_file(
                source,
                find_matches(source, updates, tied, paths),
                allow_downgrade=request.allow_downgrade,
            )
            for source in sources
        ]
        _check_digests(plans)
        for update in updates.values():
            _check_reached(update, plans, snapshot.contents, warnings)
        return Plan(
            tuple(change for plan in plans for change in plan.changes),
            {plan.source.path: plan.edited() for plan in plans if plan.changes},
            tuple(place for plan in plans for place in plan.up_to_date),
            (*warnings, *(text for plan in plans for text in plan.warnings)),
        )


def _by_repository(updates: Sequence[Update]) -> dict[str, Update]:
    found: dict[str, Update] = {}
    for update in updates:
        other = found.setdefault(update.reference.repository, update)
        if other.reference.suffix != update.reference.suffix:
            raise UsageError(
                f"{update.reference.familiar} would get two values.",
                why=f"{other.reference.suffix} and {update.reference.suffix} were asked for.",
            )
    return found


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keeps the cyclic collector from walking trees that only grow: a third of a large file's time.

    It would find nothing: they have no circles, but for an anchor within itself.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(
    snapshot: Snapshot, updates: Mapping[str, Update], paths: Sequence[KeyPath]
) -> tuple[list[Source], list[str], dict[str, Update]]:
    """Reads the files that an update can concern; returns the updates by image policy, too."""
    files = snapshot.contents
    named = snapshot.named & files.keys()
    mentioned = {
        path for path, data in files.items() if path in named or _mentions(data, updates, paths)
    }
    sources, warnings = _parse(files, mentioned, named)
    tied = _tied(sources, updates)
    followers = {path for path, data in files.items() if _follows(data, tied)} - mentioned
    more, more_warnings = _parse(files, followers, named)
    sources = sorted([*sources, *more], key=lambda source: source.path)
    return sources, [*warnings, *more_warnings], tied


# Escapes that may spell a part of a name, in double quotes: \x77, \u0077, \/, a line's end.
_ESCAPE = re.compile(rb"\\[xuU/\r\n]")


def _mentions(data: bytes, updates: Mapping[str, Update], paths: Sequence[KeyPath]) -> bool:
    """Returns whether a file is worth parsing; parsing all would take most of the time."""
    names = {update.reference.last_component for update in updates.values()}
    return (
        any(_has_word(data, name) for name in names)
        or any(path.last_key.encode() in data for path in paths)
        or (b"\\" in data and _ESCAPE.search(data) is not None)
    )


def _has_word(data: bytes, name: str) -> bool:
    word = name.encode()
    # The plain search is many times faster, and nearly always says no.
    return word in data and bool(re.search(rb"(?<![\w.-])%b(?![\w-])" % re.escape(word), data))


def _follows(data: bytes, tied: Mapping[str, Update]) -> bool:
    return any(f'"{policy}:'.encode() in data for policy in tied)


def _parse(
    files: Mapping[str, bytes], paths: Iterable[str], named: frozenset[str]
) -> tuple[list[Source], list[str]]:
    sources, warnings = [], []
    for path in sorted(paths):
        try:
            sources.append(read_file(path, files[path]))
        except NotYamlError as error:
            if path in named:
                raise RefusedError(
                    f"{path} is not YAML.", why=f"Line {error.line}: {error.problem}."
                ) from error
            warnings.append(f"{path}:{error.line}: Skipped, for it is not YAML: {error.problem}.")
    return sources, warnings


def _tied(sources: Iterable[Source], updates: Mapping[str, Update]) -> dict[str, Update]:
    tied: dict[str, Update] = {}
    for source in sources:
        for policy, update in policies(source, updates):
            other = tied.setdefault(policy, update)
            if other is not update:
                raise RefusedError(
                    f"The image policy {policy} is tied to two images.",
                    why=f"{other.reference.familiar} and {update.reference.familiar} "
                    "have its marker.",
                )
    return tied


def _check_paths(sources: Sequence[Source], paths: Sequence[KeyPath], *, chosen: bool) -> None:
    for path in paths:
        holders = [
            source.path
            for source in sources
            if any(path.find(document) is not None for document in source.documents)
        ]
        if not holders:
            raise NotFoundError(f"No file has the key {path.text}.")
        if len(holders) > 1 and not chosen:
            raise RefusedError(
                f"{len(holders)} files have the key {path.text}.",
                why=f"{', '.join(holders[:3])}, and it may be another image's in some of them.",
                hint="Name the files with --file.",
            )


def _plan_file(source: Source, matches: Iterable[Match], *, allow_downgrade: bool) -> _FilePlan:
    """Plans the edit of one file.

    Raises:
        RefusedError: A tag would go back, or an anchor is shared with a value that stays.
    """
    plan = _FilePlan(source)
    kept: dict[Scalar, str] = {}  # by whom
    for match in matches:
        image, update = match.image, match.update
        if update is None:
            kept.update(dict.fromkeys(image.scalars, image.name.familiar))
            continue
        place = source.place_of(image)
        if source.is_frozen(image):
            plan.reached.add(update)
            plan.warnings.append(f"{place}: Left alone, as '# bump: ignore' asks.")
            kept.update(dict.fromkeys(image.scalars, "a line with '# bump: ignore'"))
            continue
        try:
            values = new_values(image, update)
        except OutOfReachError as error:
            plan.missed.append(_Missed(place, update, str(error), match.follows))
            plan.warnings.append(f"{place}: Left alone: {update.reference.familiar} {error}.")
            kept.update(dict.fromkeys(image.scalars, f"another use of {image.name.familiar}"))
            continue
        plan.reached.add(update)
        if all(is_settled(scalar, value) for scalar, value in values.items()):
            plan.up_to_date.append(place)
        elif not allow_downgrade:
            _check_downgrade(place, image, update)
        for scalar, value in values.items():
            if plan.values.setdefault(scalar, (value, update))[0] != value:
                raise _shared(place, "two images that are to have different tags")
    plan.changes = tuple(_changes(plan, kept))
    return plan


def _changes(plan: _FilePlan, kept: Mapping[Scalar, str]) -> Iterator[Change]:
    for scalar, (value, update) in sorted(plan.values.items(), key=lambda item: item[0].start):
        if is_settled(scalar, value):
            continue
        if scalar in kept:
            raise _shared(plan.source.place(scalar), kept[scalar])
        line = plan.source.lines.of_scalar(scalar)
        yield Change(plan.source.path, line, scalar.value, value, update.reference.familiar)


def _shared(place: str, other: str) -> RefusedError:
    return RefusedError(
        f"{place}: This value belongs to more than one image.",
        why=f"It is shared with {other}.",
        hint="Give each image a value of its own, or bump both in one run.",
    )


def _check_downgrade(place: str, image: Image, update: Update) -> None:
    if _is_lower(update.tag or "", image.old_tag):
        raise RefusedError(
            f"{place}: {update.reference.familiar} is at {image.old_tag} already.",
            why=f"{update.tag} is lower.",
            hint="To go back, give --allow-downgrade.",
        )


@lru_cache
def _is_lower(new: str, old: str) -> bool:
    """Returns whether both tags are SemVer, with or without a `v`, and the new one is lower."""
    lower, higher = parse_version(new.removeprefix("v")), parse_version(old.removeprefix("v"))
    return lower is not None and higher is not None and lower < higher


def _check_digests(plans: Sequence[_FilePlan]) -> None:
    """Refuses to leave a digest behind in a place of its own while its tag moves elsewhere."""
    moved = {change.image for plan in plans for change in plan.changes}
    for plan in plans:
        for missed in plan.missed:
            if missed.follows and missed.update.reference.familiar in moved:
                raise RefusedError(
                    f"{missed.place}: A digest of {missed.update.reference.familiar} would outlive "
                    "its tag.",
                    hint="Give --digest.",
                )


def _check_reached(
    update: Update,
    plans: Sequence[_FilePlan],
    files: Mapping[str, bytes],
    skipped: Sequence[str],
) -> None:
    if any(update in plan.reached for plan in plans):
        return
    name = update.reference.familiar
    missed = [missed for plan in plans for missed in plan.missed if missed.update is update]
    if missed:
        raise RefusedError(
            f"{name} cannot be set.",
            why="; ".join(f"{each.place}: {each.why}" for each in missed[:3]) + ".",
        )
    names = _nearest(update, files)
    nearest = [f"The nearest: {', '.join(names)}."] if names else []
    raise NotFoundError(
        f"No image {name} found; files read: {len(files)}.",
        why=" ".join([*nearest, *skipped[:1]]) or "None of the files names an image like it.",
        hint="Check --image and --file; --path reaches a field that no format has.",
    )


# To compare one name with this many takes about a tenth of a second.
_MOST_NAMES = 2000


def _nearest(update: Update, files: Mapping[str, bytes]) -> list[str]:
    """Returns up to three names that are like the one that was not found."""
    names: set[str] = set()
    sources, _ = _parse(files, files, frozenset())
    for image in (image for source in sources for image in source.images):
        if not image.obstacle and len(names) < _MOST_NAMES:
            names.add(image.name.familiar)
    last = update.reference.last_component
    akin = [name for name in names if last in name.rpartition("/")[2]]
    akin.sort(key=lambda name: (name.rpartition("/")[2] != last, name))
    alike = get_close_matches(update.reference.familiar, sorted(names), n=3)
    return list(dict.fromkeys([*akin, *alike]))[:3]
