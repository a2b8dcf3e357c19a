"""The sandbox's records: plain data without behaviour, guarded by one lock.

Every thread that reads or changes a record holds `State.lock`. `State.changed` is the condition on
that lock: whoever changes a pipeline or a job calls `notify_all()`, so that nobody has to poll.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from sandbox.agenda import INSTANT, Agenda, Slow
from sandbox.clocks import WallClock
from sandbox.versions import DEFAULT, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from sandbox.clocks import Clock


class Access(IntEnum):
    """GitLab's roles by their numeric access levels."""

    NONE = 0
    GUEST = 10
    PLANNER = 15
    REPORTER = 20
    DEVELOPER = 30
    MAINTAINER = 40
    OWNER = 50


JOB_TOKEN_PREFIX = "glcbt-"
NO_COMMIT = "0" * 40

TokenKind = Literal["personal", "project", "group", "oauth"]

# The statuses that pipelines and jobs share, in GitLab's words.
STATUSES = (
    "created",
    "waiting_for_resource",
    "preparing",
    "waiting_for_callback",
    "pending",
    "running",
    "success",
    "failed",
    "canceling",
    "canceled",
    "skipped",
    "manual",
    "scheduled",
)
ENDED = frozenset({"success", "failed", "canceled", "skipped"})


@dataclass(eq=False)
class User:
    """A person or a bot."""

    id: int
    username: str
    name: str
    email: str
    admin: bool = False
    bot: bool = False


@dataclass(eq=False)
class Token:
    """A personal, project, group or OAuth access token. Job tokens live on their `Job`."""

    id: int
    secret: str
    kind: TokenKind
    name: str
    user: User
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked: bool = False
    permissions: frozenset[str] | None = None  # of a fine-grained token; None: it is another kind


@dataclass(eq=False)
class TriggerToken:
    """A pipeline trigger token: starts pipelines of one project as its owner, reads nothing."""

    id: int
    secret: str
    owner: User
    description: str = ""


@dataclass(eq=False)
class ProtectedRef:
    """Who may create a tag, or push to a branch, whose name matches a wildcard pattern."""

    pattern: str
    level: Access = Access.MAINTAINER  # NONE: no one
    deploy_key: bool = False  # whether a deploy key may, too, which admits no token


@dataclass(eq=False)
class Variable:
    """A CI/CD variable of a group, a project or a pipeline."""

    key: str
    value: str
    kind: Literal["env_var", "file"] = "env_var"
    masked: bool = False
    protected: bool = False
    raw: bool = False  # references to other variables in it stay as they are


@dataclass(eq=False)
class Release:
    """A release of a tag."""

    tag: str
    name: str
    description: str
    created_at: datetime
    author: User
    links: list[ReleaseLink] = field(default_factory=list)


@dataclass(eq=False)
class ReleaseLink:
    """A link to an asset of a release."""

    id: int
    name: str
    url: str
    kind: str = "other"


@dataclass(eq=False)
class MergeRequest:
    """A request to merge one branch of a project into another."""

    id: int
    iid: int
    title: str
    description: str
    source_branch: str
    target_branch: str
    author: User
    created_at: datetime
    updated_at: datetime
    prepared_at: datetime  # until then it is `preparing`
    checked_at: datetime  # until then it is `checking`
    state: Literal["opened", "closed", "merged"] = "opened"
    remove_source_branch: bool = False
    labels: list[str] = field(default_factory=list)
    assignees: list[User] = field(default_factory=list)
    reviewers: list[User] = field(default_factory=list)
    waiting: AutoMerge | None = None
    merged_at: datetime | None = None
    merge_user: User | None = None
    merge_commit_sha: str | None = None
    merge_error: str | None = None
    sha: str | None = None  # the head of its source branch, which stays when the branch is removed
    unchecked: int = 0  # reads for which GitLab has not yet found out whether it can be merged
    notes: list[str] = field(default_factory=list)

    @property
    def auto_merge(self) -> bool:
        """Whether GitLab is to merge it later."""
        return self.waiting is not None


@dataclass(eq=False)
class AutoMerge:
    """A merge that GitLab carries out once everything is as it must be."""

    user: User
    sha: str
    remove_source_branch: bool
    due: bool = False  # whether the merge is on the agenda


