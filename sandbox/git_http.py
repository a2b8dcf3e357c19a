"""Git over HTTP: git's own `http-backend` behind GitLab's checks."""

from __future__ import annotations

import base64
import binascii
import gzip
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from sandbox import auth, background, git, permissions, push_options, pushes, versions
from sandbox.context import Caller
from sandbox.model import NO_COMMIT, Access
from sandbox.web import Response

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sandbox.context import Instance
    from sandbox.model import Job, Project, State
    from sandbox.web import Request

PATH = re.compile(
    r"/(?P<project>.+?)(?P<suffix>\.git)?/(?P<rest>info/refs|git-(?:upload|receive)-pack)"
)

_REALM = {"WWW-Authenticate": 'Basic realm="GitLab"'}
_DENIED = (
    "HTTP Basic: Access denied. If a password was provided for Git authentication, the password "
    "was incorrect or you're required to use a token instead of a password. See "
    "{url}/help/topics/git/troubleshooting_git.md#error-on-git-fetch-http-basic-access-denied"
)
_NO_PROJECT = (
    "The project you were looking for could not be found or you don't have permission to view it."
)
_NO_DOWNLOAD = "You are not allowed to download code from this project."
_NO_PUSH = "You are not allowed to push code to this project."
_NO_UPLOAD = "You are not allowed to upload code."  # what a job token is told

# Refuses what the server has decided against before git ran, and forced pushes to protected
# branches, which only git can recognise. The text may be empty: hooks may say nothing.
_NO_FORCE = "You are not allowed to force push code to a protected branch on this project."
_PRE_RECEIVE = f"""#!/bin/sh
refuse() {{
  [ -z "$1" ] || echo "GitLab: $1" >&2
  exit 1
}}
[ -z "${{GITLAB_REFUSAL+set}}" ] || refuse "$GITLAB_REFUSAL"
while read -r old new ref; do
  case " $GITLAB_PROTECTED " in
  *" $ref "*) git merge-base --is-ancestor "$old" "$new" || refuse "{_NO_FORCE}" ;;
  esac
done
"""


class _Denied(Exception):  # noqa: N818 - an answer, not a fault
    """An answer that ends the handling."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        challenge = _REALM if status == 401 else {}
        self.response = Response(status, text.encode(), {"Content-Type": "text/plain", **challenge})


@dataclass(frozen=True)
class _Command:
    """One ref that a push wants to change."""

    old: str
    new: str
    ref: str


def install_hooks(root: Path) -> None:
    """Writes the hooks that all repositories share."""
    hook = _hooks(root) / "pre-receive"
    hook.parent.mkdir(parents=True)
    hook.write_text(_PRE_RECEIVE)
    hook.chmod(0o755)


def _hooks(root: Path) -> Path:
    return root / "hooks"


def answer(instance: Instance, request: Request, path: str, rest: str) -> Response:
    """Answers a request of a git client.

    Args:
        instance: The server's parts.
        request: The request.
        path: The project's path, encoded.
        rest: What follows the repository: `info/refs`, `git-upload-pack` or `git-receive-pack`.
    """
    service = parse_qs(request.query).get("service", [rest])[0]
    pushing = service == "git-receive-pack"
    try:
        with instance.state.lock:
            caller, project = _authorize(instance.state, request, unquote(path), pushing=pushing)
    except _Denied as denied:
        return denied.response
    if rest == "git-receive-pack":
        return _receive(instance, project, request, caller)
    return _run_backend(instance.state, project, request, rest)


def _authorize(
    state: State, request: Request, path: str, *, pushing: bool
) -> tuple[Caller, Project]:
    """Who is asking, and the project, if they may fetch from it, or push to it.

    Raises:
        _Denied: They may not.
    """
    caller = _authenticate(state, request, pushing=pushing)
    project = permissions.find_project(state, path)
    user = caller.user
    visible = project is not None and permissions.may_see(project, user)
    if project is None or not visible or (pushing and user is None):
        if user is None:
            raise _Denied(401, _DENIED.format(url=state.external_url))
        raise _Denied(404, _NO_PROJECT)
    job = caller.job
    if job and not permissions.takes_job_token_of(project, job):
        source = job.pipeline.project.path.rpartition("/")[2]
        raise _Denied(
            403,
            f"Authentication by CI/CD job token not allowed from {source} to {project.path}.",
        )
    if not pushing and not permissions.may_read_code(project, user):
        raise _Denied(403, _NO_DOWNLOAD)
    if pushing and job and not _may_push(state, project, job):
        raise _Denied(403, _NO_UPLOAD)
    if pushing and permissions.access(project, user) < Access.DEVELOPER:
        raise _Denied(403, _NO_PUSH)
    return caller, project


def _may_push(state: State, project: Project, job: Job) -> bool:
    """Whether a job token may push: where a setting allows it, to the job's own project."""
    allowed = project.job_token_push and state.version.has(versions.PUSH_BY_JOB_TOKEN)
    return allowed and job.pipeline.project is project


