"""Auto-merge: merges a merge request after its pipeline has passed, and waits for the merge.

Sources: `execute_merge` in `lib/api/merge_requests.rb` and `AutoMerge::MergeWhenChecksPassService`
in GitLab's source. A fresh merge request is not ready: background workers prepare it, check it and
create its pipeline. Until then GitLab merges at once, even if it is told to merge later.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from cicd_common.errors import (
    AuthError,
    CommandError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    PipelineCanceledError,
    PipelineFailedError,
    PipelineManualError,
    PipelineSkippedError,
    RefusedError,
    TimeLimitError,
)
from cicd_common.gitlab import fields, retry
from cicd_common.gitlab.client import quoted
from cicd_common.gitlab.retry import Backoff

if TYPE_CHECKING:
    from cmd_bump_image_tag.merge_requests import HeadPipeline, MergeRequest, MergeRequests

# Values of `detailed_merge_status`: https://docs.gitlab.com/api/merge_requests/#merge-status
_UNSETTLED = ("preparing", "checking", "unchecked", "approvals_syncing")
_NEVER = {
    "conflict": "It conflicts with its target.",
    "commits_status": "Its branch has no commits of its own.",
    "draft_status": "It is a draft.",
    "need_rebase": "The project merges only what is up to date with its target.",
}
_NOT_MERGEABLE = (
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,  # GitLab 19.4 while it prepares; others: 405
)
_MERGED_RESULT = re.compile(r"refs/merge-requests/\d+/(merge|train)")

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 30.0  # seconds between two polls


def merge_when_ready(requests: MergeRequests, iid: int, sha: str) -> MergeRequest:
    """Merges at once if the checks have passed, else sets auto-merge.

    Args:
        requests: The project's merge requests.
        iid: The merge request.
        sha: The only commit at which it is merged.

    Returns:
        The merge request: merged, or set to auto-merge.

    Raises:
        PipelineFailedError: The pipeline of that commit failed.
        PipelineCanceledError: It was canceled, or the merge request was closed.
        PipelineSkippedError: It was skipped.
        PipelineManualError: It waits for a manual job.
        NotFoundError: The project has CI, but no pipeline of that commit appeared, and GitLab
            does not say that its rules start none.
        ForbiddenError: The token's user is not allowed to merge.
        ConflictError: The branch has another commit.
        RefusedError: It cannot be merged.
        TimeLimitError: GitLab did not determine in time whether it can be merged.
        CommandError: There was no usable answer.
    """
    retry_for = requests.gitlab.connection.retry_for
    backoff = Backoff(retry_for)
    has_ci: bool | None = None
    is_asked = False
    while True:
        now = requests.get(iid)
        if now.state == "merged":
            return now
        pipeline = _pipeline_of(requests, now, sha)
        _check_passes(now, pipeline)
        _check_mergeable(now, sha)
        if pipeline is None and has_ci is None:
            has_ci = _runs_pipelines(requests, sha)
        problem = _unready(now, sha, misses_pipeline=pipeline is None and bool(has_ci))
        if problem is None:
            has_passed = pipeline is None or pipeline.status == "success"
            is_later = not (has_passed and now.status == "mergeable")
            try:
                done = now if now.auto_merge else _merge(requests, now, sha, auto_merge=is_later)
            except (RefusedError, ConflictError) as refusal:
                problem = _not_yet(refusal, now, pipeline)
            else:
                if done.state == "merged" or done.auto_merge:
                    return done
                problem = TimeLimitError(f"{now.web_url} is still being merged.")
        try:
            backoff.wait(problem)
        except NotFoundError as missing:
            if is_asked:
                raise
            is_asked, backoff = True, Backoff(retry_for)
            has_ci = _start_missing_pipeline(requests, now, missing)


def _merge(
    requests: MergeRequests, now: MergeRequest, sha: str, *, auto_merge: bool
) -> MergeRequest:
    try:
        return requests.put_merge(now, sha, auto_merge=auto_merge)
    except AuthError as error:
        # GitLab answers 401 both to a wrong token and to a role that is too low:
        # https://docs.gitlab.com/api/merge_requests/#merge-a-merge-request
        requests.get(now.iid)
        raise ForbiddenError(
            f"The token's user is not allowed to merge {now.web_url}.",
            why=error.message,
            hint="Give the user the role that the branch asks for, or leave out --auto-merge.",
            answer=error.answer,
        ) from error


def _not_yet(
    refusal: CommandError, now: MergeRequest, pipeline: HeadPipeline | None
) -> CommandError:
    """Returns the error to raise if a refusal lasts until the time limit.

    Raises:
        CommandError: The refusal itself, if it is final.
    """
    if refusal.answer is None or refusal.answer.status not in _NOT_MERGEABLE:
        raise refusal
    if pipeline and pipeline.status == "manual":
        return PipelineManualError(
            f"{pipeline.web_url} waits for a manual job; {now.web_url} is not merged.",
            hint="Start the manual job, then run this again.",
        )
    return type(refusal)(
        f"{now.web_url} cannot be merged: {now.status}.",
        why=refusal.message,
        hint="See the merge request's page, or leave out --auto-merge.",
        answer=refusal.answer,
    )


def wait_until_merged(requests: MergeRequests, found: MergeRequest, timeout: float) -> MergeRequest:
    """Waits until a merge request is merged.

    Args:
        requests: The project's merge requests.
        found: The merge request; if it was set to auto-merge, it must stay so.
        timeout: The longest time to wait, in seconds.

    Raises:
        PipelineFailedError: Its pipeline failed.
        PipelineCanceledError: Its pipeline was canceled, or it was closed.
        RefusedError: It cannot be merged, or its auto-merge was canceled.
        TimeLimitError: It was not merged in time.
        CommandError: There was no usable answer.
    """
    clock = retry.CLOCK
    end = clock.now() + timeout
    pause = FIRST_PAUSE
    while True:
        now = requests.get(found.iid)
        if now.state == "merged":
            return now
        pipeline = _pipeline_of(requests, now, now.sha)
        if found.auto_merge or not (pipeline and pipeline.status == "skipped"):
            _check_passes(now, pipeline)
        _check_mergeable(now, now.sha)
        if found.auto_merge and now.state == "opened" and not now.auto_merge:
            raise RefusedError(
                f"The auto-merge of {now.web_url} was canceled.",
                why="Someone canceled it, or pushed to its branch.",
                hint="See the merge request's page.",
            )
        left = end - clock.now()
        if left <= 0:
            raise TimeLimitError(
                f"{now.web_url} was not merged within {timeout:.0f} s: {now.status}.",
                hint="See what it waits for, or allow more with --timeout.",
            )
        clock.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _pipeline_of(requests: MergeRequests, now: MergeRequest, sha: str) -> HeadPipeline | None:
    """Returns the newest pipeline if it ran for this commit or for its merged result."""
    pipeline = now.pipeline
    if pipeline is None or pipeline.sha == sha:
        return pipeline
    if _MERGED_RESULT.fullmatch(pipeline.ref) and sha in requests.parents(pipeline.sha):
        return pipeline
    return None


def _check_passes(now: MergeRequest, pipeline: HeadPipeline | None) -> None:
    """Checks that the merge request is open, and that its pipeline has not failed.

    Raises:
        CommandError: It is closed, or its pipeline ended otherwise; the subclass says how.
    """
    if now.state == "closed":
        raise PipelineCanceledError(
            f"Merge request {now.web_url} was closed.",
            hint="Reopen it, or run this again for another.",
        )
    errors: dict[str, tuple[type[CommandError], str]] = {
        "failed": (PipelineFailedError, "failed"),
        "canceled": (PipelineCanceledError, "was canceled"),
        "canceling": (PipelineCanceledError, "is being canceled"),
        "skipped": (PipelineSkippedError, "was skipped"),
    }
    if pipeline and pipeline.status in errors:
        error, verb = errors[pipeline.status]
        raise error(
            f"{pipeline.web_url} {verb}; {now.web_url} is not merged.",
            why="A merge request is merged only after its pipeline has passed.",
            hint="Leave out --skip-ci." if pipeline.status == "skipped" else "",
        )


def _check_mergeable(now: MergeRequest, sha: str) -> None:
    """Checks that no status of the merge request prevents the merge for good.

    Args:
        now: The merge request as it is now.
        sha: The commit to merge; the status of another commit is ignored.

    Raises:
        RefusedError: It cannot be merged until someone changes it.
    """
    if now.sha == sha and now.status in _NEVER:
        raise RefusedError(
            f"{now.web_url} cannot be merged: {now.status}.",
            why=_NEVER[now.status],
            hint="See the merge request's page.",
        )


def _unready(now: MergeRequest, sha: str, *, misses_pipeline: bool) -> CommandError | None:
    """Returns the error to raise if GitLab's workers do not finish in time."""
    if now.sha != sha:
        return ConflictError(
            f"{now.web_url} is at commit {now.sha[:8]}, not {sha[:8]}.",
            why="Someone pushed to its branch, or GitLab has not noticed the commit.",
            hint="See the merge request's page, then run this again.",
        )
    if now.status in _UNSETTLED:
        return TimeLimitError(
            f"{now.web_url} is still {now.status}.",
            why="GitLab has not determined yet whether it can be merged.",
            hint="Run this again, or allow more with --retry-for.",
        )
    if misses_pipeline:
        return NotFoundError(
            f"No pipeline of commit {sha[:8]} has appeared; {now.web_url} is not merged.",
            why="The project has a CI configuration, so the commit should have a pipeline.",
            hint="Check its rules for this branch, or allow more with --retry-for.",
        )
    return None


