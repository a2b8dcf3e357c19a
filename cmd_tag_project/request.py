"""What tag is wanted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cicd_common.errors import AuthError, UsageError
from cicd_common.gitlab.tokens import TokenKind

if TYPE_CHECKING:
    from cicd_common.gitlab.tokens import Token
    from cicd_common.waiting.policy import WaitPolicy

Next = Literal["major", "minor", "patch"]

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
        projects: Where: each project's path, numeric id, or URL.
        tag_name: Its name; None for the next version.
        next: Which part of the version to count up, instead of a name.
        prefix: What stands before the version.
        ref: The branch, tag or SHA to tag; None for the default branch.
        message: Makes the tag annotated, unless it is empty.
        release: Whether to create the release as well.
        release_notes: The release's description, in Markdown; not None implies the release.
        wait: How to wait for the end of the tag's pipeline; None not to wait.
        dry_run: Whether to change nothing.
    """

    projects: tuple[str, ...]
    tag_name: str | None = None
    next: Next | None = None
    prefix: str = DEFAULT_PREFIX
    ref: str | None = None
    message: str = ""
    release: bool = False
    release_notes: str | None = None
    wait: WaitPolicy | None = None
    dry_run: bool = False

    @property
    def wants_release(self) -> bool:
        """Whether a release is to be there in the end."""
        return self.release or self.release_notes is not None

    def check(self, token: Token | None) -> None:
        """Finds what can be known to be wrong before anything is sent.

        Args:
            token: The connection's token, if any.

        Raises:
            UsageError: The request makes no sense, or the name cannot be a tag's.
            AuthError: GitLab does not take this token for it.
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
        if token and token.kind is TokenKind.JOB and not self.wants_release:
            raise AuthError(
                "A CI job token cannot create a tag.",
                why="GitLab ignores job tokens there; with one, creating a release is the only "
                "way.",
                hint="Give an access token (COMMANDS_API_TOKEN), or add --release.",
            )
        if token and self.wait:
            self.wait.check(token.kind)
