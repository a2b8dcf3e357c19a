"""Creating a tag in a project exactly once, and saying what is there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from semver import Version

from cicd_common.errors import (
    CommandError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    Refusal,
    RefusedError,
)
from cicd_common.gitlab import fields
from cicd_common.gitlab.client import GitLab, quoted
from cicd_common.gitlab.projects import Project, find_commit, find_default_branch, find_project
from cicd_common.gitlab.retry import Backoff
from cicd_common.versions import parse_version
from cicd_common.waiting.wait import start_each
from cmd_tag_project.result import TagResult

if TYPE_CHECKING:
    from cicd_common.gitlab.connection import Connection
    from cicd_common.gitlab.projects import Project
    from cicd_common.waiting.events import Presenter
    from cmd_tag_project.request import TagRequest


def next_tag_name(gitlab: GitLab, project: Project, request: TagRequest) -> str:
    """Works out the next version's tag name from the tags that the project has now.

    Args:
        gitlab: The client.
        project: The project.
        request: Which part to count up, and the prefix.

    Returns:
        The prefix and the version; counted from 0.0.0 where there is none yet.

    Raises:
        CommandError: There was no usable answer.
    """
    assert request.next is not None  # noqa: S101 - for the type checker; TagRequest.check saw to it
    tags = gitlab.get_all(
        f"projects/{project.id}/repository/tags",
        # `^` is GitLab's own way to search for names that start with a text.
        **({"search": f"^{request.prefix}"} if request.prefix else {}),
    )
    versions = (
        parse_version(name.removeprefix(request.prefix))
        for name in (fields.text(tag, "name") for tag in tags)
        if name.startswith(request.prefix)
    )
    highest = max(filter(None, versions), default=Version(0))
    return f"{request.prefix}{highest.next_version(request.next)}"


log = logging.getLogger("cicd_common.tag")


@dataclass(frozen=True)
class _Tag:
    """A tag as GitLab has it."""

    commit: str
    has_release: bool


def run(
    request: TagRequest, connection: Connection, presenter: Presenter | None = None
) -> list[TagResult | CommandError]:
    """Creates the tag in every project, side by side, and waits for its pipelines if wanted.

    Args:
        request: What is asked for.
        connection: The server and the token.
        presenter: Who shows what happens during a wait; default: nobody.

    Returns:
        For each project, in their order, the tag or the error that it is.

    Raises:
        UsageError: The request makes no sense; nothing was sent.
        AuthError: There is no token that GitLab takes for this; nothing was sent.
    """
    request.check(connection.token)
    gitlab = GitLab(connection)
    gitlab.require_token()
    return start_each(
        gitlab,
        request.projects,
        lambda project: create_tag(gitlab, project, request),
        None if request.dry_run else request.wait,
        presenter,
    )


def create_tag(gitlab: GitLab, project: str, request: TagRequest) -> TagResult:
    """Creates a tag, unless it is there already.

    Args:
        gitlab: The client.
        project: The project's path, numeric id, or URL.
        request: What tag is wanted; checked already.

    Returns:
        The tag, at the commit that was wanted.

    Raises:
        NotFoundError: There is no such project or ref, or the token cannot see it.
        ConflictError: The tag is there, at another commit.
        ForbiddenError: A protected tag, a role or a hook says no.
        CommandError: GitLab gave no usable answer.
    """
    found = find_project(gitlab, project)
    commit = find_commit(gitlab, found, request.ref or find_default_branch(gitlab, found))
    if request.tag_name is not None:
        return _ensure(gitlab, found, request.tag_name, commit, request)
    # Each loss of a race means that somebody else's tag was made: a short pause will do.
    backoff = Backoff(gitlab.connection.retry_for, first=0.05, longest=1.0)
    while True:
        name = next_tag_name(gitlab, found, request)
        try:
            return _ensure(gitlab, found, name, commit, request)
        except ConflictError as lost:
            backoff.wait(lost)


def _ensure(
    gitlab: GitLab, project: Project, name: str, commit: str, request: TagRequest
) -> TagResult:
    """Makes sure that the tag is at the commit, and has its release if one is wanted."""
    web_url = f"{project.web_url}/-/tags/{quote(name)}"
    before = _find_tag(gitlab, project, name)
    if before is None or (request.wants_release and not before.has_release):
        if before is not None:
            _check_commit(before, name, commit, project)
        if request.dry_run:
            return TagResult(
                project=project.path,
                tag=name,
                commit=commit,
                created=False,
                web_url=web_url,
                release="would be created" if request.wants_release else None,
                would_create=before is None,
            )
        after = _write(gitlab, project, name, commit, request, check=web_url)
    else:
        after = before
    _check_commit(after, name, commit, project)
    release = None
    if request.wants_release:
        release = "exists" if before and before.has_release else "created"
    return TagResult(project.path, name, commit, before is None, web_url, release)


def _write(
    gitlab: GitLab, project: Project, name: str, commit: str, request: TagRequest, *, check: str
) -> _Tag:
    """Creates the tag, or the tag and its release in one request, or only the release."""
    body: dict[str, object] = {"tag_name": name, "ref": commit}
    if request.wants_release:
        path = f"projects/{project.id}/releases"
        body |= {"description": request.release_notes or name, "tag_message": request.message}
    else:
        path = f"projects/{project.id}/repository/tags"
        body |= {"message": request.message}

    def find() -> _Tag | None:
        tag = _find_tag(gitlab, project, name)
        return None if tag and request.wants_release and not tag.has_release else tag

    def read(answer: Any) -> _Tag:
        return _Tag(fields.word(answer, "commit", "id"), has_release=request.wants_release)

    try:
        return gitlab.write(
            "POST",
            path,
            {key: value for key, value in body.items() if value},
            read=read,
            find=find,
            check=check,
        )
    except (RefusedError, ConflictError) as refusal:
        # Somebody else was faster; whether that is a conflict depends on the commit.
        if "already exists" in refusal.message and (tag := find()) is not None:
            return tag
        raise _refusal(refusal, name, project) from refusal


def _find_tag(gitlab: GitLab, project: Project, name: str) -> _Tag | None:
    try:
        answer = gitlab.get(f"projects/{project.id}/repository/tags/{quoted(name)}")
    except NotFoundError:
        return None
    # Of an annotated tag `target` is the tag object; `commit` is what it points to.
    commit = fields.word(answer, "commit", "id")
    return _Tag(commit, has_release=answer.get("release") is not None)


def _check_commit(tag: _Tag, name: str, commit: str, project: Project) -> None:
    if tag.commit != commit:
        raise ConflictError(
            f"The tag {name} of {project.path} is at {tag.commit}, not at {commit}.",
            why="Somebody made it before, at another commit. Tags are never moved.",
            hint="Give another --tag-name, or --ref for the commit it is at.",
        )


# What GitLab's Tags::CreateService and its checks before a push say, all of it with status 400.
# Any other text comes from a hook of the project, which may also refuse without a word.
_REFUSALS = (
    Refusal(
        r"Target .* is invalid|Target is empty",
        NotFoundError,
        "The commit is gone from the project.",
        "Check --ref.",
    ),
    Refusal(
        r"Tag name invalid",
        RefusedError,
        "GitLab does not take this name.",
        "Give another --tag-name.",
    ),
    Refusal(
        r"as it is protected|Protected tags",
        ForbiddenError,
        "A protected-tag rule of the project matches this name.",
        "In Settings > Repository > Protected tags, allow the token's user to create it.",
    ),
    Refusal(
        r"default branch name",
        ForbiddenError,
        "A tag may not have the default branch's name.",
        "Give another --tag-name.",
    ),
)


def _refusal(refusal: CommandError, name: str, project: Project) -> CommandError:
    """The error that a refused tag means."""
    if row := Refusal.of(refusal.message, _REFUSALS):
        return row.make(refusal.message, why=row.why, hint=row.hint, answer=refusal.answer)
    if isinstance(refusal, ConflictError) or (refusal.answer and refusal.answer.server_error):
        return refusal
    return ForbiddenError(
        f"{project.path} refused the tag {name}: {refusal.message}",
        why="A hook or a push rule of the project or the server says no.",
        hint="Ask a Maintainer of the project which rule the tag breaks.",
        answer=refusal.answer,
    )
