"""Which tag names git and GitLab take."""

from __future__ import annotations

import re

from cicd_common.errors import UsageError

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
