"""`--verify-image` and `--pin-digest` with the registries that users have, by their own names."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from cmd_bump_image_tag.cli import cli
from tests.registries.products import (
    DIGEST,
    PRODUCTS,
    TAG,
    Acr,
    Artifactory,
    DockerHub,
    Ecr,
    Gar,
    Ghcr,
    GitLab,
    Harbor,
    Nexus,
    Product,
    Quay,
)
from tests.registries.pusher import digest_of
from tests.registries.stage import auth_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.functional.conftest import Ending, Invoke
    from tests.registries.stage import Stage

each_product = pytest.mark.parametrize("kind", PRODUCTS, ids=lambda kind: kind.__name__)

# What each host receives if the image is private and the login right: the credential is the last.
RECEIVED: dict[type[Product], list[str]] = {
    DockerHub: [
        f"HEAD registry-1.docker.io/v2/library/web/manifests/{TAG} -",
        "GET auth.docker.io/token password",
        f"HEAD registry-1.docker.io/v2/library/web/manifests/{TAG} token",
    ],
    GitLab: [
        f"HEAD registry.example.com/v2/shop/web/manifests/{TAG} -",
        "GET gitlab.example.com/jwt/auth password",
        f"HEAD registry.example.com/v2/shop/web/manifests/{TAG} token",
    ],
    Ecr: [
        f"HEAD {Ecr.host}/v2/shop/web/manifests/{TAG} -",
        f"HEAD {Ecr.host}/v2/shop/web/manifests/{TAG} password",
    ],
    Acr: [
        f"HEAD shop.azurecr.io/v2/shop/web/manifests/{TAG} -",
        "POST shop.azurecr.io/oauth2/token identity token",
        f"HEAD shop.azurecr.io/v2/shop/web/manifests/{TAG} token",
    ],
    Gar: [
        f"HEAD europe-docker.pkg.dev/v2/shop/images/web/manifests/{TAG} -",
        "GET europe-docker.pkg.dev/v2/token password",
        f"HEAD europe-docker.pkg.dev/v2/shop/images/web/manifests/{TAG} token",
    ],
    Ghcr: [
        f"HEAD ghcr.io/v2/shop/web/manifests/{TAG} -",
        "GET ghcr.io/token password",
        f"HEAD ghcr.io/v2/shop/web/manifests/{TAG} token",
    ],
    Quay: [
        f"HEAD quay.io/v2/shop/web/manifests/{TAG} -",
        "GET quay.io/v2/auth password",
        f"HEAD quay.io/v2/shop/web/manifests/{TAG} token",
    ],
    Harbor: [
        f"HEAD harbor.example.com/v2/shop/web/manifests/{TAG} -",
        "GET harbor.example.com/service/token password",
        f"HEAD harbor.example.com/v2/shop/web/manifests/{TAG} token",
        f"GET harbor.example.com/v2/shop/web/manifests/{TAG} token",
    ],
    Artifactory: [
        f"HEAD artifactory.example.com/v2/shop/web/manifests/{TAG} -",
        "GET artifactory.example.com/artifactory/api/docker/local/v2/token password",
        f"HEAD artifactory.example.com/v2/shop/web/manifests/{TAG} token",
        f"GET artifactory.example.com/v2/shop/web/manifests/{TAG} token",
        f"GET storage.example.net/v2/shop/web/manifests/{TAG} -",
    ],
    Nexus: [
        f"HEAD nexus.example.com:8083/v2/shop/web/manifests/{TAG} -",
        f"HEAD nexus.example.com:8083/v2/shop/web/manifests/{TAG} password",
        f"GET nexus.example.com:8083/v2/shop/web/manifests/{TAG} password",
    ],
}


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the working directory, with no image yet."""
    monkeypatch.delenv("IMAGE_TAG", raising=False)
    path = tmp_path / "work" / "compose.yaml"
    path.parent.mkdir()
    monkeypatch.chdir(path.parent)
    return path


def bump(invoke: Invoke, stage: Stage, product: Product, compose: Path, *options: str) -> Ending:
    return bump_image(product.image, invoke, stage, product, compose, *options)


def bump_image(
    image: str, invoke: Invoke, stage: Stage, product: Product, compose: Path, *options: str
) -> Ending:
    compose.write_text(f"services: {{web: {{image: '{image}:v1.0.0'}}}}\n")
    if "--tag" not in options:
        options = ("--tag", TAG, *options)
    ending = invoke(cli, "--image", image, *options, *stage.ca_file, "--retry-for", "0")
    printed = ending.stdout + ending.stderr
    assert product.login.password not in printed
    assert "wrong-password" not in printed
    return ending


