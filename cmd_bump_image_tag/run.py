"""Runs a bump: reads the files, plans the edit, writes it, and opens the merge request."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from cicd_common.cleaning import one_line
from cicd_common.errors import (
    AuthError,
    CommandError,
    Interrupted,
    NotFoundError,
    UsageError,
)
from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.connection import parse_base_url
from cicd_common.gitlab.projects import find_default_branch, find_project, name_project
from cicd_common.gitlab.retry import Backoff
from cicd_common.gitlab.tokens import TokenKind
from cicd_common.parallel import WRITE_GRACE, side_by_side
from cicd_common.waiting.targets import Newest
from cicd_common.waiting.wait import wait_for
from cmd_bump_image_tag.auto_merge import merge_when_ready, wait_until_merged
from cmd_bump_image_tag.commit_message import check_not_older, commit_message, subject
from cmd_bump_image_tag.merge_requests import (
    MergeRequests,
    Proposal,
    branch_name,
    find_user,
)
from cmd_bump_image_tag.plan import plan_bump
from cmd_bump_image_tag.registry import verify
from cmd_bump_image_tag.result import BumpResult, unified_diff
from cmd_bump_image_tag.targets import LostRaceError
from cmd_bump_image_tag.targets.commits_api import CommitsApi
from cmd_bump_image_tag.targets.directory import Directory
from cmd_bump_image_tag.targets.git import GitRepository, default_branch
from cmd_bump_image_tag.targets.git_command import (
    Remote,
    private_repository,
    repository_address,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cicd_common.gitlab.connection import Connection
    from cicd_common.gitlab.projects import Project
    from cicd_common.waiting.events import Presenter
    from cmd_bump_image_tag.merge_requests import Source
    from cmd_bump_image_tag.plan import Plan
    from cmd_bump_image_tag.request import BumpRequest
    from cmd_bump_image_tag.targets import Snapshot, Target

log = logging.getLogger("cicd_common.bump")

# Opens a branch as a target; the second argument is the branch to start from if it does not exist.
OpenBranch = Callable[[str, str | None], "Target"]


def bump(
    request: BumpRequest, connection: Connection, presenter: Presenter | None = None
) -> BumpResult:
    """Bumps images; logs the diff and the skipped places to the logger `cicd_common.bump`.

    Args:
        request: The bump.
        connection: The server; its base URL is empty if none is needed.
        presenter: Shows the progress of a wait; default: nothing is shown.

    Returns:
        The changes; none if everything was up to date.

    Raises:
        UsageError: The request is not valid; nothing was read or sent.
        CommandError: The bump failed; the subclass says why.
    """
    request.check()
    if request.verify_image or request.pin_digest:
        request = _verified(request, connection)
    if request.target == "files":
        folder = Directory(request.directory, request.file, connection.retry_for)
        return _write(folder, request, connection)
    if request.target == "api":
        return _bump_by_api(request, GitLab(connection), presenter)
    return _bump_by_git(request, connection, presenter)


def _verified(request: BumpRequest, connection: Connection) -> BumpRequest:
    """Returns the request, verified and pinned in the registries as its options say."""
    updates = verify(
        request.updates,
        pin=request.pin_digest,
        connection=connection,
        environ=os.environ,
        insecure=request.insecure_registry,
    )
    return replace(request, image=tuple(update.text for update in updates), tag=None, digest=None)


def _bump_by_api(request: BumpRequest, gitlab: GitLab, presenter: Presenter | None) -> BumpResult:
    if gitlab.require_token() is TokenKind.JOB:
        raise AuthError(
            "A CI job token cannot commit through GitLab's API.",
            why="GitLab ignores job tokens there.",
            hint="Give an access token (COMMANDS_API_TOKEN), or push with --via git.",
        )
    named = request.project or ""
    # With a branch, nothing else is needed from the project's record.
    if request.branch and not request.opens_merge_request and not named.strip().isdecimal():
        try:
            return _bump_project(request, gitlab, name_project(gitlab, named), presenter)
        except NotFoundError as error:
            if error.answer is None or error.answer.status != HTTPStatus.METHOD_NOT_ALLOWED:
                raise
            log.debug("%s was moved; asking for its new path.", named)
    return _bump_project(request, gitlab, find_project(gitlab, named), presenter)


def _bump_project(
    request: BumpRequest, gitlab: GitLab, project: Project, presenter: Presenter | None
) -> BumpResult:
    """Bumps in a project through GitLab's API."""
    branch = request.branch or find_default_branch(gitlab, project)

    def open_branch(branch: str, start: str | None) -> Target:
        return CommitsApi(gitlab, project, branch, start, request.file)

    if request.opens_merge_request:
        return _bump_by_merge_request(request, gitlab, project, branch, open_branch)
    result = _write(open_branch(branch, None), request, gitlab.connection, project)
    pipeline = Newest(project.path, ref=branch)
    return _wait_for_pipeline(result, request, gitlab, pipeline=pipeline, presenter=presenter)


