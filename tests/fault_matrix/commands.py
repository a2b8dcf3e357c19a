"""The table of commands: what each run does, to a world of its own."""

from __future__ import annotations

import functools
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sandbox import Access, Sandbox
from sandbox.model import ScriptedJob, ScriptedPipeline
from tests.leaks import spellings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sandbox.model import Job, Pipeline, Project, Token, TriggerToken, User

PROJECT = "tech-lunch/web"
IMAGE = "registry.example.com/group/web"
FILE = f"kind: Pod\nspec:\n  containers:\n    - image: {IMAGE}:first  # of the web\n"
NEXT = "v1.2.4"
_PASSES = ScriptedPipeline(
    jobs=(ScriptedJob(name="unit", timeline=((0, "running"), (0.3, "success"))),)
)
_FAILS = ScriptedPipeline(
    jobs=(
        ScriptedJob(
            name="unit", timeline=((0, "running"), (0.3, "failed")), trace="it does not work\n"
        ),
    )
)


@dataclass(eq=False)
class World:
    """A sandbox with a project, and who works there."""

    gitlab: Sandbox
    user: User
    token: Token
    project: Project
    job: Job
    trigger_token: TriggerToken
    values: dict[str, str] = field(default_factory=dict)

    def revoke(self) -> None:
        """Ends the validity of every token."""
        self.gitlab.finish(self.job)
        with self.gitlab.state.lock:
            self.token.revoked = True
            self.project.trigger_tokens.clear()

    def secrets(self) -> dict[str, str]:
        """Each secret, in each spelling, and what it is."""
        secrets = {
            "access token": self.token.secret,
            "job token": self.job.token,
            "trigger token": self.trigger_token.secret,
        }
        return {each: name for name, secret in secrets.items() for each in spellings(secret)}


def new_world(root: Path) -> World:
    """A sandbox that is not started yet, with all that a command needs.

    Args:
        root: Where its files go.
    """
    gitlab = Sandbox(run_jobs=False, root=root)
    user = gitlab.add_user("ci-cd-executor")
    project = gitlab.add_project(
        PROJECT,
        {".gitlab-ci.yml": "test: {script: [make test]}\n", "apps/web.yaml": FILE},
        members={user: Access.MAINTAINER},
    )
    gitlab.tag(project, "v1.2.3")
    project.job_token_allowlist = None
    project.job_token_push = True
    world = World(
        gitlab,
        user,
        gitlab.add_token(user),
        project,
        gitlab.add_running_job(project, user),
        gitlab.add_trigger_token(project, user),
    )
    project.script = _PASSES
    return world