@dataclass(eq=False)
class Project:
    """A project and its settings; the repository is a bare git repository on disk."""

    id: int
    path: str  # group/sub/name
    repository: Path
    default_branch: str = "main"
    visibility: Literal["private", "internal", "public"] = "private"
    members: dict[int, Access] = field(default_factory=dict)  # by user id
    old_paths: set[str] = field(default_factory=set)  # answers 301, or 405 to a write
    ci_enabled: bool = True
    variables: list[Variable] = field(default_factory=list)
    protected_tags: list[ProtectedRef] = field(default_factory=list)
    protected_branches: list[ProtectedRef] = field(default_factory=list)
    # None: any project's job token may come in; else the paths of the projects, and of the groups
    # whose projects, may, beside the project itself.
    job_token_allowlist: set[str] | None = field(default_factory=set)
    job_token_push: bool = False  # "Allow Git push requests to the repository"
    pipeline_variables_role: int = Access.DEVELOPER  # above OWNER: no one allowed
    trigger_tokens: list[TriggerToken] = field(default_factory=list)
    releases: dict[str, Release] = field(default_factory=dict)
    merge_requests: list[MergeRequest] = field(default_factory=list)
    merge_checks: int = 0  # reads for which a new merge request stays unchecked
    pipelines_must_succeed: bool = False
    skipped_pipelines_count_as_success: bool = False
    auto_cancel: bool = True  # "Auto-cancel redundant pipelines"
    labels: set[str] = field(default_factory=set)
    # Happens once, between the check of `last_commit_id` and the write: GitLab locks nothing there.
    meanwhile: Callable[[], object] | None = None
    # What a pre-receive hook answers to every push and tag; None: it accepts. May be empty.
    hook_message: str | None = None
    # What its pipelines follow in place of their configuration, and those of merge requests.
    script: ScriptedPipeline | None = None
    merge_request_script: ScriptedPipeline | None = None
    pipeline_iids: Iterator[int] = field(default_factory=lambda: itertools.count(1))


# Seconds after a start, and the status from then on.
Steps = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Timeline:
    """Steps and when they start."""

    start: datetime
    steps: Steps


