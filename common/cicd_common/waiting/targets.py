"""Finds the pipelines to wait for: by id, the newest that matches, or all that are active."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cicd_common.errors import (
    AuthError,
    CommandError,
    ForbiddenError,
    NotFoundError,
    UsageError,
)
from cicd_common.gitlab import fields
from cicd_common.gitlab.addresses import same_origin
from cicd_common.gitlab.client import PER_PAGE, GitLab, quoted
from cicd_common.gitlab.projects import parse_project
from cicd_common.parallel import side_by_side
from cicd_common.waiting.events import Note
from cicd_common.waiting.pipelines import (
    CHILD,
    Pipeline,
    in_words,
    parse_jobs,
    parse_pipeline,
    read_bridges,
    read_pipeline,
)
from cicd_common.waiting.statuses import STATUSES, is_finished

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cicd_common.gitlab.fields import JsonObject
    from cicd_common.waiting.listing import Listing

CANDIDATES = 20  # pipelines of a name to read; a tag's can be newer than the branch's
_FULL_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# A group can be called `pipelines`, so the URL form that GitLab uses today is tried first; old
# links have no `/-/`.
_PIPELINE_PAGES = tuple(
    re.compile(rf"(?P<project>.+?){page}(?P<id>[0-9]{{1,18}})(?:[/?#].*)?")
    for page in ("/-/pipelines/", "/pipelines/")
)
_NO_PROJECT = "Project Not Found"  # to a job token: the server ignored it
_BRANCH, _TAG, _MERGE_REQUEST = "refs/heads/", "refs/tags/", "refs/merge-requests/"
# The refs of a merge request's pipelines: its branch, its merged result, and its merge train.
_MERGE_REQUEST_REFS = ("head", "merge", "train")
_MOST_GENERATIONS = 3  # of child pipelines: GitLab allows two below a parent


@dataclass(frozen=True)
class OwnJob:
    """Describes the job that this command runs in, which cannot wait for its own pipeline.

    Attributes:
        server: The URL of its server; empty if no variable names it.
        project: The path of its project.
        project_id: The numeric id of its project.
        pipeline_id: The id of its pipeline; 0 outside a job.
        source: What started its pipeline; empty if no variable names it.
        name: The job's name; empty if no variable names it.
        branch: In a merge request pipeline, the source branch.
        merge_request: In a merge request pipeline, the iid of the merge request; else 0.
    """

    server: str = ""
    project: str = ""
    project_id: str = ""
    pipeline_id: int = 0
    source: str = ""
    name: str = ""
    branch: str = ""
    merge_request: int = 0


def own_job(environment: Mapping[str, str]) -> OwnJob:
    """Reads which job this command runs in from GitLab's predefined variables."""
    pipeline_id = _number(environment.get("CI_PIPELINE_ID", ""))
    if not pipeline_id:
        return OwnJob()
    return OwnJob(
        server=environment.get("CI_SERVER_URL", ""),
        project=environment.get("CI_PROJECT_PATH", ""),
        project_id=environment.get("CI_PROJECT_ID", ""),
        pipeline_id=pipeline_id,
        source=environment.get("CI_PIPELINE_SOURCE", ""),
        name=environment.get("CI_JOB_NAME", ""),
        branch=environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", ""),
        merge_request=_number(environment.get("CI_MERGE_REQUEST_IID", "")),
    )


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


@dataclass(frozen=True)
class ById:
    """Names one existing pipeline by its id.

    Attributes:
        project: The project's path or numeric id.
        id: The pipeline's id.
        ours: Whether this command started it.
    """

    project: str
    id: int
    ours: bool = False

    def __str__(self) -> str:
        """Returns the name of the target, for messages."""
        return f"pipeline {self.id} of {self.project}"


