"""One bump from beginning to end, in the working directory or elsewhere."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cicd_common.errors import AuthError, CommandError, UsageError
from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.connection import parse_base_url
from cicd_common.gitlab.projects import Project, find_default_branch, find_project
from cicd_common.gitlab.retry import Backoff
from cicd_common.gitlab.tokens import TokenKind
from cmd_bump_image_tag.commit_message import check_not_older, commit_message, subject
from cmd_bump_image_tag.merge_requests import (
    branch_name,
    find_source,
    merge_when_ready,
    open_merge_request,
)
from cmd_bump_image_tag.plan import bump
from cmd_bump_image_tag.targets import LostRaceError
from cmd_bump_image_tag.targets.commits_api import CommitsApi
from cmd_bump_image_tag.targets.directory import Directory
from cmd_bump_image_tag.targets.git import GitRepository, default_branch
from cmd_bump_image_tag.targets.git_command import Remote, private_repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cicd_common.gitlab.connection import Connection
    from cicd_common.gitlab.projects import Project
    from cmd_bump_image_tag.plan import Change, Result
    from cmd_bump_image_tag.request import BumpRequest, Destination
    from cmd_bump_image_tag.targets import Snapshot, Way


@dataclass(frozen=True)
class BumpResult:
    """What a bump changed, or would change but for the dry run.

    Attributes:
        changed: Whether anything was written by this call.
        files: What changed: path, line, old and new text, image.
        commit: The commit's SHA; None where there is none.
        web_url: The commit's page on GitLab.
        merge_request: The merge request's page.
        would_change: Whether a dry run found something to change.
    """

    changed: bool
    files: tuple[Change, ...] = ()
    commit: str | None = None
    web_url: str | None = None
    merge_request: str | None = None
    would_change: bool = False

    def text(self) -> str:
        """One short line for a person."""
        if not self.files:
            line = "up to date"
        else:
            paths = len({change.path for change in self.files})
            places = _counted(len(self.files), "change")
            verb = "would make" if self.would_change else "made"
            line = f"{verb} {places} in {_counted(paths, 'file')}"
        where = self.merge_request or (self.commit and f"commit {self.commit[:8]}")
        return f"{line}: {where}" if where else line

    def dotenv(self) -> dict[str, str]:
        """The variables that later jobs get."""
        return {
            "BUMP_CHANGED": str(self.changed).lower(),
            "BUMP_COMMIT_SHA": self.commit or "",
            "BUMP_URL": self.merge_request or self.web_url or "",
        }


def result_of(
    landing: Landing,
    request: BumpRequest,
    *,
    changed: bool = False,
    project: Project | None = None,
) -> BumpResult:
    """The result that a landing is.

    Args:
        landing: What landed, or would.
        request: What was asked for.
        changed: Whether anything was written.
        project: Where on GitLab, if it was there.
    """
    page = f"{project.web_url}/-/commit/{landing.commit}" if project and landing.commit else None
    return BumpResult(
        changed=changed,
        files=landing.changes,
        commit=landing.commit,
        web_url=page,
        would_change=request.dry_run and bool(landing.changes),
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_CONTEXT = 3


def unified(path: str, old: bytes, new: bytes) -> str:
    """Return the unified diff of a file before and after a bump.

    A bump never adds or removes a line, so lines are compared one by one: difflib would take
    quadratic time on a large file.

    Args:
        path: The file's path.
        old: Its bytes before.
        new: Its bytes after, with as many lines.
    """
    before = old.decode(errors="replace").split("\n")
    after = new.decode(errors="replace").split("\n")
    changed = [
        number for number, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1
    ]
    lines = [f"--- a/{path}", f"+++ b/{path}"] if changed else []
    for first, last in _hunks(changed):
        start, end = max(first - _CONTEXT, 0), min(last + _CONTEXT + 1, len(before))
        end -= end == len(before) and before[-1] == ""  # what follows the last line's end
        span = f"{start + 1},{end - start}"
        lines.append(f"@@ -{span} +{span} @@")
        for number in range(start, end):
            is_changed = before[number] != after[number]
            lines += _signed("-" if is_changed else " ", before, number)
            lines += _signed("+", after, number) if is_changed else []
    return "".join(f"{line}\n" for line in lines)


def _signed(sign: str, lines: list[str], number: int) -> list[str]:
    line = [sign + lines[number]]
    return line if number + 1 < len(lines) else [*line, "\\ No newline at end of file"]


def _hunks(changed: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last change of each stretch whose context runs together."""
    first = 0
    for index, number in enumerate(changed):
        is_last = index + 1 == len(changed)
        if is_last or changed[index + 1] - number > 2 * _CONTEXT:
            yield changed[first], number
            first = index + 1


