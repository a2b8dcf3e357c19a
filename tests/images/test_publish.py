"""The jobs of .gitlab-ci.yml that publish, run by the sandbox against a real registry."""

from __future__ import annotations

import base64
import email
import email.policy
import os
import secrets
import subprocess
import threading
import tomllib
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest
import requests
import yaml

from cicd_common import __version__
from sandbox import Access, Sandbox
from sandbox.auth import live_job
from sandbox.model import ENDED, Variable
from sandbox.scenarios import job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient

    from sandbox.model import Pipeline, Project
    from tests.conftest import Registry

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
COMMANDS = [script for script in SCRIPTS if script.startswith("cmd-")]
NAMES = [*COMMANDS, "ci-cd-commands"]
BUILDS = {f"build-and-push: [{name}]" for name in NAMES}
USES = {f"use-{command}" for command in COMMANDS}
NOTES = "### Added\n\n- Everything."
CHANGELOG = f"# Changelog\n\n## [Unreleased]\n\n## [{__version__}] - 2026-01-31\n\n{NOTES}\n"
# What a use of the image prints, by command.
USED = {
    "cmd-tag-project": "would be created at",
    "cmd-trigger-pipeline": "a pipeline would be started",
    "cmd-wait-pipeline": "cmd-wait-pipeline, version",  # nothing else runs: it says nothing
    "cmd-bump-image-tag": "would make 1 change in 1 file",
    "ci-cd-commands": "git version",
}


@pytest.fixture
def gitlab(address: str, registry: Registry) -> Iterator[Sandbox]:
    # The job has an index to fetch the wheel's builder from, by the certificates of this machine.
    with Sandbox(host=address, job_environment={"UV_SYSTEM_CERTS": "true"}) as running:
        running.state.registry = registry.address
        yield running


@pytest.fixture
def packages(gitlab: Sandbox) -> Iterator[PackageRegistry]:
    with PackageRegistry(gitlab) as registry:
        thread = threading.Thread(target=registry.serve_forever)
        thread.start()
        yield registry
        registry.shutdown()
        thread.join()


@pytest.fixture
def project(
    gitlab: Sandbox, registry: Registry, packages: PackageRegistry, engine: DockerClient
) -> Iterator[Project]:
    """This working tree as a project that has had no push yet."""
    project = gitlab.add_project(
        f"tech-lunch/ci-cd-commands-{secrets.token_hex(4)}",  # the registry is shared
        working_tree() | {".gitlab-ci.yml": publishing_alone(), "CHANGELOG.md": CHANGELOG},
        members={gitlab.add_user("developer"): Access.MAINTAINER},
    )
    variables = {
        "CI_REGISTRY_USER": registry.user,
        "CI_REGISTRY_PASSWORD": registry.password,
        "UV_PUBLISH_URL": f"http://127.0.0.1:{packages.server_port}/pypi",
    }
    if "PYTHON_IMAGE" in os.environ:
        variables["PYTHON_IMAGE"] = os.environ["PYTHON_IMAGE"]
    project.variables = [Variable(key, value) for key, value in variables.items()]
    yield project
    for image in engine.images.list():
        for tag in image.tags:
            if tag.startswith(f"{registry.address}/"):
                engine.images.remove(tag)


class PackageRegistry(ThreadingHTTPServer):
    """Takes uploads of Python packages as GitLab's package registry does, from a running job.

    Attributes:
        files: Contents by file name.
    """

    def __init__(self, gitlab: Sandbox) -> None:
        super().__init__(("127.0.0.1", 0), _Upload)
        self.gitlab = gitlab
        self.files: dict[str, bytes] = {}


