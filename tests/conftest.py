from __future__ import annotations

import re
import shutil
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

# The registry wants bcrypt, which Python's library lacks; the password is "registry-password".
HTPASSWD = "ci:$2b$04$ci.cd.commands.tests.u5HE7N4NigHbHKuTPJyVc21A1M6W3Pja\n"


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
def running_registry(address: str, folder: Path) -> Iterator[Registry]:
    """Debian's docker-registry on a free port, with one account, its files in a folder."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("there is no docker-registry on PATH; Debian's package is named so")
    accounts, settings = folder / "htpasswd", folder / "registry.yml"
    accounts.write_text(HTPASSWD)
    settings.write_text(
        f"""
        version: 0.1
        storage: {{filesystem: {{rootdirectory: {folder / "storage"}}}}}
        http: {{addr: "{address}:0"}}
        auth: {{htpasswd: {{realm: registry, path: {accounts}}}}}
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