def _authenticate(state: State, request: Request, *, pushing: bool) -> Caller:
    """Reads the basic credentials; no credentials are an anonymous caller.

    Raises:
        _Denied: 401 for wrong ones, 403 for a token whose scopes do not do.
    """
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Basic":
        return Caller()
    try:
        user, _, password = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user, password = "", ""
    denied = _Denied(401, _DENIED.format(url=state.external_url))
    # An access token goes with any user name, that of job tokens too: semantic-release sends it so.
    job = auth.live_job(state, password) if user == "gitlab-ci-token" else None
    if job is not None:
        return Caller(user=job.user or job.pipeline.user, job=job)
    token = state.tokens.get(password)
    if token is None or auth.token_problem(state, token):
        raise denied
    if token.permissions is not None:
        enough = {"push_code"} if pushing else {"download_code"}
        granted = token.permissions
    else:
        enough = {"api", "write_repository"} | (set() if pushing else {"read_repository"})
        granted = token.scopes
    if not enough & granted:
        raise _Denied(403, _NO_PUSH if pushing else _NO_DOWNLOAD)
    return Caller(user=token.user, token=token)


def _receive(instance: Instance, project: Project, request: Request, caller: Caller) -> Response:
    """Lets git receive a push, or refuse it, and starts the pipelines of what has changed."""
    commands, given = _read_commands(_body(request))
    options = push_options.read_options(given)
    state, user = instance.state, caller.user
    if user is None:
        raise TypeError("nobody pushes anonymously")
    role = permissions.access(project, user)
    with state.changed:
        background.catch_up(state)
        refusals = [
            *(_unsupported(state, option) for option in options.unknown),
            *(_refusal(project, role, command) for command in commands),
        ]
        refusal = next((text for text in refusals if text is not None), None)
        protected = " ".join(_update_only(project, commands))
        verdict = {"GITLAB_PROTECTED": protected, "REMOTE_USER": user.username}
        if refusal is not None:
            verdict["GITLAB_REFUSAL"] = refusal
        response = _run_backend(state, project, request, "git-receive-pack", **verdict)
        now = git.refs(project.repository, "refs/")
        done = [
            pushes.Push(
                project,
                command.ref,
                sha,
                user,
                options.skip_ci,
                before=command.old,
                variables=options.variables,
                starts_pipelines=caller.job is None,
            )
            for command in commands
            if now.get(command.ref) == command.new != command.old
            and (sha := git.resolve(project.repository, command.ref))
        ]
        pushes.announce(state, done)
        push_options.follow(state, done, options)
        background.catch_up(state)
        state.changed.notify_all()
    return response


def _unsupported(state: State, option: str) -> str:
    """Refuse a push option that nothing would follow from."""
    problem = f"The sandbox does not read the push option {option}"
    state.problems.append(problem)
    return problem


