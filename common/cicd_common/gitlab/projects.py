"""Finds the projects, refs and commits that the user names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from cicd_common import cleaning
from cicd_common.errors import AuthError, ForbiddenError, NotFoundError, UsageError
from cicd_common.gitlab import fields
from cicd_common.gitlab.addresses import origin, same_origin
from cicd_common.gitlab.client import GitLab, quoted
from cicd_common.gitlab.tokens import TokenKind

if TYPE_CHECKING:
    from collections.abc import Sequence

# https://docs.gitlab.com/user/reserved_names/: segments of letters, digits, `_`, `-`, `.`
_ID = re.compile(r"[0-9]+")
_PATH = re.compile(r"[\w.][\w.+-]*(/[\w.][\w.+-]*)+")


@dataclass(frozen=True)
class Project:
    """Holds the fields of a project that the commands need.

    Attributes:
        id: The numeric id or the path, encoded as a URL path segment.
        path: `group/sub/name`.
        web_url: Its page.
        default_branch: The default branch; None for an empty repository, or if it was not read.
    """

    id: str
    path: str
    web_url: str
    default_branch: str | None


def parse_project(text: str, base_url: str) -> str:
    """Reads the name of a project.

    Args:
        text: Its path, its numeric id, or the URL of its page.
        base_url: The server that a URL must belong to.

    Returns:
        The path or the numeric id.

    Raises:
        UsageError: It is none of these, or it is a URL of another server.
    """
    name = text.strip()
    if re.match(r"https?://", name, re.IGNORECASE):
        name = _path_of_url(name, base_url)
    name = name.strip("/").removesuffix(".git")
    if not _ID.fullmatch(name) and not _PATH.fullmatch(name):
        raise UsageError(
            f"{cleaning.without_credentials(text)!r} is not a project.",
            hint="Give its path (group/name), its numeric id, or the URL of its page.",
        )
    return name


def parse_projects(texts: Sequence[str], base_url: str) -> list[str]:
    """Reads the names of several projects.

    Args:
        texts: As for `parse_project`.
        base_url: The server that a URL must belong to.

    Raises:
        UsageError: A name is not a project of this server, or a project is named twice.
    """
    names = [parse_project(text, base_url) for text in texts]
    # GitLab ignores upper and lower case when it finds a project by its path.
    seen = [name.casefold() for name in names]
    for number, name in enumerate(seen):
        if name in seen[:number]:
            raise UsageError(
                f"The project {names[number]} is named twice.", hint="Name each project once."
            )
    return names


def check_distinct(gitlab: GitLab, names: Sequence[str]) -> None:
    """Checks that no project is named by its path and also by its id.

    Nothing is sent unless there are names of both kinds. An id whose path the token cannot read is
    not compared.

    Args:
        gitlab: The client.
        names: Paths and numeric ids.

    Raises:
        UsageError: A project is named twice.
        CommandError: GitLab gave no usable response.
    """
    paths = {name.casefold() for name in names if not _ID.fullmatch(name)}
    for number in [name for name in names if paths and _ID.fullmatch(name)]:
        path = _path_of_id(gitlab, number)
        if path.casefold() in paths:
            raise UsageError(
                f"The project {path} is named twice: by its path and by its id, {number}.",
                hint="Name each project once.",
            )


def _path_of_id(gitlab: GitLab, number: str) -> str:
    """Returns a project's path; empty if the token cannot read it."""
    try:
        if gitlab.token_kind is TokenKind.JOB:
            # GitLab does not show projects to a job token, but it shows the URLs of branches.
            branches = gitlab.get_list(f"projects/{number}/repository/branches", per_page=1)
            url = fields.url(branches[0], "web_url") if branches else ""
            path = urlsplit(url).path.removeprefix(urlsplit(gitlab.base_url).path)
            return path.partition("/-/")[0].strip("/")
        if gitlab.token_kind is not None:
            return find_project(gitlab, number).path
    except (AuthError, ForbiddenError, NotFoundError):
        pass  # the command itself reports it
    return ""


