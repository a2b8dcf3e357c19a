"""What a CI configuration says, in types: the plan that pipelines are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sandbox.ci.expressions import Condition
    from sandbox.model import Variable

When = Literal["on_success", "on_failure", "always", "manual", "delayed", "never"]


@dataclass(frozen=True)
class Rule:
    """One entry of `rules`; all of its conditions have to hold."""

    condition: Condition | None = None
    changes: tuple[str, ...] | None = None
    exists: tuple[str, ...] | None = None
    when: When | None = None
    start_in: float | None = None  # seconds
    allow_failure: bool | None = None
    variables: tuple[Variable, ...] = ()


@dataclass(frozen=True)
class Policy:
    """An `only` or an `except`."""

    refs: tuple[str, ...] = ()
    variables: tuple[Condition, ...] = ()
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Need:
    """A job that has to be done first, by the name it has in the configuration."""

    job: str
    artifacts: bool = True
    optional: bool = False


@dataclass(frozen=True)
class Image:
    """The container image of a job; an entrypoint of None is the image's own."""

    name: str
    entrypoint: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Artifacts:
    """What a job leaves for later jobs and for GitLab."""

    paths: tuple[str, ...] = ()
    when: Literal["on_success", "on_failure", "always"] = "on_success"
    dotenv: tuple[str, ...] = ()
    junit: tuple[str, ...] = ()
    expire_in: float | None = 30 * 86400  # seconds, 30 days as on GitLab.com; None is never
    access: Literal["all", "developer", "none"] = "all"


@dataclass(frozen=True)
class Environment:
    """Where a job deploys to; its texts may hold variables."""

    name: str
    url: str | None = None
    action: str = "start"
    on_stop: str | None = None
    tier: str | None = None


@dataclass(frozen=True)
class Retry:
    """How often a failed job is tried again, and after which failures."""

    max: int = 0
    when: tuple[str, ...] = ()
    exit_codes: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ReleasePlan:
    """The release that a job makes of a tag; its texts may hold variables."""

    tag_name: str
    description: str  # or the path of a file that has it
    name: str | None = None


@dataclass(frozen=True)
class Include:
    """A piece of configuration from elsewhere, named by exactly one of the first three."""

    local: str | None = None
    component: str | None = None
    project: str | None = None
    file: str | None = None  # within `project`
    ref: str | None = None  # of `project`
    inputs: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Trigger:
    """The downstream pipeline of a bridge: another project's, or with `include` a child."""

    project: str | None = None
    branch: str | None = None
    include: tuple[Include, ...] = ()
    strategy: Literal["depend", "mirror"] | None = None
    inputs: dict[str, object] = field(default_factory=dict)
    yaml_variables: bool = True  # whether the bridge's own are passed on
    pipeline_variables: bool = False  # whether those of its pipeline are


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """A job as the configuration has it; with its rules applied it is what a runner runs."""

    name: str
    base: str  # the name before `parallel` made several of it
    stage: str = "test"
    script: tuple[str, ...] = ()  # before_script and script
    after_script: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()
    when: When = "on_success"
    start_in: float = 0  # seconds
    allow_failure: bool | None = None
    allowed_exit_codes: frozenset[int] = frozenset()
    rules: tuple[Rule, ...] | None = None
    only: Policy | None = None
    exclude: Policy | None = None
    needs: tuple[Need, ...] | None = None
    dependencies: tuple[str, ...] | None = None
    image: Image | None = None
    artifacts: Artifacts = Artifacts()
    retry: Retry = Retry()
    timeout: float = 3600  # seconds
    environment: Environment | None = None
    interruptible: bool = False
    resource_group: str | None = None
    release: ReleasePlan | None = None
    trigger: Trigger | None = None
    ignored: tuple[str, ...] = ()  # keywords that the sandbox reads past


@dataclass(frozen=True)
class Plan:
    """A whole configuration."""

    stages: tuple[str, ...]
    jobs: tuple[JobPlan, ...]
    variables: tuple[Variable, ...] = ()
    workflow: tuple[Rule, ...] | None = None
    name: str | None = None  # workflow:name
