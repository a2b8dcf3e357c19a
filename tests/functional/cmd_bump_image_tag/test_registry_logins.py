"""docs/security.md says in which order logins are tried, and which host receives which."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from cicd_common.registry.manifests import MANIFEST_TYPES
from cmd_bump_image_tag.cli import cli
from tests.registries.products import DIGEST, TAG, Acr, Artifactory, Nexus, Product
from tests.registries.server import MANIFEST, Reply, Request, serving

if TYPE_CHECKING:
    from tests.functional.conftest import Ending, Invoke
    from tests.registries.server import Host
    from tests.registries.stage import Stage

ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "docs/security.md").read_text().partition("## Logins for registries")[2]


class Tokens(Artifactory):
    """A registry whose token service and storage are other hosts."""

    realm = "https://auth.docker.io/token?host=shop"


class Passwords(Tokens):
    realm = ""
    check = Nexus.check


class IdentityTokens(Tokens):
    login = Acr.login
    who = Acr.who


COLUMNS = (Tokens, Passwords, IdentityTokens)
WORDS = {
    "-": "nothing",
    "token": "a token",
    "password": "the password",
    "identity token": "the identity token",
}


@pytest.fixture(autouse=True)
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("IMAGE_TAG", raising=False)
    path = tmp_path / "work" / "compose.yaml"
    path.parent.mkdir()
    monkeypatch.chdir(path.parent)
    return path


def verify(invoke: Invoke, image: str, *options: str) -> Ending:
    Path("compose.yaml").write_text(f"services: {{web: {{image: '{image}:v1.0.0'}}}}\n")
    options = ("--tag", TAG, "--verify-image", "--retry-for", "0", *options)
    return invoke(cli, "--image", image, *options)


def auths(**users: str) -> str:
    """A configuration with a login for each address, whose password is the user's name."""
    entries = {
        address: {"auth": base64.b64encode(f"{user}:{user}-password".encode()).decode()}
        for address, user in users.items()
    }
    return json.dumps({"auths": entries})


def refuse(request: Request) -> Reply:
    del request
    return Reply(401, challenges=('Basic realm="x"',))


def users(host: Host) -> list[str]:
    """The users whose passwords arrived, each once, in their order."""
    sent = (base64.b64decode(each.removeprefix("Basic ")).decode() for each in host.passwords)
    return list(dict.fromkeys(each.partition(":")[0] for each in sent))


def is_in_order(names: list[str]) -> bool:
    """Whether the document has the names in this order."""
    places = [SECTION.index(name) for name in names]
    return places == sorted(places)


@pytest.mark.usefixtures("stage")
def test_logins_are_tried_in_the_documented_order(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    helper = home / "docker-credential-test"
    helper.write_text(
        """#!/bin/sh\necho '{"Username": "credential helper", "Secret": "helper-password"}'\n"""
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=":")
    with serving(refuse) as host:
        config = json.loads(auths(**{host.name: "file", f"{host.name}/shop": "longest path"}))
        (home / ".docker").mkdir()
        (home / ".docker/config.json").write_text(json.dumps(config | {"credsStore": "test"}))
        (home / "auth.json").write_text(auths(**{host.name: "REGISTRY_AUTH_FILE"}))
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "auth.json"))
        monkeypatch.setenv("DOCKER_AUTH_CONFIG", auths(**{host.name: "DOCKER_AUTH_CONFIG"}))
        monkeypatch.setenv("CI_REGISTRY", host.name)
        monkeypatch.setenv("CI_DEPENDENCY_PROXY_SERVER", host.name)
        for name in ("CI_REGISTRY", "CI_DEPENDENCY_PROXY", "CI_DEPLOY"):
            monkeypatch.setenv(f"{name}_USER", f"{name}_USER")
            monkeypatch.setenv(f"{name}_PASSWORD", f"{name}-password")
        ending = verify(invoke, f"{host.name}/shop/web")
    assert ending.code == 3
    sent = users(host)
    assert sent == [
        *("CI_REGISTRY_USER", "CI_DEPENDENCY_PROXY_USER", "credential helper", "longest path"),
        *("file", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "CI_DEPLOY_USER"),
    ]
    assert is_in_order([name for name in sent if name != "file"])
    assert "password" not in ending.stderr.replace("CI_REGISTRY_PASSWORD", "")


