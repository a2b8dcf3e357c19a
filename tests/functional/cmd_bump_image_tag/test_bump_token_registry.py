"""`--pin-digest` and the doctor against a real docker-registry that takes tokens of a service."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from cicd_doctor.cli import cli as doctor
from cmd_bump_image_tag.cli import cli
from tests.registries.pusher import OCI_IMAGE, OCI_INDEX, Pusher

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import TokenRegistry
    from tests.functional.conftest import Ending, Invoke

pytestmark = pytest.mark.usefixtures("stage")


@pytest.fixture
def pushed(token_registry: TokenRegistry) -> str:
    """The digest of an image of two platforms, which has the tag v1.1.0."""
    token = token_registry.service.token("repository:group/web:pull,push")
    with Pusher(token_registry.address, f"Bearer {token}") as pusher:
        images = [pusher.image(machine, machine, OCI_IMAGE) for machine in ("amd64", "arm64")]
        return str(pusher.manifest("v1.1.0", OCI_INDEX, manifests=images)["digest"])


@pytest.fixture
def compose(token_registry: TokenRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the image, alone in the working directory."""
    monkeypatch.delenv("IMAGE_TAG", raising=False)
    path = tmp_path / "work" / "compose.yaml"
    path.parent.mkdir()
    path.write_text(f"services: {{web: {{image: '{token_registry.address}/group/web:v1.0.0'}}}}\n")
    monkeypatch.chdir(path.parent)
    return path


def log_in(registry: TokenRegistry, password: str, monkeypatch: pytest.MonkeyPatch) -> str:
    auth = base64.b64encode(f"{registry.user}:{password}".encode()).decode()
    config = json.dumps({"auths": {registry.address: {"auth": auth}}})
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", config)
    return config


def pin(invoke: Invoke, registry: TokenRegistry, tag: str = "v1.1.0") -> Ending:
    image = f"{registry.address}/group/web"
    ending = invoke(cli, "--image", image, "--tag", tag, "--pin-digest", "--retry-for", "0")
    assert registry.password not in ending.stdout + ending.stderr
    return ending


def test_a_private_image_is_pinned_with_a_token_for_it_alone(
    invoke: Invoke,
    token_registry: TokenRegistry,
    pushed: str,
    compose: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log_in(token_registry, token_registry.password, monkeypatch)
    ending = pin(invoke, token_registry)
    assert ending.code == 0, ending.stderr
    assert f":v1.1.0@{pushed}'" in compose.read_text()
    (asked,) = token_registry.host.asked
    assert asked.query == {"service": ["registry"], "scope": ["repository:group/web:pull"]}
    assert asked.credential == "password"


@pytest.mark.usefixtures("pushed")
def test_a_missing_tag_is_refused_with_the_nearest(
    invoke: Invoke,
    token_registry: TokenRegistry,
    compose: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log_in(token_registry, token_registry.password, monkeypatch)
    ending = pin(invoke, token_registry, "v1.1.1")
    assert ending.code == 4, ending.stderr
    assert "The nearest: v1.1.0." in ending.stderr
    assert ":v1.0.0'" in compose.read_text()


def test_a_public_image_needs_no_login(
    invoke: Invoke, token_registry: TokenRegistry, pushed: str, compose: Path
) -> None:
    token_registry.service.public.add("group/web")
    ending = pin(invoke, token_registry)
    assert ending.code == 0, ending.stderr
    assert pushed in compose.read_text()
    assert [each.credential for each in token_registry.host.asked] == ["-"]


@pytest.mark.usefixtures("pushed", "compose")
def test_a_private_image_is_not_shown_without_the_right_login(
    invoke: Invoke, token_registry: TokenRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = pin(invoke, token_registry)
    assert ending.code == 3
    assert "does not show group/web to anyone without a login." in ending.stderr
    log_in(token_registry, "wrong-password", monkeypatch)
    ending = pin(invoke, token_registry)
    assert ending.code == 3
    assert "does not show group/web to ci from DOCKER_AUTH_CONFIG." in ending.stderr
    assert "The token service knows no such login." in ending.stderr


@pytest.mark.parametrize(
    ("password", "text"),
    [
        ("registry-password", "accepts the login of ci from DOCKER_AUTH_CONFIG."),
        ("wrong-password", "refuses the login of ci from DOCKER_AUTH_CONFIG (The token service"),
    ],
)
def test_the_doctor_checks_the_login(
    password: str,
    text: str,
    invoke: Invoke,
    token_registry: TokenRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log_in(token_registry, password, monkeypatch)
    ending = invoke(
        doctor, "--registry", token_registry.address, "--base-url", "http://127.0.0.1:9"
    )
    assert f"{token_registry.address} {text}" in ending.stdout


@pytest.mark.skipif(not shutil.which("skopeo"), reason="there is no skopeo on PATH")
def test_skopeo_finds_the_same_digest(
    token_registry: TokenRegistry, pushed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "auth.json"
    path.write_text(log_in(token_registry, token_registry.password, monkeypatch))
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", "--authfile", path,
         f"docker://{token_registry.address}/group/web:v1.1.0"],
        check=True, capture_output=True,
    )  # fmt: skip
    digest = subprocess.run(
        ["skopeo", "manifest-digest", "/dev/stdin"],
        input=raw.stdout,
        check=True,
        capture_output=True,
    )
    assert digest.stdout.decode().strip() == pushed