class _Upload(BaseHTTPRequestHandler):
    server: PackageRegistry

    def do_POST(self) -> None:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        _, _, basic = self.headers.get("Authorization", "").partition("Basic ")
        user, _, password = base64.b64decode(basic).decode().partition(":")
        state = self.server.gitlab.state
        with state.lock:
            allowed = user == "gitlab-ci-token" and live_job(state, password) is not None
        if allowed:
            for part in form.walk():
                if name := part.get_filename():
                    self.server.files[name] = bytes(part.get_payload(decode=True))
        self.send_response(201 if allowed else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """A test shows nothing."""


def working_tree() -> dict[str, str | bytes]:
    """The files that git knows of, with what they hold now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    paths = [path for path in listed.stdout.decode().split("\0") if (ROOT / path).is_file()]
    return {path: (ROOT / path).read_bytes() for path in paths}


def publishing_alone() -> str:
    """The configuration without its checks, for a shell runner, which ignores `image`.

    But for the components, whose images this pipeline publishes.
    """
    config: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    for name in ("lint", "audit", "test-oldest", "test-newest"):
        del config[name]
    for name in ("version", "build-and-push", "wheel", "release"):
        del config[name]["image"]
    return yaml.safe_dump(config)


def run(gitlab: Sandbox, project: Project, push: str) -> Pipeline:
    """Pushes a tag, or the default branch; its pipeline when it has ended."""
    earlier = len(gitlab.pipelines(project))
    if push == project.default_branch:
        gitlab.commit(project, {"change": str(earlier)})
    else:
        post(gitlab, project, f"repository/tags?tag_name={push}&ref={project.default_branch}")
    gitlab.wait_until(lambda: len(gitlab.pipelines(project)) > earlier)
    pipeline = gitlab.pipelines(project)[-1]
    gitlab.wait_until(lambda: pipeline.status in ENDED)
    return pipeline


def post(gitlab: Sandbox, project: Project, path: str) -> None:
    """Asks GitLab's API for something, as the developer."""
    token = gitlab.add_token(next(iter(gitlab.state.users.values())))
    url = f"{gitlab.url}/api/v4/projects/{project.id}/{path}"
    requests.post(url, headers={"PRIVATE-TOKEN": token.secret}, timeout=10).raise_for_status()


def log(pipeline: Pipeline) -> str:
    return b"".join(each.trace for each in pipeline.jobs).decode()


def published(registry: Registry, repository: str) -> dict[str, str]:
    """Digests by tag."""
    with requests.Session() as session:
        session.auth = (registry.user, registry.password)
        session.headers["Accept"] = "application/vnd.docker.distribution.manifest.v2+json"
        url = f"http://{registry.address}/v2/{repository}"
        tags = session.get(f"{url}/tags/list", timeout=10).json().get("tags", [])
        answers = {tag: session.head(f"{url}/manifests/{tag}", timeout=10) for tag in tags}
        return {tag: answer.headers["Docker-Content-Digest"] for tag, answer in answers.items()}


def test_a_push_to_the_default_branch_publishes_each_command_at_the_edge(
    gitlab: Sandbox, project: Project, registry: Registry, engine: DockerClient
) -> None:
    pipeline = run(gitlab, project, "main")
    assert pipeline.status == "success", log(pipeline)
    assert {each.name for each in pipeline.jobs} == BUILDS | USES
    for command in NAMES:
        trace = job(pipeline, f"build-and-push: [{command}]").trace.decode()
        assert f"Removing login credentials for {registry.address}" in trace
        assert registry.password not in trace
        assert USED[command] in trace
        repository = f"{project.path}/{command}"
        assert set(published(registry, repository)) == {"edge"}
        labels = engine.images.get(f"{registry.address}/{repository}:edge").labels
        named = {key.removeprefix("org.opencontainers.image."): v for key, v in labels.items()}
        assert named["version"] == "edge"
        assert named["revision"] == gitlab.sha(project)
        assert named["source"] == named["url"] == f"{gitlab.url}/{project.path}"
        assert named["documentation"].startswith(f"{named['source']}/-/blob/{named['revision']}/")
        assert datetime.fromisoformat(named["created"]).tzinfo
        assert {"vendor", "licenses", "title", "description", "base.name"} <= set(named)
        assert all(named.values())


def test_a_tag_publishes_images_wheel_and_release_once_per_version(
    gitlab: Sandbox, project: Project, registry: Registry, packages: PackageRegistry
) -> None:
    tag = __version__
    pipeline = run(gitlab, project, tag)
    assert pipeline.status == "success", log(pipeline)
    assert {each.name for each in pipeline.jobs} == {*BUILDS, *USES, "version", "wheel", "release"}
    before = {}
    for command in NAMES:
        before[command] = published(registry, f"{project.path}/{command}")
        assert set(before[command]) == {__version__, __version__.rpartition(".")[0], "latest"}
        assert len(set(before[command].values())) == 1
    (wheel,) = packages.files
    assert ZipFile(BytesIO(packages.files[wheel])).testzip() is None
    assert wheel == f"ci_cd_commands-{__version__}-py3-none-any.whl"
    assert project.releases[tag].description.strip() == NOTES

    for name in BUILDS:
        post(gitlab, project, f"jobs/{job(pipeline, name).id}/retry")
    gitlab.wait_until(lambda: pipeline.status in ENDED)
    assert log(pipeline).count("is published under a version never changes") == len(NAMES)
    assert before == {
        command: published(registry, f"{project.path}/{command}") for command in NAMES
    }


def test_a_tag_of_another_version_than_the_codes_publishes_nothing(
    gitlab: Sandbox, project: Project, registry: Registry, packages: PackageRegistry
) -> None:
    pipeline = run(gitlab, project, "99.0.0")
    assert pipeline.status == "failed"
    assert "The tag is 99.0.0, the version in common/cicd_common/__init__.py " in log(pipeline)
    assert published(registry, f"{project.path}/{COMMANDS[0]}") == {}
    assert (packages.files, project.releases) == ({}, {})
