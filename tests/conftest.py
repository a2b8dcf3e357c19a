from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cicd_common.registry.logins import Login
from tests.registries.server import serving
from tests.registries.stage import certificate, stage
from tests.registries.tokens import ISSUER, SERVICE, TokenService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.registries.server import Certificate, Host

__all__ = ["certificate", "stage"]

ROOT = Path(__file__).parents[1]
# The registry wants bcrypt, which Python's library lacks; the password is "registry-password".
HTPASSWD = "ci:$2b$04$ci.cd.commands.tests.u5HE7N4NigHbHKuTPJyVc21A1M6W3Pja\n"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The files that git knows of in another folder, with other times and other modes."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        copied = tmp_path / "elsewhere" / name
        if (ROOT / name).is_file():
            copied.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copied)
            copied.chmod(0o600)
            os.utime(copied, (10**9, 10**9))
    return tmp_path / "elsewhere"


@dataclass(frozen=True)
class Registry:
    """A container registry: its host:port, and who may push to it."""

    address: str
    user: str
    password: str


@pytest.fixture(scope="session")
def address() -> str:
    """Where what a test serves listens."""
    return "127.0.0.1"


@contextmanager
def running_registry(address: str, folder: Path, auth: str = "") -> Iterator[Registry]:
    """Debian's docker-registry on a free port, its files in a folder.

    By default it has one account; `auth` is another way to log in, as its settings name it.
    """
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("there is no docker-registry on PATH; Debian's package is named so")
    accounts, settings = folder / "htpasswd", folder / "registry.yml"
    accounts.write_text(HTPASSWD)
    auth = auth or f"htpasswd: {{realm: registry, path: {accounts}}}"
    settings.write_text(
        f"""
        version: 0.1
        storage: {{filesystem: {{rootdirectory: {folder / "storage"}}}}}
        http: {{addr: "{address}:0"}}
        auth: {{{auth}}}
        """
    )
    with subprocess.Popen(
        [program, "serve", settings], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        said = iter(server.stderr)
        listening = (re.search(r"listening on (\S+:\d+)", line) for line in said)
        found = next(filter(None, listening), None)
        assert found, f"docker-registry ended with {server.wait()}"
        # A full pipe would block it.
        drain = threading.Thread(target=server.stderr.read)
        drain.start()
        yield Registry(found[1], "ci", "registry-password")
        server.terminate()
        drain.join()


@pytest.fixture(scope="session")
def serve_registry() -> Callable[[str, Path], AbstractContextManager[Registry]]:
    """Serves a registry at an address, with its files in a folder."""
    return running_registry


@pytest.fixture
def registry(address: str, tmp_path: Path) -> Iterator[Registry]:
    """A registry of a test's own."""
    with running_registry(address, tmp_path) as running:
        yield running


@dataclass(frozen=True)
class TokenRegistry(Registry):
    """A registry that takes tokens of a token service, which records its requests."""

    service: TokenService
    host: Host


@pytest.fixture
def token_registry(
    address: str, tmp_path: Path, certificate: Certificate
) -> Iterator[TokenRegistry]:
    """A registry of a test's own, with a token service of its own."""
    service = TokenService(Login("ci", "", "registry-password"), certificate)
    with serving(service, address=address) as host:
        auth = (
            f"token: {{realm: '{host.url}/token', service: {SERVICE}, issuer: {ISSUER}, "
            f"rootcertbundle: {certificate.path}}}"
        )
        with running_registry(address, tmp_path, auth) as running:
            yield TokenRegistry(running.address, running.user, running.password, service, host)