# `Gitlab::Ci::Pipeline::Chain` says this if the rules of a configuration start nothing.
_NO_PIPELINE = re.compile(
    r"will not run for the selected trigger|filtered out by workflow rules|No stages / jobs"
)


def _start_missing_pipeline(
    requests: MergeRequests, now: MergeRequest, missing: CommandError
) -> bool:
    """Starts the merge request's pipeline if GitLab says that the rules start none for its branch.

    GitLab can simulate the pipeline of a branch. It cannot simulate that of a merge request, so
    that one is started: it is the check that the merge needs.

    Sources: https://docs.gitlab.com/api/lint/ and
    https://docs.gitlab.com/api/merge_requests/#create-merge-request-pipeline

    Args:
        requests: The project's merge requests.
        now: The merge request.
        missing: The error for a pipeline that did not appear.

    Returns:
        True if it was started; False if GitLab says that its rules start none either.

    Raises:
        CommandError: `missing`, if GitLab says neither.
    """
    query = {"content_ref": now.sha, "dry_run": "true", "dry_run_ref": now.branch}
    try:
        checked = requests.gitlab.get(f"projects/{requests.project.id}/ci/lint", **query)
    except (NotFoundError, ForbiddenError):
        raise missing from None
    if not any(_NO_PIPELINE.search(error) for error in fields.texts(checked, "errors")):
        raise missing
    try:
        requests.start_pipeline(
            now, find=lambda: _pipeline_of(requests, requests.get(now.iid), now.sha)
        )
    except (RefusedError, ForbiddenError, NotFoundError) as refusal:
        if _NO_PIPELINE.search(refusal.message):
            return False
        raise missing from None
    return True


def _runs_pipelines(requests: MergeRequests, sha: str) -> bool:
    """Returns True if the project's settings let a commit have a pipeline."""
    project = requests.gitlab.get(f"projects/{requests.project.id}")
    level = fields.optional_text(project, "builds_access_level")
    if level == "disabled" or project.get("jobs_enabled") is False:
        return False
    if fields.flag(project, "auto_devops_enabled"):
        return True
    path = fields.optional_text(project, "ci_config_path") or ".gitlab-ci.yml"
    if "@" in path or "://" in path:  # of another project, or a server
        return True
    try:
        requests.gitlab.get_bytes(
            f"projects/{requests.project.id}/repository/files/{quoted(path)}/raw", ref=sha
        )
    except NotFoundError:
        return False
    return True
