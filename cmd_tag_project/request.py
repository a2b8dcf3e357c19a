"""What tag is wanted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.errors import UsageError

if TYPE_CHECKING:
    from cicd_common.semver import Part


# GitLab asks `git check-ref-format` and adds rules of its own: lib/gitlab/git_ref_validator.rb.
_RULES: tuple[tuple[str, str], ...] = (
    (r"^$", "is empty"),
    (r"^HEAD$", "is HEAD"),
    (r"^-", "starts with '-'"),
    (r"^refs/(heads|remotes)/", "starts with refs/heads/ or refs/remotes/"),
    (r"[\x00-\x20\x7f]", "holds a space or a control character"),
    (r"[\ud800-\udfff]", "is not valid UTF-8"),
    (r"[~^:?*\[\\]", "holds one of ~ ^ : ? * [ \\"),
    (r"\.\.", "holds '..'"),
    (r"//", "holds '//'"),
    (r"@\{", "holds '@{'"),
    (r"[/.]$", "ends with '/' or '.'"),
    (r"(^|/)\.", "has a part that starts with '.'"),
    (r"\.lock(/|$)", "has a part that ends with '.lock'"),
    (r"^/", "starts with '/'"),
    (r"^([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$", "looks like a commit's SHA"),
)


def check_tag_name(name: str) -> None:
    """Makes sure, before anything is sent, that a name can become a tag.

    Raises:
        UsageError: git or GitLab would not take it; the message says why.
    """
    for pattern, problem in _RULES:
        if re.search(pattern, name):
            raise UsageError(
                f"{name!r} cannot be a tag's name: it {problem}.",
                why="git, or GitLab, would not take it; nothing was sent.",
                hint="Give another --tag-name.",
            )


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
