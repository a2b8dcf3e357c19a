"""A bump in a repository elsewhere: by which way, with or without a merge request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cicd_common.client import GitLab
from cicd_common.connection import parse_base_url
from cicd_common.errors import AuthError, CommandError, UsageError
from cicd_common.projects import Project, find_default_branch, find_project
from cicd_common.tokens import TokenKind
from cmd_bump_image_tag.landing import land, tell
from cmd_bump_image_tag.merge_requests import (
    branch_name,
    find_source,
    merge_when_ready,
    open_merge_request,
)
from cmd_bump_image_tag.message import subject
from cmd_bump_image_tag.result import result_of
from cmd_bump_image_tag.ways.api import CommitsApi
from cmd_bump_image_tag.ways.git import GitRepository, default_branch
from cmd_bump_image_tag.ways.git_command import Remote, private_repository

if TYPE_CHECKING:
    from cicd_common.connection import Connection
    from cmd_bump_image_tag.landing import Landing
    from cmd_bump_image_tag.request import BumpRequest, Destination
    from cmd_bump_image_tag.result import BumpResult
    from cmd_bump_image_tag.ways import Way

# Makes the way to a branch, and to where it begins if it does not exist.
WayTo = Callable[[str, str | None], "Way"]


def bump_remotely(
    request: BumpRequest, destination: Destination, connection: Connection
) -> BumpResult:
    """Bumps images in a repository on GitLab, or in one that git reaches.

    Args:
        request: What to bump; checked already.
        destination: Where; checked already.
        connection: The server, with an empty base URL if none is needed.

    Raises:
        CommandError: It did not happen; the subclass says why.
    """
    if destination.way == "api":
        return _by_api(request, destination, GitLab(connection))
    return _by_git(request, destination, connection)


def _by_api(request: BumpRequest, destination: Destination, gitlab: GitLab) -> BumpResult:
    if gitlab.require_token() is TokenKind.JOB:
        raise AuthError(
            "A CI job token cannot commit through GitLab's API.",
            why="GitLab ignores job tokens there.",
            hint="Give an access token (COMMANDS_API_TOKEN), or push with --via git.",
        )
    project = find_project(gitlab, destination.project or "")
    target = destination.branch or find_default_branch(gitlab, project)

    def way_to(branch: str, start: str | None) -> Way:
        return CommitsApi(gitlab, project, branch, start, request.patterns)

    if destination.merge_request or destination.auto_merge:
        return _Proposal(gitlab, project, target, way_to).make(request, destination)
    return _write(way_to(target, None), request, gitlab.connection, project)


def _by_git(request: BumpRequest, destination: Destination, connection: Connection) -> BumpResult:
    gitlab, project = None, None
    if destination.project is not None:
        gitlab = GitLab(connection)
        project = find_project(gitlab, destination.project)
    remote = Remote(
        url=destination.repository or _address(connection, project),
        base_url=connection.base_url,
        token=connection.token,
        ca_file=connection.ca_file,
        request_timeout=connection.request_timeout,
        retry_for=connection.retry_for,
    )
    with private_repository(remote) as git:
        known = project.default_branch if project else None
        target = destination.branch or known or default_branch(git)

        def way_to(branch: str, start: str | None) -> Way:
            return GitRepository(git, branch, start, request.patterns)

        if gitlab and project and (destination.merge_request or destination.auto_merge):
            return _Proposal(gitlab, project, target, way_to).make(request, destination)
        return _write(way_to(target, None), request, connection, project)


def _address(connection: Connection, project: Project | None) -> str:
    """The address of a project's repository on its server."""
    if project is None or project.path.isdecimal():
        raise UsageError(
            "The project's path is not known.",
            why="With a job token GitLab does not tell the path of a numeric id.",
            hint="Give --project as a path: group/name",
        )
    return f"{parse_base_url(connection.base_url)}/{project.path}.git"


def _write(
    way: Way, request: BumpRequest, connection: Connection, project: Project | None
) -> BumpResult:
    landing = land(way, way.read(), request, retry_for=connection.retry_for)
    tell(landing)
    return result_of(landing, request, changed=landing.commit is not None, project=project)


@dataclass(frozen=True)
class _Proposal:
    """A bump that goes to a branch of its own, with a merge request."""

    gitlab: GitLab
    project: Project
    target: str
    way_to: WayTo

    def make(self, request: BumpRequest, destination: Destination) -> BumpResult:
        """Writes the branch, unless the target is up to date, and opens the merge request."""
        if self.gitlab.require_token() is TokenKind.JOB:
            raise AuthError(
                "A CI job token cannot open a merge request.",
                why="GitLab ignores job tokens there.",
                hint="Give an access token: COMMANDS_API_TOKEN.",
            )
        retry_for = self.gitlab.connection.retry_for
        way = self.way_to(self.target, None)
        wanted = land(way, way.read(), replace(request, dry_run=True), retry_for=retry_for)
        if request.dry_run or not wanted.changes:
            tell(wanted)
            return result_of(wanted, request)
        name = branch_name(request, self.target)
        source = find_source(self.gitlab, self.project, name, self.target)
        way = self.way_to(source.branch, None if source.exists else self.target)
        snapshot = way.read() if source.exists else wanted.snapshot
        landing = land(way, snapshot, request, retry_for=retry_for)
        tell(landing)
        merge_request = source.merge_request or open_merge_request(
            self.gitlab,
            self.project,
            source.branch,
            self.target,
            title=subject(
                request.commit_message, request.bumps, wanted.changes, request.upstream
            ).partition("\n")[0],
            description=_description(wanted, request),
        )
        result = replace(
            result_of(landing, request, changed=landing.commit is not None, project=self.project),
            merge_request=merge_request.web_url,
        )
        if destination.auto_merge:
            try:
                merge_when_ready(
                    self.gitlab, self.project, merge_request, landing.commit or merge_request.sha
                )
            except CommandError as error:
                error.results = (result,)
                raise
        return result


def _description(landing: Landing, request: BumpRequest) -> str:
    lines = [
        f"- `{change.path}:{change.line}`: `{change.old}` → `{change.new}`"
        for change in landing.changes
    ]
    return "\n".join([*lines, "", f"Upstream: {request.upstream}"] if request.upstream else lines)
