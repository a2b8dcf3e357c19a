"""Bumps through GitLab's commits API: one commit for all files, which overwrites no other edit.

This API does not compare branch heads. For each file, it compares the last commit that changed
the file with `last_commit_id`, then writes, without a lock. So the commit's parent is checked
afterwards, and a change that was overwritten is restored.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import posixpath
import re
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.errors import (
    CommandError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    Refusal,
    RefusedError,
    UnavailableError,
)
from cicd_common.gitlab import fields
from cicd_common.gitlab.client import GitLab, quoted
from cicd_common.gitlab.retry import Backoff
from cmd_bump_image_tag.targets import LostRaceError, Snapshot, files
from cmd_bump_image_tag.targets.files import follow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from cicd_common.gitlab.fields import JsonObject
    from cicd_common.gitlab.projects import Project


log = logging.getLogger("cicd_common.bump")


@dataclass(frozen=True)
class Archive:
    """A commit's files as in a checkout, which can differ from the committed ones.

    Attributes:
        files: The regular files' bytes, by path.
        links: The targets of the links, by path.
        commit: The commit; empty if the archive does not name it.
        entries: How many files, links, folders and submodules there are.
    """

    files: Mapping[str, bytes]
    links: Mapping[str, str]
    commit: str
    entries: int

    @classmethod
    def read(cls, data: bytes) -> Archive:
        """Reads a tar.gz as `git archive` makes it, with everything in one folder.

        Raises:
            UnavailableError: It is not such an archive.
        """
        files: dict[str, bytes] = {}
        links: dict[str, str] = {}
        paths: set[str] = set()
        try:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r|gz") as archive:
                for member in archive:
                    path = member.name.partition("/")[2]
                    paths.add(path)
                    content = archive.extractfile(member) if member.isreg() else None
                    if content is not None:
                        files[path] = content.read()
                    elif member.issym():
                        links[path] = member.linkname
                # https://git-scm.com/docs/git-get-tar-commit-id
                commit = archive.pax_headers.get("comment", "")
        except (tarfile.TarError, TypeError) as error:  # TypeError: gzip's header is cut off
            raise UnavailableError(
                "The archive that GitLab sent cannot be read.",
                why=f"It is incomplete, or not an archive: {error}",
                retryable=False,
            ) from error
        is_commit = re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit)
        return cls(files, links, commit if is_commit else "", len(paths - {""}))


def merge_lines(path: str, before: bytes, theirs: bytes, now: bytes) -> bytes:
    """Returns a file with an overwritten edit restored.

    Args:
        path: The file, for the message.
        before: The file before both edits.
        theirs: The edit that was overwritten.
        now: The file as it is now; its differences from `before` are kept.

    Raises:
        ConflictError: Lines were added or removed, so the lines cannot be matched.
    """
    lines = [data.split(b"\n") for data in (before, theirs, now)]
    if len({len(each) for each in lines}) > 1:
        raise ConflictError(
            f"{path} was changed during the commit, and that change was overwritten.",
            why="It adds or removes lines, so it cannot be restored safely.",
            hint="Check the previous commit, and make its change again.",
        )
    return b"\n".join(
        their if now_line == old else now_line for old, their, now_line in zip(*lines, strict=True)
    )


SHA256_LENGTH = 64  # hexadecimal digits
_LINK = "120000"  # the mode of a link in a tree


@dataclass(frozen=True)
class _Blobs:
    """The files and links of a commit.

    Attributes:
        ids: The regular files' object ids, by path; empty if the archive has the exact bytes.
        links: The links' paths.
    """

    ids: Mapping[str, str]
    links: frozenset[str]


def is_blob(content: bytes, object_id: str) -> bool:
    """Returns True if bytes are those of a git object; always for an empty id."""
    name = "sha256" if len(object_id) == SHA256_LENGTH else "sha1"
    header = b"blob %d\0" % len(content)
    found = hashlib.new(name, header + content, usedforsecurity=False)
    return not object_id or found.hexdigest() == object_id


def _check_name(path: str) -> None:
    """Checks that JSON and a URL can hold a file's name.

    Raises:
        RefusedError: Its name is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise RefusedError(
            f"{path} cannot be read or written through GitLab's API.",
            why="Its name is not UTF-8.",
            hint="Use --via git, or leave it out with --exclude.",
        ) from error


def _can_be_link(content: bytes) -> bool:
    """Returns True if a file can be a link; GitLab sends a link's target as its content."""
    return not re.search(rb"\n|: |\{", content)


def _text(content: bytes) -> str:
    return content.decode(errors="surrogateescape")


# How many commits are searched for a trailer, or for the commit whose response was lost.
HISTORY = 50

_PROTECTED = "not allowed to push into this branch"

# What Files::MultiService, Commits::CreateService and Gitaly answer, all with status 400. Any
# other text comes from a hook of the project, which can also refuse without a text.
_REFUSALS = (
    # The file or the branch has changed since it was read.
    Refusal(
        r"has changed since|file with this name doesn't exist|already exists"
        r"|Please refresh and try again|reference update",
        LostRaceError,
        "The branch {branch} keeps moving.",
        "Run this again, or allow more with --retry-for.",
    ),
    Refusal(
        r"when you are on a branch",
        NotFoundError,
        "{branch} is not a branch.",
        "Check --branch.",
    ),
)