@each_product
def test_a_private_image_is_pinned_with_the_right_login_and_each_host_gets_only_its_own(
    kind: type[Product], invoke: Invoke, stage: Stage, compose: Path
) -> None:
    product = kind()
    stage.log_in(product)
    with stage.play(product) as host:
        ending = bump(invoke, stage, product, compose, "--pin-digest")
    assert ending.code == 0, ending.stderr
    assert compose.read_text().endswith(f":{TAG}@{DIGEST}'}}}}\n")
    assert host.received == RECEIVED[kind]


@each_product
@pytest.mark.parametrize("option", ["--verify-image", "--pin-digest"])
def test_a_public_image_needs_no_login(
    kind: type[Product], option: str, invoke: Invoke, stage: Stage, compose: Path
) -> None:
    product = kind(public=True)
    with stage.play(product) as host:
        ending = bump(invoke, stage, product, compose, option)
    assert ending.code == 0, ending.stderr
    assert (DIGEST in compose.read_text()) is (option == "--pin-digest")
    assert {each.credential for each in host.asked} <= {"-", "token"}


@each_product
def test_a_wrong_login_is_refused_with_its_name_and_the_registrys_words(
    kind: type[Product], invoke: Invoke, stage: Stage, compose: Path
) -> None:
    product = kind()
    login = stage.log_in(product, "wrong-password")
    with stage.play(product):
        ending = bump(invoke, stage, product, compose, "--verify-image")
    assert ending.code == 3, ending.stderr
    who = login.user or "an identity token"
    assert f"does not show {product.repository} to {who} from " in ending.stderr
    assert product.refused in ending.stderr
    assert ":v1.0.0'" in compose.read_text()


@each_product
def test_a_private_image_is_not_shown_without_a_login(
    kind: type[Product], invoke: Invoke, stage: Stage, compose: Path
) -> None:
    product = kind()
    with stage.play(product) as host:
        ending = bump(invoke, stage, product, compose, "--verify-image", "--output", "json")
    assert ending.code == 3, ending.stderr
    error = json.loads(ending.stdout)["error"]
    assert error["message"].endswith(
        f" does not show {product.repository} to anyone without a login."
    )
    assert product.denied in error["why"]
    assert f"docker login {product.host}" in error["hint"]
    assert {each.credential for each in host.asked} <= {"-", "token"}


@each_product
@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
def test_a_missing_tag_is_refused_with_the_nearest_tags(
    kind: type[Product], *, public: bool, invoke: Invoke, stage: Stage, compose: Path
) -> None:
    product = kind(public=public)
    if not public:
        stage.log_in(product)
    with stage.play(product):
        ending = bump(invoke, stage, product, compose, "--tag", "v1.1.1", "--verify-image")
    assert ending.code == 4, ending.stderr
    assert f"has no {product.repository}:v1.1.1." in ending.stderr
    assert f"The nearest: {TAG}, v1.0.0." in ending.stderr


@each_product
def test_a_missing_repository_is_reported_as_one(
    kind: type[Product], invoke: Invoke, stage: Stage, compose: Path
) -> None:
    product = kind()
    login = stage.log_in(product)
    image = product.image.replace("web", "webb")
    with stage.play(product):
        ending = bump_image(image, invoke, stage, product, compose, "--verify-image")
    assert ending.code == 4, ending.stderr
    who = login.user or "an identity token"
    assert f"has no such repository, or does not show it to {who} from " in ending.stderr


@each_product
def test_a_limit_is_reported_in_the_registrys_words(
    kind: type[Product], invoke: Invoke, stage: Stage, compose: Path
) -> None:
    product = kind(public=True, limited=True)
    with stage.play(product):
        ending = bump(invoke, stage, product, compose, "--verify-image")
    assert ending.code == 7, ending.stderr
    assert product.limit_words in ending.stderr


def test_an_expired_token_of_ecr_is_reported_in_its_words(
    invoke: Invoke, stage: Stage, compose: Path
) -> None:
    product = Ecr(expired=True)
    stage.log_in(product)
    with stage.play(product):
        ending = bump(invoke, stage, product, compose, "--verify-image")
    assert ending.code == 3
    assert "to AWS from docker-credential-ecr-login." in ending.stderr
    assert product.expiry in ending.stderr


@pytest.mark.skipif(not shutil.which("skopeo"), reason="there is no skopeo on PATH")
@each_product
def test_skopeo_reads_the_manifest_of_the_same_digest(
    kind: type[Product], stage: Stage, tmp_path: Path
) -> None:
    product = kind()
    with stage.play(product):
        done = subprocess.run(
            ["skopeo", "inspect", "--raw", "--tls-verify=false",
             "--authfile", auth_file(product, tmp_path), f"docker://{product.image}:{TAG}"],
            check=False, capture_output=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert digest_of(done.stdout) == DIGEST
