"""Bumping images in files that are held in memory: what to change, or why not."""

from __future__ import annotations

import gc
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

from cicd_common.errors import NotFoundError, RefusedError, UsageError
from cicd_common.semver import SemVer
from cmd_bump_image_tag.images import OutOfReachError, wanted
from cmd_bump_image_tag.matching import matches, policies
from cmd_bump_image_tag.source import read
from cmd_bump_image_tag.yaml_text.edit import UnsafeError, edit, is_settled
from cmd_bump_image_tag.yaml_text.keypaths import KeyPath
from cmd_bump_image_tag.yaml_text.scan import NotYamlError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from cmd_bump_image_tag.images import Bump, Image
    from cmd_bump_image_tag.matching import Match
    from cmd_bump_image_tag.source import Source
    from cmd_bump_image_tag.yaml_text.scan import Scalar


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


# To compare one name with this many takes about a tenth of a second.
_MOST_NAMES = 2000


@dataclass(frozen=True)
class Result:
    """What a run of bumps comes to.

    Attributes:
        changes: What changes, by path and line.
        contents: The new bytes of each file that changes.
        up_to_date: Where the wanted stood already, as `PATH:LINE`.
        warnings: What was left alone, and why.
    """

    changes: tuple[Change, ...]
    contents: Mapping[str, bytes]
    up_to_date: tuple[str, ...]
    warnings: tuple[str, ...]


def bump(
    files: Mapping[str, bytes],
    bumps: Sequence[Bump],
    *,
    paths: Sequence[str] = (),
    allow_downgrade: bool = False,
    named: Collection[str] = (),
    chosen: bool = True,
) -> Result:
    """Set images' tags and digests in the YAML of some files; change nothing else.

    Args:
        files: The files' bytes by their path in the repository, with `/` between its parts.
        bumps: What to set, one for each repository.
        paths: Keys to edit as well, such as `spec.values.image.tag`.
        allow_downgrade: Whether a lower SemVer may replace a higher.
        named: The files that were named outright: they must be YAML.
        chosen: Whether somebody chose the files; in a scan of everything, a key of `paths` that
            several files have is refused.

    Returns:
        The changes, with the new bytes of the files that change. No change is a result too.

    Raises:
        NotFoundError: A bump or a path matches nothing.
        RefusedError: An edit is not safe, a tag would go back, or a named file is no YAML.
        UsageError: Two bumps contradict each other, or a path is none.
    """
    wishes = _by_repository(bumps)
    key_paths = [KeyPath.parse(path) for path in paths]
    with _collector_paused():
        return _bump(
            files,
            wishes,
            key_paths,
            allow_downgrade=allow_downgrade,
            named=frozenset(named),
            chosen=chosen,
        )


