"""Creating a tag in a project exactly once, and saying what is there."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cicd_common.errors import (
    AuthError,
    CommandError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
)
from cicd_common.gitlab.client import GitLab, field, quoted
from cicd_common.gitlab.projects import Project, find_commit, find_default_branch, find_project
from cicd_common.gitlab.retry import Backoff
from cicd_common.gitlab.tokens import TokenKind
from cicd_common.semver import SemVer

if TYPE_CHECKING:
    from cicd_common.gitlab.client import GitLab
    from cicd_common.gitlab.projects import Project
    from cicd_common.waiting.pipelines import WaitResult
    from cicd_common.waiting.targets import Newest
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
        SemVer.parse(tag["name"].removeprefix(request.prefix))
        for tag in tags
        if tag["name"].startswith(request.prefix)
    )
    highest = max(filter(None, versions), default=SemVer(0, 0, 0))
    return f"{request.prefix}{highest.next(request.next)}"


log = logging.getLogger("cicd_common.tag")


@dataclass(frozen=True)
class TagResult:
    """A tag that is there now, or would be but for the dry run.

    Attributes:
        project: The project's path.
        tag: The tag's name.
        commit: The full SHA of the commit it stands at.
        created: Whether this call created it.
        web_url: Its page.
        release: What became of its release: `created`, `exists`, `would be created`; None if
            none was wanted.
        would_create: Whether a dry run found that the tag would be created.
        pipeline: The tag's pipeline, as it ended, if it was waited for.
    """

    project: str
    tag: str
    commit: str
    created: bool
    web_url: str
    release: str | None = None
    would_create: bool = False
    pipeline: WaitResult | None = None

    def text(self) -> str:
        """One short line for a person."""
        state = "would be created" if self.would_create else "already exists"
        line = f"{self.project}: tag {self.tag} {'created' if self.created else state}"
        release = f", release {self.release}" if self.release else ""
        ended = f"; {self.pipeline.text().partition(': ')[2]}" if self.pipeline else ""
        return f"{line} at {self.commit[:8]}{release}{ended}"

    def dotenv(self) -> dict[str, str]:
        """The variables that later jobs get."""
        tag = {"TAG_NAME": self.tag, "TAG_COMMIT_SHA": self.commit, "TAG_PROJECT": self.project}
        return tag | (self.pipeline.dotenv() if self.pipeline else {})

    def target(self) -> Newest:
        """The tag's pipeline, which GitLab starts a moment after the tag."""
        from cicd_common.waiting.targets import Newest  # noqa: PLC0415 - as above

        return Newest(self.project, tag=self.tag, sha=self.commit, ours=self.created)

    def ended(self, end: WaitResult | CommandError) -> TagResult | CommandError:
        """The tag with its pipeline, as it ended.

        Args:
            end: How the wait ended; an error's `results` hold the pipeline, if it was found.
        """
        from cicd_common.waiting.pipelines import WaitResult  # noqa: PLC0415 - as above

        if isinstance(end, CommandError):
            pipelines = [result for result in end.results if isinstance(result, WaitResult)]
            end.results = (replace(self, pipeline=pipelines[0] if pipelines else None),)
            return end
        return replace(self, pipeline=end)


@dataclass(frozen=True)
class _Tag:
    """A tag as GitLab has it."""

    commit: str
    has_release: bool


def create_tag(gitlab: GitLab, project: str, request: TagRequest) -> TagResult:
    """Creates a tag, unless it is there already.

    Args:
        gitlab: The client.
        project: The project's path, numeric id, or URL.
        request: What tag is wanted; checked already.

    Returns:
        The tag, at the commit that was wanted.

    Raises:
        AuthError: There is no token that GitLab takes for this.
        NotFoundError: There is no such project or ref, or the token cannot see it.
        ConflictError: The tag is there, at another commit.
        ForbiddenError: A protected tag, a role or a hook says no.
        CommandError: GitLab gave no usable answer.
    """
    if gitlab.require_token() is TokenKind.JOB and not request.release:
        raise AuthError(
            "A CI job token cannot create a tag.",
            why="GitLab ignores job tokens there; with one, creating a release is the only way.",
            hint="Give an access token (COMMANDS_API_TOKEN), or add --release.",
        )
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
    if before is None or (request.release and not before.has_release):
        if before is not None:
            _check_commit(before, name, commit, project)
        if request.dry_run:
            return TagResult(
                project=project.path,
                tag=name,
                commit=commit,
                created=False,
                web_url=web_url,
                release="would be created" if request.release else None,
                would_create=before is None,
            )
        after = _write(gitlab, project, name, commit, request, check=web_url)
    else:
        after = before
    _check_commit(after, name, commit, project)
    release = None
    if request.release:
        release = "exists" if before and before.has_release else "created"
    return TagResult(project.path, name, commit, before is None, web_url, release)


def _write(
    gitlab: GitLab, project: Project, name: str, commit: str, request: TagRequest, *, check: str
) -> _Tag:
    """Creates the tag, or the tag and its release in one request, or only the release."""
    body: dict[str, object] = {"tag_name": name, "ref": commit}
    if request.release:
        path = f"projects/{project.id}/releases"
        body |= {"description": request.release_notes or name, "tag_message": request.message}
    else:
        path = f"projects/{project.id}/repository/tags"
        body |= {"message": request.message}

    def find() -> _Tag | None:
        tag = _find_tag(gitlab, project, name)
        return None if tag and request.release and not tag.has_release else tag

    def read(answer: Any) -> _Tag:
        return _Tag(str(field(answer, "commit", "id")), has_release=request.release)

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
    commit = str(field(answer, "commit", "id"))
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
_REFUSALS: tuple[tuple[str, type[CommandError], str, str], ...] = (
    (
        r"Target .* is invalid|Target is empty",
        NotFoundError,
        "The commit is gone from the project.",
        "Check --ref.",
    ),
    (
        r"Tag name invalid",
        RefusedError,
        "GitLab does not take this name.",
        "Give another --tag-name.",
    ),
    (
        r"as it is protected|Protected tags",
        ForbiddenError,
        "A protected-tag rule of the project matches this name.",
        "In Settings > Repository > Protected tags, allow the token's user to create it.",
    ),
    (
        r"default branch name",
        ForbiddenError,
        "A tag may not have the default branch's name.",
        "Give another --tag-name.",
    ),
)


def _refusal(refusal: CommandError, name: str, project: Project) -> CommandError:
    """The error that a refused tag means."""
    for pattern, kind, why, hint in _REFUSALS:
        if re.search(pattern, refusal.message):
            return kind(refusal.message, why=why, hint=hint, answer=refusal.answer)
    if isinstance(refusal, ConflictError) or (refusal.answer and refusal.answer.server_error):
        return refusal
    return ForbiddenError(
        f"{project.path} refused the tag {name}: {refusal.message}",
        why="A hook or a push rule of the project or the server says no.",
        hint="Ask a Maintainer of the project which rule the tag breaks.",
        answer=refusal.answer,
    )
