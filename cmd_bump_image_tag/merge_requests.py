"""The merge request of a bump: one for each bump, however often it is asked for."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from cicd_common.errors import (
    AuthError,
    CommandError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
)
from cicd_common.gitlab.client import GitLab, field, quoted
from cicd_common.gitlab.retry import Backoff

if TYPE_CHECKING:
    from cicd_common.gitlab.projects import Project
    from cmd_bump_image_tag.request import BumpRequest

log = logging.getLogger("cicd_common.bump")

LONGEST_TITLE = 255  # GitLab's limit
_READABLE = 60  # characters of a branch's name that are for people


@dataclass(frozen=True)
class MergeRequest:
    """A merge request as GitLab has it.

    Attributes:
        iid: Its number in the project.
        web_url: Its page.
        source_branch: The branch that is to be merged.
        sha: The newest commit of that branch that GitLab has noticed.
        state: `opened`, `closed`, `locked` or `merged`.
        auto_merge: Whether it is merged once its checks have passed.
        status: `detailed_merge_status`.
    """

    iid: int
    web_url: str
    source_branch: str
    sha: str
    state: str
    auto_merge: bool
    status: str

    @classmethod
    def read(cls, answer: Any) -> MergeRequest:
        """Takes it out of an answer.

        Raises:
            UnavailableError: The answer is none of GitLab's.
        """
        return cls(
            iid=int(field(answer, "iid")),
            web_url=str(field(answer, "web_url")),
            source_branch=str(field(answer, "source_branch")),
            sha=str(answer.get("sha") or ""),
            state=str(field(answer, "state")),
            auto_merge=bool(answer.get("merge_when_pipeline_succeeds")),
            status=str(answer.get("detailed_merge_status") or "unchecked"),
        )


@dataclass(frozen=True)
class Source:
    """The branch that a bump is written to before it is merged.

    Attributes:
        branch: Its name.
        exists: Whether it is there.
        merge_request: Its open merge request, if there is one.
    """

    branch: str
    exists: bool
    merge_request: MergeRequest | None


def branch_name(request: BumpRequest, target: str) -> str:
    """The name of the branch of a bump: it depends on the bump alone.

    Args:
        request: The bump.
        target: The branch that it is for.
    """
    references = [update.reference for update in request.updates]
    what = sorted(f"{reference.repository}{reference.suffix}" for reference in references)
    where = [sorted(request.file), sorted(request.path), target]
    digest = hashlib.sha256(json.dumps([what, where]).encode()).hexdigest()
    first = references[0]
    version = first.tag or (first.digest or "").partition(":")[2][:12]
    readable = re.sub(r"\.{2,}", ".", f"{first.last_component}-{version}")[:_READABLE]
    return f"bump-image-tag/{readable}-{digest[:8]}"


def find_source(gitlab: GitLab, project: Project, name: str, target: str) -> Source:
    """Finds the branch to write to, and its open merge request.

    A branch whose merge request was merged or closed is left over: its next bump needs another,
    counted up. A branch without any merge request is one that is being made right now.

    Args:
        gitlab: The client.
        project: The project.
        name: The name of the first such branch.
        target: The branch that it is for.

    Raises:
        CommandError: There was no usable answer.
    """
    for number in itertools.count(1):
        branch = name if number == 1 else f"{name}-{number}"
        found = _list(gitlab, project, branch, target)
        opened = next((each for each in found if each.state == "opened"), None)
        exists = _branch_exists(gitlab, project, branch)
        if opened or not exists or not found:
            return Source(branch, exists, opened)
    raise AssertionError  # count() has no end


def open_merge_request(
    gitlab: GitLab, project: Project, source: str, target: str, *, title: str, description: str
) -> MergeRequest:
    """Opens a merge request, unless there is one.

    Args:
        gitlab: The client.
        project: The project.
        source: The branch that is to be merged.
        target: The branch to merge it into.
        title: What it is called.
        description: What it says, in Markdown.

    Raises:
        CommandError: There is none.
    """

    def find() -> MergeRequest | None:
        found = _list(gitlab, project, source, target)
        return next((each for each in found if each.state == "opened"), None)

    try:
        return gitlab.write(
            "POST",
            f"projects/{project.id}/merge_requests",
            {
                "source_branch": source,
                "target_branch": target,
                "title": title[:LONGEST_TITLE],
                "description": description,
                "remove_source_branch": True,
            },
            read=MergeRequest.read,
            find=find,
            check=f"{project.web_url}/-/merge_requests",
        )
    except ConflictError:
        # Another run of the same bump was faster.
        if found := find():
            return found
        raise


def merge_when_ready(
    gitlab: GitLab, project: Project, merge_request: MergeRequest, sha: str
) -> None:
    """Has GitLab merge it once its checks have passed, or now if there is nothing to wait for.

    Args:
        gitlab: The client.
        project: The project.
        merge_request: The merge request.
        sha: The only commit at which it may be merged.

    Raises:
        ForbiddenError: The token's user may not merge.
        ConflictError: Its branch has another commit by now.
        RefusedError: It cannot be merged.
        CommandError: There was no usable answer.
    """
    path = f"projects/{project.id}/merge_requests/{merge_request.iid}"
    backoff = Backoff(gitlab.connection.retry_for)

    def find() -> MergeRequest | None:
        now = MergeRequest.read(gitlab.get(path))
        return now if now.auto_merge or now.state == "merged" else None

    auto_merge = True
    while True:
        try:
            gitlab.write(
                "PUT",
                f"{path}/merge",
                {"sha": sha, "should_remove_source_branch": True}
                | ({"auto_merge": True} if auto_merge else {}),
                read=MergeRequest.read,
                find=find,
                check=merge_request.web_url,
            )
        except AuthError as error:
            # GitLab's 401 here: https://docs.gitlab.com/api/merge_requests/#merge-a-merge-request
            raise ForbiddenError(
                f"{merge_request.web_url} may not be merged: {error.message}",
                why="The token's user may not merge into that branch.",
                hint="Give the user the role that the branch asks for, or leave out --auto-merge.",
                answer=error.answer,
            ) from error
        except (RefusedError, ConflictError) as refusal:
            if not _may_pass(refusal):
                raise
            now = MergeRequest.read(gitlab.get(path))
            if now.auto_merge or now.state == "merged":
                return
            if auto_merge and now.status == "mergeable":
                auto_merge = False  # GitLab has none where there is nothing to wait for
                continue
            auto_merge = True
            backoff.wait(_not_yet(refusal, now))
        else:
            return


def _may_pass(refusal: CommandError) -> bool:
    """Whether GitLab may only not have got so far: it checks branches after they change."""
    status = refusal.answer.status if refusal.answer else 0
    return status in (
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.CONFLICT,
        HTTPStatus.UNPROCESSABLE_ENTITY,  # GitLab 19.4 to an auto-merge, where others say 405
    )


def _not_yet(refusal: CommandError, now: MergeRequest) -> CommandError:
    return type(refusal)(
        f"{now.web_url} cannot be merged: {now.status}.",
        why=refusal.message,
        hint="See the merge request's page, or leave out --auto-merge.",
        answer=refusal.answer,
    )


def _list(gitlab: GitLab, project: Project, source: str, target: str) -> list[MergeRequest]:
    answers = gitlab.get_all(
        f"projects/{project.id}/merge_requests", source_branch=source, target_branch=target
    )
    return [MergeRequest.read(answer) for answer in answers]


def _branch_exists(gitlab: GitLab, project: Project, branch: str) -> bool:
    try:
        gitlab.get(f"projects/{project.id}/repository/branches/{quoted(branch)}")
    except NotFoundError:
        return False
    return True