def _bump(
    files: Mapping[str, bytes],
    wishes: Mapping[str, Bump],
    key_paths: Sequence[KeyPath],
    *,
    allow_downgrade: bool,
    named: frozenset[str],
    chosen: bool,
) -> Result:
    mentioned = {
        path for path, data in files.items() if path in named or _mentions(data, wishes, key_paths)
    }
    sources, warnings = _read(files, mentioned, named)
    tied = _tied(sources, wishes)
    followers = {path for path, data in files.items() if _follows(data, tied)} - mentioned
    more, more_warnings = _read(files, followers, named)
    sources = sorted([*sources, *more], key=lambda source: source.path)
    _check_paths(sources, key_paths, chosen=chosen)
    plans = [
        plan_edits(
            source, matches(source, wishes, tied, key_paths), allow_downgrade=allow_downgrade
        )
        for source in sources
    ]
    _check_digests(plans)
    for wish in wishes.values():
        _check_reached(wish, plans, files, warnings)
    return Result(
        tuple(change for plan in plans for change in plan.changes),
        {plan.source.path: plan.edited() for plan in plans if plan.changes},
        tuple(place for plan in plans for place in plan.up_to_date),
        (*warnings, *more_warnings, *(text for plan in plans for text in plan.warnings)),
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the cyclic collector from walking trees that only grow: a third of a large file's time.

    It would find nothing: they have no circles, but for an anchor within itself.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _by_repository(bumps: Sequence[Bump]) -> dict[str, Bump]:
    if not bumps:
        raise UsageError("there is no image to bump", hint="Give --image.")
    wishes: dict[str, Bump] = {}
    for wish in bumps:
        other = wishes.setdefault(wish.reference.repository, wish)
        if other.reference.suffix != wish.reference.suffix:
            raise UsageError(
                f"{wish.reference.familiar} is to be two things",
                why=f"{other.reference.suffix} and {wish.reference.suffix} were asked for.",
            )
    return wishes


# Escapes that may spell a part of a name, in double quotes: \x77, \u0077, \/, a line's end.
_ESCAPE = re.compile(rb"\\[xuU/\r\n]")


def _mentions(data: bytes, wishes: Mapping[str, Bump], paths: Sequence[KeyPath]) -> bool:
    """Return whether a file is worth parsing; parsing all would take most of the time."""
    names = {wish.reference.last_component for wish in wishes.values()}
    return (
        any(_has_word(data, name) for name in names)
        or any(path.last_key.encode() in data for path in paths)
        or (b"\\" in data and _ESCAPE.search(data) is not None)
    )


def _has_word(data: bytes, name: str) -> bool:
    word = name.encode()
    # The plain search is many times faster, and nearly always says no.
    return word in data and bool(re.search(rb"(?<![\w.-])%b(?![\w-])" % re.escape(word), data))


def _follows(data: bytes, tied: Mapping[str, Bump]) -> bool:
    return any(f'"{policy}:'.encode() in data for policy in tied)


def _read(
    files: Mapping[str, bytes], paths: Iterable[str], named: frozenset[str]
) -> tuple[list[Source], list[str]]:
    sources, warnings = [], []
    for path in sorted(paths):
        try:
            sources.append(read(path, files[path]))
        except NotYamlError as error:
            if path in named:
                raise RefusedError(
                    f"{path} is not YAML", why=f"Line {error.line}: {error.problem}"
                ) from error
            warnings.append(f"{path}:{error.line}: skipped, for it is not YAML: {error.problem}")
    return sources, warnings


def _tied(sources: Iterable[Source], wishes: Mapping[str, Bump]) -> dict[str, Bump]:
    tied: dict[str, Bump] = {}
    for source in sources:
        for policy, wish in policies(source, wishes):
            other = tied.setdefault(policy, wish)
            if other is not wish:
                raise RefusedError(
                    f"the image policy {policy} is tied to two images",
                    why=f"{other.reference.familiar} and {wish.reference.familiar} have its mark.",
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
            raise NotFoundError(f"no file has the key {path.text}")
        if len(holders) > 1 and not chosen:
            raise RefusedError(
                f"{len(holders)} files have the key {path.text}",
                why=f"{', '.join(holders[:3])}, and it may be another image's in some of them.",
                hint="Name the files with --file.",
            )


def _check_digests(plans: Sequence[Plan]) -> None:
    """Refuse to leave a digest behind in a place of its own while its tag moves elsewhere."""
    moved = {change.image for each in plans for change in each.changes}
    for each in plans:
        for missed in each.missed:
            if missed.follows and missed.bump.reference.familiar in moved:
                raise RefusedError(
                    f"{missed.place}: a digest of {missed.bump.reference.familiar} would outlive "
                    "its tag",
                    hint="Give --digest.",
                )


def _check_reached(
    wish: Bump, plans: Sequence[Plan], files: Mapping[str, bytes], skipped: Sequence[str]
) -> None:
    if any(wish in each.reached for each in plans):
        return
    name = wish.reference.familiar
    missed = [missed for each in plans for missed in each.missed if missed.bump is wish]
    if missed:
        raise RefusedError(
            f"{name} cannot be set",
            why="; ".join(f"{each.place}: {each.why}" for each in missed[:3]),
        )
    names = _nearest(wish, files)
    nearest = [f"The nearest: {', '.join(names)}."] if names else []
    raise NotFoundError(
        f"no image {name} found; files looked at: {len(files)}",
        why=" ".join([*nearest, *skipped[:1]]) or "None of the files names an image like it.",
        hint="Check --image and --file; --path reaches a field that no rule knows.",
    )


def _nearest(wish: Bump, files: Mapping[str, bytes]) -> list[str]:
    """Return up to three names that are like the one that was not found."""
    names: set[str] = set()
    sources, _ = _read(files, files, frozenset())
    for image in (image for source in sources for image in source.images):
        if not image.obstacle and len(names) < _MOST_NAMES:
            names.add(image.name.familiar)
    last = wish.reference.last_component
    akin = [name for name in names if last in name.rpartition("/")[2]]
    akin.sort(key=lambda name: (name.rpartition("/")[2] != last, name))
    alike = get_close_matches(wish.reference.familiar, sorted(names), n=3)
    return list(dict.fromkeys([*akin, *alike]))[:3]
