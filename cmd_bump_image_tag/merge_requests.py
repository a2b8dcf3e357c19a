"""The merge request of a bump; bumps of the same images share one until it is merged or closed."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.errors import ConflictError, NotFoundError, UnavailableError
from cicd_common.gitlab import fields
from cicd_common.gitlab.client import GitLab, quoted
from cicd_common.gitlab.retry import Backoff
from cmd_bump_image_tag.commit_message import is_bump

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cicd_common.gitlab.fields import JsonObject
    from cicd_common.gitlab.projects import Project
    from cmd_bump_image_tag.request import BumpRequest

log = logging.getLogger("cicd_common.bump")

LONGEST_TITLE = 255  # GitLab's limit
_READABLE = 60  # characters of the readable part of a branch's name
_DRAFT = re.compile(r"^(?:draft:|\[draft\]|\(draft\))\s*", re.IGNORECASE)


@dataclass(frozen=True)
class HeadPipeline:
    """The newest pipeline of a merge request.

    Attributes:
        sha: Its commit.
        ref: Its branch, or `refs/merge-requests/IID/…`.
        status: Its status.
        web_url: Its page.
    """

    sha: str
    ref: str
    status: str
    web_url: str


@dataclass(frozen=True)
class MergeRequest:
    """A merge request as GitLab has it.

    Attributes:
        iid: Its number in the project.
        web_url: Its page.
        branch: Its source branch.
        sha: The newest commit of its branch that GitLab has noticed.
        state: `opened`, `closed`, `locked` or `merged`.
        auto_merge: Whether GitLab merges it once its checks have passed.
        status: `detailed_merge_status`.
        title: Its title.
        description: Its text.
        labels: Its labels.
        has_assignee: Whether it has an assignee.
        has_reviewer: Whether it has a reviewer.
        pipeline: Its newest pipeline; None if there is none, or in a list.
        is_rebasing: Whether GitLab is rebasing it, if the request included it.
        merge_error: Why the last rebase or merge failed; empty if it did not.
    """

    iid: int
    web_url: str
    branch: str
    sha: str
    state: str
    auto_merge: bool
    status: str
    title: str
    description: str
    labels: tuple[str, ...]
    has_assignee: bool
    has_reviewer: bool
    pipeline: HeadPipeline | None
    is_rebasing: bool
    merge_error: str

    @property
    def outcome(self) -> str:
        """Returns its state for the user: `merged`, `set to auto-merge`, `open` or `closed`."""
        if self.state == "opened":
            return "set to auto-merge" if self.auto_merge else "open"
        return self.state

    @classmethod
    def read(cls, answer: JsonObject) -> MergeRequest:
        """Reads a merge request from GitLab's answer.

        Raises:
            UnavailableError: The answer is not a merge request.
        """
        head = answer.get("head_pipeline")
        return cls(
            iid=fields.number(answer, "iid"),
            web_url=fields.url(answer, "web_url"),
            branch=fields.optional_text(answer, "source_branch"),
            sha=fields.optional_text(answer, "sha"),
            state=fields.text(answer, "state"),
            auto_merge=fields.flag(answer, "merge_when_pipeline_succeeds"),
            status=fields.optional_text(answer, "detailed_merge_status") or "unchecked",
            title=fields.optional_text(answer, "title"),
            description=fields.optional_text(answer, "description"),
            labels=tuple(fields.texts(answer, "labels")),
            has_assignee=bool(answer.get("assignees")),
            has_reviewer=bool(answer.get("reviewers")),
            pipeline=None if head is None else _read_pipeline(fields.record(head)),
            is_rebasing=fields.flag(answer, "rebase_in_progress"),
            merge_error=fields.optional_text(answer, "merge_error"),
        )


def _read_pipeline(answer: JsonObject) -> HeadPipeline:
    return HeadPipeline(
        sha=fields.text(answer, "sha"),
        ref=fields.text(answer, "ref"),
        status=fields.text(answer, "status"),
        web_url=fields.url(answer, "web_url"),
    )


@dataclass(frozen=True)
class Source:
    """The branch that a bump is written to before it is merged.

    Attributes:
        branch: Its name.
        exists: Whether GitLab has it.
        merge_request: Its open merge request, if there is one.
    """

    branch: str
    exists: bool
    merge_request: MergeRequest | None


@dataclass(frozen=True)
class Proposal:
    """The text, labels and users of a merge request.

    Attributes:
        title: Its title.
        description: Its text, in Markdown.
        labels: Labels to add.
        assignees: The ids of its assignees.
        reviewers: The ids of its reviewers.
    """

    title: str
    description: str
    labels: tuple[str, ...] = ()
    assignees: tuple[int, ...] = ()
    reviewers: tuple[int, ...] = ()


def branch_name(request: BumpRequest, target: str) -> str:
    """Returns the name of a bump's branch.

    It depends on the images and on the files, not on the tags: a newer tag updates the open
    merge request.

    Args:
        request: The bump.
        target: The branch that it is for.
    """
    images = sorted(update.reference.repository for update in request.updates)
    where = [sorted(request.file), sorted(request.path), target]
    digest = hashlib.sha256(json.dumps([images, where]).encode()).hexdigest()
    first = request.updates[0].reference.last_component if images else "values"
    readable = re.sub(r"[^\w-]+", "-", first)[:_READABLE].strip("-")
    return f"bump-image-tag/{readable}-{digest[:8]}"


class MergeRequests:
    """The merge requests of a project.

    Args:
        gitlab: The client.
        project: The project.
        target: The branch to merge into.
    """

    def __init__(self, gitlab: GitLab, project: Project, target: str) -> None:
        self.gitlab = gitlab
        self.project = project
        self.target = target
        self.path = f"projects/{project.id}/merge_requests"
        self._repository = f"projects/{project.id}/repository"

    def find_source(self, name: str) -> Source:
        """Finds the branch to write to, and its open merge request.

        A branch whose merge requests were merged or closed is not used again: the next bump uses
        another, with a number. A branch without a merge request belongs to a bump in progress.

        Args:
            name: The name of the first such branch.

        Raises:
            CommandError: There was no usable answer.
        """
        for number in itertools.count(1):
            branch = name if number == 1 else f"{name}-{number}"
            exists = self.head(branch) is not None
            opened = self._find_open(branch)
            if opened or not exists:
                return Source(branch, exists, opened)
            newest = self._list(branch, per_page=1)
            if not newest or newest[0].state == "opened":  # another run has just opened it
                return Source(branch, exists, newest[0] if newest else None)
        raise AssertionError  # count() has no end

    def head(self, branch: str) -> str | None:
        """Returns the newest commit of a branch; None if the branch does not exist.

        Raises:
            CommandError: There was no usable answer.
        """
        try:
            answer = self.gitlab.get(f"{self._repository}/branches/{quoted(branch)}")
        except NotFoundError:
            return None
        return fields.text(answer, "commit", "id")

    def parents(self, sha: str) -> list[str]:
        """Returns the parents of a commit.

        Raises:
            CommandError: There was no usable answer.
        """
        answer = self.gitlab.get(f"{self._repository}/commits/{sha}")
        return fields.texts(answer, "parent_ids")

    def get(self, iid: int) -> MergeRequest:
        """Returns a merge request as it is now.

        Raises:
            CommandError: There was no usable answer.
        """
        answer = self.gitlab.get(f"{self.path}/{iid}", include_rebase_in_progress="true")
        return MergeRequest.read(answer)

    def open(self, branch: str, proposal: Proposal, *, is_merged: bool) -> MergeRequest:
        """Opens a merge request, unless there is one already.

        Args:
            branch: The branch to merge.
            proposal: Its text, labels and users.
            is_merged: Whether it can be merged at once: GitLab refuses a second one of a branch
                only as long as the first is open.

        Raises:
            CommandError: It was not opened.
        """
        body: dict[str, object] = {
            "source_branch": branch,
            "target_branch": self.target,
            "title": proposal.title[:LONGEST_TITLE],
            "description": proposal.description,
            "remove_source_branch": True,
        }
        body |= {"labels": ",".join(proposal.labels)} if proposal.labels else {}
        body |= {"assignee_ids": proposal.assignees} if proposal.assignees else {}
        body |= {"reviewer_ids": proposal.reviewers} if proposal.reviewers else {}
        try:
            return self.gitlab.write(
                "POST",
                self.path,
                body,
                read=MergeRequest.read,
                find=lambda: self._find_open(branch),
                check=f"{self.project.web_url}/-/merge_requests",
                second_is_refused=not is_merged,
            )
        except ConflictError:
            # Another run of the same bump was faster.
            if found := self._find_open(branch):
                return found
            raise

    def update(self, found: MergeRequest, proposal: Proposal) -> MergeRequest:
        """Updates an open merge request; keeps labels, assignees and reviewers that users have set.

        Args:
            found: The merge request.
            proposal: The new values. Assignees and reviewers are set only if it has none.

        Raises:
            CommandError: It was not changed.
        """
        draft = _DRAFT.match(found.title)
        title = ((draft[0] if draft else "") + proposal.title)[:LONGEST_TITLE]
        body: dict[str, object] = {}
        if (found.title, found.description) != (title, proposal.description):
            body |= {"title": title, "description": proposal.description}
        if missing := [label for label in proposal.labels if label not in found.labels]:
            body |= {"add_labels": ",".join(missing)}
        if proposal.assignees and not found.has_assignee:
            body |= {"assignee_ids": proposal.assignees}
        if proposal.reviewers and not found.has_reviewer:
            body |= {"reviewer_ids": proposal.reviewers}
        return self._put(found, "", body) if body else found

    def bring_up_to_date(self, found: MergeRequest, branch: str, *, skip_ci: bool) -> bool:
        """Rebases a merge request whose branch lacks commits of its target.

        If both sides changed the same lines, it cannot be rebased. Then it is closed, and the next
        bump opens another; but only if the branch has no commits other than bumps.

        Args:
            found: The merge request.
            branch: Its branch.
            skip_ci: Whether GitLab starts no pipeline for the rebased commits.

        Returns:
            True if it is up to date now, False if it was closed.

        Raises:
            ConflictError: It cannot be rebased, and has commits of others.
            CommandError: GitLab refused to rebase it, or gave no usable answer.
        """
        backoff = Backoff(self.gitlab.connection.retry_for)
        while self._commits(branch, self.target, per_page=1):
            log.info("%s lacks commits of %s; rebasing it.", found.web_url, self.target)
            try:
                self._rebase(found, skip_ci=skip_ci)
            except ConflictError as error:  # another rebase is running
                backoff.wait(error)
                continue
            now = self._rebased(found)
            if not self._commits(branch, self.target, per_page=1):
                return True
            if now.merge_error:
                self._give_up(now, branch)
                return False
            backoff.wait(_conflict(now, self.target, "Its target keeps moving."))
        return True

    def _rebase(self, found: MergeRequest, *, skip_ci: bool) -> None:
        self.gitlab.write(
            "PUT",
            f"{self.path}/{found.iid}/rebase",
            {"skip_ci": skip_ci},
            read=lambda answer: answer,
            find=lambda: None,  # a second rebase changes nothing
            check=found.web_url,
        )

    def _rebased(self, found: MergeRequest) -> MergeRequest:
        """Waits until a background worker of GitLab has finished the rebase."""
        backoff = Backoff(self.gitlab.connection.retry_for)
        while (now := self.get(found.iid)).is_rebasing:
            backoff.wait(
                UnavailableError(
                    f"{now.web_url} is still being rebased.",
                    hint="Run this again, or allow more with --retry-for.",
                )
            )
        return now

    def _give_up(self, found: MergeRequest, branch: str) -> None:
        """Closes a merge request if all its commits are bumps."""
        commits = self._commits(self.target, branch)
        if not all(is_bump(fields.text(commit, "message")) for commit in commits):
            raise _conflict(found, self.target, found.merge_error)
        log.warning(
            "%s conflicts with %s, and is closed: another takes its place.",
            found.web_url,
            self.target,
        )
        self._put(found, "", {"state_event": "close"})

    def _commits(self, since: str, until: str, **query: object) -> list[JsonObject]:
        """Returns the commits of a branch that another lacks, the newest first."""
        span = f"refs/heads/{since}..refs/heads/{until}"
        return self.gitlab.get_list(f"{self._repository}/commits", ref_name=span, **query)

    def start_pipeline(
        self, found: MergeRequest, find: Callable[[], HeadPipeline | None]
    ) -> HeadPipeline:
        """Starts the merge request's own pipeline.

        Args:
            found: The merge request.
            find: Checks whether it was started.

        Raises:
            RefusedError: Its rules start no job in such a pipeline.
            CommandError: GitLab refused it for another reason, or gave no usable answer.
        """
        return self.gitlab.write(
            "POST",
            f"{self.path}/{found.iid}/pipelines",
            {},
            read=_read_pipeline,
            find=find,
            check=found.web_url,
            second_is_refused=False,
        )

    def put_merge(self, found: MergeRequest, sha: str, *, auto_merge: bool) -> MergeRequest:
        """Merges a merge request now, or sets auto-merge.

        Args:
            found: The merge request.
            sha: The only commit at which it is merged.
            auto_merge: Whether to wait for the pipeline.

        Raises:
            CommandError: GitLab refused it, or gave no usable answer.
        """
        body: dict[str, object] = {"sha": sha, "should_remove_source_branch": True}
        return self._put(found, "/merge", body | ({"auto_merge": True} if auto_merge else {}))

    def _put(self, found: MergeRequest, route: str, body: dict[str, object]) -> MergeRequest:
        """Changes a merge request; sending the same change twice does no harm."""

        def find() -> MergeRequest | None:
            now = self.get(found.iid)
            return now if now.state == "merged" or now.auto_merge else None

        return self.gitlab.write(
            "PUT",
            f"{self.path}/{found.iid}{route}",
            body,
            read=MergeRequest.read,
            find=find if route else lambda: None,
            check=found.web_url,
        )

    def _find_open(self, branch: str) -> MergeRequest | None:
        return next(iter(self._list(branch, state="opened")), None)

    def _list(self, branch: str, **query: object) -> Sequence[MergeRequest]:
        answers = self.gitlab.get_list(
            self.path, source_branch=branch, target_branch=self.target, **query
        )
        # A fork can have a branch of the same name.
        return [
            MergeRequest.read(answer)
            for answer in answers
            if str(answer.get("source_project_id")) == str(answer.get("target_project_id"))
        ]


def find_user(gitlab: GitLab, name: str) -> int:
    """Returns the id of a user.

    Args:
        gitlab: The client.
        name: The user's name, with or without `@`.

    Raises:
        NotFoundError: The user does not exist.
        CommandError: There was no usable answer.
    """
    username = name.removeprefix("@")
    for user in gitlab.get_list("users", username=username):
        if fields.text(user, "username").lower() == username.lower():
            return fields.number(user, "id")
    raise NotFoundError(
        f"There is no user {name}.", hint="Give the user name as it stands in the user's profile."
    )


def _conflict(found: MergeRequest, target: str, why: str) -> ConflictError:
    return ConflictError(
        f"{found.web_url} lacks commits of {target}, and cannot be rebased.",
        why=why,
        hint="Rebase its branch by hand; or close it, then the next bump opens another.",
    )