def effects(world: World) -> Counter[str]:
    """What there is in the project that the commands can make, so that two can be compared."""
    gitlab, project = world.gitlab, world.project
    found: Counter[str] = Counter()
    for pipeline in gitlab.pipelines(project):
        if pipeline.source != "push":
            found[f"pipeline with {' '.join(_variables(pipeline))}"] += 1
            found["canceled pipeline"] += pipeline.status == "canceled"
    found.update(f"tag {name}" for name in gitlab.tags(project))
    found.update(f"release {name}" for name in project.releases)
    for request in project.merge_requests:
        found[f"merge request '{request.title}'"] += 1
        found[f"merge of '{request.title}'"] += request.state == "merged"
    log = subprocess.run(
        ["git", "--git-dir", str(project.repository), "log", "--all", "--no-merges", "--format=%s"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    subjects = (line.removesuffix(" [skip ci]") for line in log.stdout.splitlines())
    found.update(f"commit '{subject}'" for subject in subjects)
    return +found


def _variables(pipeline: Pipeline) -> list[str]:
    """The variables that a client gave, in the form of its option."""
    return [f"{v.key}={v.value}" for v in pipeline.variables if v.key != "TRIGGER_PAYLOAD"]


@dataclass(frozen=True)
class Command:
    """A row of the table.

    Attributes:
        name: What is done.
        script: The console script.
        arguments: Its arguments, beside those of all; `{names}` are those of the world's values.
        token: The token that it gets.
        prepare: Prepares the world.
        code: The exit code of a run without a fault.
        job: Variables of the job that it runs in.
        waits: Whether it waits for a pipeline, so that it can run out of time.
        says: What a result says wrongly of what was done; empty if it is right.
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    token: Literal["access", "job", "trigger", "trigger and access"] = "access"
    prepare: Callable[[World], None] = lambda _: None
    code: int = 0
    job: Mapping[str, str] = field(default_factory=dict, hash=False)
    waits: bool = False
    says: Callable[[World, Mapping[str, Any]], str] = lambda *_: ""

    def __str__(self) -> str:
        return self.name

    def environment(self, world: World) -> dict[str, str]:
        """The variables that hold its tokens, and those of the job that it runs in."""
        tokens = {
            "access": {"COMMANDS_API_TOKEN": world.token.secret},
            "job": {"CI_JOB_TOKEN": world.job.token},
            "trigger": {"TRIGGER_TOKEN": world.trigger_token.secret},
        }
        given = {k: v for each in self.token.split(" and ") for k, v in tokens[each].items()}
        return given | dict(self.job)


def _tag_says(world: World, result: Mapping[str, Any]) -> str:
    made = world.gitlab.tags(world.project)
    if made.get(result["tag"]) != result["commit"]:
        return f"the result names {result['tag']} at {result['commit']}"
    return "" if result["created"] else "the result has created: false"


def _pipeline_says(world: World, result: Mapping[str, Any]) -> str:
    named = next((p for p in world.gitlab.pipelines(world.project) if p.id == result["id"]), None)
    if named is None:
        return f"the result names pipeline {result['id']}, which is not there"
    if _variables(named)[:1] != ["DEPLOY=ours"]:  # the second is that of --reuse
        return f"the result names pipeline {result['id']}, which is another's"
    return ""


def _wait_says(world: World, result: Mapping[str, Any]) -> str:
    named = str(result["id"])
    return "" if named == world.values["pipeline"] else f"the result names pipeline {named}"


def _bump_says(_: World, result: Mapping[str, Any]) -> str:
    if not result["changed"]:
        return "the result has changed: false"
    return "" if result["commit"] else "the result names no commit"


def _with_pipeline(script: ScriptedPipeline, world: World) -> None:
    pipeline = world.gitlab.add_pipeline(world.project, script, user=world.user)
    world.values["pipeline"] = str(pipeline.id)


def _passing(world: World) -> None:
    _with_pipeline(_PASSES, world)


def _failing(world: World) -> None:
    _with_pipeline(_FAILS, world)


def _without_pipelines(world: World) -> None:
    world.project.script = None
    world.gitlab.commit(world.project, {".gitlab-ci.yml": None}, start_pipeline=False)


_TIMES = ("--interval", "0.2", "--timeout", "15", "--appear-timeout", "6")
_POLLING = ("--wait", "--no-realtime", *_TIMES)
_OURS = ("--variable", "DEPLOY=ours")
_IN_JOB = {
    "CI_PIPELINE_URL": "https://gitlab.example.com/tech-lunch/shop/-/pipelines/7",
    "CI_PIPELINE_CREATED_AT": "2026-01-05T09:00:00Z",
    "CI_JOB_NAME": "deploy",
}
_BUMP = ("--image", f"{IMAGE}=ours")


def _tags() -> Iterator[Command]:
    row = functools.partial(Command, script="cmd-tag-project", says=_tag_says)
    name = ("--tag-name", "ours")
    yield row("tag", arguments=name)
    yield row("tag --next", arguments=("--next", "patch"))
    yield row("tag --message", arguments=(*name, "--message", "ours"))
    yield row("tag --release", arguments=(*name, "--release"))
    yield row("tag --release, job token", arguments=(*name, "--release"), token="job")
    yield row("tag --wait", arguments=(*name, *_POLLING), waits=True)


def _triggers() -> Iterator[Command]:
    row = functools.partial(Command, script="cmd-trigger-pipeline", says=_pipeline_says)
    with_ref = (*_OURS, "--ref", "main")
    yield row("trigger", arguments=_OURS)
    yield row("trigger, job token", arguments=with_ref, token="job")
    yield row("trigger, trigger token", arguments=with_ref, token="trigger")
    yield row("trigger, both tokens", arguments=with_ref, token="trigger and access")
    yield row("trigger --reuse", arguments=(*_OURS, "--reuse"), job=_IN_JOB)
    yield row("trigger --wait", arguments=(*_OURS, *_POLLING), waits=True)


def _waits() -> Iterator[Command]:
    row = functools.partial(
        Command, script="cmd-wait-pipeline", says=_wait_says, waits=True, prepare=_passing
    )
    times = ("--no-realtime", *_TIMES)
    by_id = ("--pipeline-id", "{pipeline}")
    yield row("wait", arguments=(*by_id, *times))
    yield row("wait, job token", arguments=(*by_id, *times), token="job")
    yield row("wait for a failure", arguments=(*by_id, *times), prepare=_failing, code=1)
    yield row("wait for a ref", arguments=("--ref", "main", *times))
    yield row("wait with push", arguments=(*by_id, *_TIMES))


def _bumps() -> Iterator[Command]:
    row = functools.partial(Command, script="cmd-bump-image-tag", says=_bump_says)
    by_git = (*_BUMP, "--via", "git")
    yield row("bump by API", arguments=_BUMP)
    yield row("bump --merge-request", arguments=(*_BUMP, "--merge-request"))
    yield row("bump --auto-merge", arguments=(*_BUMP, "--auto-merge"), prepare=_without_pipelines)
    yield row("bump by git", arguments=by_git)
    yield row("bump by git, job token", arguments=by_git, token="job")


COMMANDS = (*_tags(), *_triggers(), *_waits(), *_bumps())
