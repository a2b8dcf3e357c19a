"""Merge requests: when they can be merged, and what merges them, now or later.

Sources: `DetailedMergeStatusService`, `AutoMerge::MergeWhenChecksPassService` and
`MergeRequest` in GitLab's source.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from sandbox import contents, git, permissions, pushes
from sandbox.model import ENDED, AutoMerge, MergeRequest

if TYPE_CHECKING:
    from sandbox.model import Pipeline, Project, State, User

_IN_PROGRESS = frozenset(
    {"created", "waiting_for_resource", "preparing", "waiting_for_callback", "pending", "running"}
)
_UNSETTLED = ("preparing", "checking")


class CannotMergeError(Exception):
    """The branches contradict each other."""


def open_request(
    state: State,
    project: Project,
    *,
    title: str,
    source_branch: str,
    target_branch: str,
    author: User,
) -> MergeRequest:
    """Open a merge request; its checks and its pipeline follow, by background workers."""
    now = state.clock.now()
    prepared_at = now + timedelta(seconds=state.slow.preparing)
    request = MergeRequest(
        id=next(state.ids),
        iid=len(project.merge_requests) + 1,
        title=title,
        description="",
        source_branch=source_branch,
        target_branch=target_branch,
        author=author,
        created_at=now,
        updated_at=now,
        prepared_at=prepared_at,
        checked_at=prepared_at + timedelta(seconds=state.slow.checking),
        sha=git.resolve(project.repository, f"refs/heads/{source_branch}"),
        unchecked=project.merge_checks,
    )
    project.merge_requests.append(request)
    pushes.set_head(project, request)
    pushes.start_later(state, project, request, author, after=state.slow.preparing)
    return request


def status(state: State, project: Project, request: MergeRequest) -> str:
    """Whether it can be merged, in the words of `detailed_merge_status`."""
    now = state.clock.now()
    if request.state != "opened":
        return "not_open"
    if now < request.prepared_at:
        return "preparing"
    if now < request.checked_at or request.unchecked:
        return "checking"
    if request.title.lower().startswith(("draft:", "[draft]", "(draft)")):
        return "draft_status"
    if not git.resolve(project.repository, f"refs/heads/{request.source_branch}"):
        return "commits_status"
    if not _fits(project, request):
        return "conflict"
    return _pipeline_status(state, project, request)


def _fits(project: Project, request: MergeRequest) -> bool:
    heads = [f"refs/heads/{name}" for name in (request.target_branch, request.source_branch)]
    try:
        git.run(project.repository, "merge-tree", "--write-tree", *heads)
    except git.GitError:
        return False
    return True


def _pipeline_status(state: State, project: Project, request: MergeRequest) -> str:
    if not project.pipelines_must_succeed:
        return "mergeable"
    pipeline = head_pipeline(state, project, request)
    passed = pipeline is not None and (
        pipeline.status == "success"
        or (pipeline.status == "skipped" and project.skipped_pipelines_count_as_success)
    )
    if passed:
        return "mergeable"
    return "ci_still_running" if _in_progress(project, pipeline) else "ci_must_pass"


def head_pipeline(state: State, project: Project, request: MergeRequest) -> Pipeline | None:
    """The newest pipeline of the request's commit: of its branch, or its own."""
    return max(
        (each for each in pipelines(state, project, request) if each.sha == request.sha),
        key=lambda pipeline: pipeline.id,
        default=None,
    )


def pipelines(state: State, project: Project, request: MergeRequest) -> list[Pipeline]:
    """The pipelines of its source branch and its own, the newest first."""
    refs = (request.source_branch, pushes.head_ref(request))
    found = [
        pipeline
        for pipeline in state.pipelines.values()
        if pipeline.project is project
        and pipeline.ref in refs
        and not pipeline.tag
        and pipeline.source != "parent_pipeline"
    ]
    return sorted(found, key=lambda pipeline: pipeline.id, reverse=True)


def _in_progress(project: Project, pipeline: Pipeline | None) -> bool:
    """Whether auto-merge waits for a pipeline; source: `diff_head_pipeline_considered_…`."""
    if pipeline is None:
        return False
    if project.pipelines_must_succeed:
        return pipeline.status not in ENDED
    return pipeline.status in _IN_PROGRESS


