"""Plans what a bump changes in files that are held in memory."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from cicd_common.errors import NotFoundError, RefusedError
from cmd_bump_image_tag.file_plan import outlives, plan_file
from cmd_bump_image_tag.image_reference import has_variable
from cmd_bump_image_tag.leftovers import find_leftovers, find_leftovers_in_text
from cmd_bump_image_tag.reading import check_paths, parse, read
from cmd_bump_image_tag.result import BumpResult, Change, Skipped
from cmd_bump_image_tag.targets.files import is_below, is_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cmd_bump_image_tag.file_plan import FilePlan
    from cmd_bump_image_tag.image_reference import ImageReference
    from cmd_bump_image_tag.images import Update
    from cmd_bump_image_tag.matching import Source
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
        path: data for path, data in snapshot.contents.items() if not _is_excluded(path, request)
    }
    with _collector_paused():
        return _plan(snapshot, files, request)


def _plan(snapshot: Snapshot, files: Mapping[str, bytes], request: BumpRequest) -> Plan:
    reading = read(files, snapshot.named & files.keys(), request)
    check_paths(reading, chosen=bool(request.file))
    plans = [plan_file(source, reading.updates, request) for source in reading.sources]
    _check_digests(plans)
    for update in request.updates:
        _check_reached(update, plans, files)
    leftovers = _leftovers(plans, files)
    if request.strict and leftovers:
        mentions = "1 mention" if len(leftovers) == 1 else f"{len(leftovers)} mentions"
        raise RefusedError(
            f"{mentions} of the old reference would be left behind.",
            why=" ".join(each.text() for each in leftovers[:_MOST_SHOWN]),
            hint="Set them with --path, exclude the files, or leave out --strict.",
            results=(BumpResult(changed=False, skipped=tuple(leftovers)),),
        )
    skipped = [
        *_unreadable(snapshot, request),
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


def _is_excluded(path: str, request: BumpRequest) -> bool:
    return any(is_below(path, pattern) for pattern in request.exclude)


def _unreadable(snapshot: Snapshot, request: BumpRequest) -> Iterator[Skipped]:
    for folder, reason in sorted(snapshot.unreadable.items()):
        if not _is_excluded(folder.rstrip("/"), request):
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


def _check_digests(plans: Sequence[FilePlan]) -> None:
    """Checks that no digest in a separate value stays while its tag changes elsewhere."""
    moved = {change.image for plan in plans for change in plan.changes}
    for plan in plans:
        for missed in plan.missed:
            if missed.follows and missed.update.label in moved:
                raise outlives(missed.place, missed.update, "Its tag changes elsewhere.")


def _leftovers(plans: Sequence[FilePlan], files: Mapping[str, bytes]) -> list[Skipped]:
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
    plans: Sequence[FilePlan],
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


def _check_reached(update: Update, plans: Sequence[FilePlan], files: Mapping[str, bytes]) -> None:
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
    sources, skipped = parse(files, (path for path in files if not is_text(path)), frozenset())
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
        name = image.in_global_registry or image.name
        is_known = not image.obstacle and not has_variable(name.last_component)
        if is_known and len(names) < _MOST_NAMES:
            names.add(name.familiar)
    last = update.reference.last_component
    akin = [name for name in names if last in name.rpartition("/")[2]]
    akin.sort(key=lambda name: (name.rpartition("/")[2] != last, name))
    alike = get_close_matches(update.reference.familiar, sorted(names), n=_MOST_SHOWN)
    return list(dict.fromkeys([*akin, *alike]) or sorted(names))[:_MOST_SHOWN]