log = logging.getLogger("cicd_common.bump")


@dataclass(frozen=True)
class Landing:
    """What has landed, or would.

    Attributes:
        snapshot: What was read last.
        planned: What that comes to.
        commit: The commit; None where there is none.
    """

    snapshot: Snapshot
    planned: Result
    commit: str | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """What changes; none if all was up to date."""
        return self.planned.changes


def land(way: Way, snapshot: Snapshot, request: BumpRequest, *, retry_for: float) -> Landing:
    """Bumps what was read, and writes it, unless it is a dry run.

    Args:
        way: Where to read and write.
        snapshot: What was read there.
        request: What to bump.
        retry_for: Seconds for which lost races are run again.

    Raises:
        LostRaceError: The branch kept moving until the time ran out.
        CommandError: The bump is not possible or not allowed, or could not be written.
    """
    # Each loss of a race means that somebody else's write was made: a short pause will do.
    backoff = Backoff(retry_for, first=0.1, longest=2.0)
    while True:
        planned = _plan(request, snapshot)
        if unsure := planned.contents.keys() - snapshot.revisions.keys():
            snapshot = way.reread(snapshot, unsure)
            continue
        if planned.changes and not request.allow_downgrade:
            check_not_older(request.upstream, planned.changes, way.messages)
        if not planned.changes or request.dry_run:
            return Landing(snapshot, planned)
        message = commit_message(
            request.commit_message,
            request.bumps,
            planned.changes,
            upstream=request.upstream,
            skip_ci=request.skip_ci,
        )
        try:
            return Landing(snapshot, planned, way.write(snapshot, planned.contents, message))
        except LostRaceError as lost:
            backoff.wait(lost)
            snapshot = way.reread(snapshot, planned.contents)


def tell(landing: Landing) -> None:
    """Says on the log what changes, as a diff, and what was left alone."""
    for warning in landing.planned.warnings:
        log.warning("%s", warning)
    for path, content in sorted(landing.planned.contents.items()):
        log.info("%s", unified(path, landing.snapshot.contents[path], content).rstrip("\n"))


def _plan(request: BumpRequest, snapshot: Snapshot) -> Result:
    return bump(
        snapshot.contents,
        request.bumps,
        paths=request.paths,
        allow_downgrade=request.allow_downgrade,
        named=snapshot.named & snapshot.contents.keys(),
        chosen=bool(request.patterns),
    )


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


def bump_images(
    request: BumpRequest, destination: Destination, connection: Connection
) -> BumpResult:
    """Bumps images; the diff and what was left alone go to the log.

    Args:
        request: What to bump; checked already.
        destination: Where; checked already.
        connection: The server, with an empty base URL if none is needed.

    Raises:
        CommandError: It did not happen; the subclass says why.
    """
    if request.verify_image or request.pin_digest:
        request = _verified(request, connection)
    if destination.way != "files":
        # python-gitlab is slow to import, and a working directory does not need it.

        return bump_remotely(request, destination, connection)
    way = Directory(destination.directory, request.patterns)
    landing = land(way, way.read(), request, retry_for=connection.retry_for)
    tell(landing)
    written = bool(landing.changes) and not request.dry_run
    return result_of(landing, request, changed=written)


def _verified(request: BumpRequest, connection: Connection) -> BumpRequest:
    # Slow to import, as it needs requests.
    from cmd_bump_image_tag.registry import verify  # noqa: PLC0415

    bumps = verify(request.bumps, pin=request.pin_digest, connection=connection, environ=os.environ)
    return replace(request, bumps=bumps)