def _bump_by_git(
    request: BumpRequest, connection: Connection, presenter: Presenter | None
) -> BumpResult:
    gitlab, project = None, None
    if request.project is not None:
        gitlab = GitLab(connection)
        if request.wait and gitlab.require_token() is TokenKind.JOB:
            raise AuthError(
                "A push with a CI job token starts no pipeline to wait for.",
                hint="Give an access token (COMMANDS_API_TOKEN), or leave out --wait.",
            )
        project = find_project(gitlab, request.project)
    remote = Remote(
        url=repository_address(
            request.repository or _address(connection, project), connection.base_url
        ),
        base_url=connection.base_url,
        token=connection.token,
        ca_file=connection.ca_file,
        request_timeout=connection.request_timeout,
        retry_for=connection.retry_for,
    )
    with private_repository(remote) as git:
        known = project.default_branch if project else None
        branch = request.branch or known or default_branch(git)

        def open_branch(branch: str, start: str | None) -> Target:
            return GitRepository(git, branch, start, request.file)

        if gitlab and project and request.opens_merge_request:
            return _bump_by_merge_request(request, gitlab, project, branch, open_branch)
        result = _write(open_branch(branch, None), request, connection, project)
    if gitlab is None or project is None:
        return result
    pipeline = Newest(project.path, ref=branch)
    return _wait_for_pipeline(result, request, gitlab, pipeline=pipeline, presenter=presenter)


def _wait_for_pipeline(
    result: BumpResult,
    request: BumpRequest,
    gitlab: GitLab,
    *,
    pipeline: Newest,
    presenter: Presenter | None,
) -> BumpResult:
    """Waits for the pipeline of the commit, if requested and if there is a commit.

    Raises:
        CommandError: It did not succeed; the error's `results` hold what was written.
    """
    if request.wait is None or result.commit is None:
        return result
    with _kept(result):
        target = replace(pipeline, sha=result.commit)
        [outcome] = wait_for(gitlab, [target], request.wait, presenter)
        if isinstance(outcome, CommandError):
            raise outcome
    return result


def _address(connection: Connection, project: Project | None) -> str:
    """Returns the address of a project's repository on its server."""
    if project is None or project.path.isdecimal():
        raise UsageError(
            "The project's path is not known.",
            why="With a job token GitLab does not tell the path of a numeric id.",
            hint="Give --project as a path: group/name",
        )
    return f"{parse_base_url(connection.base_url)}/{project.path}.git"


def _bump_by_merge_request(
    request: BumpRequest,
    gitlab: GitLab,
    project: Project,
    branch: str,
    open_branch: OpenBranch,
) -> BumpResult:
    """Writes a new branch and opens its merge request, unless the target branch is up to date."""
    if gitlab.require_token() is TokenKind.JOB:
        raise AuthError(
            "A CI job token cannot open a merge request.",
            why="GitLab ignores job tokens there.",
            hint="Give an access token: COMMANDS_API_TOKEN.",
        )
    retry_for = gitlab.connection.retry_for
    target = open_branch(branch, None)
    needed = _land(target, target.read(), replace(request, dry_run=True), retry_for=retry_for)
    if request.dry_run or not needed.plan.changes:
        _tell(needed)
        return _result(needed, request)
    requests = MergeRequests(gitlab, project, branch)
    proposal = _proposal(gitlab, needed.plan, request)
    source = _find_source(requests, request, proposal)
    target = open_branch(source.branch, None if source.exists else branch)
    snapshot = target.read() if source.exists else needed.snapshot
    landing = _land(target, snapshot, request, retry_for=retry_for)
    _tell(landing)
    result = _result(landing, request, project)
    with _kept(result):
        found = source.merge_request or requests.open(
            source.branch, proposal, is_merged=request.auto_merge
        )
        found = requests.update(found, proposal)
    result = replace(result, merge_request=found.web_url, merge_request_state=found.outcome)
    with _kept(result):
        if request.auto_merge:
            sha = landing.commit or requests.head(source.branch) or found.sha
            found = merge_when_ready(requests, found.iid, sha)
            result = replace(result, merge_request_state=found.outcome)
    with _kept(result):
        if request.wait is not None:
            found = wait_until_merged(requests, found, request.wait.limit(gitlab.now()))
    return replace(result, merge_request_state=found.outcome)


def _find_source(requests: MergeRequests, request: BumpRequest, proposal: Proposal) -> Source:
    """Finds the branch to write to, and brings it up to date with its target."""
    name = branch_name(request, requests.target)
    while True:
        source = requests.find_source(name)
        if not source.exists:
            return source
        found = source.merge_request or requests.open(
            source.branch, proposal, is_merged=request.auto_merge
        )
        if requests.bring_up_to_date(found, source.branch, skip_ci=request.skips_ci):
            return replace(source, merge_request=found)


