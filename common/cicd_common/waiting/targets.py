"""Which pipelines to wait for: by id, by what they were made of, or all that are unfinished."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cicd_common.errors import CommandError, NotFoundError, UsageError
from cicd_common.gitlab.client import PER_PAGE, GitLab, field, quoted
from cicd_common.gitlab.projects import parse_project
from cicd_common.parallel import side_by_side
from cicd_common.waiting.pipelines import Pipeline, in_words, parse_pipeline, read_pipeline
from cicd_common.waiting.statuses import STATUSES, is_finished

if TYPE_CHECKING:
    from collections.abc import Mapping

CANDIDATES = 20  # the newest that may be meant; older ones of a branch hide behind a tag's
_FULL_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PIPELINE_PAGE = re.compile(r"(?P<project>.+?)/(?:-/)?pipelines/(?P<id>\d+)(?:[/?#].*)?")


@dataclass(frozen=True)
class OwnJob:
    """The job that this runs in, of which nobody may wait for the end.

    Attributes:
        project: The path of its project; empty outside a job.
        pipeline_id: Its pipeline; 0 outside a job.
        parent_sha: The commit, if its pipeline is a child: its parent, which waits for it, has
            the same.
    """

    project: str = ""
    pipeline_id: int = 0
    parent_sha: str = ""


def own_job(environment: Mapping[str, str]) -> OwnJob:
    """The job that this runs in, by GitLab's predefined variables."""
    number = environment.get("CI_PIPELINE_ID", "")
    if not number.isdecimal():
        return OwnJob()
    is_child = environment.get("CI_PIPELINE_SOURCE") == "parent_pipeline"
    return OwnJob(
        project=environment.get("CI_PROJECT_PATH", ""),
        pipeline_id=int(number),
        parent_sha=environment.get("CI_COMMIT_SHA", "") if is_child else "",
    )


@dataclass(frozen=True)
class ById:
    """One pipeline that exists.

    Attributes:
        project: The project's path or numeric id.
        id: The pipeline.
        ours: Whether this very call started it.
    """

    project: str
    id: int
    ours: bool = False

    def __str__(self) -> str:
        """For people."""
        return f"pipeline {self.id} of {self.project}"


@dataclass(frozen=True)
class Newest:
    """The newest pipeline that was made of something, which may not exist yet.

    Attributes:
        project: The project's path or numeric id.
        ref: The branch; or the tag, if there is no branch of the name.
        tag: The tag.
        sha: The commit's SHA, full or abbreviated.
        source: What started it, in GitLab's word.
        ours: Whether this very call caused it.
    """

    project: str
    ref: str | None = None
    tag: str | None = None
    sha: str | None = None
    source: str | None = None
    ours: bool = False

    def __str__(self) -> str:
        """For people."""
        named = (("ref", self.ref), ("tag", self.tag), ("sha", self.sha), ("source", self.source))
        what = ", ".join(f"{name} {value}" for name, value in named if value)
        return f"a pipeline of {what} in {self.project}"


@dataclass(frozen=True)
class AllRunning:
    """Every unfinished pipeline of a project, child pipelines apart: their parents wait for them.

    In a job of this very project it is every one before the job's own: two jobs that hold a lock
    in this route would wait for each other otherwise.

    Attributes:
        project: The project's path or numeric id.
        ref: The branch or tag; None for all.
    """

    project: str
    ref: str | None = None
    ours: ClassVar[bool] = False

    def __str__(self) -> str:
        """For people."""
        return f"the unfinished pipelines of {self.project}"


Target = ById | Newest | AllRunning


def parse_pipeline_url(url: str, base_url: str) -> ById:
    """Reads a pipeline's address.

    Args:
        url: The address of its page, or of one below.
        base_url: The server that it must belong to.

    Raises:
        UsageError: It is no pipeline's address, or another server's.
    """
    match = _PIPELINE_PAGE.fullmatch(url.strip())
    if match is None:
        raise UsageError(
            f"{url!r} is no pipeline's address.",
            hint="It looks like https://gitlab.example.com/group/name/-/pipelines/123",
        )
    return ById(parse_project(match["project"], base_url), int(match["id"]))


