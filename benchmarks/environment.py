"""Sets up what is measured: the wheel and its peers in an environment of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import Access, Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.model import Project, User

ROOT = Path(__file__).parents[1]
HOME = ROOT / "build" / "benchmarks"
BIN = HOME / "venv" / "bin"
PEERS = ("ruamel.yaml",)  # python-gitlab comes with the wheel
PROGRAMS = ("yq", "glab", "kustomize")  # of the system's packages


def set_up() -> list[str]:
    """Installs the wheel, with bytecode as pip leaves it, and the peers.

    Returns:
        The peers that no registry here has.
    """
    shutil.rmtree(HOME / "venv", ignore_errors=True)
    venv.create(HOME / "venv", with_pip=True)
    pip = [BIN / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "--requirement", ROOT / "requirements.lock"],
        check=True,
    )
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", HOME, ROOT]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    wheel = max(HOME.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    subprocess.run([*pip, "--no-deps", "--force-reinstall", wheel], check=True)
    subprocess.run([*pip, *PEERS], check=True)
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing and shutil.which("apt-get"):
        for program in missing:
            subprocess.run(
                ["apt-get", "install", "--yes", program], check=False, capture_output=True
            )
    return [program for program in PROGRAMS if shutil.which(program) is None]


@dataclass(frozen=True)
class Server:
    """A sandbox with a project and a token of its Maintainer."""

    gitlab: Sandbox
    user: User
    project: Project
    token: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables from which a command knows the server and the token."""
        return {"CI_SERVER_URL": self.gitlab.url, "GITLAB_TOKEN": self.token}

    def projects(self, count: int) -> list[Project]:
        """Adds projects."""
        members = {self.user: Access.MAINTAINER}
        return [
            self.gitlab.add_project(f"shop/service-{number}", CONTENT, members=members)
            for number in range(count)
        ]


CONTENT = {
    ".gitlab-ci.yml": "test: {script: [echo]}\n",
    "web.yaml": "kind: Pod\nspec:\n  containers:\n    - image: example.com/web:v0\n",
}


@contextmanager
def serving(delay: float = 0.0) -> Iterator[Server]:
    """Serves a sandbox that runs no jobs.

    Args:
        delay: Seconds that pass before each answer.
    """
    with Sandbox(run_jobs=False) as gitlab:
        user = gitlab.add_user("ci-cd-executor")
        project = gitlab.add_project("shop/web", CONTENT, members={user: Access.MAINTAINER})
        if delay:
            gitlab.fault(Fault(delay=delay))
        yield Server(gitlab, user, project, gitlab.add_token(user).secret)
