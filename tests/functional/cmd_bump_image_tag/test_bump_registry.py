"""`--verify-image` and `--pin-digest` against a real docker-registry that wants a login."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from cicd_common.registry.logins import Login
from cmd_bump_image_tag import bump_image_tag
from cmd_bump_image_tag.cli import cli
from tests.registries.pusher import (
    DOCKER_IMAGE,
    DOCKER_LIST,
    OCI_IMAGE,
    OCI_INDEX,
    Pusher,
    digest_of,
)
from tests.registries.server import basic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Registry
    from tests.functional.conftest import Ending, Invoke


@pytest.fixture
def pusher(registry: Registry) -> Iterator[Pusher]:
    login = Login(registry.user, "", registry.password)
    with Pusher(registry.address, basic(login)) as session:
        yield session


@pytest.fixture
def docker_config(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> Path:
    """What `docker login` leaves; it takes `invoke`, which empties the environment, first."""
    del invoke
    secret = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
    path = tmp_path / "docker" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"auths": {registry.address: {"auth": secret}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(path.parent))
    return path


@pytest.fixture
def compose(pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the image, alone in the working directory."""
    monkeypatch.delenv("IMAGE_TAG", raising=False)
    path = tmp_path / "work" / "compose.yaml"
    path.parent.mkdir()
    path.write_text(f"services: {{web: {{image: '{pusher.name}:v1.0.0'}}}}\n")
    monkeypatch.chdir(path.parent)
    return path


def bump(invoke: Invoke, pusher: Pusher, *arguments: str) -> Ending:
    ending = invoke(cli, "--image", pusher.name, *arguments, "--retry-for", "0")
    assert "registry-password" not in ending.stdout + ending.stderr
    return ending


@pytest.mark.usefixtures("docker_config")
@pytest.mark.parametrize("kind", [OCI_IMAGE, DOCKER_IMAGE])
def test_a_tag_that_the_registry_has_is_set(
    invoke: Invoke, pusher: Pusher, compose: Path, kind: str
) -> None:
    pusher.image("v1.1.0", kind=kind)

    ending = bump(invoke, pusher, "--tag", "v1.1.0", "--verify-image", "-v")

    assert ending.code == 0, ending.stderr
    assert compose.read_text() == f"services: {{web: {{image: '{pusher.name}:v1.1.0'}}}}\n"
    assert "HEAD /v2/group/web/manifests/v1.1.0 200" in ending.stderr


@pytest.mark.usefixtures("docker_config")
@pytest.mark.parametrize("option", ["--verify-image", "--pin-digest"])
def test_a_tag_that_the_registry_lacks_is_refused_before_anything_is_written(
    invoke: Invoke, pusher: Pusher, compose: Path, option: str
) -> None:
    pusher.image("v1.1.0")
    before = compose.read_bytes()

    ending = bump(invoke, pusher, "--tag", "v1.1.1", option, "--output", "json")

    assert ending.code == 4
    error = json.loads(ending.stdout)["error"]
    assert error["kind"] == "not-found"
    assert "has no group/web:v1.1.1" in error["message"]
    assert "The nearest: v1.1.0." in ending.stderr
    assert compose.read_bytes() == before


@pytest.mark.usefixtures("docker_config")
@pytest.mark.parametrize(
    ("index", "image"), [(OCI_INDEX, OCI_IMAGE), (DOCKER_LIST, DOCKER_IMAGE)], ids=["OCI", "Docker"]
)
def test_the_digest_of_all_platforms_is_pinned(
    invoke: Invoke, pusher: Pusher, compose: Path, index: str, image: str
) -> None:
    images = [pusher.image(machine, machine, image) for machine in ("amd64", "arm64")]
    digest = pusher.manifest("v1.1.0", index, manifests=images)["digest"]

    assert bump(invoke, pusher, "--tag", "v1.1.0", "--pin-digest").code == 0
    assert f"image: '{pusher.name}:v1.1.0@{digest}'" in compose.read_text()

    assert bump(invoke, pusher, "--tag", "v1.1.0", "--pin-digest").stdout == "up to date\n"


