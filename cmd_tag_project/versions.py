"""The next version of a project: from its tags and, for `--next auto`, from its commits."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semver import Version

from cicd_common.cleaning import one_line
from cicd_common.errors import RefusedError
from cicd_common.gitlab import fields
from cicd_common.versions import parse_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cicd_common.gitlab.client import GitLab
    from cicd_common.gitlab.projects import Project
    from cmd_tag_project.request import TagRequest

log = logging.getLogger("cicd_common.tag")

DEFAULT_PREFIX = "v"
# https://www.conventionalcommits.org/en/v1.0.0/#specification
_HEADER = re.compile(r"(?P<type>\w+)(?:\(.*?\))?(?P<breaking>!)?: ")
# Broader than the specification, as in commitizen and semantic-release: any message can have this
# footer, and no space is needed. A missed breaking change is worse than one too many.
_FOOTER = re.compile(r"^[ \t]*BREAKING[ -]CHANGE:", re.MULTILINE)
_PARTS = {"feat": "minor", "fix": "patch", "perf": "patch"}
_ORDER = ("patch", "minor", "major")


@dataclass(frozen=True)
class Highest:
    """The highest version among a project's tags.

    Attributes:
        prefix: The text before the project's versions.
        version: The version; None if there is none.
    """

    prefix: str
    version: Version | None

    @property
    def tag(self) -> str:
        """Returns the tag of the version; empty if there is no version."""
        return "" if self.version is None else f"{self.prefix}{self.version}"

    def next(self, part: str, within: str | None) -> str:
        """Returns the name of the next version's tag.

        Args:
            part: `major`, `minor` or `patch`.
            within: The line that the next version must belong to, such as `1.4`; None for any.

        Raises:
            RefusedError: The next version does not belong to that line.
        """
        if self.version is not None:
            following = self.version.next_version(part)
        elif within is not None:
            following = Version(*map(int, within.split(".")))
        else:
            following = Version(0).next_version(part)
        if not _is_within(following, within):
            raise RefusedError(
                f"The next version is {self.prefix}{following}, which is not within {within}.",
                why=f"The commits ask for a new {part} version.",
                hint="Release it without --within, or keep such commits out of this line.",
            )
        return f"{self.prefix}{following}"


def find_highest(gitlab: GitLab, project: Project, request: TagRequest) -> Highest:
    """Finds the highest version among a project's tags.

    Raises:
        RefusedError: No prefix was given, and the project has versions with and without `v`.
        CommandError: GitLab gave no usable response.
    """
    # `^` is GitLab's own way to search for names that start with a text.
    search = {"search": f"^{request.prefix}"} if request.prefix else {}
    tags = gitlab.get_all(f"projects/{project.id}/repository/tags", **search)
    names = [fields.word(tag, "name") for tag in tags]
    if request.prefix is not None:
        return Highest(request.prefix, _highest(names, request.prefix, request.within))
    kinds = _kinds(names, request.within)
    first_of_line = not kinds and request.within is not None
    if first_of_line:
        kinds = _kinds(names, None)
    if len(kinds) > 1:
        both = " and ".join(kind.tag for kind in kinds)
        raise RefusedError(
            f"{project.path} has versions with and without v: {both} are the highest.",
            why="It is not clear which of them the next version follows.",
            hint="Give --prefix v, or --prefix '' for none.",
        )
    if first_of_line and kinds:
        return Highest(kinds[0].prefix, None)
    return kinds[0] if kinds else Highest(DEFAULT_PREFIX, None)


def _kinds(names: Sequence[str], within: str | None) -> list[Highest]:
    """Returns the highest version with `v`, and the one without, if they exist."""
    found = {prefix: _highest(names, prefix, within) for prefix in (DEFAULT_PREFIX, "")}
    return [Highest(prefix, version) for prefix, version in found.items() if version]


def _highest(names: Iterable[str], prefix: str, within: str | None) -> Version | None:
    versions = (parse_version(name[len(prefix) :]) for name in names if name.startswith(prefix))
    return max((each for each in versions if each and _is_within(each, within)), default=None)


def _is_within(version: Version, within: str | None) -> bool:
    line = [int(number) for number in within.split(".")] if within else []
    return [version.major, version.minor][: len(line)] == line


def part_by_commits(gitlab: GitLab, project: Project, highest: Highest, commit: str) -> str | None:
    """Returns the part of the version that the commits since the highest version increase.

    Args:
        gitlab: The client.
        project: The project.
        highest: The highest version.
        commit: The commit to tag.

    Returns:
        `major`, `minor` or `patch`; None if no commit needs a new version. Below 1.0.0 a breaking
        change counts as `minor`.

    Raises:
        CommandError: GitLab gave no usable response.
    """
    revisions = f"{highest.tag}..{commit}" if highest.tag else commit
    answers = gitlab.get_all(f"projects/{project.id}/repository/commits", ref_name=revisions)
    asked: set[str] = set()
    for answer in answers:
        message = fields.optional_text(answer, "message").strip()
        if part := part_of(message):
            first_line = one_line(message.split("\n", 1)[0])
            log.info("%s: %s %s", part, fields.word(answer, "id")[:8], first_line)
            asked.add(part)
    highest_part = max(asked, key=_ORDER.index, default=None)
    is_initial = highest.version is None or highest.version.major == 0
    return "minor" if highest_part == "major" and is_initial else highest_part


def part_of(message: str) -> str | None:
    """Returns the part of the version that a commit's message increases.

    Source: Conventional Commits 1.0.0.

    Args:
        message: The message, without space around it.

    Returns:
        `major`, `minor` or `patch`; None if the commit needs no new version.
    """
    header = _HEADER.match(message)
    if (header and header["breaking"]) or _FOOTER.search(message):
        return "major"
    return _PARTS.get(header["type"].lower()) if header else None
