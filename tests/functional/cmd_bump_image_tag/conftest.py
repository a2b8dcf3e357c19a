from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Protocol

import pytest

from cmd_bump_image_tag.cli import cli
from sandbox import Access, contents
from tests.functional.conftest import SERVERS

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox import Sandbox
    from sandbox.model import Project, Token, User
    from tests.functional.conftest import Ending, Invoke

WEB = "registry.example.com/group/web"

# A byte-order mark, line ends of another system, no end of the last line: all of it stays.
DEPLOYMENT = (
    "\ufeffkind: Deployment\r\n"
    "spec:  # of the web\r\n"
    "  containers:\r\n"
    f"    - image: '{WEB}:v1.0.0'\r\n"
    "    - image: nginx:1.25"
)
BUMPED = DEPLOYMENT.replace("v1.0.0", "v1.1.0")


# The API of every server; git, which is the same on all of them, on the newest.
each_way = pytest.mark.parametrize(
    ("server_settings", "via"),
    [*((settings, "api") for settings in SERVERS.values()), ({}, "git")],
    indirect=["server_settings"],
    ids=[*SERVERS, "git"],
)


class Run(Protocol):
    def __call__(self, *arguments: str) -> Ending: ...


@pytest.fixture
def project(gitlab: Sandbox, executor: User) -> Project:
    return gitlab.add_project(
        "tech-lunch/k8s",
        {
            "apps/web.yaml": DEPLOYMENT,
            "apps/other.yaml": "kind: Pod\nspec: {containers: [{image: 'redis:7'}]}\n",
            "README.md": f"{WEB}:v1.0.0\n",
        },
        members={executor: Access.MAINTAINER},
    )


@pytest.fixture
def run(
    invoke: Invoke, gitlab: Sandbox, token: Token, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Runs the command in an empty folder, with a server and an access token."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMAGE_TAG", raising=False)

    def call(*arguments: str) -> Ending:
        monkeypatch.setenv("CI_SERVER_URL", gitlab.url)
        if "COMMANDS_API_TOKEN" not in os.environ:
            monkeypatch.setenv("COMMANDS_API_TOKEN", token.secret)
        ending = invoke(cli, *arguments)
        assert token.secret not in ending.stdout + ending.stderr
        return ending

    return call


def text(gitlab: Sandbox, project: Project, path: str, branch: str = "main") -> str:
    """A file as it was committed."""
    sha = gitlab.sha(project, f"refs/heads/{branch}")
    entry = contents.find(project.repository, sha, path)
    assert entry is not None
    return contents.read(project.repository, entry).decode()


def log(project: Project, branch: str = "main") -> list[str]:
    """The commits of a branch, the newest first."""
    listed = subprocess.run(
        ["git", "--git-dir", str(project.repository), "log", "--format=%s", branch],
        check=True,
        capture_output=True,
        text=True,
    )
    return listed.stdout.splitlines()
