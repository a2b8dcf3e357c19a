"""Components as a runner with the Docker executor runs them: each job in the command's image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from sandbox import Access, Sandbox
from sandbox.model import ENDED, Variable
from sandbox.scenarios import tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.model import Project

pytestmark = pytest.mark.docker

TEMPLATES = Path(__file__).parents[2] / "templates"
TARGET = "tech-lunch/service-tests"
INPUTS: dict[str, dict[str, object]] = {
    "cmd-tag-project": {"project": TARGET, "tag-name": "v1", "wait": True},
    "cmd-trigger-pipeline": {"project": TARGET},
    "cmd-wait-pipeline": {"project": TARGET, "ref": "main"},
    "cmd-bump-image-tag": {"project": TARGET, "image": "web", "tag": "v2", "via": "git"},
}


@pytest.fixture
def gitlab(address: str) -> Iterator[Sandbox]:
    with Sandbox(host=address) as running:
        yield running


@pytest.fixture
def here(gitlab: Sandbox) -> Project:
    """A project beside the components' and the one that they work on, which has a pipeline."""
    roles = {gitlab.add_user("ci-cd-executor"): Access.MAINTAINER}
    token = gitlab.add_token(next(iter(roles)))
    gitlab.state.group_variables["tech-lunch"] = [
        Variable("COMMANDS_API_TOKEN", token.secret, masked=True)
    ]
    files = {f"templates/{path}": content for path, content in tree(TEMPLATES).items()}
    gitlab.add_project("tech-lunch/ci-cd-commands", files, members=roles)
    target = gitlab.add_project(TARGET, {"a": "b"}, members=roles)
    work = {".gitlab-ci.yml": "work: {script: echo}", "compose.yaml": "services: {a: {image: web}}"}
    gitlab.commit(target, work)
    return gitlab.add_project("tech-lunch/hello-world", members=roles)


def test_a_components_job_runs_in_the_commands_image(
    gitlab: Sandbox, here: Project, images: dict[str, str], command: str
) -> None:
    include = {
        "component": f"$CI_SERVER_FQDN/tech-lunch/ci-cd-commands/{command}@main",
        "inputs": {"command-image": images[command], **INPUTS[command]},
    }
    gitlab.commit(here, {".gitlab-ci.yml": yaml.safe_dump({"include": [include]})})
    gitlab.wait_until(lambda: bool(gitlab.pipelines(here)))
    (pipeline,) = gitlab.pipelines(here)
    gitlab.wait_until(lambda: pipeline.status in ENDED)
    (job,) = pipeline.jobs
    assert job.status == "success", job.trace.decode()
    assert b"Using Docker executor with image" in job.trace
    assert job.dotenv