def _refusal(project: Project, role: Access, command: _Command) -> str | None:
    """What GitLab's checks say against one change, in the words of `Gitlab::Checks`."""
    deletion = command.new == NO_COMMIT
    kind, _, name = command.ref.removeprefix("refs/").partition("/")
    if kind == "tags":
        return _tag_refusal(project, role, name, command)
    rules = project.protected_branches
    if deletion and name == project.default_branch:
        return "The default branch of a project cannot be deleted."
    if deletion and permissions.protection(rules, name):
        return "You can only delete protected branches using the web interface."
    if not permissions.may_update(rules, name, role):
        return "You are not allowed to push code to protected branches on this project."
    return project.hook_message


def _tag_refusal(project: Project, role: Access, name: str, command: _Command) -> str | None:
    if command.new != NO_COMMIT:
        exists = command.old != NO_COMMIT
        return permissions.tag_refusal(project, role, name, exists=exists)
    if permissions.protection(project.protected_tags, name):
        return "You can only delete protected tags using the web interface."
    return project.hook_message


def _update_only(project: Project, commands: Iterable[_Command]) -> list[str]:
    """The protected branches that exist: they may move forward only."""
    return [
        command.ref
        for command in commands
        if NO_COMMIT not in (command.old, command.new)
        and command.ref.startswith("refs/heads/")
        and permissions.protection(
            project.protected_branches, command.ref.removeprefix("refs/heads/")
        )
    ]


def _body(request: Request) -> bytes:
    if request.headers.get("Content-Encoding") == "gzip":
        return gzip.decompress(request.body)
    return request.body


def _read_commands(body: bytes) -> tuple[list[_Command], list[str]]:
    """The changes and the push options that a push begins with.

    The format is that of git's `gitprotocol-pack`: packet lines of what is shallow, packet lines
    of commands, a flush packet, packet lines of options if both sides can, a flush packet, then
    the pack.
    """
    lines, rest = _read_packets(body)
    lines = [line for line in lines if not line.startswith(b"shallow ")]
    capabilities = lines[0].partition(b"\0")[2].split() if lines else []
    commands = [
        _Command(*line.partition(b"\0")[0].decode().rstrip("\n").split(" ", 2)) for line in lines
    ]
    if b"push-options" not in capabilities:
        return commands, []
    options, _ = _read_packets(rest)
    return commands, [option.decode().rstrip("\n") for option in options]


def _read_packets(data: bytes) -> tuple[list[bytes], bytes]:
    """Packet lines up to a flush packet, and what follows it."""
    lines = []
    while size := int(data[:4] or b"0", 16):
        lines.append(data[4:size])
        data = data[size:]
    return lines, data[4:]


def _run_backend(
    state: State, project: Project, request: Request, rest: str, **environment: str
) -> Response:
    """Runs `git http-backend` as a CGI program."""
    config = {
        "core.hooksPath": str(_hooks(state.root)),
        "http.receivepack": "true",
        "receive.advertisePushOptions": "true",
        "uploadpack.allowAnySHA1InWant": "true",
        "uploadpack.allowFilter": "true",
    }
    entries = {
        **{f"GIT_CONFIG_KEY_{number}": key for number, key in enumerate(config)},
        **{f"GIT_CONFIG_VALUE_{number}": value for number, value in enumerate(config.values())},
    }
    done = subprocess.run(
        ["git", "http-backend"],
        input=request.body,
        capture_output=True,
        check=True,
        env={
            **os.environ,
            **git.ENVIRONMENT,
            **entries,
            **environment,
            "GIT_CONFIG_COUNT": str(len(config)),
            "GIT_PROJECT_ROOT": str(project.repository),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": request.method,
            "PATH_INFO": f"/{rest}",
            "QUERY_STRING": request.query,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(request.body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        },
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    return Response(int(headers.pop("Status", "200").split()[0]), body, headers)
