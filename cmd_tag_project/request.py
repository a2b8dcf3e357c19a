"""The request for a tag."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cicd_common.errors import AuthError, UsageError
from cicd_common.gitlab.tokens import TokenKind

if TYPE_CHECKING:
    from cicd_common.gitlab.tokens import Token
    from cicd_common.waiting.policy import WaitPolicy

Next = Literal["major", "minor", "patch", "auto"]

# GitLab runs `git check-ref-format` and adds rules of its own: lib/gitlab/git_ref_validator.rb.
_RULES: tuple[tuple[str, str], ...] = (
    (r"^$", "is empty"),
    (r"^HEAD$", "is HEAD"),
    (r"^-", "starts with '-'"),
    (r"^refs/(heads|remotes|tags)/", "starts with refs/heads/, refs/remotes/ or refs/tags/"),
    (r"[\x00-\x20\x7f]", "contains a space or a control character"),
    (r"[\ud800-\udfff]", "is not valid UTF-8"),
    (r"[~^:?*\[\\]", "contains one of ~ ^ : ? * [ \\"),
    (r"\.\.", "holds '..'"),
    (r"//", "holds '//'"),
    (r"@\{", "holds '@{'"),
    (r"[/.]$", "ends with '/' or '.'"),
    (r"(^|/)\.", "has a part that starts with '.'"),
    (r"\.lock(/|$)", "has a part that ends with '.lock'"),
    (r"^/", "starts with '/'"),
    # lib/gitlab/checks/tag_check.rb: STARTS_WITH_SHA_REGEX, of 40 or 64 digits.
    (r"^[0-9a-fA-F]{40}", "starts with a commit's SHA"),
)


def check_tag_name(name: str) -> None:
    """Checks, before anything is sent, that git and GitLab accept a tag's name.

    Raises:
        UsageError: git or GitLab would refuse the name; the message says why.
    """
    for pattern, problem in _RULES:
        if re.search(pattern, name):
            raise UsageError(
                f"{name!r} cannot be a tag's name: it {problem}.",
                why="git or GitLab does not accept it; nothing was sent.",
                hint="Give another --tag-name.",
            )


# The form of `within`: 1, or 1.4.
_LINE = re.compile(r"(0|[1-9]\d{0,8})(\.(0|[1-9]\d{0,8}))?", re.ASCII)
_PARTS_BY_LINE = {1: ("minor", "patch", "auto"), 2: ("patch", "auto")}
_ASSET_URL = re.compile(r"(https?|ftp)://[^\s/]+.*")


@dataclass(frozen=True)
class TagRequest:
    """The request for a tag; the same for every project.

    Attributes:
        projects: The projects to tag: each one's path, numeric id, or URL.
        tag_name: Its name; None for the next version.
        next: The part of the version to raise, instead of a name; `auto` reads it from the commits.
        prefix: The text before the version; None for that of the project's own versions.
        within: Only versions of this line count, such as `1.4`; None for all.
        ref: The branch, tag or SHA to tag; None for the default branch.
        message: The message of an annotated tag; empty for a lightweight tag.
        release: Whether to create the release as well.
        release_notes: The release's description, in Markdown; if it is given, a release is created.
        assets: Links of the release: name and URL; if there are any, a release is created.
        wait: How to wait for the end of the tag's pipeline; None not to wait.
        dry_run: Whether to return what would happen, and to change nothing.
    """

    projects: tuple[str, ...]
    tag_name: str | None = None
    next: Next | None = None
    prefix: str | None = None
    within: str | None = None
    ref: str | None = None
    message: str = ""
    release: bool = False
    release_notes: str | None = None
    assets: tuple[tuple[str, str], ...] = ()
    wait: WaitPolicy | None = None
    dry_run: bool = False

    @property
    def wants_release(self) -> bool:
        """Returns True if the tag is to have a release."""
        return self.release or self.release_notes is not None or bool(self.assets)

    def check(self, token: Token | None) -> None:
        """Checks the request before anything is sent.

        Args:
            token: The connection's token, if any.

        Raises:
            UsageError: Options contradict each other, or the name is not valid for a tag.
            AuthError: GitLab does not accept this kind of token for the request.
        """
        if (self.tag_name is None) == (self.next is None):
            raise UsageError(
                "Exactly one of --tag-name and --next is needed.",
                why="Outside a GitLab job there is no default name.",
                hint="Give --tag-name NAME, or --next major, minor, patch or auto.",
            )
        if self.ref == "":
            raise UsageError("The ref is empty.", hint="Leave out --ref for the default branch.")
        self._check_versions(token)
        self._check_assets()
        check_tag_name(f"{self.prefix or ''}0.0.1" if self.tag_name is None else self.tag_name)
        if token and token.kind is TokenKind.JOB and not self.wants_release:
            raise AuthError(
                "A CI job token cannot create a tag.",
                why="GitLab ignores job tokens there; a job token can create a tag only with a "
                "release.",
                hint="Give an access token (COMMANDS_API_TOKEN), or add --release.",
            )
        if token and self.wait:
            self.wait.check(token.kind)

    def _check_versions(self, token: Token | None) -> None:
        if self.within is not None:
            parts = (
                _PARTS_BY_LINE[len(self.within.split("."))] if _LINE.fullmatch(self.within) else ()
            )
            if self.next not in parts:
                raise UsageError(
                    f"--within {self.within} cannot be used "
                    + (f"with --next {self.next}." if self.next else "without --next."),
                    why="The next version must be in the line of versions, such as 1 or 1.4.",
                    hint="Give --next patch, or --next minor with a line such as 1.",
                )
        if self.prefix and re.search(r"\d\.?$", self.prefix):
            raise UsageError(
                f"The prefix {self.prefix!r} ends with a number.",
                why="It would read as a part of the version.",
                hint="To count within 1.4.x only, give --within 1.4.",
            )
        if self.next == "auto" and token and token.kind is TokenKind.JOB:
            raise AuthError(
                "A CI job token cannot read commits, which --next auto needs.",
                why="GitLab ignores job tokens there.",
                hint="Give an access token (COMMANDS_API_TOKEN), or --next major, minor or patch.",
            )

    def _check_assets(self) -> None:
        names = [name for name, _ in self.assets]
        for name, url in self.assets:
            if not name or not _ASSET_URL.fullmatch(url) or names.count(name) > 1:
                raise UsageError(
                    f"{name}={url} is not a valid asset of the release.",
                    why="Each name can be used once, and a URL starts with https://, http:// or ftp://.",
                    hint="Give --asset NAME=URL.",
                )
