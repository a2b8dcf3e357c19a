"""The real git repositories of the sandbox's projects, by the git command."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from sandbox.model import NO_COMMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sandbox.model import User

_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
# A branch by its full name; no name of a ref has one of these characters in it, but `@`.
_BRANCH = re.compile(r"refs/heads/[^~^:?*\[\\@]+")

# Nothing of the machine's own git configuration reaches the sandbox.
ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}

# Fields end at NUL, records at SOH and a newline.
_COMMIT_FORMAT = "%H%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B%x00%x01"
_TAG_FORMAT = (
    "%(refname:lstrip=2)%00%(objectname)%00%(objecttype)%00%(*objectname)%00"
    "%(taggerdate:iso-strict)%00%(contents)%00%01"
)


class GitError(Exception):
    """Git said no; its words."""


@dataclass(frozen=True)
class Commit:
    """A commit."""

    sha: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    authored_at: datetime
    committer_name: str
    committer_email: str
    committed_at: datetime
    message: str

    @property
    def title(self) -> str:
        """The message's first line."""
        return self.message.partition("\n")[0]


@dataclass(frozen=True)
class Tag:
    """A tag: of an annotated one `target` is the tag object, `sha` the commit it leads to."""

    name: str
    target: str
    sha: str
    message: str = ""
    created_at: datetime | None = None


def run(repository: Path, *arguments: str, stdin: bytes = b"", **environment: str) -> bytes:
    """Runs git on a repository.

    Args:
        repository: The bare repository.
        arguments: What follows `git`.
        stdin: What it reads.
        environment: Variables beside `ENVIRONMENT`.

    Returns:
        What it printed.

    Raises:
        GitError: It failed.
    """
    done = subprocess.run(
        ["git", "--git-dir", str(repository), *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, **ENVIRONMENT, **environment},
    )
    if done.returncode:
        raise GitError(done.stderr.decode(errors="replace").strip())
    return done.stdout


def init(repository: Path, default_branch: str) -> None:
    """Makes an empty bare repository.

    It is what `git init --bare` makes, without a process: gitrepository-layout(5).
    """
    for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        (repository / folder).mkdir(parents=True)
    (repository / "HEAD").write_text(f"ref: refs/heads/{default_branch}\n")
    (repository / "config").write_text(_CONFIG)


def resolve(repository: Path, revision: str) -> str | None:
    """The SHA of the commit that a branch, a tag or a (short) SHA leads to; None if none."""
    if _BRANCH.fullmatch(revision):
        return refs(repository, revision).get(revision)
    try:
        found = run(
            repository,
            *("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"),
        )
    except GitError:
        return None
    return found.decode().strip()


def refs(repository: Path, namespace: str) -> dict[str, str]:
    """The refs below a namespace, such as `refs/heads/`, or one ref: full name to the SHA it holds.

    They are read without a process, as git stores them (gitrepository-layout(5)): a file each, or
    all that are packed in one file, in which a ref's own file comes first.
    """
    place = repository / namespace
    files = place.rglob("*") if place.is_dir() else [place]
    own = {file.relative_to(repository).as_posix(): _read(file) for file in files}
    lines = (_read(repository / "packed-refs") or "").splitlines()
    packed = {name: sha for sha, _, name in (line.partition(" ") for line in lines)}
    # Git writes a ref beside its file, in one that ends in .lock, and then renames it.
    return {
        name: sha
        for name, sha in sorted({**packed, **{key: sha for key, sha in own.items() if sha}}.items())
        if name.startswith(namespace) and not name.endswith(".lock")
    }


def _read(file: Path) -> str | None:
    """A file's text without the white space around it; None if there is no such file."""
    try:
        return file.read_text().strip()
    except (OSError, ValueError):  # a name that no file can have, too
        return None


