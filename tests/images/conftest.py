from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import docker
import pytest

from sandbox import Access, Sandbox
from sandbox.world import PATIENCE
from tests.leaks import _everything_is_followed, leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from docker import DockerClient
    from docker.models.containers import Container

    from sandbox.model import Project, Token
    from tests.conftest import Registry
    from tests.leaks import Leaks

__all__ = ["_everything_is_followed", "leaks"]

ROOT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
COMMANDS = [script for script in SCRIPTS if script.startswith("cmd-")]
# An address that leads out (RFC 5737); nothing is sent there.
OUTSIDE = "192.0.2.1"


@dataclass(frozen=True)
class Ending:
    """How a container ended."""

    code: int
    stdout: str
    stderr: str


class Start(Protocol):
    def __call__(self, *command: str, **options: Any) -> Container: ...


class Run(Protocol):
    def __call__(self, *command: str, **options: Any) -> Ending: ...


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    client = docker.from_env(timeout=PATIENCE)
    yield client
    client.close()


@pytest.fixture(scope="session")
def address() -> str:
    """The address by which the engine's containers on the host's network reach this process."""
    here = "127.0.0.1" if sys.platform == "linux" else OUTSIDE  # elsewhere the engine's is a VM
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((urlsplit(os.environ.get("DOCKER_HOST", "")).hostname or here, 9))
        return str(way.getsockname()[0])


@pytest.fixture(scope="session")
def registry(
    serve_registry: Callable[[str, Path], AbstractContextManager[Registry]],
    address: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Registry]:
    """One registry for all, so that the images' common layers are pushed once."""
    with serve_registry(address, tmp_path_factory.mktemp("registry")) as running:
        yield running


def build(command: str, tag: str, *options: str, tree: Path = ROOT) -> None:
    """Builds the image of a command, by the CLI, because the SDK knows no BuildKit."""
    subprocess.run(
        [
            *("docker", "build", "--file=dockerfiles/Dockerfile", f"--target={command}"),
            *("--build-arg=PYTHON_IMAGE", f"--tag={tag}", *options, "."),
        ],
        cwd=tree,
        check=True,
    )


@pytest.fixture(scope="session")
def images(engine: DockerClient) -> Iterator[dict[str, str]]:
    """The image of each command, built from the working tree."""
    repository = f"ci-cd-commands-test-{secrets.token_hex(4)}"
    built = {command: f"{repository}:{command}" for command in COMMANDS}
    for command, tag in built.items():
        build(command, tag)
    yield built
    for tag in built.values():
        engine.images.remove(tag)


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest) -> str:
    """Each command in turn."""
    return str(request.param)


@pytest.fixture
def start(engine: DockerClient, images: dict[str, str], leaks: Leaks) -> Iterator[Start]:
    """Starts a container, of cmd-tag-project and on the host's network unless told otherwise."""
    containers = []

    def run(*command: str, **options: Any) -> Container:
        settings = {"image": images["cmd-tag-project"], "network_mode": "host", **options}
        container = engine.containers.run(command=list(command), detach=True, **settings)
        containers.append(container)
        return container

    yield run
    for container in containers:
        leaks.check_container(container)
        container.remove(force=True)


@pytest.fixture
def run(start: Start) -> Run:
    """The same, and waits for its end."""

    def wait(*command: str, **options: Any) -> Ending:
        container = start(*command, **options)
        code = container.wait()["StatusCode"]
        stdout, stderr = (
            container.logs(stdout=out, stderr=not out).decode() for out in (True, False)
        )
        return Ending(code, stdout, stderr)

    return wait


@pytest.fixture
def gitlab(address: str) -> Iterator[Sandbox]:
    with Sandbox(host=address, run_jobs=False) as running:
        yield running


@pytest.fixture
def project(gitlab: Sandbox) -> Project:
    return gitlab.add_project(
        "tech-lunch/service-tests",
        {"README.md": "# Service tests\n"},
        members={gitlab.add_user("ci-cd-executor"): Access.MAINTAINER},
    )


@pytest.fixture
def token(gitlab: Sandbox, project: Project) -> Token:
    return gitlab.add_token(gitlab.state.users[next(iter(project.members))])
