from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cmd_trigger_pipeline.cli import cli
from sandbox import Access

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox import Sandbox
    from sandbox.model import Job, Pipeline, Project, Token, TriggerToken, User
    from tests.functional.conftest import Ending, Invoke

CONFIG = "test: {script: [make test]}"


@pytest.fixture
def project(gitlab: Sandbox, executor: User) -> Project:
    return gitlab.add_project(
        "tech-lunch/service-tests",
        {".gitlab-ci.yml": CONFIG},
        members={executor: Access.MAINTAINER},
    )


@pytest.fixture
def others(gitlab: Sandbox, executor: User) -> list[Project]:
    return [
        gitlab.add_project(
            f"tech-lunch/p{n}", {".gitlab-ci.yml": CONFIG}, members={executor: Access.MAINTAINER}
        )
        for n in range(3)
    ]


@pytest.fixture
def job(gitlab: Sandbox, project: Project, executor: User) -> Job:
    """A running job of another project, which `project` has on its allowlist."""
    upstream = gitlab.add_project(
        "tech-lunch/hello-world", {"README.md": ""}, members={executor: Access.MAINTAINER}
    )
    assert project.job_token_allowlist is not None
    project.job_token_allowlist.add(upstream.path)
    return gitlab.add_running_job(upstream, executor)


@pytest.fixture
def trigger_token(gitlab: Sandbox, project: Project, executor: User) -> TriggerToken:
    return gitlab.add_trigger_token(project, executor)


@pytest.fixture
def trigger(
    invoke: Invoke, gitlab: Sandbox, token: Token, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ending]:
    """Runs the command for tech-lunch/service-tests with an access token, unless told otherwise."""
    monkeypatch.delenv("TRIGGER_TOKEN", raising=False)
    monkeypatch.setenv("CI_SERVER_URL", gitlab.url)

    def run(
        *arguments: str,
        project: str | None = "tech-lunch/service-tests",
        access: str | None = token.secret,
        job: Job | None = None,
    ) -> Ending:
        monkeypatch.setenv("COMMANDS_API_TOKEN", access or "")
        monkeypatch.setenv("CI_JOB_TOKEN", job.token if job else "")
        named = ["--project", project] if project else []
        ending = invoke(cli, *named, *arguments)
        for secret in (access, job.token if job else None):
            assert not secret or secret not in ending.stdout + ending.stderr
        return ending

    return run


@pytest.fixture
def only(gitlab: Sandbox) -> Callable[[Project, str], Pipeline]:
    """The one pipeline of a project that has a source."""

    def find(project: Project, source: str) -> Pipeline:
        (found,) = [each for each in gitlab.pipelines(project) if each.source == source]
        return found

    return find
