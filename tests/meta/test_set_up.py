"""Whatever installs from a lock installs that lock, whatever the index offers beside it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, distributions, metadata
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LOCK = "requirements-dev.lock"
MAKEFILE = (ROOT / "Makefile").read_text()
# A locked package: its line without the hashes, such as `colorama==0.4.6 ; os_name == 'nt'`.
LOCKED = [
    Requirement(line)
    for line in re.findall(r"^(\w.*?) \\$", (ROOT / LOCK).read_text(), re.MULTILINE)
]
SCRIPTS = Path(sys.executable).parent
NEWER = "999"


def version_of(locked: Requirement) -> str:
    (specifier,) = locked.specifier
    return specifier.version


def applies(locked: Requirement) -> bool:
    return locked.marker is None or locked.marker.evaluate()


EXPECTED = {
    canonicalize_name(locked.name): version_of(locked) for locked in LOCKED if applies(locked)
}


def write_wheel(folder: Path, name: str, version: str) -> Path:
    """Writes a wheel that holds no module, and asks for what the package of that name asks for."""
    distribution = name.replace("-", "_")
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    try:
        known = metadata(name)
    except PackageNotFoundError:  # of another platform
        pass
    else:
        for key in ("Requires-Dist", "Provides-Extra"):
            lines += [f"{key}: {value}" for value in known.get_all(key, [])]
    info = f"{distribution}-{version}.dist-info"
    files = {
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    wheel = folder / f"{distribution}-{version}-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return wheel


@dataclass
class Index:
    """An index of empty wheels: each locked package as it is locked, and a newer version.

    Attributes:
        folder: What it serves: a page per package (PEP 503), and the wheels.
        lock: The lock with the hashes of these wheels.
        url: Where it is served.
    """

    folder: Path
    lock: str = ""
    url: str = field(default="", init=False)

    def __post_init__(self) -> None:
        for locked in LOCKED:
            name = canonicalize_name(locked.name)
            page = self.folder / "simple" / name
            page.mkdir(parents=True)
            links = []
            for version in (version_of(locked), NEWER):
                wheel = write_wheel(page, name, version)
                digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
                links.append(f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a><br>')
                if version != NEWER:
                    self.lock += f"{locked} \\\n    --hash=sha256:{digest}\n"
            (page / "index.html").write_text("<!DOCTYPE html>" + "\n".join(links))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """A test shows nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    made = Index(tmp_path_factory.mktemp("index"))
    with served(made.folder) as made.url:
        yield made


@pytest.fixture
def checkout(tmp_path: Path, index: Index) -> Path:
    """A folder with the Makefile, and the lock for the index."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / LOCK).write_text(index.lock)
    return tmp_path


def run(*command: str | Path, cwd: Path, index: Index) -> str:
    """What a command prints that knows no index but one, no settings and no cache."""
    tools = ("PIP_", "UV_", "MAKE", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(tools)}
    environment |= {
        "PATH": f"{SCRIPTS}:{environment['PATH']}",  # whose python3 is the one that runs the tests
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index.url,
        "PIP_NO_CACHE_DIR": "1",
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": index.url,
        "UV_NO_CACHE": "1",
    }
    done = subprocess.run(
        command, cwd=cwd, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(environment: Path) -> dict[str, str]:
    (packages,) = environment.glob("lib/python3*/site-packages")
    found = {
        canonicalize_name(each.name): each.version for each in distributions(path=[str(packages)])
    }
    return {name: version for name, version in found.items() if name not in {"pip", "setuptools"}}


def test_make_sets_up_the_locked_versions_with_the_pip_that_comes_with_python(
    checkout: Path, index: Index
) -> None:
    run("make", ".venv/.locked", cwd=checkout, index=index)
    assert installed(checkout / ".venv") == EXPECTED
    run(".venv/bin/python", "-m", "pip", "check", cwd=checkout, index=index)


def test_a_new_lock_leaves_nothing_of_the_old_environment(checkout: Path, index: Index) -> None:
    lines = index.lock.splitlines(keepends=True)  # two for each package
    (checkout / LOCK).write_text("".join(lines[:4]))
    run("make", ".venv/.locked", cwd=checkout, index=index)
    (checkout / LOCK).write_text("".join(lines[2:4]))
    run("make", "--assume-new", LOCK, ".venv/.locked", cwd=checkout, index=index)
    assert list(installed(checkout / ".venv")) == [canonicalize_name(LOCKED[1].name)]


def test_uv_installs_the_same_with_the_same_options(checkout: Path, index: Index) -> None:
    options = re.findall(r"^EXACTLY := (.+)$", MAKEFILE, re.MULTILINE)[0].split()
    run("uv", "venv", "--python", sys.executable, cwd=checkout, index=index)
    run("uv", "pip", "install", *options, LOCK, cwd=checkout, index=index)
    assert installed(checkout / ".venv") == EXPECTED
    run("uv", "pip", "check", cwd=checkout, index=index)


def commands_that_install_a_lock() -> list[str]:
    """Those of the project's own files and of its documents, their variables replaced."""
    search = ["git", "grep", "-lzE", r"requirements(-[a-z]+)?\.lock", "--", ":!tests", ":!*.lock"]
    found = subprocess.run(search, cwd=ROOT, check=True, capture_output=True, text=True)
    commands = []
    for name in found.stdout.rstrip("\0").split("\0"):
        text = (ROOT / name).read_text().replace("\\\n", " ")
        for variable, value in re.findall(r'\b(EXACTLY|locked) ?:?= ?"?([^"\n]+)', text):
            text = text.replace(f"$({variable})", value).replace(f"${variable}", value)
        commands += re.findall(r"\binstall .*?(?:requirements\S*\.lock|\$lock)\b", text)
    return commands


def test_whatever_installs_a_lock_installs_exactly_that() -> None:
    commands = commands_that_install_a_lock()
    assert commands
    for command in commands:
        assert {"--no-deps", "--only-binary", "--require-hashes"} <= set(command.split()), command
