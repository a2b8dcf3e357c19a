"""Bumps with git: fetches one commit, makes the next and pushes it, never by force."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cicd_common.errors import NotFoundError
from cicd_common.gitlab.retry import Backoff, retry
from cicd_common.gitlab.tokens import TokenKind
from cicd_common.gitlab.writes import reconcile
from cmd_bump_image_tag.targets import LostRaceError, Snapshot, files
from cmd_bump_image_tag.targets.files import follow
from cmd_bump_image_tag.targets.git_errors import ObjectFormatError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from cmd_bump_image_tag.targets.git_command import Git

T = TypeVar("T")
log = logging.getLogger("cicd_common.bump")

# How many commits are searched for a trailer, or for the commit whose push got no response.
HISTORY = 50

_REGULAR = ("100644", "100755")
_LINK = "120000"
_HEAD = "refs/bump/head"  # where the private repository keeps what it fetched


@dataclass(frozen=True)
class _Entry:
    """A line of a tree."""

    mode: str
    sha: str


@dataclass(frozen=True)
class GitRepository:
    """A branch of a repository that git reaches.

    Files are handled as blobs. There is no work tree, so `.gitattributes` and configuration cannot
    change a byte, a mode or a link.

    Attributes:
        git: The private repository.
        branch: The branch.
        start_branch: The branch to start from if the branch does not exist; None if it exists.
        patterns: The patterns that select its files.
    """

    git: Git
    branch: str
    start_branch: str | None
    patterns: Sequence[str]

    def read(self) -> Snapshot:
        """Fetches the newest commit, and reads the selected files."""
        head = self._fetch()
        entries = self._entries(head)
        links = {path: entry.sha for path, entry in entries.items() if entry.mode == _LINK}
        if self.patterns and links:
            targets = self._read_blobs(links)
            links = {path: data.decode(errors="replace") for path, data in targets.items()}
        regular = {path: entry.sha for path, entry in entries.items() if entry.mode in _REGULAR}
        patterns = [follow(pattern, links) for pattern in self.patterns]
        selection = files.select(regular.keys(), patterns)
        contents = self._read_blobs({path: regular[path] for path in selection.paths})
        return Snapshot(contents, selection.named, dict.fromkeys(contents, head))

    def reread(self, before: Snapshot, paths: Collection[str]) -> Snapshot:
        """Reads all selected files again: that costs one fetch, as it does for some of them."""
        del before, paths
        return self.read()

    def write(self, before: Snapshot, after: Mapping[str, bytes], message: str) -> str:
        """Commits and pushes; the push is refused if the branch has moved."""
        parent = before.revisions[next(iter(after))]
        sha = self._commit(parent, after, message)
        if self.git.remote.token and self.git.remote.token.kind is TokenKind.JOB:
            log.info("A push with a CI job token starts no pipeline.")
        try:
            return reconcile(
                lambda: self._push(sha),
                lambda: sha if self._has(sha) else None,
                backoff=Backoff(self.git.remote.retry_for),
                check=f"the branch {self.branch} of {self.git.remote.url}",
            )
        except LostRaceError as lost:
            # libcurl repeats a push by itself when a kept connection breaks: then the second push
            # loses to the first. `[rejected]` comes from git itself, before it sends.
            if "[rejected]" not in lost.message and self._has(sha):
                return sha
            raise

    def messages(self, path: str) -> Iterable[str]:
        """Returns the messages of the last commits that changed a file."""
        head = self._fetch(depth=HISTORY)
        # A commit whose parents were not fetched seems to change every file; its %P is empty.
        logged = self.git.run("log", "--format=%P%x00%B%x00%x01", head, "--", path)
        records = logged.decode(errors="replace").split("\0\x01\n")[:-1]
        commits = [record.split("\0")[:2] for record in records]
        return [message for parents, message in commits if parents]

    def _fetch(self, *, depth: int = 1) -> str:
        """Fetches the newest commit of the branch, or of the one that it starts from."""
        try:
            return self._fetch_branch(self.branch, depth)
        except NotFoundError:
            if self.start_branch is None:
                raise
            return self._fetch_branch(self.start_branch, depth)

    def _fetch_branch(self, branch: str, depth: int) -> str:
        def fetch() -> str:
            self._run_fetch(
                *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", f"--depth={depth}"),
                *("--", self.git.remote.url, f"+refs/heads/{branch}:{_HEAD}"),
            )
            return self.git.run("rev-parse", _HEAD).decode().strip()

        return retry(fetch, Backoff(self.git.remote.retry_for))

    def _run_fetch(self, *arguments: str) -> None:
        try:
            self.git.ask(*arguments)
        except ObjectFormatError:
            self.git.init("sha256")
            self.git.ask(*arguments)

    def _entries(self, revision: str) -> dict[str, _Entry]:
        listed = self.git.run("ls-tree", "-r", "-z", "--full-tree", revision)
        entries = {}
        for line in listed.decode(errors="surrogateescape").split("\0")[:-1]:
            head, _, path = line.partition("\t")
            mode, _, sha = head.split()
            entries[path] = _Entry(mode, sha)
        return entries

    def _read_blobs(self, shas: Mapping[str, str]) -> dict[str, bytes]:
        """Returns the blobs by path; one `git cat-file --batch` reads all of them."""
        wanted = "".join(f"{sha}\n" for sha in shas.values())
        data = self.git.run("cat-file", "--batch", stdin=wanted.encode())
        contents = {}
        position = 0
        for path in shas:
            end = data.index(b"\n", position)
            size = int(data[position:end].split()[2])
            contents[path] = data[end + 1 : end + 1 + size]
            position = end + 1 + size + 1
        return contents

    def _commit(self, parent: str, after: Mapping[str, bytes], message: str) -> str:
        """Creates the commit after `parent`."""
        entries = self._entries(parent)
        lines = b""
        for path, content in after.items():
            sha = self.git.run("hash-object", "-w", "--stdin", "--no-filters", stdin=content)
            head = f"{entries[path].mode} {sha.decode().strip()}\t{path}\0"
            lines += head.encode(errors="surrogateescape")
        index = {"GIT_INDEX_FILE": str(self.git.folder / "bump-index")}
        self.git.run("read-tree", parent, environment=index)
        self.git.run("update-index", "-z", "--index-info", stdin=lines, environment=index)
        tree = self.git.run("write-tree", environment=index).decode().strip()
        commit = self.git.run(
            *("commit-tree", *self.git.signing(), tree, "-p", parent, "-F", "-"),
            stdin=message.encode(),
            environment=self.git.identity(),
        )
        return commit.decode().strip()

    def _push(self, sha: str) -> str:
        self.git.run(
            *("push", "--porcelain", "--no-verify", "--no-recurse-submodules", "--"),
            *(self.git.remote.url, f"{sha}:refs/heads/{self.branch}"),
        )
        return sha

    def _has(self, sha: str) -> bool:
        """Returns True if the branch has the commit now."""
        try:
            head = self._fetch_branch(self.branch, HISTORY)
        except NotFoundError:
            return False
        return sha in self.git.run("rev-list", head).decode().split()


def default_branch(git: Git) -> str:
    """Returns the branch that the repository's HEAD points to.

    Raises:
        NotFoundError: HEAD points to no branch: the repository is empty.
        CommandError: git cannot read the repository.
    """
    listed = retry(
        lambda: git.ask("ls-remote", "--symref", "--", git.remote.url, "HEAD"),
        Backoff(git.remote.retry_for),
    )
    found = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", listed.decode(), re.MULTILINE)
    if found is None:
        raise NotFoundError(
            f"{git.remote.url} has no default branch.",
            why="Its repository is empty.",
            hint="Push a first commit, or name a branch with --branch.",
        )
    return found[1]
