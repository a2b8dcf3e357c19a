"""Fixtures that put a registry where a command finds it, and a login where its users have one."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.registries.products import (
    HOSTS,
    Artifactory,
    DockerHub,
    Ecr,
    Gar,
    Ghcr,
    GitLab,
    Product,
    Quay,
)
from tests.registries.server import Certificate, Host, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cicd_common.registry.logins import Login

# What would send requests or logins elsewhere.
_ELSEWHERE = (
    *("NO_PROXY", "no_proxy", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"),
    *("DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"),
)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate of every registry that is played, and of this machine."""
    names = (*(f"DNS:{host}" for host in HOSTS), "IP:127.0.0.1")
    return Certificate.make(tmp_path_factory.mktemp("tls"), *names)


class Stage:
    """Plays registries under their own names, for commands in this process and their children."""

    def __init__(
        self, certificate: Certificate, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.ca_file = ("--ca-file", str(certificate.path))
        self._certificate = certificate
        self._home = home
        self._monkeypatch = monkeypatch

    @contextmanager
    def play(self, product: Product) -> Iterator[Host]:
        context = self._certificate.context()
        with serving(product, context, is_proxy=True) as host:
            for name in ("HTTPS_PROXY", "https_proxy"):
                self._monkeypatch.setenv(name, host.url)
            yield host

    def log_in(self, product: Product, password: str = "") -> Login:
        """Stores a login where the product's users have it; by default the right one."""
        login = product.login
        password = password or login.password
        entry = _entry(login, password)
        match product:
            case GitLab():
                for name, value in (("", product.host), ("_USER", login.user)):
                    self._monkeypatch.setenv(f"CI_REGISTRY{name}", value)
                self._monkeypatch.setenv("CI_REGISTRY_PASSWORD", password)
            case Ghcr():
                auths = json.dumps({"auths": {product.host: entry}})
                self._monkeypatch.setenv("DOCKER_AUTH_CONFIG", auths)
            case Quay():
                self._write(".config/containers/auth.json", auths={f"{product.host}/shop": entry})
            case Ecr() | Gar():
                name = "ecr-login" if isinstance(product, Ecr) else "gcloud"
                self._helper(name, {"Username": login.user, "Secret": password})
                self._write(".docker/config.json", credHelpers={product.host: name})
            case Artifactory() if login.user:
                plain = {"username": login.user, "password": password}
                self._write(".docker/config.json", auths={product.host: plain})
            case _:
                self._write(".docker/config.json", auths={key_of(product): entry})
        return login

    def _write(self, name: str, **content: Any) -> None:
        path = self._home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    def _helper(self, name: str, answer: dict[str, str]) -> None:
        program = self._home / "bin" / f"docker-credential-{name}"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
        program.chmod(0o755)
        self._monkeypatch.setenv("PATH", str(program.parent), prepend=":")


def key_of(product: Product) -> str:
    """The key that `docker login` writes for a registry."""
    return "https://index.docker.io/v1/" if isinstance(product, DockerHub) else product.host


def _entry(login: Login, password: str) -> dict[str, str]:
    user = login.user or "00000000-0000-0000-0000-000000000000"
    shown = "" if login.is_identity_token else password
    entry = {"auth": base64.b64encode(f"{user}:{shown}".encode()).decode()}
    return entry | {"identitytoken": password} if login.is_identity_token else entry


def auth_file(product: Product, folder: Path) -> Path:
    """A file with the right login, in the form that containers-auth.json(5) describes."""
    path = folder / "auth.json"
    entry = _entry(product.login, product.login.password)
    path.write_text(json.dumps({"auths": {product.host: entry}}))
    return path


@pytest.fixture
def stage(certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Registries for a test, in an environment without logins and proxies of its own."""
    for name in _ELSEWHERE:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return Stage(certificate, home, monkeypatch)
