"""Histories of commits and tags, and the next version that each tool chooses."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class History:
    """A history, and the version that follows it.

    Attributes:
        name: What is special about it.
        steps: Messages of commits, and `git switch BRANCH`, `git tag [-a] NAME` and
            `git merge BRANCH` with the message below it. It begins on main, with a first commit.
        next: The version that `--next auto` chooses; empty for none.
        commitizen: The one that commitizen chooses; None for the same.
        semantic_release: The one that semantic-release chooses, with the preset
            `conventionalcommits`; None for the same.
        why: Why they differ, in the words of docs/cmd-tag-project.md.
        prefix: The text before the versions.
    """

    name: str
    steps: tuple[str, ...]
    next: str
    commitizen: str | None = None
    semantic_release: str | None = None
    why: str = ""
    prefix: str = "v"


LAST = "git tag v1.2.3"
MERGE = "Merge branch 'topic' into 'main'"
SEE = "See merge request tech-lunch/service-tests!7"
# The reasons for a difference, as the document has them.
REFACTOR = "`refactor` changes nothing for a user"
SPECIFICATION = "the specification decides"
REVERT = "a revert is not read"
INITIAL = "below 1.0.0 a breaking change raises the minor part"
ALL_TAGS = "all tags of the project count"
PRE_RELEASE = "a pre-release counts as a version"
BODY = "only the first line has the type"
SKIP = "`[skip release]` has no meaning"

HISTORIES = (
    History("a fix", (LAST, "fix: one"), "1.2.4"),
    History("a feature", (LAST, "feat: one"), "1.3.0"),
    History("perf", (LAST, "perf: one"), "1.2.4"),
    History("refactor", (LAST, "refactor: one"), "", commitizen="1.2.4", why=REFACTOR),
    History("no relevant commits", (LAST, "docs: one", "chore: two", "ci: three"), ""),
    History("no commits", ("feat: one", LAST), ""),
    History("not conventional", (LAST, "Repair the shop", "fixup! feat: one"), ""),
    History("the highest part decides", (LAST, "fix: one", "feat: two", "docs: three"), "1.3.0"),
    History("a scope", (LAST, "feat(the api, größe): one"), "1.3.0"),
    History("brackets in a scope", (LAST, "fix(a(b)): one"), "1.2.4"),
    History("a breaking feature", (LAST, "feat!: one"), "2.0.0"),
    History("a breaking fix with a scope", (LAST, "fix(api)!: one"), "2.0.0"),
    History("a breaking change of any type", (LAST, "tweak!: one"), "2.0.0"),
    History(
        "a footer", (LAST, "fix: one\n\nWords.\n\nBREAKING CHANGE: two\nof it\nFor: A"), "2.0.0"
    ),
    History("a footer with a hyphen", (LAST, "docs: one\n\nBREAKING-CHANGE: two"), "2.0.0"),
    History("a footer with a list", (LAST, "fix: one\n\nBREAKING CHANGE:\n\n- two\n"), "2.0.0"),
    History("a footer without space", (LAST, "fix: one\n\nBREAKING CHANGE:two"), "2.0.0"),
    History("an indented footer", (LAST, "fix: one\n\n  BREAKING CHANGE: two"), "2.0.0"),
    History("a footer below any text", (LAST, "Repair it\n\nBREAKING CHANGE: two"), "2.0.0"),
    History("lines of Windows", (LAST, "fix: one\r\n\r\nBREAKING CHANGE: two"), "2.0.0"),
    History("no footer, but the words", (LAST, "fix: one\n\nNot a BREAKING CHANGE: two"), "1.2.4"),
    History("other words", (LAST, "fix: one\n\nBREAKING CHANGES: two"), "1.2.4"),
    History(
        "a footer in small letters",
        (LAST, "fix: one\n\nbreaking change: two"),
        "1.2.4",
        semantic_release="2.0.0",
        why=SPECIFICATION,
    ),
    History(
        "a footer without a colon",
        (LAST, "fix: one\n\nBREAKING CHANGE two"),
        "1.2.4",
        semantic_release="2.0.0",
        why=SPECIFICATION,
    ),
    History("in capitals", (LAST, "FEAT: one"), "1.3.0", commitizen="", why=SPECIFICATION),
    History(
        "capitalized",
        (LAST, "Fix: one"),
        "1.2.4",
        commitizen="",
        semantic_release="",
        why=SPECIFICATION,
    ),
    History("no space", (LAST, "fix:one"), "", commitizen="1.2.4", why=SPECIFICATION),
    History("a longer type", (LAST, "feature: one"), "", commitizen="1.3.0", why=SPECIFICATION),
    History("another type", (LAST, "hotfix: one", "my-fix: two", "fix : three"), ""),
    History("no type at the start", (LAST, ":sparkles: feat: one"), ""),
    History("space around it", (LAST, "\n  fix: one\n"), "1.2.4"),
    History("a type below", (LAST, "chore: a\n\nfeat: b"), "", commitizen="1.3.0", why=BODY),
    History("a list below", (LAST, "Squashed\n\n* feat: one\n* fix: two"), ""),
    History(
        "a merge",
        (LAST, "git switch topic", "feat: one", "git switch main", f"git merge topic\n{MERGE}"),
        "1.3.0",
    ),
    History(
        "a merge with a type",
        (LAST, "git switch topic", "work", "git switch main", "git merge topic\nfeat: one"),
        "1.3.0",
    ),
    History(
        "GitLab's own message of a merge",
        (
            *(LAST, "git switch topic", "work", "git switch main"),
            f"git merge topic\n{MERGE}\n\nfeat: one\n\n{SEE}",
        ),
        "",
        commitizen="1.3.0",
        why=BODY,
    ),
    History(
        "a branch that began before the version",
        (
            *("git switch topic", "feat: one", "git switch main", "docs: two", LAST),
            f"git merge topic\n{MERGE}",
        ),
        "1.3.0",
    ),
    History(
        "a version on another branch",
        (
            *(LAST, "git switch other", "feat: one", "git tag v1.3.0"),
            *("git switch main", "fix: two"),
        ),
        "1.3.1",
        commitizen="1.2.4",
        semantic_release="1.2.4",
        why=ALL_TAGS,
    ),
    History(
        "a version after the commit",
        (LAST, "fix: one", "git switch ahead", "feat: two", "git tag v1.3.0", "git switch main"),
        "",
        commitizen="1.2.4",
        semantic_release="1.2.4",
        why=ALL_TAGS,
    ),
    History(
        "a revert by git",
        (LAST, "feat: one", 'Revert "feat: one"\n\nThis reverts commit {0}.'),
        "1.3.0",
        semantic_release="",
        why=REVERT,
    ),
    History(
        "a revert of what was released",
        ("fix: one", LAST, "revert: fix: one\n\nThis reverts commit {0}."),
        "",
        semantic_release="1.2.4",
        why=REVERT,
    ),
    History("a fix of a pre-release", (LAST, "feat: a", "git tag v1.3.0-rc.1", "fix: b"), "1.3.0"),
    History("a feature after one", (LAST, "fix: a", "git tag v1.2.4-rc.1", "feat: b"), "1.3.0"),
    History(
        "nothing after a pre-release",
        (LAST, "feat: one", "git tag v1.3.0-rc.1", "docs: two"),
        "",
        commitizen="1.3.0",
        semantic_release="1.3.0",
        why=PRE_RELEASE,
    ),
    History("a feature below 1.0.0", ("git tag v0.2.3", "feat: one"), "0.3.0"),
    History("a fix below 1.0.0", ("git tag v0.2.3", "fix: one"), "0.2.4"),
    History(
        "a breaking change below 1.0.0",
        ("git tag v0.2.3", "feat!: one"),
        "0.3.0",
        semantic_release="1.0.0",
        why=INITIAL,
    ),
    History("a first feature", ("feat: a",), "0.1.0", semantic_release="1.0.0", why=INITIAL),
    History("a first fix", ("fix: one",), "0.0.1", semantic_release="1.0.0", why=INITIAL),
    History("a first break", ("feat!: a",), "0.1.0", semantic_release="1.0.0", why=INITIAL),
    History("no first version", ("docs: one",), ""),
    History("no prefix", ("git tag 1.2.3", "fix: one"), "1.2.4", prefix=""),
    History(
        "a prefix",
        ("git tag web/v1.2.3", "git tag api/v2.0.0", "git tag v3.0.0", "fix: one"),
        "1.2.4",
        prefix="web/v",
    ),
    History("an annotated tag", ("git tag -a v1.2.3", "fix: one"), "1.2.4"),
    History("by number", ("git tag v1.9.0", "docs: a", "git tag v1.10.0", "fix: b"), "1.10.1"),
    History("other tags", (LAST, "docs: a", "git tag nightly", "git tag v2", "fix: b"), "1.2.4"),
    History("two versions of a commit", (LAST, "git tag v1.2.4", "fix: one"), "1.2.5"),
    History("build metadata", ("git tag v1.2.3+build.5", "fix: one"), "1.2.4"),
    History("skip ci", (LAST, "fix: one [skip ci]"), "1.2.4"),
    History("skip release", (LAST, "fix: a [skip release]"), "1.2.4", None, "", SKIP),
)


def write_history(repository: Path, steps: tuple[str, ...]) -> None:
    """Writes a history into an empty repository."""
    author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    shas: list[str] = []
    heads: dict[str, str] = {}
    branch = "main"

    def git(*arguments: str, message: str = "") -> str:
        command = ["git", *author, *arguments]
        return subprocess.run(
            command, cwd=repository, input=message, check=True, capture_output=True, text=True
        ).stdout.strip()

    tree = git("mktree")

    def commit(message: str, *parents: str) -> None:
        options = [word for parent in parents for word in ("-p", parent)]
        heads[branch] = git("commit-tree", tree, *options, message=message)

    commit("First commit")
    for step in steps:
        match step.partition("\n")[0].split(" "):
            case ["git", "switch", name]:
                heads.setdefault(name, heads[branch])
                branch = name
            case ["git", "tag", *options, name]:
                message = ["--message", "A version"] if options else []
                git("tag", *options, *message, name, heads[branch])
            case ["git", "merge", other]:
                commit(step.partition("\n")[2], heads[branch], heads[other])
            case _:
                commit(step.format(*shas), heads[branch])
                shas.append(heads[branch])
    for name, sha in heads.items():
        git("update-ref", f"refs/heads/{name}", sha)