@dataclass(frozen=True, kw_only=True)
class ScriptedJob:
    """What a test has a job do in place of work.

    Attributes:
        name: The job's name.
        stage: Its stage.
        timeline: Its statuses, in seconds after the pipeline's creation.
        when: `manual` has it wait for a person, from the start.
        played: Its statuses once a person has started it, in seconds after that.
        retried: Those of the job that a retry puts in its place.
        canceled: Its statuses once it is canceled.
        allow_failure: Whether its failure is a warning only.
        failure_reason: Why it fails, if it does.
        trace: Its log, from its start on.
        downstream: The pipeline that it starts, which makes it a trigger job.
        downstream_after: Seconds of its timeline after which that pipeline exists.
        artifacts: Its artifacts, content by path, once it has succeeded or failed.
    """

    name: str
    stage: str = "test"
    timeline: Steps = ((0, "success"),)
    when: Literal["on_success", "manual"] = "on_success"
    played: Steps = ((0, "running"), (1, "success"))
    retried: Steps = ((0, "running"), (1, "success"))
    canceled: Steps = ((0, "canceled"),)
    allow_failure: bool = False
    failure_reason: str = "script_failure"
    trace: str = ""
    downstream: ScriptedPipeline | None = None
    downstream_after: float = 0
    artifacts: Mapping[str, bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class ScriptedPipeline:
    """What a test has a pipeline do in place of its configuration.

    Attributes:
        timeline: Its statuses, in seconds after its creation; empty: they follow from its jobs.
            What a person does to a pipeline with jobs ends its own timeline.
        jobs: Its jobs.
        retried: Its statuses after a retry, if it has no jobs.
        canceled: Its statuses after it was canceled, if it has no jobs.
        project: Whose it is, of a downstream pipeline; None is the upstream's own: a child.
        ref: Its ref, of a downstream pipeline; None is the project's default branch, of a child
            the upstream's ref.
        name: Its name, if any.
        test_summary: Counts of its tests by `total`, `success`, `failed`, `skipped`, `error`.
    """

    timeline: Steps = ()
    jobs: tuple[ScriptedJob, ...] = ()
    retried: Steps = ((0, "running"), (1, "success"))
    canceled: Steps = ((0, "canceled"),)
    project: Project | None = None
    ref: str | None = None
    name: str | None = None
    test_summary: dict[str, int] | None = None


@dataclass(frozen=True)
class TestCounts:
    """What a job's JUnit reports come to."""

    __test__ = False  # it is not a test, whatever its name

    success: int = 0
    failed: int = 0
    error: int = 0
    skipped: int = 0
    suite_error: str | None = None

    @property
    def total(self) -> int:
        """How many cases there are."""
        return self.success + self.failed + self.error + self.skipped


@dataclass(eq=False)
class Job:
    """A job or, with `bridge`, a trigger job."""

    id: int
    name: str
    stage: str
    pipeline: Pipeline
    status: str = "created"
    allow_failure: bool = False
    when: Literal["on_success", "on_failure", "always", "manual", "delayed", "never"] = "on_success"
    bridge: bool = False
    downstream: Pipeline | None = None  # of a bridge, once it exists
    retried: bool = False
    failure_reason: str | None = None
    exit_code: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    trace: bytearray = field(default_factory=bytearray)
    user: User | None = None
    token: str = ""  # the CI_JOB_TOKEN; valid while the job runs
    spec: object | None = None  # what the executor needs to run it; its own business
    scheduled_at: datetime | None = None  # when a delayed job is to start
    dotenv: list[Variable] = field(default_factory=list)  # of its artifacts:reports:dotenv
    artifacts: bytes | None = None  # the zip of its archive
    artifacts_kept: bool = False  # whether it had one, which may have been erased since
    artifacts_expire_at: datetime | None = None
    artifacts_access: Literal["all", "developer", "none"] = "all"
    erased_at: datetime | None = None
    tests: TestCounts | None = None  # of its artifacts:reports:junit
    script: ScriptedJob | None = None
    timeline: Timeline | None = None  # of a scripted job: what it follows now


@dataclass(eq=False)
class Pipeline:
    """A pipeline."""

    id: int
    iid: int
    project: Project
    ref: str
    sha: str
    source: str
    user: User
    created_at: datetime
    updated_at: datetime
    tag: bool = False
    before_sha: str = NO_COMMIT  # where the branch was before the push
    merge_request: MergeRequest | None = None
    readable_from: datetime | None = None  # until then a read replica does not have it
    status: str = "created"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    yaml_errors: str | None = None
    name: str | None = None
    variables: list[Variable] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    upstream: Job | None = None  # the bridge that started it
    stages: list[str] = field(default_factory=list)
    test_summary: dict[str, int] | None = None  # total, success, failed, skipped, error
    script: ScriptedPipeline | None = None
    timeline: Timeline | None = None  # of a scripted one; without, its status follows from its jobs

    @property
    def scripted(self) -> bool:
        """Whether its statuses follow timelines, and no job of it runs."""
        return self.script is not None


@dataclass
class State:
    """Everything the embedded server holds."""

    root: Path  # where repositories and job directories live
    clock: Clock = field(default_factory=WallClock)
    version: Version = field(default_factory=lambda: Version.parse(DEFAULT))
    slow: Slow = INSTANT
    lock: threading.RLock = field(default_factory=threading.RLock)
    users: dict[int, User] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)  # by secret
    projects: dict[int, Project] = field(default_factory=dict)
    pipelines: dict[int, Pipeline] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    coming: list[Pipeline] = field(default_factory=list)  # scripted, to be created some time later
    group_variables: dict[str, list[Variable]] = field(default_factory=dict)  # by group path
    instance_variables: list[Variable] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(101))
    external_url: str = ""  # set once the server listens; ends without a slash
    registry: str | None = None  # host:port of a container registry, for CI_REGISTRY
    pipelines_per_minute: int | None = None  # of one project, user and commit; None: no limit
    dotenv_variables: int = 20  # the limits of self-managed GitLab
    dotenv_bytes: int = 5120
    # What clients sent that the sandbox does not read, and bugs in what happens after an answer.
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Tie the condition to the lock, and the agenda to the clock."""
        self.changed = threading.Condition(self.lock)
        self.agenda = Agenda(self.clock)

    @property
    def origin(self) -> str:
        """The scheme, host and port of `external_url`, which a request's target follows."""
        parts = urlsplit(self.external_url)
        return f"{parts.scheme}://{parts.netloc}"