def _path_of_url(url: str, base_url: str) -> str:
    root = urlsplit(base_url).path.rstrip("/") + "/"
    shown = cleaning.without_credentials(url)
    try:
        parts = urlsplit(url)
        origin(url)
    except ValueError as error:
        raise UsageError(f"{shown!r} is not a URL.") from error
    if not same_origin(url, base_url) or not parts.path.startswith(root):
        raise UsageError(
            f"The project {shown} is not on {base_url}.",
            why="A token goes to one server only.",
            hint="Name the project's own server with --base-url.",
        )
    return unquote(parts.path[len(root) :]).split("/-/", 1)[0]


def find_project(gitlab: GitLab, text: str) -> Project:
    """Finds a project.

    GitLab does not show projects to a job token; then the name is used unchanged.

    Args:
        gitlab: The client.
        text: The project as the user named it.

    Raises:
        UsageError: The name cannot be the name of a project.
        NotFoundError: There is no such project, or the token cannot see it.
        CommandError: GitLab gave no usable response.
    """
    if gitlab.token_kind is TokenKind.JOB:
        return name_project(gitlab, text)
    name = parse_project(text, gitlab.base_url)
    try:
        answer = gitlab.get(f"projects/{quoted(name)}")
    except NotFoundError as error:
        raise NotFoundError(
            error.message,
            why=f"{name} does not exist, or this token cannot see it: GitLab returns 404 for both.",
            hint="Check the path, and that the token's user is a member of the project.",
            answer=error.answer,
        ) from error
    path = fields.word(answer, "path_with_namespace")
    has_branch = bool(fields.optional_text(answer, "default_branch"))
    return Project(
        id=str(fields.number(answer, "id")),
        path=path,
        web_url=f"{gitlab.base_url}/{path}",
        default_branch=fields.word(answer, "default_branch") if has_branch else None,
    )


def name_project(gitlab: GitLab, text: str) -> Project:
    """Returns a project made from its name alone, for tokens to which GitLab does not show it.

    Args:
        gitlab: The client; nothing is sent.
        text: The project as the user named it.

    Raises:
        UsageError: The name cannot be the name of a project.
    """
    name = parse_project(text, gitlab.base_url)
    page = f"projects/{name}" if _ID.fullmatch(name) else name
    return Project(quoted(name), name, f"{gitlab.base_url}/{page}", None)


def find_default_branch(gitlab: GitLab, project: Project) -> str:
    """Returns the default branch, which is used when the user names none.

    Raises:
        NotFoundError: The repository is empty.
        CommandError: GitLab gave no usable response.
    """
    if project.default_branch:
        return project.default_branch
    if gitlab.token_kind is TokenKind.JOB:
        for branch in gitlab.get_all(f"projects/{project.id}/repository/branches"):
            name = fields.word(branch, "name")
            if fields.flag(branch, "default"):
                return name
    raise NotFoundError(
        f"{project.path} has no default branch.",
        why="Its repository is empty.",
        hint="Push a first commit, or name a ref with --ref.",
    )


def find_commit(gitlab: GitLab, project: Project, ref: str) -> str:
    """Returns the full SHA of the commit that a ref points to.

    Args:
        gitlab: The client.
        project: The project.
        ref: A branch, a tag, or a full or abbreviated SHA.

    Raises:
        NotFoundError: There is no such ref.
        CommandError: GitLab gave no usable response.
    """
    try:
        answer = gitlab.get(f"projects/{project.id}/repository/commits/{quoted(ref)}")
    except NotFoundError as error:
        raise NotFoundError(
            error.message,
            why=f"{project.path} has no branch, tag or commit {ref!r} that this token can see.",
            hint="Check --ref.",
            answer=error.answer,
        ) from error
    return fields.word(answer, "id")
