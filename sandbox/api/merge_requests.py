"""Merge requests within one project."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from sandbox import contents, entities, git, merge_requests, pushes, versions
from sandbox.ci import create_pipeline, reasons_against
from sandbox.model import Access
from sandbox.paging import paginate
from sandbox.routes import Routes
from sandbox.web import as_json, forbidden, invalid, no_record, not_found, refuse, unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.context import Call
    from sandbox.model import MergeRequest, Project, User
    from sandbox.web import ApiError, Params, Response

routes = Routes(authenticated_writes=True)

_STATES = ("opened", "closed", "locked", "merged", "all")
_SCOPES = ("created_by_me", "assigned_to_me", "all")
_ORDERS: dict[str, Callable[[MergeRequest], Any]] = {
    "created_at": lambda request: request.created_at,
    "updated_at": lambda request: request.updated_at,
    "title": lambda request: request.title,
}
# `update_params_at_least_one_of` in GitLab's source, as far as the sandbox does it.
_FIELDS = (
    *("assignee_id", "assignee_ids", "reviewer_ids", "description", "labels", "add_labels"),
    *("remove_labels", "remove_source_branch", "squash", "target_branch", "title", "state_event"),
)


@routes.on(
    "GET",
    "/projects/:id/merge_requests",
    "read_merge_request",
    job_token=versions.MERGE_REQUESTS_BY_JOB_TOKEN,
)
def index(call: Call) -> Response:
    """The merge requests, the newest first."""
    project, params = call.code(), call.params
    wanted = _filters(call)
    found = [
        request for request in project.merge_requests if all(holds(request) for holds in wanted)
    ]
    order = _ORDERS[params.choice("order_by", _ORDERS, "created_at")]
    descending = params.choice("sort", ("asc", "desc"), "desc") == "desc"
    found.sort(key=lambda request: (order(request), request.id), reverse=descending)
    params.choice("view", ("simple",))
    return paginate(call, found, lambda request: _basic(call, project, request))


def _filters(call: Call) -> list[Callable[[MergeRequest], bool]]:
    """What a listed merge request must be."""
    params = call.params
    state = params.choice("state", _STATES, "all")
    branches = {name: params.text(name) for name in ("source_branch", "target_branch")}
    iids, labels = params.numbers("iids"), params.listed("labels")
    search = params.text("search").lower()
    people = _people(call)
    return [
        lambda request: state in ("all", request.state),
        lambda request: all(getattr(request, n) == v for n, v in branches.items() if v),
        lambda request: not iids or request.iid in iids,
        lambda request: set(labels) <= set(request.labels),
        lambda request: search in f"{request.title}\n{request.description}".lower(),
        lambda request: all(holds(request) for holds in people),
    ]


def _people(call: Call) -> list[Callable[[MergeRequest], bool]]:
    params = call.params
    author, assignee = params.integer("author_id", 0), params.integer("assignee_id", 0)
    username = params.text("author_username")
    scope = params.choice("scope", _SCOPES, "all")
    me = call.caller.user
    return [
        lambda request: author in (0, request.author.id),
        lambda request: username in ("", request.author.username),
        lambda request: not assignee or assignee in [user.id for user in request.assignees],
        lambda request: scope != "created_by_me" or request.author is me,
        lambda request: scope != "assigned_to_me" or me in request.assignees,
    ]


@routes.on(
    "GET",
    "/projects/:id/merge_requests/:iid",
    "read_merge_request",
    job_token=versions.MERGE_REQUESTS_BY_JOB_TOKEN,
)
def show(call: Call) -> dict[str, Any]:
    """One merge request; reading it has GitLab find out whether it can be merged."""
    project = call.code()
    request = _find(call, project)
    shown = _present(call, project, request)
    request.unchecked = max(request.unchecked - 1, 0)
    return {**shown, **_more(call, project, request)}


@routes.on(
    "GET", "/projects/:id/repository/commits/:sha/merge_requests", "read_commit_merge_request"
)
def of_commit(call: Call) -> Response:
    """The merge requests that have, or had, a commit."""
    project = call.code()
    sha = git.resolve(project.repository, call.params.text("sha"))
    if sha is None:
        raise not_found("Commit")
    found = [each for each in project.merge_requests if sha in _commits(project, each)]
    return paginate(call, found, lambda request: _basic(call, project, request))


def _commits(project: Project, request: MergeRequest) -> list[str]:
    head = request.merge_commit_sha or request.sha
    base = f"{head}^1" if request.merge_commit_sha else f"refs/heads/{request.target_branch}"
    return contents.history(project.repository, f"{base}..{head}") if head else []


@routes.on("GET", "/projects/:id/merge_requests/:iid/closes_issues", "read_merge_request")
def closes_issues(call: Call) -> Response:
    """No issues: the sandbox has none."""
    _find(call, call.code())
    return paginate(call, [], lambda issue: issue)


@routes.on("POST", "/projects/:id/merge_requests/:iid/notes", "create_merge_request_note")
def comment(call: Call) -> Response:
    """A comment, as release tools leave one."""
    request = _find(call, call.code())
    call.params.require("body")
    request.notes.append(call.params.text("body"))
    author = entities.user_basic(call.state, call.user)
    return as_json({"id": next(call.state.ids), "body": request.notes[-1], "author": author}, 201)


def _more(call: Call, project: Project, request: MergeRequest) -> dict[str, Any]:
    """What a reader asked for in addition."""
    params, found = call.params, dict[str, Any]()
    if params.flag("include_rebase_in_progress"):
        found["rebase_in_progress"] = False
    if params.flag("include_diverged_commits_count"):
        missing = f"{request.sha}..refs/heads/{request.target_branch}"
        found["diverged_commits_count"] = len(contents.history(project.repository, missing))
    if params.flag("render_html"):
        found["title_html"] = html.escape(request.title)
        found["description_html"] = f"<p>{html.escape(request.description)}</p>"
    return found


@routes.on("POST", "/projects/:id/merge_requests", "create_merge_request")
def create(call: Call) -> Response:
    """Opens a merge request; of two branches there is one open at a time.

    The answers to branches that do not fit are those of `handle_merge_request_errors!`.
    """
    project, params = call.code(), call.params
    params.require("title", "source_branch", "target_branch")
    if call.access(project) < Access.DEVELOPER:
        raise forbidden()
    source, target = params.text("source_branch"), params.text("target_branch")
    target_project = params.integer("target_project_id", project.id)
    if target_project != project.id:
        raise invalid("the sandbox has no forks: target_project_id must be the project's own")
    _check_branches(project, source, target)
    request = merge_requests.open_request(
        call.state,
        project,
        title=params.text("title"),
        source_branch=source,
        target_branch=target,
        author=call.user,
    )
    _change(call, project, request)
    return as_json(_present(call, project, request), 201)


def _check_branches(project: Project, source: str, target: str) -> None:
    if source == target:
        raise refuse(422, ["You can't use same project/branch for source and target"])
    for other in project.merge_requests:
        same = (other.source_branch, other.target_branch) == (source, target)
        if same and other.state == "opened":
            raise refuse(
                409,
                [f"Another open merge request already exists for this source branch: !{other.iid}"],
            )
    heads = git.refs(project.repository, "refs/heads/")
    for role, branch in (("Source", source), ("Target", target)):
        if f"refs/heads/{branch}" not in heads:
            raise refuse(422, [f'{role} branch "{branch}" does not exist'])


@routes.on("PUT", "/projects/:id/merge_requests/:iid", "update_merge_request")
def update(call: Call) -> dict[str, Any]:
    """Changes a merge request: its texts, labels, people, branch or state."""
    project, params = call.code(), call.params
    request = _find(call, project)
    if call.access(project) < Access.DEVELOPER and call.user is not request.author:
        raise forbidden()
    if not any(params.has(name) for name in _FIELDS):
        raise invalid(f"{', '.join(_FIELDS)} are missing, at least one parameter must be provided")
    target = params.text("target_branch", request.target_branch)
    if params.has("title"):
        if not params.text("title"):
            raise invalid("title is empty")
        request.title = params.text("title")
    if target != request.target_branch:
        _check_branches(project, request.source_branch, target)
        request.target_branch = target
    _change(call, project, request)
    _change_state(params, request)
    request.updated_at = call.now
    return _present(call, project, request)


def _change(call: Call, project: Project, request: MergeRequest) -> None:
    """Sets what can be set both when a merge request is opened and later."""
    params = call.params
    request.description = params.text("description", request.description)
    if params.has("remove_source_branch"):
        request.remove_source_branch = params.flag("remove_source_branch")
    if params.flag("squash"):
        raise invalid("the sandbox does not squash commits")
    labels = params.listed("labels") if params.has("labels") else request.labels
    gone = params.listed("remove_labels")
    named = [*labels, *params.listed("add_labels")]
    request.labels = sorted({label for label in named if label not in gone})
    project.labels |= set(request.labels)
    if params.has("assignee_id"):
        request.assignees = _users(call, [params.integer("assignee_id", 0)])
    if params.has("assignee_ids"):
        # Without a licence GitLab takes the first one alone.
        request.assignees = _users(call, params.numbers("assignee_ids"))[:1]
    if params.has("reviewer_ids"):
        request.reviewers = _users(call, params.numbers("reviewer_ids"))[:1]


def _users(call: Call, ids: list[int]) -> list[User]:
    """The users of ids; GitLab leaves out those that do not exist, and 0 is no user."""
    users = call.state.users
    return [users[number] for number in ids if number in users]


def _change_state(params: Params, request: MergeRequest) -> None:
    event = params.choice("state_event", ("close", "reopen"))
    if event == "close" and request.state == "opened":
        request.state, request.waiting = "closed", None
    if event == "reopen" and request.state == "closed":
        request.state = "opened"


@routes.on("PUT", "/projects/:id/merge_requests/:iid/merge", "merge_merge_request")
def merge(call: Call) -> dict[str, Any]:
    """Merges now or, with `auto_merge`, when the pipeline has succeeded.

    Order and answers are those of `API::MergeRequests`, which 18.9 has in another order.
    """
    project, params = call.code(), call.params
    request = _find(call, project)
    if not merge_requests.may_merge(project, request, call.caller.user):
        raise unauthorized()
    auto = params.flag("auto_merge") or params.flag("merge_when_pipeline_succeeds")
    sha, remove = params.text("sha"), params.flag("should_remove_source_branch")
    message = params.text("merge_commit_message")
    new = call.state.version.has(versions.MERGE_WITHOUT_PIPELINE)
    if new:
        _check_sha(request, sha)
    later = (_decide if new else _decide_until_18)(call, project, request, auto=auto)
    _check_sha(request, sha)
    if later:
        merge_requests.wait(request, call.user, remove_source_branch=remove)
    else:
        _merge(call, project, request, remove_source_branch=remove, message=message)
    return _present(call, project, request)


def _check_sha(request: MergeRequest, sha: str) -> None:
    if sha and sha != request.sha:
        raise refuse(409, f"SHA does not match HEAD of source branch: {request.sha}")


def _decide(call: Call, project: Project, request: MergeRequest, *, auto: bool) -> bool:
    """Whether the merge waits; source: `execute_merge` of 19.x.

    Raises:
        ApiError: 405 or 422: it can be neither now nor later.
    """
    state = call.state
    mergeable = merge_requests.status(state, project, request) == "mergeable"
    if auto and merge_requests.can_wait(state, project, request):
        return True
    pipeline = merge_requests.head_pipeline(state, project, request)
    allowed = not auto or pipeline is None or pipeline.status == "success"
    if mergeable and allowed:
        return False
    new = state.version.has(versions.UNPREPARED_IS_UNPROCESSABLE)
    preparing = merge_requests.status(state, project, request) == "preparing"
    if auto and allowed and not request.unchecked and (new or not preparing):
        raise refuse(422, "Branch cannot be merged")
    raise _not_allowed()


def _decide_until_18(call: Call, project: Project, request: MergeRequest, *, auto: bool) -> bool:
    """The same; source: `immediately_mergeable?` of 17.x and 18.x."""
    state = call.state
    status = merge_requests.status(state, project, request)
    pipeline = merge_requests.head_pipeline(state, project, request)
    passed = pipeline is not None and pipeline.status == "success"
    now = passed if auto else status in ("mergeable", "conflict")
    if auto and merge_requests.can_wait(state, project, request):
        return True
    if not now or status in ("not_open", "preparing", "checking"):
        raise _not_allowed()
    if status != "mergeable":
        raise refuse(422, "Branch cannot be merged")
    return False


def _not_allowed() -> ApiError:
    return refuse(405, "405 Method Not Allowed")


def _merge(
    call: Call,
    project: Project,
    request: MergeRequest,
    *,
    remove_source_branch: bool,
    message: str,
) -> None:
    try:
        merge_requests.merge(
            call.state,
            project,
            request,
            call.user,
            remove_source_branch=remove_source_branch,
            message=message,
        )
    except merge_requests.CannotMergeError:
        raise refuse(422, "Branch cannot be merged") from None


@routes.on("PUT", "/projects/:id/merge_requests/:iid/rebase", "rebase_merge_request")
def rebase(call: Call) -> Response:
    """Rebases the source branch, after the answer."""
    project = call.code(Access.DEVELOPER)
    request, user = _find(call, project), call.user
    skip_ci = call.params.flag("skip_ci")
    if not git.resolve(project.repository, f"refs/heads/{request.source_branch}"):
        raise forbidden("Source branch does not exist")
    call.state.agenda.add(
        lambda: merge_requests.rebase(call.state, project, request, user, skip_ci=skip_ci)
    )
    return as_json({"rebase_in_progress": True}, 202)


@routes.on("GET", "/projects/:id/merge_requests/:iid/pipelines", "read_merge_request_pipeline")
def pipelines(call: Call) -> Response:
    """The pipelines of its source branch and its own, the newest first."""
    project = call.code()
    found = merge_requests.pipelines(call.state, project, _find(call, project))
    return paginate(call, found, lambda pipeline: entities.pipeline_basic(call.state, pipeline))


@routes.on("POST", "/projects/:id/merge_requests/:iid/pipelines", "create_merge_request_pipeline")
def start_pipeline(call: Call) -> Response:
    """Starts the merge request's own pipeline, unless its rules start no job.

    Source: `API::MergeRequests`, which answers 200 with the pipeline.
    """
    project = call.code(Access.DEVELOPER)
    request = _find(call, project)
    ref, sha = pushes.head_ref(request), request.sha or ""
    pipeline = create_pipeline(
        call.state,
        project,
        ref=ref,
        sha=sha,
        tag=False,
        source="merge_request_event",
        user=call.user,
        merge_request=request,
    )
    if pipeline is None:
        reasons = reasons_against(
            call.state, project, call.user, ref=ref, sha=sha, merge_request=request
        )
        raise refuse(400, {"base": reasons})
    return as_json(entities.pipeline(call.state, pipeline))


def _find(call: Call, project: Project) -> MergeRequest:
    iid = call.params.integer("iid", 0)
    found = next((request for request in project.merge_requests if request.iid == iid), None)
    if found is None:
        raise no_record()
    return found


_MERGE_STATUS = {
    "preparing": "preparing",
    "checking": "checking",
    "conflict": "cannot_be_merged",
    "commits_status": "cannot_be_merged",
}


def _basic(call: Call, project: Project, request: MergeRequest) -> dict[str, Any]:
    """A merge request in a list."""
    state = call.state
    status = merge_requests.status(state, project, request)
    reference = f"!{request.iid}"
    return {
        "id": request.id,
        "iid": request.iid,
        "project_id": project.id,
        "title": request.title,
        "description": request.description,
        "state": request.state,
        "created_at": entities.timestamp(request.created_at),
        "updated_at": entities.timestamp(request.updated_at),
        "merged_at": entities.timestamp(request.merged_at),
        "merge_user": _user(call, request.merge_user),
        "prepared_at": entities.timestamp(
            request.prepared_at if request.prepared_at <= call.now else None
        ),
        "target_branch": request.target_branch,
        "source_branch": request.source_branch,
        "source_project_id": project.id,
        "target_project_id": project.id,
        "author": _user(call, request.author),
        "assignee": _user(call, next(iter(request.assignees), None)),
        "assignees": [_user(call, user) for user in request.assignees],
        "reviewers": [_user(call, user) for user in request.reviewers],
        "labels": request.labels,
        "draft": status == "draft_status",
        "squash": False,
        "merge_when_pipeline_succeeds": request.auto_merge,
        "merge_status": _MERGE_STATUS.get(status, "can_be_merged"),
        "detailed_merge_status": status,
        "has_conflicts": status == "conflict",
        "sha": request.sha,
        "merge_commit_sha": request.merge_commit_sha,
        "force_remove_source_branch": request.remove_source_branch,
        "references": {
            "short": reference,
            "relative": reference,
            "full": f"{project.path}{reference}",
        },
        "web_url": f"{entities.project_url(state, project)}/-/merge_requests/{request.iid}",
    }


def _present(call: Call, project: Project, request: MergeRequest) -> dict[str, Any]:
    """A merge request in full."""
    state = call.state
    head = merge_requests.head_pipeline(state, project, request)
    may_merge = merge_requests.may_merge(project, request, call.caller.user)
    return {
        **_basic(call, project, request),
        "merge_error": request.merge_error,
        "head_pipeline": head and entities.pipeline(state, head),
        "user": {"can_merge": may_merge},
    }


def _user(call: Call, user: User | None) -> dict[str, Any] | None:
    return entities.user_basic(call.state, user) if user else None