@dataclass(frozen=True)
class CommitsApi:
    """A branch of a project on GitLab.

    Attributes:
        gitlab: The client.
        project: The project.
        branch: The branch.
        start_branch: The branch to start from if the branch does not exist; None if it exists.
        patterns: The patterns that select its files.
    """

    gitlab: GitLab
    project: Project
    branch: str
    start_branch: str | None
    patterns: Sequence[str]

    def read(self) -> Snapshot:
        """Reads literally named files one by one, and all others from one archive."""
        if named := self._named():
            head = self._head()
            contents = self._read_files(named, head)
            if contents.keys() == named and not any(map(_can_be_link, contents.values())):
                return Snapshot(contents, named, dict.fromkeys(contents, head))
        archive, head = self._archive()
        blobs = self._blobs(archive, head)
        links = dict(archive.links)
        for path in blobs.links - links.keys():
            links |= {path: _text(data) for path, data in self._read_files([path], head).items()}
        patterns = [follow(pattern, links) for pattern in self.patterns]
        selection = files.select(blobs.ids.keys(), patterns)
        chosen = {path: archive.files[path] for path in selection.paths if path in archive.files}
        exact = {path for path, data in chosen.items() if is_blob(data, blobs.ids[path])}
        # A hidden file, or one with an encoding of two bytes, shows its images only in its exact
        # bytes. Of any other file, the exact bytes are read only if it changes.
        unread = [path for path in selection.paths if b"\0" in chosen.get(path, b"\0")]
        read = self._read_files([path for path in unread if path not in exact], head)
        return Snapshot(chosen | read, selection.named, dict.fromkeys(exact | read.keys(), head))

    def _archive(self) -> tuple[Archive, str]:
        """Returns the archive of the newest commit, and that commit."""
        archive = None
        for branch in filter(None, (self.branch, self.start_branch)):
            try:
                archive = self._download(f"refs/heads/{branch}")
                break
            except NotFoundError:
                continue
        if archive is None or not archive.commit:
            head = self._head()
            return self._download(head), head
        return archive, archive.commit

    def _download(self, revision: str) -> Archive:
        data = self.gitlab.get_bytes(
            f"{self._repository}/archive", sha=revision, include_lfs_blobs="false"
        )
        return Archive.read(data)

    def _blobs(self, archive: Archive, head: str) -> _Blobs:
        """Returns the files and links that the commit really holds.

        `.gitattributes` can hide files from an archive and convert others. One request for
        their number tells whether files are hidden; if not, the archive has all `.gitattributes`.
        """
        tree, query = f"{self._repository}/tree", {"ref": head, "recursive": "true"}
        has_attributes = any(posixpath.basename(p) == ".gitattributes" for p in archive.files)
        if not has_attributes and self.gitlab.count(tree, **query) == archive.entries:
            return _Blobs(dict.fromkeys(archive.files, ""), frozenset(archive.links))
        ids, links = {}, set()
        for entry in self.gitlab.get_all(tree, pagination="keyset", **query):
            path = fields.text(entry, "path")
            if fields.text(entry, "mode") == _LINK:
                links.add(path)
            elif fields.text(entry, "type") == "blob":
                ids[path] = fields.text(entry, "id")
        return _Blobs(ids, frozenset(links))

    def reread(self, before: Snapshot, paths: Collection[str]) -> Snapshot:
        """Reads files again, exactly as they are now; a file that was removed is left out."""
        head = self._head()
        fresh = self._read_files(paths, head)
        kept = {path: data for path, data in before.contents.items() if path not in paths}
        revisions = {path: before.revisions[path] for path in kept if path in before.revisions}
        return Snapshot(kept | fresh, before.named, revisions | dict.fromkeys(fresh, head))

    def write(self, before: Snapshot, after: Mapping[str, bytes], message: str) -> str:
        """Commits all files at once."""
        answer = self._commit(after, before.revisions, message)
        self._restore(answer, before, after)
        return fields.text(answer, "id")

    def messages(self, path: str) -> Iterable[str]:
        """Returns the messages of the last commits that changed a file."""
        commits = self.gitlab.get_list(
            f"{self._repository}/commits",
            ref_name=self._head(),
            path=path,
            per_page=HISTORY,
        )
        return [fields.optional_text(commit, "message") for commit in commits]

    def _named(self) -> frozenset[str]:
        """Returns the patterns as paths, if none of them is a glob or the whole repository."""
        paths = {posixpath.normpath(pattern) for pattern in self.patterns}
        if any(path == "." or re.search(r"[*?[]", path) for path in paths):
            return frozenset()
        return files.select(paths, self.patterns).named if paths else frozenset()

    @property
    def _repository(self) -> str:
        return f"projects/{self.project.id}/repository"

    def _head(self) -> str:
        """Returns the newest commit of the branch, or of the one that it starts from."""
        try:
            return self._head_of(self.branch)
        except NotFoundError as error:
            if self.start_branch is not None:
                return self._head_of(self.start_branch)
            if "Project" in error.message:
                why = f"{self.project.path} does not exist, or this token cannot see it."
                hint = "Check the path, and that the token's user is a member of the project."
            else:
                why = f"{self.project.path} has no branch {self.branch!r}."
                hint = "Check --branch."
            raise NotFoundError(error.message, why=why, hint=hint, answer=error.answer) from error

    def _head_of(self, branch: str) -> str:
        answer = self.gitlab.get(f"{self._repository}/branches/{quoted(branch)}")
        return fields.text(answer, "commit", "id")

    def _read_files(self, paths: Iterable[str], revision: str) -> dict[str, bytes]:
        contents = {}
        for path in paths:
            _check_name(path)
            try:
                contents[path] = self.gitlab.get_bytes(
                    f"{self._repository}/files/{quoted(path)}/raw", ref=revision
                )
            except NotFoundError:
                continue
        return contents

    def _commit(
        self, after: Mapping[str, bytes], revisions: Mapping[str, str], message: str
    ) -> JsonObject:
        """Sends the commit, and returns GitLab's answer."""
        for path in after:
            _check_name(path)
        body: dict[str, object] = {
            "branch": self.branch,
            "commit_message": message,
            "actions": [
                {
                    "action": "update",
                    "file_path": path,
                    "content": base64.b64encode(content).decode(),
                    "encoding": "base64",
                    "last_commit_id": revisions[path],
                }
                for path, content in after.items()
            ],
        }
        if self.start_branch is not None and not self._exists():
            body["start_branch"] = self.start_branch
        since = revisions[next(iter(after))]
        try:
            return self.gitlab.write(
                "POST",
                f"{self._repository}/commits",
                body,
                read=_whole,
                find=lambda: self._find(after, message, since),
                check=f"{self.project.web_url}/-/commits/{self.branch}",
            )
        except RefusedError as refusal:
            raise self._refusal(refusal) from refusal
        except ForbiddenError as error:
            if _PROTECTED not in error.message:
                raise
            # GitLab answers the same if the role is too low and if the branch is protected.
            raise ForbiddenError(
                error.message,
                why=f"The branch {self.branch} is protected, or the role of the token's user is "
                "below Developer.",
                hint="Use --merge-request; or have a Maintainer allow pushes, under Settings > "
                "Repository > Protected branches.",
                answer=error.answer,
            ) from error

    def _exists(self) -> bool:
        try:
            self._head_of(self.branch)
        except NotFoundError:
            return False
        return True

    def _find(self, after: Mapping[str, bytes], message: str, since: str) -> JsonObject | None:
        """Finds the commit whose response was lost, by its message and the content of its files."""
        if self.start_branch is not None and not self._exists():
            return None
        commits = self.gitlab.get_list(
            f"{self._repository}/commits",
            ref_name=f"{since}..{self.branch}",
            per_page=HISTORY,
        )
        for commit in commits:
            sha = fields.text(commit, "id")
            same = fields.optional_text(commit, "message").strip() == message.strip()
            if same and self._read_files(after, sha) == after:
                return commit
        return None

    def _restore(self, commit: JsonObject, before: Snapshot, after: Mapping[str, bytes]) -> None:
        """Restores a change that was written between GitLab's check and its write."""
        parents = fields.texts(commit, "parent_ids")
        unsure = [path for path in after if parents and before.revisions[path] != parents[0]]
        theirs = self._read_files(unsure, parents[0]) if unsure else {}
        lost = {path: data for path, data in theirs.items() if data != before.contents[path]}
        backoff = Backoff(self.gitlab.connection.retry_for, first=0.1, longest=2.0)
        while lost:
            now = self.reread(before, lost)
            merged = {
                path: merge_lines(path, before.contents[path], data, now.contents[path])
                for path, data in lost.items()
                if path in now.contents
            }
            changed = {path: data for path, data in merged.items() if data != now.contents[path]}
            if not changed:
                return
            message = f"Put back a change to {', '.join(changed)} [skip ci]"
            try:
                self.write(now, changed, message)
            except LostRaceError as race:
                backoff.wait(race)
            else:
                return

    def _refusal(self, refusal: RefusedError) -> CommandError:
        """Returns the error for a refused commit."""
        if row := Refusal.of(refusal.message, _REFUSALS):
            why = row.why.format(branch=self.branch)
            return row.make(refusal.message, why=why, hint=row.hint, answer=refusal.answer)
        if refusal.answer and refusal.answer.server_error:
            return refusal
        return ForbiddenError(
            f"{self.project.path} refused the commit: {refusal.message}",
            why="A hook or a push rule of the project or the server does not allow it.",
            hint="Ask a Maintainer of the project which rule the commit breaks.",
            answer=refusal.answer,
        )


def _whole(answer: JsonObject) -> JsonObject:
    fields.text(answer, "id")
    fields.texts(answer, "parent_ids")
    return answer
