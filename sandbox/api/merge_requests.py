"""Merge requests within one project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import contents, entities, git, permissions, pushes
from sandbox.model import ENDED, Access, MergeRequest
from sandbox.paging import paginate
from sandbox.routes import Routes
from sandbox.web import as_json, forbidden, no_record, refuse, unauthorized

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.model import Pipeline, Project
    from sandbox.web import Response

routes = Routes(authenticated_writes=True)

_STATES = ("opened", "closed", "locked", "merged", "all")


@routes.on("GET", "/projects/:id/merge_requests", job_token=True)
def index(call: Call) -> Response:
    """The merge requests, the newest first."""
    project, params = call.code(), call.params
    state = params.choice("state", _STATES, "all")
    wanted = {name: params.text(name) for name in ("source_branch", "target_branch")}
    found = [
        request
        for request in reversed(project.merge_requests)
        if state in ("all", request.state)
        and all(getattr(request, name) == value for name, value in wanted.items() if value)
    ]
    return paginate(call, found, lambda request: _present(call, project, request))


@routes.on("GET", "/projects/:id/merge_requests/:iid")
def show(call: Call) -> dict[str, Any]:
    """One merge request; looking is what has GitLab find out whether it can be merged."""
    project = call.code()
    request = _find(call, project)
    shown = _present(call, project, request)
    request.unchecked = max(request.unchecked - 1, 0)
    return shown


@routes.on("POST", "/projects/:id/merge_requests")
def create(call: Call) -> Response:
    """Opens a merge request; of two branches there is one open at a time."""
    project, params = call.code(), call.params
    params.require("title", "source_branch", "target_branch")
    if call.access(project) < Access.DEVELOPER:
        raise forbidden()
    source, target = params.text("source_branch"), params.text("target_branch")
    if source == target:
        raise refuse(422, ["You can't use same project/branch for source and target"])
    for other in project.merge_requests:
        same = (other.source_branch, other.target_branch) == (source, target)
        if same and other.state == "opened":
            raise refuse(
                409,
                [f"Another open merge request already exists for this source branch: !{other.iid}"],
            )
    request = MergeRequest(
        id=next(call.state.ids),
        iid=len(project.merge_requests) + 1,
        title=params.text("title"),
        description=params.text("description"),
        source_branch=source,
        target_branch=target,
        author=call.user,
        created_at=call.now,
        remove_source_branch=params.flag("remove_source_branch"),
        unchecked=project.merge_checks,
    )
    project.merge_requests.append(request)
    return as_json(_present(call, project, request), 201)


@routes.on("PUT", "/projects/:id/merge_requests/:iid/merge")
def merge(call: Call) -> dict[str, Any]:
    """Merges now or, with `auto_merge`, when the pipeline has succeeded.

    Order and answers are those of `API::MergeRequests`. With `auto_merge` and nothing to wait for
    GitLab says 405, as it does while it has not yet found out whether the branch can be merged.
    """
    project, params = call.code(), call.params
    request = _find(call, project)
    target = request.target_branch
    if not permissions.may_update(project.protected_branches, target, call.access(project)):
        raise unauthorized()
    status = _status(project, request)
    auto_merge = params.flag("auto_merge") or params.flag("merge_when_pipeline_succeeds")
    pipeline = _head_pipeline(call, project, request)
    running = pipeline is not None and pipeline.status not in ENDED
    passed = pipeline is not None and pipeline.status == "success"
    now = status == "mergeable" and (passed if auto_merge else True)
    later = auto_merge and status == "mergeable" and running
    if not now and not later:
        raise refuse(405, "405 Method Not Allowed")
    sha, head = params.text("sha"), _head(project, request)
    if sha and sha != head:
        raise refuse(409, f"SHA does not match HEAD of source branch: {head}")
    if now:
        _merge(call, project, request)
    else:
        request.auto_merge = True
    return _present(call, project, request)


def _merge(call: Call, project: Project, request: MergeRequest) -> None:
    target, source = request.target_branch, request.source_branch
    repository = project.repository
    sha = contents.merge(
        repository,
        f"refs/heads/{target}",
        f"refs/heads/{source}",
        message=f"Merge branch '{source}' into '{target}'\n\n{request.title}\n\n"
        f"See merge request {project.path}!{request.iid}",
        author=call.user,
        when=call.now.isoformat(),
    )
    if sha is None:
        raise refuse(422, "Branch cannot be merged")
    git.run(repository, "update-ref", f"refs/heads/{target}", sha)
    request.merge_commit_sha, request.state = sha, "merged"
    pushes.announce(call.instance, [pushes.Push(project, f"refs/heads/{target}", sha, call.user)])
    if request.remove_source_branch or call.params.flag("should_remove_source_branch"):
        git.delete_ref(repository, f"refs/heads/{source}")


def _find(call: Call, project: Project) -> MergeRequest:
    iid = call.params.integer("iid", 0)
    found = next((request for request in project.merge_requests if request.iid == iid), None)
    if found is None:
        raise no_record()
    return found


def _head(project: Project, request: MergeRequest) -> str | None:
    return git.resolve(project.repository, f"refs/heads/{request.source_branch}")


def _head_pipeline(call: Call, project: Project, request: MergeRequest) -> Pipeline | None:
    sha = _head(project, request)
    pipelines = [
        pipeline
        for pipeline in call.state.pipelines.values()
        if (pipeline.project, pipeline.ref, pipeline.sha) == (project, request.source_branch, sha)
    ]
    return max(pipelines, key=lambda pipeline: pipeline.id, default=None)


def _status(project: Project, request: MergeRequest) -> str:
    """Whether it can be merged, in the words of `detailed_merge_status`."""
    if request.state != "opened":
        return "not_open"
    if request.unchecked:
        return "checking"
    heads = [f"refs/heads/{name}" for name in (request.target_branch, request.source_branch)]
    try:
        git.run(project.repository, "merge-tree", "--write-tree", *heads)
    except git.GitError:
        return "conflict"
    return "mergeable"


_MERGE_STATUS = {"checking": "checking", "conflict": "cannot_be_merged"}


def _present(call: Call, project: Project, request: MergeRequest) -> dict[str, Any]:
    status = _status(project, request)
    return {
        "id": request.id,
        "iid": request.iid,
        "project_id": project.id,
        "title": request.title,
        "description": request.description,
        "state": request.state,
        "created_at": entities.timestamp(request.created_at),
        "target_branch": request.target_branch,
        "source_branch": request.source_branch,
        "author": entities.user_basic(call.state, request.author),
        "merge_when_pipeline_succeeds": request.auto_merge,
        "merge_status": _MERGE_STATUS.get(status, "can_be_merged"),
        "detailed_merge_status": status,
        "sha": _head(project, request),
        "merge_commit_sha": request.merge_commit_sha,
        "force_remove_source_branch": request.remove_source_branch,
        "web_url": f"{entities.project_url(call.state, project)}/-/merge_requests/{request.iid}",
    }