@dataclass(frozen=True)
class Newest:
    """Names the newest pipeline that matches; it need not exist yet.

    Attributes:
        project: The project's path or numeric id.
        ref: The branch; or the tag, if there is no branch of that name. The prefixes `refs/heads/`,
            `refs/tags/` and `refs/merge-requests/` select one kind.
        tag: The tag.
        sha: The commit's SHA, full or abbreviated.
        source: What started it, by GitLab's name, such as `push`.
        ours: Whether this command caused it.
        newer_than: Only pipelines with a higher id count.
        merge_request: The iid of a merge request: only its own pipelines count.
    """

    project: str
    ref: str | None = None
    tag: str | None = None
    sha: str | None = None
    source: str | None = None
    ours: bool = False
    newer_than: int = 0
    merge_request: int | None = None

    def __str__(self) -> str:
        """Returns the name of the target, for messages."""
        named = (
            ("ref", self.ref),
            ("tag", self.tag),
            ("sha", self.sha),
            ("source", self.source),
            ("merge request", self.merge_request and f"!{self.merge_request}"),
        )
        what = ", ".join(f"{name} {value}" for name, value in named if value)
        newer = f" newer than {self.newer_than}" if self.newer_than else ""
        return f"a pipeline{newer} of {what} in {self.project}"


@dataclass(frozen=True)
class AllRunning:
    """Names all pipelines that are active in a project now: a lock waits until they have finished.

    Child pipelines are left out, because their parents wait for them. In a job of the project,
    its own pipeline and that pipeline's parents are left out, and so is a newer pipeline that
    waits for the same lock.

    Attributes:
        project: The project's path or numeric id.
        ref: The branch or tag; None for all.
    """

    project: str
    ref: str | None = None
    ours: ClassVar[bool] = False

    def __str__(self) -> str:
        """Returns the name of the target, for messages."""
        return f"the running pipelines of {self.ref or self.project}"


Target = ById | Newest | AllRunning


def parse_pipeline_url(url: str, base_url: str) -> ById:
    """Reads the project and the id from a pipeline's URL.

    Args:
        url: The URL of its page, or of a page below it.
        base_url: The server that it must belong to.

    Raises:
        UsageError: It is not the URL of a pipeline, or it is on another server.
    """
    for page in _PIPELINE_PAGES:
        if match := page.fullmatch(url.strip()):
            return ById(parse_project(match["project"], base_url), int(match["id"]))
    raise UsageError(
        "That is not the address of a pipeline.",
        hint="Write it as https://gitlab.example.com/group/name/-/pipelines/123",
    )


