"""Creates a tag in a project exactly once, and returns the tag that exists."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from cicd_common.errors import (
    AuthError,
    CommandError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    Refusal,
    RefusedError,
)
from cicd_common.gitlab import fields
from cicd_common.gitlab.client import GitLab, quoted
from cicd_common.gitlab.projects import (
    Project,
    find_commit,
    find_default_branch,
    find_project,
    name_project,
)
from cicd_common.gitlab.responses import MOVED_TEXT
from cicd_common.gitlab.retry import Backoff
from cicd_common.gitlab.tokens import TokenKind
from cicd_common.waiting.start import start_each
from cmd_tag_project.releases import update_release
from cmd_tag_project.result import TagResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cicd_common.gitlab.connection import Connection
    from cicd_common.gitlab.fields import JsonObject
    from cicd_common.waiting.events import Presenter
    from cicd_common.waiting.targets import Newest
    from cmd_tag_project.request import TagRequest
    from cmd_tag_project.versions import Highest


log = logging.getLogger("cicd_common.tag")


@dataclass(frozen=True)
class _Tag:
    """A tag as GitLab has it.

    Attributes:
        commit: Its commit.
        has_release: Whether it has a release.
        project: The project's path, if the answer tells it.
        is_new: Whether this call created it.
        is_answered: Whether GitLab's response to the creation arrived.
    """

    commit: str
    has_release: bool = False
    project: str = ""
    is_new: bool = False
    is_answered: bool = False


def run(
    request: TagRequest, connection: Connection, presenter: Presenter | None = None
) -> list[TagResult | CommandError]:
    """Creates the tag in every project in parallel, and waits for the pipelines if requested.

    Args:
        request: The tag to create.
        connection: The server and the token.
        presenter: Shows the progress of a wait; default: nothing is shown.

    Returns:
        The tag or the error of each project, in the order of the projects.

    Raises:
        UsageError: The request is not valid; nothing was sent.
        AuthError: GitLab accepts no given token for this request; nothing was sent.
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
    """Creates a tag, unless it exists.

    Args:
        gitlab: The client.
        project: The project's path, numeric id, or URL.
        request: The tag to create; checked already.

    Returns:
        The tag, at the requested commit.

    Raises:
        NotFoundError: The project or the ref does not exist, or the token cannot see it.
        ConflictError: The tag exists at another commit.
        ForbiddenError: A protected tag, the role or a hook does not allow it.
        RefusedError: The next version is not clear.
        CommandError: GitLab gave no usable response.
    """
    # The project is requested only if its default branch is needed, or in a dry run.
    asks = request.ref is None or request.dry_run
    found = find_project(gitlab, project) if asks else name_project(gitlab, project)
    try:
        return _Tagging(gitlab, found, request).run()
    except NotFoundError as error:
        if MOVED_TEXT in error.message and gitlab.token_kind is not TokenKind.JOB and not asks:
            return _Tagging(gitlab, find_project(gitlab, project), request).run()
        raise _missing(error, found) from error