def _proposal(gitlab: GitLab, plan: Plan, request: BumpRequest) -> Proposal:
    """Returns the text of the merge request; asks GitLab for the ids of its users."""
    title = subject(
        request.title or request.commit_message, request.updates, plan.changes, request.upstream
    )
    lines = [
        f"- `{one_line(change.path)}:{change.line}`: `{change.old}` → `{change.new}`"
        for change in plan.changes
    ]
    if request.upstream:
        lines += ["", f"Upstream: {one_line(request.upstream)}"]
    return Proposal(
        title=title.partition("\n")[0],
        description="\n".join(lines),
        labels=request.label,
        assignees=tuple(find_user(gitlab, name) for name in request.assignee),
        reviewers=tuple(find_user(gitlab, name) for name in request.reviewer),
    )


@contextmanager
def _kept(result: BumpResult) -> Iterator[None]:
    """Adds what was written to an error or a signal in the block."""
    try:
        yield
    except CommandError as error:
        error.results = (result,)
        raise
    except Interrupted as signaled:
        signaled.outcomes = [result]
        raise


def _write(
    target: Target, request: BumpRequest, connection: Connection, project: Project | None = None
) -> BumpResult:
    landing = _land(target, target.read(), request, retry_for=connection.retry_for)
    _tell(landing)
    return _result(landing, request, project)


@dataclass(frozen=True)
class _Landing:
    """The edit that was written, or that a dry run would write.

    Attributes:
        snapshot: The files as they were last read.
        plan: The changes.
        commit: The commit; None if there is no commit.
    """

    snapshot: Snapshot
    plan: Plan
    commit: str | None = None


def _land(
    target: Target, snapshot: Snapshot, request: BumpRequest, *, retry_for: float
) -> _Landing:
    """Plans the edit and writes it; if the files changed meanwhile, repeats both.

    Args:
        target: The target to read and write.
        snapshot: The files that were read from it.
        request: The bump.
        retry_for: Seconds for which a write is repeated after another writer was faster.

    Raises:
        LostRaceError: Other writers were faster until the time ran out.
        CommandError: The bump is not possible, not allowed or not written.
    """
    # Each lost race means that another write succeeded: a short pause is enough.
    backoff = Backoff(retry_for, first=0.1, longest=2.0)
    while True:
        plan = plan_bump(snapshot, request)
        if unsure := plan.contents.keys() - snapshot.revisions.keys():
            snapshot = target.reread(snapshot, unsure)
            continue
        if plan.changes and not request.allow_older_pipeline:
            check_not_older(request.upstream, plan.changes, target.messages)
        if not plan.changes or request.dry_run:
            return _Landing(snapshot, plan)
        message = commit_message(
            request.commit_message,
            request.updates,
            plan.changes,
            upstream=request.upstream,
            skip_ci=request.skips_ci,
            names_images=request.opens_merge_request,
        )
        try:
            return _write_out(target, _Landing(snapshot, plan), message, request)
        except LostRaceError as lost:
            backoff.wait(lost)
            snapshot = target.reread(snapshot, plan.contents)


def _write_out(target: Target, planned: _Landing, message: str, request: BumpRequest) -> _Landing:
    """Writes the plan; after a signal, waits some seconds for the outcome.

    Raises:
        LostRaceError: The files have changed meanwhile.
        Interrupted: A signal came; its `outcomes` hold what is known of the write.
        CommandError: The files could not be written.
    """

    def write(_: str) -> _Landing:
        commit = target.write(planned.snapshot, planned.plan.contents, message)
        return replace(planned, commit=commit)

    where = request.project or request.repository or str(request.directory)
    try:
        [outcome] = side_by_side([where], write, grace=WRITE_GRACE)
    except Interrupted as signaled:
        signaled.outcomes = [
            _result(each, request) if isinstance(each, _Landing) else each
            for each in signaled.outcomes
        ]
        raise
    if isinstance(outcome, CommandError):
        raise outcome
    return outcome


def _tell(landing: _Landing) -> None:
    """Logs the skipped places, and the changes as a diff."""
    for skipped in landing.plan.skipped:
        log.warning("%s", skipped.text())
    for note in landing.plan.notes:
        log.warning("%s", note)
    for path, content in sorted(landing.plan.contents.items()):
        diff = unified_diff(path, landing.snapshot.contents[path], content)
        log.info("%s", diff.rstrip("\n"), extra={"is_diff": True})


def _result(landing: _Landing, request: BumpRequest, project: Project | None = None) -> BumpResult:
    page = f"{project.web_url}/-/commit/{landing.commit}" if project and landing.commit else None
    has_changes = bool(landing.plan.changes)
    return BumpResult(
        changed=has_changes and not request.dry_run,
        files=landing.plan.changes,
        skipped=landing.plan.skipped,
        commit=landing.commit,
        web_url=page,
        would_change=has_changes and request.dry_run,
    )
