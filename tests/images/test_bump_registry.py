"""cmd-bump-image-tag's image and a registry to which a real engine has pushed."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient

    from sandbox import Sandbox
    from sandbox.model import Project, Token
    from tests.conftest import Registry
    from tests.images.conftest import Ending, Run

pytestmark = pytest.mark.docker


@dataclass(frozen=True)
class Pushed:
    """An image that was pushed with the tag 1.26, and what the engine said of it."""

    name: str
    digest: str


@pytest.fixture
def pushed(engine: DockerClient, registry: Registry) -> Iterator[Pushed]:
    name = f"{registry.address}/group/web"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w"):
        pass
    engine.api.import_image_from_data(packed.getvalue(), repository=name, tag="1.26")
    said = engine.images.push(
        name,
        "1.26",
        auth_config={"username": registry.user, "password": registry.password},
        stream=True,
        decode=True,
    )
    digests = [line["aux"]["Digest"] for line in said if "aux" in line]
    yield Pushed(name, *digests)
    engine.images.remove(f"{name}:1.26")


def bump(
    run: Run, image: str, gitlab: Sandbox, token: Token, registry: Registry, *arguments: str
) -> Ending:
    ending = run(
        *("--pin-digest", "--output", "json", "--retry-for", "0", *arguments),
        image=image,
        environment={
            "CI_SERVER_URL": gitlab.url,
            "COMMANDS_API_TOKEN": token.secret,
            "CI_REGISTRY": registry.address,
            "CI_REGISTRY_USER": registry.user,
            "CI_REGISTRY_PASSWORD": registry.password,
        },
        cap_drop=["ALL"],
        read_only=True,
    )
    assert registry.password not in ending.stdout + ending.stderr
    return ending


def test_it_pins_the_digest_that_the_engine_pushed_and_refuses_a_tag_that_it_did_not(
    run: Run,
    images: dict[str, str],
    gitlab: Sandbox,
    project: Project,
    token: Token,
    registry: Registry,
    pushed: Pushed,
) -> None:
    before = gitlab.commit(project, {"web.yaml": f"image: {pushed.name}:1.25\n"})
    image = images["cmd-bump-image-tag"]
    wanted = ("--project", project.path, "--image", pushed.name, "--tag")

    refused = bump(run, image, gitlab, token, registry, *wanted, "1.27")
    assert (refused.code, gitlab.sha(project)) == (4, before)
    assert "The nearest: 1.26." in refused.stderr

    ending = bump(run, image, gitlab, token, registry, *wanted, "1.26")
    assert ending.code == 0, ending.stderr
    (change,) = json.loads(ending.stdout)["files"]
    assert change["new"] == f"{pushed.name}:1.26@{pushed.digest}"
