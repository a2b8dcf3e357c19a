"""What is in a repository at a commit: trees, files, archives, histories, merges; by git."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import git

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sandbox.model import User

EXECUTABLE = "100755"


@dataclass(frozen=True)
class Entry:
    """A line of a tree: a file, a folder, a link or a submodule."""

    mode: str
    kind: str  # git's and GitLab's word: blob, tree, commit
    sha: str
    path: str

    @property
    def name(self) -> str:
        """The path's last part."""
        return self.path.rpartition("/")[2]


def tree(repository: Path, sha: str, path: str = "", *, recursive: bool = False) -> list[Entry]:
    """The entries below a folder, the whole repository's if empty; in git's order."""
    options = ["-r", "-t"] if recursive else []
    below = [f"{path.strip('/')}/"] if path.strip("/") else []
    listed = git.run(repository, "ls-tree", "-z", "--full-tree", *options, sha, "--", *below)
    return [_entry(line) for line in listed.decode(errors="replace").split("\0")[:-1]]


def find(repository: Path, sha: str, path: str) -> Entry | None:
    """The entry of one path, if there is one."""
    listed = git.run(repository, "ls-tree", "-z", "--full-tree", sha, "--", path).decode()
    return next((_entry(line) for line in listed.split("\0")[:-1]), None)


def _entry(line: str) -> Entry:
    head, _, path = line.partition("\t")
    mode, kind, sha = head.split()
    return Entry(mode, kind, sha, path)


def read(repository: Path, entry: Entry) -> bytes:
    """A file's bytes as they were committed; of a link, where it leads."""
    return git.run(repository, "cat-file", "blob", entry.sha)


def last_commit(repository: Path, sha: str, path: str) -> str | None:
    """The last commit that touched a path, seen from a commit; None if the path is not there."""
    if find(repository, sha, path) is None:
        return None
    return git.run(repository, "log", "-1", "--format=%H", sha, "--", path).decode().strip()


def history(
    repository: Path, revisions: str, path: str = "", options: Sequence[str] = ()
) -> list[str]:
    """The commits of a revision or of a range such as `A..B`, the newest first.

    Args:
        repository: The bare repository.
        revisions: What `git log` takes; empty for those of every branch and tag.
        path: Only those that touched it.
        options: What else limits them, as options of `git rev-list`.

    Raises:
        GitError: There is no such revision.
    """
    below = ["--", path] if path else ["--"]
    which = ["--end-of-options", revisions] if revisions else ["--branches", "--tags"]
    listed = git.run(repository, "rev-list", *options, *which, *below)
    return listed.decode().split()


def archive(repository: Path, sha: str, *, prefix: str, path: str = "") -> bytes:
    """A tar.gz of a commit, made as git does: `.gitattributes` leave out and convert files."""
    below = [path] if path else []
    return git.run(
        repository, "archive", "--format=tar.gz", f"--prefix={prefix}/", sha, "--", *below
    )


def rebase(
    repository: Path, head: str, onto: str, *, committer: User, when: datetime
) -> str | None:
    """Put the commits of one branch on top of another, without its merges; moves no ref.

    Args:
        repository: The bare repository.
        head: The branch's commit.
        onto: The other's.
        committer: Who does it.
        when: The new commits' time.

    Returns:
        The new head; None if a commit does not fit.
    """
    listed = git.run(repository, "rev-list", "--reverse", "--no-merges", f"{onto}..{head}")
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder, "index"))
        for sha in listed.decode().split():
            git.run(repository, "read-tree", onto, GIT_INDEX_FILE=index)
            patch = git.run(
                repository, "diff-tree", "-p", "--binary", "--full-index", f"{sha}^", sha
            )
            try:
                git.run(
                    repository, "apply", "--cached", "--3way", stdin=patch, GIT_INDEX_FILE=index
                )
            except git.GitError:
                return None
            tree = git.run(repository, "write-tree", GIT_INDEX_FILE=index).decode().strip()
            onto = _commit_again(repository, sha, tree, onto, committer=committer, when=when)
    return onto


def _commit_again(
    repository: Path, sha: str, tree: str, parent: str, *, committer: User, when: datetime
) -> str:
    """Make a commit of another tree and parent, with the author and message of an old one."""
    old = git.commits(repository, [sha])[sha]
    who = {
        "GIT_AUTHOR_NAME": old.author_name,
        "GIT_AUTHOR_EMAIL": old.author_email,
        "GIT_AUTHOR_DATE": old.authored_at.isoformat(),
        "GIT_COMMITTER_NAME": committer.name,
        "GIT_COMMITTER_EMAIL": committer.email,
        "GIT_COMMITTER_DATE": when.isoformat(),
    }
    made = git.run(repository, "commit-tree", tree, "-p", parent, stdin=old.message.encode(), **who)
    return made.decode().strip()


def merge(
    repository: Path, target: str, source: str, *, message: str, author: User, when: str
) -> str | None:
    """Merges one commit into another; moves no ref.

    Returns:
        The merge commit's SHA; None if the two contradict each other.
    """
    try:
        merged = git.run(repository, "merge-tree", "--write-tree", target, source)
    except git.GitError:
        return None
    who = {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", author.name), ("EMAIL", author.email), ("DATE", when))
    }
    made = git.run(
        repository,
        *("commit-tree", merged.decode().strip(), "-p", target, "-p", source),
        stdin=message.encode(),
        **who,
    )
    return made.decode().strip()
