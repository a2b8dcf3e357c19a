"""Reads the files that an update can concern; parsing all of them would be slow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.errors import NotFoundError, RefusedError, UsageError
from cmd_bump_image_tag.matching import Updates, policies, read_file
from cmd_bump_image_tag.result import Skipped
from cmd_bump_image_tag.targets.files import is_text
from cmd_bump_image_tag.yaml_text.keypaths import KeyPath
from cmd_bump_image_tag.yaml_text.scan import NotYamlError, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cmd_bump_image_tag.images import Update
    from cmd_bump_image_tag.matching import Source
    from cmd_bump_image_tag.request import BumpRequest


@dataclass(frozen=True)
class Reading:
    """The files that an update can concern.

    Attributes:
        sources: The files, by path.
        updates: The updates to make.
        skipped: The files that could not be read.
    """

    sources: list[Source]
    updates: Updates
    skipped: list[Skipped]


def read(files: Mapping[str, bytes], named: frozenset[str], request: BumpRequest) -> Reading:
    """Reads the files that name an image, have a key of a path, or follow an image's policy.

    Args:
        files: The files' bytes, by path.
        named: The files that the user named; they are read always.
        request: What to bump.

    Raises:
        RefusedError: A named file is not YAML, or a policy is tied to two images.
        UsageError: Two updates contradict each other, or a path is wrong.
    """
    images = _by_repository(update for update in request.updates if not update.is_path)
    own = {update.name: update for update in request.updates if update.is_path}
    paths = [(KeyPath.parse(path), own.get(path)) for path in request.path]
    mentioned = {
        path
        for path, data in files.items()
        if path in named or (not is_text(path) and _mentions(data, images, paths))
    }
    sources, skipped = parse(files, mentioned, named)
    tied = _tied(sources, images)
    followers = {path for path, data in files.items() if _follows(data, tied)} - mentioned
    more, more_skipped = parse(files, followers, named)
    sources = sorted([*sources, *more], key=lambda source: source.path)
    return Reading(sources, Updates(images, tied, paths), [*skipped, *more_skipped])


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


def parse(
    files: Mapping[str, bytes], paths: Iterable[str], named: frozenset[str]
) -> tuple[list[Source], list[Skipped]]:
    """Parses some of the files; returns those that are YAML, and the others as skipped.

    Args:
        files: The files' bytes, by path.
        paths: The files to parse.
        named: The files that the user named.

    Raises:
        RefusedError: A named file is not YAML.
    """
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


def check_paths(reading: Reading, *, chosen: bool) -> None:
    """Checks that each path leads to a value, and that one file has it.

    Args:
        reading: The files.
        chosen: Whether the user chose the files, so that several can have the key.

    Raises:
        NotFoundError: No file has the key.
        RefusedError: Several files have it.
    """
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
