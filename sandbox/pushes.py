"""What follows when refs have changed, by background workers: pipelines and merge requests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from sandbox import git, scripted
from sandbox.ci import create_pipeline
from sandbox.model import NO_COMMIT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.model import MergeRequest, Project, ScriptedPipeline, State, User, Variable

_SKIP_CI = re.compile(r"\[(skip[ _-]ci|ci[ _-]skip)\]", re.IGNORECASE)


@dataclass(frozen=True)
class Push:
    """A branch or a tag that now leads to another commit."""

    project: Project
    ref: str  # in full: `refs/tags/v1`
    sha: str  # the commit's, also of an annotated tag
    user: User
    skip_ci: bool = False  # by the push option `ci.skip`; a commit's message may say so, too
    before: str = NO_COMMIT  # where the ref led before; no commit: it is new
    variables: tuple[Variable, ...] = ()  # by push options `ci.variable`
    starts_pipelines: bool = True  # not with a job token

    @property
    def tag(self) -> bool:
        """Whether the ref is a tag."""
        return self.ref.startswith("refs/tags/")

    @property
    def name(self) -> str:
        """The ref's short name."""
        return self.ref.removeprefix("refs/tags/").removeprefix("refs/heads/")


def announce(state: State, pushes: Iterable[Push]) -> None:
    """Tell merge requests of pushes, and have pipelines started later, in order."""
    for push in pushes:
        if push.starts_pipelines:
            state.agenda.add(partial(_start_pipeline, state, push), state.slow.pipeline)
        for request in push.project.merge_requests:
            if request.state == "opened" and push.ref == f"refs/heads/{request.source_branch}":
                _update(state, push, request)


def _update(state: State, push: Push, request: MergeRequest) -> None:
    """Give a merge request the new head of its branch: it is checked anew, and has a pipeline."""
    now = state.clock.now()
    request.sha, request.updated_at = push.sha, now
    request.checked_at = max(now, request.prepared_at) + timedelta(seconds=state.slow.checking)
    set_head(push.project, request)
    if push.starts_pipelines:
        start_later(state, push.project, request, push.user, skip_ci=push.skip_ci)


def head_ref(request: MergeRequest) -> str:
    """The ref that holds a merge request's commits."""
    return f"refs/merge-requests/{request.iid}/head"


def set_head(project: Project, request: MergeRequest) -> None:
    """Have that ref lead to the request's commit."""
    if request.sha:
        git.run(project.repository, "update-ref", head_ref(request), request.sha)


def start_later(
    state: State,
    project: Project,
    request: MergeRequest,
    user: User,
    *,
    after: float = 0,
    skip_ci: bool = False,
) -> None:
    """Have a merge request's own pipeline started, if its configuration has jobs for it."""
    push = Push(project, head_ref(request), request.sha or "", user, skip_ci)
    work = partial(_start_of_merge_request, state, push, request)
    state.agenda.add(work, after + state.slow.pipeline)


def _start_pipeline(state: State, push: Push) -> None:
    project = push.project
    if not project.ci_enabled:
        return
    if project.script:
        _start_scripted(state, push, project.script)
        return
    create_pipeline(
        state,
        project,
        ref=push.name,
        sha=push.sha,
        tag=push.tag,
        source="push",
        user=push.user,
        variables=push.variables,
        before=push.before,
        skip_ci=push.skip_ci or _says_skip(project, push.sha),
    )


def _start_scripted(
    state: State, push: Push, script: ScriptedPipeline, source: str = "push"
) -> None:
    scripted.create(
        state,
        script,
        push.project,
        ref=push.name,
        sha=push.sha,
        tag=push.tag,
        source=source,
        user=push.user,
        created_at=state.clock.now(),
        variables=push.variables,
    )


def _start_of_merge_request(state: State, push: Push, request: MergeRequest) -> None:
    project = push.project
    if not project.ci_enabled or request.state != "opened" or not push.sha:
        return
    if project.merge_request_script:
        _start_scripted(state, push, project.merge_request_script, "merge_request_event")
    elif not project.script:
        create_pipeline(
            state,
            project,
            ref=push.ref,
            sha=push.sha,
            tag=False,
            source="merge_request_event",
            user=push.user,
            merge_request=request,
            skip_ci=push.skip_ci or _says_skip(project, push.sha),
        )


def _says_skip(project: Project, sha: str) -> bool:
    """Whether the commit's message says that nothing is to run."""
    message = git.commits(project.repository, [sha])[sha].message
    return _SKIP_CI.search(message) is not None