def can_wait(state: State, project: Project, request: MergeRequest) -> bool:
    """Whether an auto-merge is taken: there is something that can still change."""
    found = status(state, project, request)
    if found in ("not_open", "preparing", "commits_status", "conflict") or request.unchecked:
        return False
    return found != "mergeable" or _in_progress(project, head_pipeline(state, project, request))


def wait(request: MergeRequest, user: User, *, remove_source_branch: bool) -> None:
    """Have GitLab merge once the pipeline has succeeded."""
    request.waiting = AutoMerge(user, request.sha or "", remove_source_branch)


def queue_auto_merges(state: State) -> bool:
    """Put on the agenda what can be merged now. Return True if there was anything."""
    found = [
        (project, request, request.waiting)
        for project in state.projects.values()
        for request in project.merge_requests
        if request.waiting and not request.waiting.due and request.state == "opened"
    ]
    ready = [each for each in found if _is_ready(state, *each)]
    for project, request, waiting in ready:
        waiting.due = True
        state.agenda.add(partial(_carry_out, state, project, request), state.slow.merging)
    return bool(ready)


def _is_ready(state: State, project: Project, request: MergeRequest, waiting: AutoMerge) -> bool:
    """Whether the pipeline of exactly that commit is `success`; a skipped one never is."""
    if request.sha != waiting.sha:
        request.waiting = None  # GitLab cancels it after a push
        return False
    pipeline = head_pipeline(state, project, request)
    passed = pipeline is not None and pipeline.status == "success"
    return passed and status(state, project, request) == "mergeable"


def _carry_out(state: State, project: Project, request: MergeRequest) -> None:
    waiting = request.waiting
    if waiting is None or not _is_ready(state, project, request, waiting):
        if waiting:
            waiting.due = False
        return
    merge(
        state,
        project,
        request,
        waiting.user,
        remove_source_branch=waiting.remove_source_branch,
    )


def merge(
    state: State,
    project: Project,
    request: MergeRequest,
    user: User,
    *,
    remove_source_branch: bool = False,
    message: str = "",
) -> None:
    """Merge it now; the pipeline of the target branch follows.

    Raises:
        CannotMergeError: The branches contradict each other.
    """
    target, source = request.target_branch, request.source_branch
    repository, now = project.repository, state.clock.now()
    before = git.resolve(repository, f"refs/heads/{target}")
    sha = contents.merge(
        repository,
        f"refs/heads/{target}",
        f"refs/heads/{source}",
        message=message
        or f"Merge branch '{source}' into '{target}'\n\n{request.title}\n\n"
        f"See merge request {project.path}!{request.iid}",
        author=user,
        when=now.isoformat(),
    )
    if sha is None or before is None:
        raise CannotMergeError
    git.run(repository, "update-ref", f"refs/heads/{target}", sha)
    request.merge_commit_sha, request.state = sha, "merged"
    request.merged_at = request.updated_at = now
    request.merge_user, request.waiting = user, None
    push = pushes.Push(project, f"refs/heads/{target}", sha, user, before=before)
    pushes.announce(state, [push])
    if request.remove_source_branch or remove_source_branch:
        git.delete_ref(repository, f"refs/heads/{source}")


def rebase(
    state: State, project: Project, request: MergeRequest, user: User, *, skip_ci: bool
) -> None:
    """Put the source branch's commits on top of the target branch, or say why that fails."""
    repository = project.repository
    before = git.resolve(repository, f"refs/heads/{request.source_branch}")
    onto = git.resolve(repository, f"refs/heads/{request.target_branch}")
    if before is None or onto is None:
        return
    sha = contents.rebase(repository, before, onto, committer=user, when=state.clock.now())
    if sha is None:
        request.merge_error = (
            "Rebase failed: Rebase locally, resolve all conflicts, then push the branch."
        )
        return
    request.merge_error = None
    git.run(repository, "update-ref", f"refs/heads/{request.source_branch}", sha)
    ref = f"refs/heads/{request.source_branch}"
    pushes.announce(state, [pushes.Push(project, ref, sha, user, skip_ci, before=before)])


def may_merge(project: Project, request: MergeRequest, user: User | None) -> bool:
    """Whether a user may push to the target branch."""
    role = permissions.access(project, user)
    return permissions.may_update(project.protected_branches, request.target_branch, role)