class Finder:
    """Looks for the pipelines of one target until they exist.

    Args:
        gitlab: The client.
        target: Which ones.
        own: The job that this runs in.
    """

    def __init__(self, gitlab: GitLab, target: Target, own: OwnJob) -> None:
        self._gitlab = gitlab
        self._target = target
        self._own = own
        self._address = f"projects/{quoted(target.project)}"
        self._others: set[int] = set()  # of the same name, but not the same kind of ref

    def find(self) -> tuple[Pipeline, ...] | None:
        """The pipelines as they are now; None while there is none.

        Raises:
            CommandError: There was no usable answer.
        """
        match self._target:
            case ById() as target:
                return (self._by_id(target),)
            case Newest() as target:
                found = self._newest(target)
                return (found,) if found else None
            case AllRunning(ref=ref):
                return self._unfinished(ref)

    def _by_id(self, target: ById) -> Pipeline:
        try:
            return read_pipeline(self._gitlab, quoted(target.project), target.id)
        except NotFoundError as error:
            raise NotFoundError(
                error.message,
                why=f"{target.project} has no pipeline {target.id} that this token can see.",
                hint="Check the project and the id, and that the token's user is a member there.",
                answer=error.answer,
            ) from error

    def absence(self, waited: float) -> NotFoundError:
        """Why there is no pipeline after so many seconds, as far as GitLab tells.

        Raises:
            CommandError: There was no usable answer.
        """
        target = self._target
        ref = (target.tag or target.ref or target.sha) if isinstance(target, Newest) else None
        message = f"There was no {str(target).removeprefix('a ')} within {in_words(waited)}."
        if ref and not self._exists(ref):
            return NotFoundError(
                message,
                why=f"{target.project} has no branch, tag or commit {ref}.",
                hint="Check the name; see whether the push arrived.",
            )
        return NotFoundError(
            message,
            why="Its rules filter every job, CI/CD is disabled in the project, or the push came "
            "from a job with its job token: none of these makes a pipeline.",
            hint="Style at workflow:rules and the jobs' rules in .gitlab-ci.yml; "
            "allow more with --appear-timeout.",
        )

    def _exists(self, ref: str) -> bool:
        try:
            self._gitlab.get(f"{self._address}/repository/commits/{quoted(ref)}")
        except NotFoundError:
            return False
        return True

    def _newest(self, target: Newest) -> Pipeline | None:
        name = target.tag or target.ref
        query = {"ref": name, "sha": self._full_sha, "source": target.source}
        for pipeline in self._list(CANDIDATES, **query):
            if pipeline.id == self._own.pipeline_id or pipeline.id in self._others:
                continue
            whole = read_pipeline(self._gitlab, pipeline.project_id, pipeline.id)
            if name is None or self._is_meant(name, target, whole):
                return whole
            self._others.add(pipeline.id)
        return None

    @functools.cached_property
    def _full_sha(self) -> str | None:
        """GitLab's list takes no other."""
        sha = self._target.sha if isinstance(self._target, Newest) else None
        if sha is None or _FULL_SHA.fullmatch(sha):
            return sha
        commit = self._gitlab.get(f"{self._address}/repository/commits/{quoted(sha)}")
        return str(field(commit, "id"))

    def _is_meant(self, name: str, target: Newest, pipeline: Pipeline) -> bool:
        """Whether it is of the kind of ref that was named: a branch and a tag may share a name."""
        if target.tag:
            return bool(pipeline.tag)
        return not pipeline.tag or not self._is_branch(name)

    def _is_branch(self, name: str) -> bool:
        # The route of a single branch takes no job token; a search by both ends does.
        branches = self._gitlab.get_list(f"{self._address}/repository/branches", search=f"^{name}$")
        return any(branch.get("name") == name for branch in branches)

    def _unfinished(self, ref: str | None) -> tuple[Pipeline, ...]:
        """By status, and then whatever changed meanwhile."""
        statuses = [status for status in STATUSES if not is_finished(status)]
        lists = side_by_side(statuses, lambda status: self._list(None, ref=ref, status=status))
        lists.append(self._list(PER_PAGE, ref=ref, order_by="updated_at"))
        found: dict[int, Pipeline] = {}
        for answer in lists:
            if isinstance(answer, CommandError):
                raise answer
            found |= {pipeline.id: pipeline for pipeline in answer}
        return tuple(
            pipeline
            for _, pipeline in sorted(found.items())
            if not is_finished(pipeline.status) and not self._is_own(pipeline)
        )

    def _is_own(self, pipeline: Pipeline) -> bool:
        """Whether it waits, by itself or by its place in the queue, for this very job."""
        own = self._own
        if own.project != pipeline.project:
            return False
        return pipeline.id >= own.pipeline_id or pipeline.sha == own.parent_sha

    def _list(self, count: int | None, **query: str | None) -> list[Pipeline]:
        """The newest pipelines first; all of them if `count` is None."""
        read = (
            functools.partial(self._gitlab.get_list, per_page=count)
            if count
            else self._gitlab.get_all
        )
        answers = read(
            f"{self._address}/pipelines",
            **{name: value for name, value in query.items() if value is not None},
        )
        return [parse_pipeline(self._gitlab, answer) for answer in answers]