class Finder:
    """Finds the pipelines of one target, once they exist.

    Args:
        gitlab: The client.
        target: The pipelines to find.
        own: The job that this command runs in.
        listing: The newest pipelines of the project, to find one by its id; None to read it itself.
        every_job: Whether all jobs of a single pipeline are needed, and not only the first 100.

    Attributes:
        notes: What the user should know about the last search.
    """

    def __init__(
        self,
        gitlab: GitLab,
        target: Target,
        own: OwnJob,
        listing: Listing | None = None,
        *,
        every_job: bool = False,
    ) -> None:
        self._gitlab = gitlab
        self._target = target
        self._listing = listing
        self._every_job = every_job
        self._own = own if not own.server or same_origin(own.server, gitlab.base_url) else OwnJob()
        self._address = f"projects/{quoted(target.project)}"
        self._others: set[int] = set()  # pipelines of the same name but another kind of ref
        self._is_first = True
        self._saw_own = False
        self.notes: list[Note] = []

    def find(self) -> tuple[Pipeline, ...] | None:
        """Returns the pipelines as they are now; None while there is none.

        Raises:
            CommandError: GitLab gave no usable response.
        """
        self.notes.clear()
        match self._target:
            case ById() as target:
                found = self._by_id(target)
                return (found,) if found else None
            case Newest() as target:
                newest = self._newest(target)
                if newest and self._is_first and not target.ours:
                    self._warn_of_old(newest, target)
                self._is_first = False
                return (newest,) if newest else None
            case AllRunning():
                return self._running()

    def _by_id(self, target: ById) -> Pipeline | None:
        try:
            listed = self._listing.find(target.id) if self._listing else None
            return listed or self._read(quoted(target.project), target.id)
        except NotFoundError as error:
            if target.ours and _NO_PROJECT not in error.message:
                return None  # a replica may not have it yet
            started = f"{str(target).capitalize()} was started, but cannot be read: "
            raise NotFoundError(
                f"{started if target.ours else ''}{error.message}",
                why=error.why
                or f"{target.project} has no pipeline {target.id} that this token can see.",
                hint=error.hint
                or "Check the project and the id, and that the token's user is a member there.",
                answer=error.answer,
            ) from error

    def _read(self, project_id: str, pipeline_id: int) -> Pipeline:
        return read_pipeline(self._gitlab, project_id, pipeline_id, every_job=self._every_job)

    def _warn_of_old(self, pipeline: Pipeline, target: Newest) -> None:
        if is_finished(pipeline.status) and not target.newer_than:
            self.notes.append(
                Note(
                    f"Pipeline {pipeline.id} of {pipeline.project} had finished before this "
                    f"command began. To wait for a later one, give --newer-than {pipeline.id}.",
                    warning=True,
                )
            )

    def absence(self, waited: float) -> NotFoundError:
        """Returns the error that says why no pipeline appeared within a number of seconds.

        Raises:
            CommandError: GitLab gave no usable response.
        """
        target = self._target
        if isinstance(target, ById):
            return NotFoundError(
                f"GitLab did not show {target}, which was started, within {in_words(waited)}.",
                why="It was deleted, or a replica of GitLab's database lags behind.",
                hint="See the project's pipelines; allow more with --appear-timeout.",
            )
        message = f"There was no {str(target).removeprefix('a ')} within {in_words(waited)}."
        ref = (target.tag or target.ref or target.sha) if isinstance(target, Newest) else None
        if ref and not self._exists(ref.removeprefix(_BRANCH).removeprefix(_TAG)):
            return NotFoundError(
                message,
                why=f"{target.project} has no branch, tag or commit {ref}.",
                hint="Check the name; see whether the push arrived.",
            )
        if self._saw_own:
            return NotFoundError(
                message,
                why=f"The only one is {self._own.pipeline_id}, which this job runs in.",
                hint="Name another ref, commit or source; allow more with --appear-timeout.",
            )
        hint = "See workflow:rules and the jobs' rules in .gitlab-ci.yml; "
        if isinstance(target, Newest) and target.ref and not target.ref.startswith(_MERGE_REQUEST):
            hint += "for the pipelines of a merge request give --merge-request; "
        return NotFoundError(
            message,
            why="Its rules filter every job, CI/CD is disabled in the project, or the push came "
            "from a job with its job token: none of these makes a pipeline.",
            hint=f"{hint}allow more with --appear-timeout.",
        )

    def _exists(self, ref: str) -> bool:
        if ref.startswith(_MERGE_REQUEST):
            return True  # the commits API accepts no such name
        try:
            self._gitlab.get(f"{self._address}/repository/commits/{quoted(ref)}")
        except NotFoundError:
            return False
        return True

    # The newest

    def _newest(self, target: Newest) -> Pipeline | None:
        name = target.tag or target.ref
        kind = _BRANCH if name and name.startswith(_BRANCH) else ""
        kind = _TAG if target.tag or (name and name.startswith(_TAG)) else kind
        name = name and name.removeprefix(kind)
        query = {"ref": name, "sha": self._full_sha, "source": target.source}
        for pipeline in self._candidates(target, query):
            if pipeline.id == self._own.pipeline_id:
                self._saw_own = True
            if pipeline.id in {self._own.pipeline_id, *self._others}:
                continue
            try:
                whole = self._read(pipeline.project_id, pipeline.id)
            except NotFoundError:
                return None  # a replica may not have it yet
            if name is None or self._is_meant(name, kind, whole):
                return whole
            self._others.add(pipeline.id)
        return None

    def _of_merge_request(self, target: Newest) -> list[JsonObject]:
        path = f"{self._address}/merge_requests/{target.merge_request}/pipelines"
        try:
            return self._gitlab.get_list(path, per_page=PER_PAGE)
        except NotFoundError as error:
            raise NotFoundError(
                error.message,
                why=error.why
                or f"{target.project} has no merge request !{target.merge_request} that this token "
                "can see.",
                hint=error.hint or "Check --project and --merge-request.",
                answer=error.answer,
            ) from error

    def _candidates(self, target: Newest, query: Mapping[str, str | None]) -> list[Pipeline]:
        """Returns the pipelines that can match, the newest first."""
        if target.merge_request is None:
            listed = self._list(CANDIDATES, **query)
        else:
            answers = self._of_merge_request(target)
            ours = _merge_request_refs(target.merge_request)
            listed = [
                pipeline
                for pipeline in (parse_pipeline(self._gitlab, answer) for answer in answers)
                if pipeline.ref in ours
                and query["ref"] in {None, pipeline.ref}
                and query["sha"] in {None, pipeline.sha}
                and query["source"] in {None, pipeline.source}
            ]
        return [pipeline for pipeline in listed if pipeline.id > target.newer_than]

    @functools.cached_property
    def _full_sha(self) -> str | None:
        """Returns the full SHA, because GitLab's list of pipelines accepts no other."""
        sha = self._target.sha if isinstance(self._target, Newest) else None
        if sha is None or _FULL_SHA.fullmatch(sha):
            return sha
        commit = self._gitlab.get(f"{self._address}/repository/commits/{quoted(sha)}")
        return fields.text(commit, "id")

    def _is_meant(self, name: str, kind: str, pipeline: Pipeline) -> bool:
        """Returns whether the kind of ref matches: a branch and a tag can have the same name."""
        if kind:
            return bool(pipeline.tag) is (kind == _TAG)
        return not pipeline.tag or not self._is_branch(name)

    def _is_branch(self, name: str) -> bool:
        # The route of a single branch accepts no job token; the search with `^` and `$` does.
        branches = self._gitlab.get_list(f"{self._address}/repository/branches", search=f"^{name}$")
        return any(fields.text(branch, "name") == name for branch in branches)

    # All active pipelines

    def _running(self) -> tuple[Pipeline, ...]:
        """Finds the active pipelines by status, and then those that changed meanwhile."""
        statuses = [status for status in STATUSES if not is_finished(status)]
        refs = self._refs()
        ref = next(iter(refs)) if refs and len(refs) == 1 else None
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
            if not is_finished(pipeline.status)
            and (refs is None or pipeline.ref in refs)
            and not self._is_left_out(pipeline)
        )

    def _refs(self) -> frozenset[str] | None:
        """Returns the refs that the pipelines can have; None for any."""
        ref = self._target.ref if isinstance(self._target, AllRunning) else None
        if ref is None:
            return None
        name = ref.removeprefix(_BRANCH).removeprefix(_TAG)
        own = self._own
        if own.merge_request and name == own.branch and self._is_own_project:
            return frozenset({name, *_merge_request_refs(own.merge_request)})
        return frozenset({name})

    @property
    def _is_own_project(self) -> bool:
        """Returns whether it is this job's project; by id, because a rename changes the path."""
        return bool(self._own.pipeline_id) and self._target.project in {
            self._own.project,
            self._own.project_id,
        }

    def _is_left_out(self, pipeline: Pipeline) -> bool:
        """Returns whether a pipeline waits for this job: its own, a parent, or the next in line."""
        own = self._own
        if pipeline.id == own.pipeline_id:
            return True  # ids are unique on a server
        if not self._is_own_project:
            return False
        if pipeline.id > own.pipeline_id:
            return self._waits_for_lock(pipeline)
        return own.source in {"", "pipeline", CHILD} and self._is_above(pipeline, _MOST_GENERATIONS)

    def _is_above(self, pipeline: Pipeline, generations: int) -> bool:
        """Returns whether a trigger job of a pipeline, or of one below it, started our pipeline."""
        try:
            bridges = read_bridges(self._gitlab, pipeline)
        except (AuthError, ForbiddenError, NotFoundError):
            return False  # older servers do not show them to a job token
        for bridge in bridges:
            below = bridge.downstream
            if below is None:
                continue
            if below.id == self._own.pipeline_id:
                return True
            active = generations > 1 and not is_finished(below.status)
            if active and self._is_above(below, generations - 1):
                return True
        return False

    def _waits_for_lock(self, pipeline: Pipeline) -> bool:
        """Returns whether a newer pipeline waits for us: it has our job, which has not passed."""
        if not self._own.name:
            self.notes.append(
                Note(
                    f"Pipeline {pipeline.id} is newer than the one of this job. If its jobs wait "
                    "for this one, both wait in vain: pass CI_JOB_NAME on.",
                    warning=True,
                )
            )
            return False
        path = f"projects/{pipeline.project_id}/pipelines/{pipeline.id}/jobs"
        return any(
            job.name == self._own.name and not is_finished(job.status)
            for job in parse_jobs(self._gitlab.get_all(path))
        )

    def _list(self, count: int | None, **query: str | None) -> list[Pipeline]:
        """Returns the newest pipelines first; all of them if `count` is None."""
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


def _merge_request_refs(iid: int) -> list[str]:
    return [f"{_MERGE_REQUEST}{iid}/{kind}" for kind in _MERGE_REQUEST_REFS]