def tags(repository: Path, *, sort: str = "refname", name: str | None = None) -> list[Tag]:
    """The tags in git's order of a sort key such as `-creatordate`, or the one of a name."""
    pattern = f"refs/tags/{name}" if name is not None else "refs/tags/"
    listed = run(repository, "for-each-ref", f"--sort={sort}", f"--format={_TAG_FORMAT}", pattern)
    found = []
    for record in listed.decode().split("\0\1\n")[:-1]:
        tag, target, kind, peeled, date, message = record.split("\0")
        annotated = kind == "tag"
        found.append(
            Tag(
                name=tag,
                target=target,
                sha=peeled if annotated else target,
                message=message.rstrip("\n") if annotated else "",
                created_at=datetime.fromisoformat(date) if date else None,
            )
        )
    # A pattern without a slash at its end matches a whole folder of refs, too.
    return [tag for tag in found if name in (None, tag.name)]


# A SHA names one content for ever, in whatever repository.
_known_commits: dict[str, Commit] = {}


def commits(repository: Path, shas: Iterable[str]) -> dict[str, Commit]:
    """Commits by their full SHAs."""
    wanted = set(shas)
    unknown = {sha for sha in wanted if sha not in _known_commits}
    if unknown:
        shown = run(
            repository,
            *("log", "--no-walk=unsorted", f"--format={_COMMIT_FORMAT}", "--stdin"),
            stdin="\n".join(unknown).encode(),
        )
        for record in shown.decode(errors="replace").split("\0\1\n")[:-1]:
            commit = _commit(record.split("\0"))
            _known_commits[commit.sha] = commit
    return {sha: _known_commits[sha] for sha in wanted}


def _commit(fields: list[str]) -> Commit:
    sha, parents, author, author_email, authored, committer, committer_email, committed, message = (
        fields
    )
    return Commit(
        sha=sha,
        parents=tuple(parents.split()),
        author_name=author,
        author_email=author_email,
        authored_at=datetime.fromisoformat(authored),
        committer_name=committer,
        committer_email=committer_email,
        committed_at=datetime.fromisoformat(committed),
        message=message,
    )


def write_commit(
    repository: Path,
    branch: str,
    files: Mapping[str, str | bytes | None],
    *,
    message: str,
    author: User,
    when: datetime,
    parent: str | None,
    modes: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Commits to a branch.

    Args:
        repository: The bare repository.
        branch: The branch; made if it does not exist.
        files: What changes: content by path; None removes the file.
        message: The commit's message.
        author: Author and committer.
        when: Its time.
        parent: The SHA it follows; None for the first commit.
        modes: The files' modes by path; a file that is not in it is a plain one.

    Returns:
        The new commit's SHA.
    """
    who = f"{author.name} <{author.email}> {int(when.timestamp())} +0000"
    head = [f"commit refs/heads/{branch}", "mark :1", f"author {who}", f"committer {who}"]
    stream = "\n".join(head).encode() + b"\n" + _data(message)
    if parent:
        stream += f"from {parent}\n".encode()
    for path, content in files.items():
        if content is None:
            stream += f"D {_quoted(path)}\n".encode()
        else:
            mode = modes.get(path, "100644")
            stream += f"M {mode} inline {_quoted(path)}\n".encode() + _data(content)
    stream += b"get-mark :1\ndone\n"
    return run(repository, "fast-import", "--quiet", "--done", stdin=stream).decode().strip()


def _quoted(path: str) -> str:
    """A path as `git fast-import` reads it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _data(content: str | bytes) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return f"data {len(raw)}\n".encode() + raw + b"\n"


def write_tag(
    repository: Path, name: str, sha: str, *, message: str, author: User, when: datetime
) -> Tag:
    """Makes a tag, annotated if there is a message.

    Raises:
        GitError: It exists, or git does not take the name.
    """
    if message:
        who = {"GIT_COMMITTER_NAME": author.name, "GIT_COMMITTER_EMAIL": author.email}
        date = {"GIT_COMMITTER_DATE": f"{int(when.timestamp())} +0000"}
        run(
            repository,
            *("tag", "--cleanup=verbatim", "--file=-", "--", name, sha),
            stdin=message.encode(),
            **who,
            **date,
        )
    else:
        run(repository, "update-ref", f"refs/tags/{name}", sha, NO_COMMIT)
    return tags(repository, name=name)[0]


def delete_ref(repository: Path, ref: str) -> None:
    """Removes a ref by its full name."""
    run(repository, "update-ref", "-d", ref)
