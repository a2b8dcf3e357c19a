"""What is in a repository at a commit: trees, files, archives, histories, merges; by git."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox import git

if TYPE_CHECKING:
    from pathlib import Path

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


def history(repository: Path, revisions: str, path: str = "") -> list[str]:
    """The commits of a revision or of a range such as `A..B`, the newest first.

    Args:
        repository: The bare repository.
        revisions: What `git log` takes.
        path: Only those that touched it.

    Raises:
        GitError: There is no such revision.
    """
    below = ["--", path] if path else ["--"]
    listed = git.run(repository, "rev-list", "--end-of-options", revisions, *below)
    return listed.decode().split()


def archive(repository: Path, sha: str, *, prefix: str, path: str = "") -> bytes:
    """A tar.gz of a commit, made as git does: `.gitattributes` leave out and convert files."""
    below = [path] if path else []
    return git.run(
        repository, "archive", "--format=tar.gz", f"--prefix={prefix}/", sha, "--", *below
    )


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