@dataclass(frozen=True)
class _Tagging:
    """One tag that is to be created in one project."""

    gitlab: GitLab
    project: Project
    request: TagRequest

    def run(self) -> TagResult:
        """Creates the tag, with the given name or with that of the next version."""
        if self.request.tag_name is not None:
            return self._ensure(self.request.tag_name, None)
        commit = self._commit() if self.request.next == "auto" else None
        # Imported here: it is slow to import, and only --next needs it.
        from cmd_tag_project.versions import find_highest, part_by_commits  # noqa: PLC0415

        # Each loss of a race means that another tag was created: a short pause is enough.
        backoff = Backoff(self.gitlab.connection.retry_for, first=0.05, longest=1.0)
        while True:
            highest = find_highest(self.gitlab, self.project, self.request)
            part = str(self.request.next)
            if commit is not None:
                asked = part_by_commits(self.gitlab, self.project, highest, commit)
                if asked is None:
                    return self._unchanged(highest, commit)
                part = asked
            try:
                return self._ensure(highest.next(part, self.request.within), commit)
            except ConflictError as lost:
                backoff.wait(lost)

    def _unchanged(self, highest: Highest, commit: str) -> TagResult:
        """Returns the highest version's tag: no commit since then needs a new version."""
        log.info("No commit since %s asks for a version.", highest.tag or "the first one")
        tag = self._find(highest.tag) if highest.tag else None
        return TagResult(
            self.project.path,
            highest.tag,
            tag.commit if tag else commit,
            created=False,
            web_url=self._page(highest.tag) if highest.tag else self.project.web_url,
        )

    def _ensure(self, name: str, commit: str | None) -> TagResult:
        """Creates what is missing of the tag and, if requested, of its release.

        Args:
            name: The tag's name.
            commit: The commit, where it is known already.
        """
        if self.request.dry_run or self.request.wants_release:
            return self._ensure_release(name, commit)
        newest = self._newest_pipeline()
        tag = self._post_tag(name, commit or self._ref())
        if not tag.is_new:
            self._check_commit(tag, name, commit or self._commit())
        return self._result(name, tag, newest)

    def _ensure_release(self, name: str, commit: str | None) -> TagResult:
        """Does the same as `_ensure`, but reads the tag before it writes anything."""
        before = self._find(name)
        if commit is None:
            # Only the release is requested: if the tag exists, the release uses the tag's commit.
            takes_it = before is not None and self.request.ref is None and not self.request.next
            commit = before.commit if before and takes_it else self._commit()
        if before is not None:
            self._check_commit(before, name, commit)
        if self.request.dry_run:
            return self._planned(name, commit, before)
        if not self.request.wants_release or (before and before.has_release):
            tag, release = before or _Tag(commit), "exists"
        else:
            newest = self._newest_pipeline() if before is None else 0
            tag = self._post_release(name, commit, before)
            self._check_commit(tag, name, commit)
            if tag.is_new:
                return self._result(name, replace(tag, is_new=before is None), newest, "created")
            release = "exists"
        if release == "exists":
            release = update_release(self.gitlab, self.project, name, self.request)
        return self._result(name, replace(tag, is_new=False), 0, release)

    def _planned(self, name: str, commit: str, before: _Tag | None) -> TagResult:
        release = None
        if self.request.wants_release:
            release = "would be created"
            if before and before.has_release:
                release = update_release(self.gitlab, self.project, name, self.request)
        return TagResult(
            self.project.path,
            name,
            commit,
            created=False,
            web_url=self._page(name),
            release=release,
            would_create=before is None,
        )

    def _result(self, name: str, tag: _Tag, newest: int, release: str | None = None) -> TagResult:
        project = tag.project or self.project.path
        return TagResult(
            project,
            name,
            tag.commit,
            created=tag.is_new,
            web_url=f"{self.gitlab.base_url}/{project}/-/tags/{quote(name)}"
            if tag.project
            else self._page(name),
            release=release,
            awaited=self._awaited(project, name, tag, newest) if self.request.wait else None,
        )

    @staticmethod
    def _awaited(project: str, name: str, tag: _Tag, newest: int) -> Newest:
        from cicd_common.waiting.targets import Newest  # noqa: PLC0415 - only --wait needs it

        return Newest(
            project,
            tag=name,
            sha=tag.commit,
            ours=tag.is_new and tag.is_answered,
            newer_than=newest if tag.is_new else 0,
        )

    def _post_tag(self, name: str, ref: str) -> _Tag:
        """Creates the tag, or returns the one that exists."""
        body = {"tag_name": name, "ref": ref, "message": self.request.message}

        def find() -> _Tag | None:
            tag = self._find(name)
            # GitLab refuses a tag that exists; after a lost response it is unknown who created it.
            return replace(tag, is_new=tag.commit == self._commit()) if tag else None

        try:
            return self._write(name, "repository/tags", body, find)
        except RefusedError as refusal:
            if "already exists" in refusal.message and (tag := self._find(name)) is not None:
                return tag
            raise _refusal(refusal, name, self.project, exists=False) from refusal

    def _post_release(self, name: str, commit: str, before: _Tag | None) -> _Tag:
        """Creates the release, and the tag too if it does not exist."""
        body = {
            "tag_name": name,
            "ref": commit,
            "description": self.request.release_notes or name,
            "tag_message": self.request.message,
            "assets": {"links": [{"name": title, "url": url} for title, url in self.request.assets]}
            if self.request.assets
            else None,
        }

        def find() -> _Tag | None:
            tag = self._find(name)
            return replace(tag, is_new=True) if tag and tag.has_release else None

        try:
            return self._write(name, "releases", body, find)
        except (RefusedError, ConflictError) as refusal:
            tag = self._find(name) if "already exists" in refusal.message else None
            if tag is not None and tag.has_release:
                return tag
            raise _refusal(refusal, name, self.project, exists=before is not None) from refusal

    def _write(
        self, name: str, route: str, body: Mapping[str, object], find: Callable[[], _Tag | None]
    ) -> _Tag:
        def read(answer: JsonObject) -> _Tag:
            return replace(_read_tag(answer, self.gitlab.base_url), is_new=True, is_answered=True)

        return self.gitlab.write(
            "POST",
            f"projects/{self.project.id}/{route}",
            {key: value for key, value in body.items() if value},
            read=read,
            find=find,
            check=self._page(name),
        )

    def _find(self, name: str) -> _Tag | None:
        """Returns the tag as GitLab has it; None if it does not exist."""
        path = f"projects/{self.project.id}/repository/tags"
        if self.gitlab.token_kind is TokenKind.JOB:
            # Servers before about 18.8 accept a job token on the list of tags only.
            listed = self.gitlab.get_list(path, search=f"^{name}$")
            answer = next((tag for tag in listed if tag.get("name") == name), None)
            return _read_tag(answer, self.gitlab.base_url) if answer else None
        try:
            return _read_tag(self.gitlab.get(f"{path}/{quoted(name)}"), self.gitlab.base_url)
        except NotFoundError as error:
            if "Project Not Found" in error.message:
                raise
            return None

    def _newest_pipeline(self) -> int:
        """Returns the id of the newest pipeline before the tag, for a wait; 0 if unknown."""
        if self.request.wait is None or self.request.dry_run:
            return 0
        try:
            listed = self.gitlab.get_list(f"projects/{self.project.id}/pipelines", per_page=1)
        except (AuthError, ForbiddenError, NotFoundError):
            return 0
        return max((fields.number(pipeline, "id") for pipeline in listed), default=0)

    def _ref(self) -> str:
        return self.request.ref or find_default_branch(self.gitlab, self.project)

    def _commit(self) -> str:
        return find_commit(self.gitlab, self.project, self._ref())

    def _page(self, name: str) -> str:
        return f"{self.project.web_url}/-/tags/{quote(name)}"

    def _check_commit(self, tag: _Tag, name: str, commit: str) -> None:
        if tag.commit != commit:
            raise ConflictError(
                f"The tag {name} of {self.project.path} is at {tag.commit}, not at {commit}.",
                why="It was created before, at another commit. Tags are never moved.",
                hint="Give another --tag-name, or --ref for the commit it is at.",
            )


