"""A bump by git over SSH: git's own protocol over a pipe, where a host would be behind ssh."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cmd_bump_image_tag.cli import cli
from tests.functional.cmd_bump_image_tag.conftest import BUMPED, WEB, log, text

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Project
    from tests.functional.conftest import Invoke

ARGUMENTS = ("--image", WEB, "--tag", "v1.1.0", "--retry-for", "0")


@pytest.fixture
def ssh(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An ssh that knows one host and runs the asked-for program here, on the one repository."""
    script = tmp_path / "ssh"
    script.write_text(
        "#!/bin/sh\n"
        'while [ "${1#-}" != "$1" ]; do case $1 in -o|-p) shift;; esac; shift; done\n'
        "case $1 in *@gitlab.example.com) ;;\n"
        '*) echo "ssh: Could not resolve hostname $1: Name or service not known" >&2; exit 255;;\n'
        "esac\n"
        '[ -z "$REFUSE" ] || { echo "$REFUSE" >&2; exit 255; }\n'
        f"exec ${{2%% *}} {project.repository}\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    monkeypatch.chdir(tmp_path)
    return script


@pytest.mark.usefixtures("ssh")
@pytest.mark.parametrize(
    "address",
    [
        "git@gitlab.example.com:tech-lunch/k8s.git",
        "ssh://git@gitlab.example.com:2222/tech-lunch/k8s.git",
    ],
)
def test_a_deploy_key_needs_no_server_and_no_token(
    invoke: Invoke, gitlab: Sandbox, project: Project, address: str
) -> None:
    ending = invoke(cli, *ARGUMENTS, "--repository", address)

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED
    assert log(project)[0] == "Update image tag to v1.1.0 [skip ci]"
    assert not gitlab.requests


@pytest.mark.usefixtures("ssh")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("git@gitlab.example.com: Permission denied (publickey).", 3),
        ("Host key verification failed.", 8),
        ("remote: ERROR: The project you were looking for could not be found", 4),
        ("remote: ERROR: This deploy key does not have write access to this project.", 6),
        ("ssh: connect to host gitlab.example.com port 22: Connection refused", 8),
    ],
)
def test_what_ssh_and_gitlab_say_is_an_exit_code(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, words: str, code: int
) -> None:
    monkeypatch.setenv("REFUSE", words)

    ending = invoke(cli, *ARGUMENTS, "--repository", "git@gitlab.example.com:tech-lunch/k8s.git")

    assert ending.code == code, ending.stderr
    assert words.partition("ERROR: ")[2] in ending.stderr


@pytest.mark.usefixtures("ssh")
def test_8_an_unknown_host(invoke: Invoke) -> None:
    ending = invoke(cli, *ARGUMENTS, "--repository", "git@nowhere.example.com:a/b.git")

    assert ending.code == 8
    assert "Could not resolve hostname" in ending.stderr


def test_2_there_is_no_git(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    ending = invoke(cli, *ARGUMENTS, "--repository", "git@gitlab.example.com:a/b.git")

    assert ending.code == 2
    assert "git" in ending.stderr


@pytest.mark.skipif(shutil.which("sshd") is None, reason="there is no sshd on PATH")
def test_with_a_real_server_and_a_real_deploy_key(
    invoke: Invoke,
    gitlab: Sandbox,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if os.geteuid() == 0:
        # As root sshd wants this folder, which its service would make when it starts.
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "deploy"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True
        )
    (tmp_path / "authorized").write_bytes((tmp_path / "deploy.pub").read_bytes())
    settings = {
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    sshd = " ".join(map(str, [shutil.which("sshd"), "-i", "-f", os.devnull, *options]))
    monkeypatch.setenv(
        "GIT_SSH_COMMAND",
        f"ssh -F none -i {tmp_path}/deploy -o IdentitiesOnly=yes -o ProxyCommand='{sshd}' "
        f"-o UserKnownHostsFile={tmp_path}/known -o StrictHostKeyChecking=accept-new",
    )

    ending = invoke(cli, *ARGUMENTS, "--repository", f"ssh://localhost{project.repository}")

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED
