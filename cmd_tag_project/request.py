"""What tag is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.errors import UsageError
from cmd_tag_project.names import check_tag_name

if TYPE_CHECKING:
    from cicd_common.semver import Part

DEFAULT_PREFIX = "v"


@dataclass(frozen=True)
class TagRequest:
    """What tag is wanted; the same for every project.

    Attributes:
        tag_name: Its name; None for the next version.
        next: Which part of the version to count up, instead of a name.
        prefix: What stands before the version.
        ref: The branch, tag or SHA to tag; None for the default branch.
        message: Makes the tag annotated, unless it is empty.
        release: Whether to create the release as well.
        release_notes: The release's description, in Markdown.
        dry_run: Whether to change nothing.
    """

    tag_name: str | None = None
    next: Part | None = None
    prefix: str = DEFAULT_PREFIX
    ref: str | None = None
    message: str = ""
    release: bool = False
    release_notes: str = ""
    dry_run: bool = False

    def check(self) -> None:
        """Finds what can be known to be wrong before anything is sent.

        Raises:
            UsageError: The request makes no sense, or the name cannot be a tag's.
        """
        if (self.tag_name is None) == (self.next is None):
            raise UsageError(
                "Exactly one of a tag's name and the next version is needed.",
                why="Outside a GitLab job there is no default name.",
                hint="Give --tag-name NAME, or --next major, minor or patch.",
            )
        if self.ref == "":
            raise UsageError("The ref is empty.", hint="Leave out --ref for the default branch.")
        check_tag_name(f"{self.prefix}0.0.1" if self.tag_name is None else self.tag_name)