def _read_tag(answer: JsonObject, base_url: str) -> _Tag:
    """Reads the tag from GitLab's answer, which is a tag or a release."""
    # For an annotated tag, `target` is the tag object and `commit` the commit that it points to.
    page = fields.optional_text(answer, "commit", "web_url")
    path, found, _ = urlsplit(page).path.partition("/-/commit/")
    root = urlsplit(base_url).path
    return _Tag(
        fields.word(answer, "commit", "id"),
        has_release=answer.get("release") is not None or "tag_name" in answer,
        project=path.removeprefix(root).strip("/") if found else "",
    )


def _missing(error: NotFoundError, project: Project) -> NotFoundError:
    """Returns the error with its reason, if GitLab's 404 was about the project."""
    if error.why or "Project Not Found" not in error.message:
        return error
    return NotFoundError(
        error.message,
        why=f"{project.path} does not exist, or this token cannot see it: GitLab returns 404 "
        "for both.",
        hint="Check the path, and that the token's user is a member of the project.",
        answer=error.answer,
    )


# What GitLab's Tags::CreateService and its checks before a push answer, all with status 400.
# Any other text comes from a hook of the project, which can also refuse without a text.
_REFUSALS = (
    Refusal(
        r"Target .* is invalid|Target is empty",
        NotFoundError,
        "The project has no such branch, tag or commit, or its repository is empty.",
        "Check --ref.",
    ),
    Refusal(
        r"Tag name invalid",
        RefusedError,
        "GitLab does not accept this name.",
        "Give another --tag-name.",
    ),
    Refusal(
        r"as it is protected|Protected tags",
        ForbiddenError,
        "A protected-tag rule of the project matches this name.",
        "In Settings > Repository > Protected tags, allow the token's user to create it.",
    ),
    Refusal(
        r"SHA-1 or SHA-256 tag name|refs/tags/",
        RefusedError,
        "GitLab does not accept a name that starts with a SHA, or with refs/tags/.",
        "Give another --tag-name.",
    ),
    Refusal(
        r"default branch name",
        ForbiddenError,
        "A tag cannot have the default branch's name.",
        "Give another --tag-name.",
    ),
)


def _refusal(refusal: CommandError, name: str, project: Project, *, exists: bool) -> CommandError:
    """Returns the error for a refused tag, or for a refused release of a tag that exists."""
    if row := Refusal.of(refusal.message, _REFUSALS):
        return row.make(refusal.message, why=row.why, hint=row.hint, answer=refusal.answer)
    if isinstance(refusal, ConflictError) or (refusal.answer and refusal.answer.server_error):
        return refusal
    if exists:
        return RefusedError(
            f"{project.path} refused the release of {name}: {refusal.message}",
            why="The tag exists; GitLab did not accept its release.",
            hint="Check --release-notes and --asset.",
            answer=refusal.answer,
        )
    return ForbiddenError(
        f"{project.path} refused the tag {name}: {refusal.message}",
        why="A hook or a push rule of the project or the server does not allow it.",
        hint="Ask a Maintainer of the project which rule the tag breaks.",
        answer=refusal.answer,
    )
