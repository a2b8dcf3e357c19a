"""The job build-and-push of .gitlab-ci.yml, run by the sandbox against a real registry."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
import yaml

from cicd_common import __version__
from sandbox import Access, Sandbox
from sandbox.model import Variable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient

    from sandbox.model import Job, Project
    from tests.conftest import Registry

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
JOB = "build-and-push"
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
COMMANDS = [script for script in SCRIPTS if script.startswith("cmd-")]
BUILD_SECONDS = 200


@pytest.fixture
def gitlab(address: str, registry: Registry) -> Iterator[Sandbox]:
    with Sandbox(host=address) as running:
        running.state.registry = registry.address
        yield running


@pytest.fixture
def project(gitlab: Sandbox, registry: Registry, engine: DockerClient) -> Iterator[Project]:
    """This working tree as a project that has had no push yet."""
    project = gitlab.add_project(
        "tech-lunch/ci-cd-commands",
        working_tree() | {".gitlab-ci.yml": publishing_alone()},
        members={gitlab.add_user("developer"): Access.MAINTAINER},
    )
    variables = {"CI_REGISTRY_USER": registry.user, "CI_REGISTRY_PASSWORD": registry.password}
    if "PYTHON_IMAGE" in os.environ:
        variables["PYTHON_IMAGE"] = os.environ["PYTHON_IMAGE"]
    project.variables = [Variable(key, value) for key, value in variables.items()]
    yield project
    for image in engine.images.list():
        for tag in image.tags:
            if tag.startswith(f"{registry.address}/"):
                engine.images.remove(tag)


def working_tree() -> dict[str, str | bytes]:
    """The files that git knows of, with what they hold now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    paths = [path for path in listed.stdout.decode().split("\0") if (ROOT / path).is_file()]
    return {path: (ROOT / path).read_bytes() for path in paths}


def publishing_alone() -> str:
    """The configuration with this job alone, as a shell runner reads it: `image` is ignored."""
    config = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    job = {key: value for key, value in config[JOB].items() if key != "image"}
    return yaml.safe_dump({"stages": config["stages"], ".engine": config[".engine"], JOB: job})


def publish(gitlab: Sandbox, project: Project) -> list[Job]:
    """Pushes to the default branch; the jobs, all of which went well."""
    earlier = len(gitlab.pipelines(project))
    gitlab.commit(project, {"CHANGELOG.md": f"Change {earlier}\n"})
    gitlab.wait_until(lambda: len(gitlab.pipelines(project)) > earlier)
    pipeline = gitlab.pipelines(project)[-1]
    gitlab.wait_until(lambda: pipeline.status in {"success", "failed"}, BUILD_SECONDS)
    assert pipeline.status == "success", b"".join(job.trace for job in pipeline.jobs).decode()
    return pipeline.jobs


def published(registry: Registry, repository: str) -> dict[str, str]:
    """Digests by tag."""
    with requests.Session() as session:
        session.auth = (registry.user, registry.password)
        session.headers["Accept"] = "application/vnd.docker.distribution.manifest.v2+json"
        url = f"http://{registry.address}/v2/{repository}"
        tags = session.get(f"{url}/tags/list", timeout=10).json()["tags"]
        answers = {tag: session.head(f"{url}/manifests/{tag}", timeout=10) for tag in tags}
        return {tag: answer.headers["Docker-Content-Digest"] for tag, answer in answers.items()}


@pytest.mark.timeout(300)  # builds and pushes as many images as there are commands
def test_a_push_to_the_default_branch_publishes_each_command_once_per_version(
    gitlab: Sandbox,
    project: Project,
    registry: Registry,
    engine: DockerClient,
) -> None:
    jobs = publish(gitlab, project)
    assert {job.name for job in jobs} == {f"{JOB}: [{command}]" for command in COMMANDS}
    for job in jobs:
        assert b"Removing login credentials for " + registry.address.encode() in job.trace
        assert registry.password.encode() not in job.trace
    before = {}
    for command in COMMANDS:
        repository = f"{project.path}/{command}"
        before[command] = published(registry, repository)
        assert set(before[command]) == {__version__, "latest"}
        assert len(set(before[command].values())) == 1
        labels = engine.images.get(f"{registry.address}/{repository}:latest").labels
        assert labels["org.opencontainers.image.version"] == __version__
        assert labels["org.opencontainers.image.revision"] == gitlab.sha(project)
        assert labels["org.opencontainers.image.source"] == f"{gitlab.url}/{project.path}"

    for job in publish(gitlab, project):
        assert b"is published already" in job.trace
    assert before == {
        command: published(registry, f"{project.path}/{command}") for command in COMMANDS
    }
