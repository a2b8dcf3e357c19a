"""`make renew-images` pins images to the digests that a registry names."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
import yaml

if TYPE_CHECKING:
    from docker import DockerClient

    from tests.conftest import Registry

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
FILES = [".gitlab-ci.yml", "dockerfiles/Dockerfile"]
BASE = re.compile(r"^ARG PYTHON_IMAGE=(\S+)$", re.MULTILINE)


@pytest.fixture
def checkout(tmp_path: Path, registry: Registry) -> Path:
    """The files that name images, in a folder of the registry, and who can pull from there."""
    folder = f"{registry.address}/{secrets.token_hex(4)}"  # the registry is shared
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        text = (ROOT / name).read_text()
        text = re.sub(r"(  - &\S+ |ARG PYTHON_IMAGE=)", rf"\g<1>{folder}/", text)
        (tmp_path / name).write_text(re.sub("@sha256:[0-9a-f]{64}", "", text))
    basic = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
    config = {"auths": {registry.address: {"auth": basic}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def images(checkout: Path) -> list[str]:
    pipeline = yaml.safe_load((checkout / ".gitlab-ci.yml").read_text())
    return [*pipeline[".images"], *BASE.findall((checkout / "dockerfiles/Dockerfile").read_text())]


def run(*command: str, checkout: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DOCKER_CONFIG": str(checkout)}
    return subprocess.run(
        command, cwd=checkout, env=environment, check=False, capture_output=True, text=True
    )


def push(engine: DockerClient, checkout: Path, image: str) -> None:
    """Gives the registry an image by a name; any will do."""
    engine.images.get("alpine").tag(image)
    try:
        assert run("docker", "push", image, checkout=checkout).returncode == 0
    finally:
        engine.images.remove(image, noprune=True)


def digest(registry: Registry, image: str) -> str:
    repository, _, tag = image.removeprefix(f"{registry.address}/").rpartition(":")
    answer = requests.head(
        f"http://{registry.address}/v2/{repository}/manifests/{tag}",
        auth=(registry.user, registry.password),
        headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
        timeout=10,
    )
    return answer.headers["Docker-Content-Digest"]


def test_every_image_is_pinned_and_can_be_pinned_again(
    engine: DockerClient, registry: Registry, checkout: Path
) -> None:
    named = images(checkout)
    for image in named:
        push(engine, checkout, image)
    expected = [f"{image}@{digest(registry, image)}" for image in named]
    for _ in range(2):
        done = run(sys.executable, ".ci/renew_images.py", checkout=checkout)
        assert done.returncode == 0, done.stderr
        assert images(checkout) == expected


def test_if_a_registry_lacks_one_nothing_changes(engine: DockerClient, checkout: Path) -> None:
    before = [(checkout / name).read_text() for name in FILES]
    push(engine, checkout, images(checkout)[0])
    done = run(sys.executable, ".ci/renew_images.py", checkout=checkout)
    assert done.returncode == 1
    assert "has no digest; nothing is changed." in done.stderr
    assert [(checkout / name).read_text() for name in FILES] == before