@pytest.mark.skipif(not shutil.which("skopeo"), reason="there is no skopeo on PATH")
@pytest.mark.usefixtures("docker_config")
@pytest.mark.parametrize("kind", [OCI_IMAGE, DOCKER_IMAGE, OCI_INDEX, DOCKER_LIST])
def test_skopeo_finds_the_same_digest(
    invoke: Invoke, pusher: Pusher, registry: Registry, compose: Path, kind: str
) -> None:
    if kind in {OCI_INDEX, DOCKER_LIST}:
        image = OCI_IMAGE if kind == OCI_INDEX else DOCKER_IMAGE
        images = [pusher.image(machine, machine, image) for machine in ("amd64", "arm64")]
        pusher.manifest("v1.1.0", kind, manifests=images)
    else:
        pusher.image("v1.1.0", kind=kind)
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false",
         "--creds", f"{registry.user}:{registry.password}", f"docker://{pusher.name}:v1.1.0"],
        check=True, capture_output=True,
    )  # fmt: skip

    assert bump(invoke, pusher, "--tag", "v1.1.0", "--pin-digest").code == 0

    assert f"@{digest_of(raw.stdout)}'" in compose.read_text()


@pytest.mark.usefixtures("docker_config")
def test_a_dry_run_pins_and_writes_nothing(invoke: Invoke, pusher: Pusher, compose: Path) -> None:
    digest = pusher.image("v1.1.0")["digest"]
    before = compose.read_bytes()

    ending = bump(invoke, pusher, "--tag", "v1.1.0", "--pin-digest", "--dry-run")

    assert ending.stdout == "would make 1 change in 1 file\n"
    assert digest in ending.stderr
    assert compose.read_bytes() == before


@pytest.mark.usefixtures("docker_config", "compose")
def test_a_digest_that_was_given_must_be_there_too(invoke: Invoke, pusher: Pusher) -> None:
    digest = pusher.image("v1.1.0")["digest"]
    given = ("--tag", "v1.1.0", "--verify-image", "--digest")

    assert bump(invoke, pusher, *given, f"sha256:{'0' * 64}").code == 4
    assert bump(invoke, pusher, *given, digest).code == 0


@pytest.mark.usefixtures("compose")
def test_a_registry_that_wants_a_login_ends_with_3_without_one(
    invoke: Invoke, pusher: Pusher, docker_config: Path
) -> None:
    pusher.image("v1.1.0")
    docker_config.unlink()

    ending = bump(invoke, pusher, "--tag", "v1.1.0", "--verify-image")

    assert ending.code == 3
    assert f"docker login {pusher.name.partition('/')[0]}" in ending.stderr


@pytest.mark.usefixtures("compose")
def test_after_a_jobs_login_that_is_refused_the_other_is_tried(
    invoke: Invoke,
    pusher: Pusher,
    registry: Registry,
    docker_config: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pusher.image("v1.1.0")
    monkeypatch.setenv("CI_REGISTRY", registry.address)
    monkeypatch.setenv("CI_REGISTRY_USER", "gitlab-ci-token")
    monkeypatch.setenv("CI_REGISTRY_PASSWORD", "wrong-password")
    assert bump(invoke, pusher, "--tag", "v1.1.0", "--verify-image").code == 0

    docker_config.write_text(json.dumps({"auths": {registry.address: {"auth": "bWU6bm9wZQ=="}}}))
    ending = bump(invoke, pusher, "--tag", "v1.1.0", "--verify-image")

    assert ending.code == 3
    assert "gitlab-ci-token from CI_REGISTRY_USER and me from" in ending.stderr


@pytest.mark.usefixtures("docker_config")
def test_the_function_pins_too(pusher: Pusher, compose: Path) -> None:
    digest = pusher.image("v1.1.0")["digest"]

    result = bump_image_tag(
        image=pusher.name, tag="v1.1.0", pin_digest=True, directory=compose.parent
    )

    assert [change.new for change in result.files] == [f"{pusher.name}:v1.1.0@{digest}"]
