"""Artifacts by every command that waits, on each version of GitLab, with each kind of token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cmd_tag_project.cli import cli as tag
from cmd_trigger_pipeline.cli import cli as trigger
from cmd_wait_pipeline.cli import cli as wait
from sandbox import Access, Sandbox, ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import click

    from sandbox.model import Project, User
    from tests.functional.conftest import Ending, Invoke, SkippingClock

VERSIONS = ("17.11", "18.2", "18.9", "19.4")
FILES = {"app": b"app", "build.env": b"VERSION=1.2.3\n"}
WANTED = ("--artifacts", "build=out", "--dotenv-from", "build=build.env")
COMMANDS: dict[str, tuple[click.Command, tuple[str, ...]]] = {
    "wait": (wait, ()),
    "trigger": (trigger, ("--wait",)),
    "tag": (tag, ("--tag-name", "v1", "--release", "--wait")),
}
# The first version on which a job token can do it: it reads jobs since 18.4, and the list of
# pipelines, in which a tag's pipeline is found, since 19.0.
SINCE = {"wait": "18.9", "trigger": "18.9", "tag": "19.4"}


@pytest.fixture(params=VERSIONS)
def gitlab(clock: SkippingClock, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(
        clock=clock, run_jobs=False, object_storage=True, version=request.param
    ) as running:
        yield running


@pytest.fixture
def upstream(gitlab: Sandbox, executor: User, project: Project) -> Project:
    project.script = ScriptedPipeline(jobs=(ScriptedJob(name="build", artifacts=FILES),))
    project.job_token_allowlist = {"tech-lunch/hello-world"}
    return gitlab.add_project(
        "tech-lunch/hello-world", {"a": "b"}, members={executor: Access.OWNER}
    )


@pytest.mark.parametrize("kind", ["access", "job"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_artifacts_are_here_when_the_wait_ends(
    gitlab: Sandbox,
    upstream: Project,
    project: Project,
    executor: User,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
    kind: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI_SERVER_URL", gitlab.url)
    access = gitlab.add_token(executor).secret
    job = gitlab.add_running_job(upstream, executor).token
    monkeypatch.setenv("COMMANDS_API_TOKEN" if kind == "access" else "CI_JOB_TOKEN",
                       access if kind == "access" else job)  # fmt: skip
    options: tuple[str, ...] = ("--project", project.path, "--dotenv", "p.env", "--interval", "0.1")
    cli, more = COMMANDS[command]
    if command == "wait":
        script = project.script
        assert script is not None
        more = (str(gitlab.add_pipeline(project, script, user=executor).id),)

    ending = invoke(cli, *options, *more, *WANTED)

    assert access not in ending.stderr
    if kind == "job" and VERSIONS.index(str(gitlab.state.version).removesuffix(".0")) < (
        VERSIONS.index(SINCE[command])
    ):
        assert_refused(ending)
        return
    assert ending.code == 0, ending.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == FILES
    assert (tmp_path / "p.env").read_text().endswith("VERSION=1.2.3\n")
    [request] = gitlab.storage.requests
    assert not {"private-token", "job-token"} & {name.lower() for name in request.headers}


def assert_refused(ending: Ending) -> None:
    assert ending.code == 4, ending.stderr
    assert "job token" in ending.stderr
    assert "COMMANDS_API_TOKEN" in ending.stderr