@pytest.mark.usefixtures("stage")
def test_podmans_files_are_read_in_the_documented_order(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(refuse) as host:
        for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
            path = tmp_path / name / "containers/auth.json"
            path.parent.mkdir(parents=True)
            path.write_text(auths(**{host.name: name}))
            monkeypatch.setenv(name, str(tmp_path / name))
        verify(invoke, f"{host.name}/shop/web")
    assert users(host) == ["XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"]
    assert is_in_order(users(host))


@pytest.mark.usefixtures("stage")
def test_a_login_is_sent_to_no_other_host(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(refuse) as own, serving(refuse) as other:
        monkeypatch.setenv("DOCKER_AUTH_CONFIG", auths(**{own.name: "me"}))
        assert verify(invoke, f"{other.name}/shop/web").code == 3
    assert own.asked == []
    assert other.passwords == []


def role_of(product: Product, host: str) -> str:
    """The row of a host in the document."""
    if host == (product.server or product.host):
        return "the registry"
    is_service = host == urlsplit(product.realm).hostname
    return "the token service that it names" if is_service else "another host that it redirects to"


def test_each_host_receives_what_the_document_says(invoke: Invoke, stage: Stage) -> None:
    documented = {
        cells[0]: cells[1:]
        for line in re.findall(r"^\| (.+) \|$", SECTION.partition("## ")[0], re.MULTILINE)
        if (cells := [cell.strip() for cell in line.split("|")])[0] not in {"host", "---"}
    }
    for column, kind in enumerate(COLUMNS):
        product = kind()
        stage.log_in(product)
        with stage.play(product) as host:
            ending = verify(invoke, product.image, *stage.ca_file)
        assert ending.code == 0, ending.stderr
        received: dict[str, dict[str, None]] = {role: {} for role in documented}
        for each in host.asked:
            received[role_of(product, each.host)][WORDS[each.credential]] = None
        assert {role: ", then ".join(words) for role, words in received.items()} == {
            role: cells[column] for role, cells in documented.items()
        }


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1"])
def test_a_registry_on_this_machine_is_never_asked_through_a_proxy(
    address: str, invoke: Invoke, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    del stage
    listens = "127.0.0.1" if address == "localhost" else address
    with serving(lambda _: Reply(502)) as proxy, serving(refuse, address=listens) as host:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        named = host.name.replace("127.0.0.1", address)
        monkeypatch.setenv("DOCKER_AUTH_CONFIG", auths(**{named: "me"}))
        assert verify(invoke, f"{named}/shop/web").code == 3
    assert users(host) == ["me"]
    assert proxy.asked == []


def open_registry(request: Request) -> Reply:
    assert not request.authorization
    headers = {"Docker-Content-Digest": DIGEST, "Content-Type": MANIFEST_TYPES[0]}
    return Reply(200, headers, MANIFEST)


@pytest.mark.usefixtures("stage")
def test_another_host_gets_plain_http_only_if_it_is_named(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = "registry.internal:5000/shop/web"
    with serving(open_registry, is_proxy=True) as host:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, host.url)
        for options in ((), ("--insecure-registry", "registry.internal")):
            ending = verify(invoke, image, *options)
            assert ending.code == 8
            assert "allow that with --insecure-registry registry.internal:5000" in ending.stderr
        assert host.asked == []
        ending = verify(invoke, image, "--insecure-registry", "registry.internal:5000")
        assert ending.code == 0, ending.stderr
    assert [each.host for each in host.asked] == ["registry.internal:5000"]


@pytest.mark.parametrize(
    ("image", "options"),
    [
        ("registry.example.com:99999/shop/web", ()),
        ("registry.example.com/shop/web", ("--insecure-registry", "$CI_REGISTRY")),
    ],
)
def test_what_is_not_a_registry_is_refused_before_anything_is_sent(
    image: str, options: tuple[str, ...], invoke: Invoke
) -> None:
    ending = verify(invoke, image, *options)
    assert ending.code == 2
    assert "This is not the host of a registry: " in ending.stderr
