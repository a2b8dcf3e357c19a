"""Commits."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sandbox import contents, entities, git, permissions, pushes, versions
from sandbox.model import NO_COMMIT
from sandbox.paging import paginate
from sandbox.routes import Routes
from sandbox.web import as_json, forbidden, invalid, not_found, refuse

if TYPE_CHECKING:
    from sandbox.context import Call
    from sandbox.model import Project, User
    from sandbox.web import Params, Response

routes = Routes()

_ACTIONS = ("create", "update", "delete")
_ACTION_KEYS = ("action", "file_path", "content", "encoding", "last_commit_id")


@routes.on("GET", "/projects/:id/repository/commits", "read_commit")
def index(call: Call) -> Response:
    """The commits of a ref or of a range such as `A..B`, the newest first."""
    project, params = call.code(), call.params
    revisions = params.text("ref_name") or project.default_branch
    if params.flag("all"):
        revisions = ""
    path, limits = params.text("path"), _limits(params)
    try:
        shas = contents.history(project.repository, revisions, path, limits)
    except git.GitError:
        shas = []  # GitLab finds no commits of a ref that does not exist
    return paginate(call, shas, lambda sha: entities.commit(call.state, project, sha))


def _limits(params: Params) -> list[str]:
    """What limits the commits, as options of `git rev-list`."""
    since, until = params.time("since"), params.time("until")
    author = params.text("author")
    topological = params.choice("order", ("default", "topo"), "default") == "topo"
    options = {
        f"--max-age={since and int(since.timestamp())}": since is not None,
        f"--min-age={until and int(until.timestamp())}": until is not None,
        f"--author={author}": bool(author),
        "--first-parent": params.flag("first_parent"),
        "--topo-order": topological,
    }
    return [option for option, given in options.items() if given]


@routes.on("GET", "/projects/:id/repository/commits/:sha", "read_commit", job_token=versions.ALWAYS)
def show(call: Call) -> dict[str, Any]:
    """The commit of a SHA, a short SHA, a branch or a tag."""
    project = call.code()
    sha = git.resolve(project.repository, call.params.text("sha"))
    if sha is None:
        raise not_found("Commit")
    return _detail(call, project, sha)


def _detail(call: Call, project: Project, sha: str) -> dict[str, Any]:
    pipelines = [
        pipeline
        for pipeline in call.state.pipelines.values()
        if pipeline.project is project and pipeline.sha == sha
    ]
    last = max(pipelines, key=lambda pipeline: pipeline.id, default=None)
    return entities.commit_detail(call.state, project, sha, last)


@dataclass(frozen=True)
class _Action:
    """What shall become of one file."""

    kind: str
    path: str
    content: bytes | None  # None removes it
    last_commit_id: str


@routes.on("POST", "/projects/:id/repository/commits", "create_commit")
def create(call: Call) -> Response:
    """Commits several files at once; its pipeline starts after the answer.

    The checks, their order and their texts are those of `Commits::CreateService` and
    `Files::MultiService`; the API turns every one of theirs into a 400. None of them compares the
    branch's head: `last_commit_id` is about one file each.
    """
    project, params = call.code(), call.params
    params.require("branch", "commit_message", "actions")
    branch = params.text("branch")
    actions = [
        _read_action(number, value)
        for number, value in enumerate(params.maps("actions", _ACTION_KEYS))
    ]
    author = _author(call)
    if not permissions.may_update(project.protected_branches, branch, call.access(project)):
        raise forbidden("You are not allowed to push into this branch")
    start = _start(call, project, branch)
    for action in actions:
        _check_unchanged(project, action, start)
    if project.meanwhile:
        meanwhile, project.meanwhile = project.meanwhile, None
        meanwhile()
        start = _start(call, project, branch)
    ref = f"refs/heads/{branch}"
    before = git.refs(project.repository, ref).get(ref, NO_COMMIT)
    sha = _write(call, project, branch, start, actions, author=author)
    pushes.announce(call.state, [pushes.Push(project, ref, sha, call.user, before=before)])
    return as_json(_detail(call, project, sha), 201)


def _author(call: Call) -> User:
    """The caller, or who the request names as the author."""
    name = call.params.text("author_name", call.user.name)
    email = call.params.text("author_email", call.user.email)
    return replace(call.user, name=name, email=email)


def _read_action(number: int, value: dict[str, Any]) -> _Action:
    kind, path = value.get("action"), value.get("file_path")
    if kind not in _ACTIONS:
        raise invalid(f"actions[{number}][action] does not have a valid value")
    if not path:
        raise invalid(f"actions[{number}][file_path] is empty")
    if ".." in str(path).split("/") or str(path).startswith("/"):
        raise refuse(400, f"invalid path: '{path}'")
    content: bytes | None = None
    if kind != "delete":
        text = str(value.get("content", ""))
        try:
            is_base64 = value.get("encoding") == "base64"
            content = base64.b64decode(text, validate=True) if is_base64 else text.encode()
        except binascii.Error:
            raise refuse(400, "invalid base64") from None
    return _Action(str(kind), str(path), content, str(value.get("last_commit_id") or ""))


def _start(call: Call, project: Project, branch: str) -> str | None:
    """The commit that the new one follows; None in an empty repository."""
    params = call.params
    start_sha, force = params.text("start_sha"), params.flag("force")
    heads = git.refs(project.repository, "refs/heads/")
    if not heads:
        return None
    if start_sha and params.has("start_branch"):
        raise invalid("start_branch, start_sha are mutually exclusive")
    start_branch = params.text("start_branch", branch)
    elsewhere = bool(start_sha) or start_branch != branch
    if elsewhere and f"refs/heads/{branch}" in heads and not force:
        raise refuse(
            400,
            f"A branch called '{branch}' already exists. "
            "Switch to that branch in order to make changes",
        )
    if elsewhere and not permissions.valid_ref_name(branch):
        raise refuse(
            400, f"Something went wrong when we tried to create '{branch}' for you: invalid name"
        )
    if start_sha:
        return git.resolve(project.repository, start_sha)
    if f"refs/heads/{start_branch}" not in heads:
        raise refuse(400, "You can only create or edit files when you are on a branch")
    return heads[f"refs/heads/{start_branch}"]


def _check_unchanged(project: Project, action: _Action, start: str | None) -> None:
    """Compares the last commits that touched the file; what is not there counts as unchanged.

    Raises:
        ApiError: 400, if they differ.
    """
    seen = git.resolve(project.repository, action.last_commit_id or " ")
    if action.kind == "create" or seen is None or start is None:
        return
    now = contents.last_commit(project.repository, start, action.path)
    then = contents.last_commit(project.repository, seen, action.path)
    if now and then and now != then:
        raise refuse(400, f"The file has changed since you started editing it: {action.path}")


def _write(
    call: Call,
    project: Project,
    branch: str,
    start: str | None,
    actions: list[_Action],
    *,
    author: User,
) -> str:
    modes = {}
    for action in actions:
        entry = contents.find(project.repository, start, action.path) if start else None
        if entry and action.kind == "create":
            raise refuse(400, "A file with this name already exists")
        if not entry and action.kind != "create":
            raise refuse(400, "A file with this name doesn't exist")
        if entry:
            modes[action.path] = entry.mode
    if project.hook_message is not None:
        raise refuse(400, project.hook_message)
    if call.params.flag("force"):
        git.delete_ref(project.repository, f"refs/heads/{branch}")
    return git.write_commit(
        project.repository,
        branch,
        {action.path: action.content for action in actions},
        message=call.params.text("commit_message"),
        author=author,
        when=call.now,
        parent=start,
        modes=modes,
    )
