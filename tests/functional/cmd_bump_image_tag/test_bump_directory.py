"""`cmd-bump-image-tag` in the working directory: no server, no token, no git."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from cicd_common.gitlab import retry
from cmd_bump_image_tag import bump_image_tag
from cmd_bump_image_tag.cli import cli
from tests.functional.cmd_bump_image_tag.conftest import BUMPED, DEPLOYMENT, WEB

if TYPE_CHECKING:
    from pathlib import Path

    from tests.functional.conftest import Ending, Invoke


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMAGE_TAG", raising=False)
    path = tmp_path / "web.yaml"
    path.write_bytes(DEPLOYMENT.encode())
    return path


def bump(invoke: Invoke, *arguments: str) -> Ending:
    return invoke(cli, "--image", WEB, *arguments)


def test_it_edits_a_file_and_leaves_mode_and_owner(invoke: Invoke, web: Path) -> None:
    web.chmod(0o640)
    before = web.stat()

    ending = bump(invoke, "--tag", "v1.1.0", "--output", "json")

    assert ending.code == 0, ending.stderr
    assert web.read_bytes() == BUMPED.encode()
    after = web.stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    result = json.loads(ending.stdout)
    assert (result["changed"], result["commit"], result["web_url"]) == (True, None, None)


@pytest.mark.usefixtures("web")
def test_the_tag_comes_from_the_environment_too(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE_TAG", "v1.1.0")

    assert bump(invoke).stdout == "made 1 change in 1 file\n"
    assert bump(invoke).stdout == "up to date\n"


@pytest.mark.usefixtures("web")
def test_the_diff_is_colored_on_a_terminal_alone(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = bump(invoke, "--tag", "v1.1.0", "--dry-run").stderr
    assert "\x1b" not in plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    colored = bump(invoke, "--tag", "v1.1.0", "--dry-run").stderr
    assert re.search(r"^\x1b\[31m-.*\x1b\[0m$", colored, re.MULTILINE)
    assert re.search(r"^\x1b\[32m\+ .*\x1b\[0m$", colored, re.MULTILINE)
    assert re.sub(r"\x1b\[\d+m", "", colored) == plain


def test_a_dry_run_changes_nothing(invoke: Invoke, web: Path) -> None:
    ending = bump(invoke, "--tag", "v1.1.0", "--dry-run", "--dotenv", "out.env")

    assert ending.stdout == "would make 1 change in 1 file\n"
    assert web.read_bytes() == DEPLOYMENT.encode()
    assert (web.parent / "out.env").read_text() == ""


def test_12_a_lower_version_is_refused_unless_it_is_allowed(invoke: Invoke, web: Path) -> None:
    refused = bump(invoke, "--tag", "v0.9.0")

    assert refused.code == 12
    assert "--allow-downgrade" in refused.stderr
    assert web.read_bytes() == DEPLOYMENT.encode()
    assert bump(invoke, "--tag", "v0.9.0", "--allow-downgrade").code == 0


@pytest.mark.parametrize("leads", ["../outside.yaml", "link.yaml"])
def test_12_a_path_that_leads_out_of_the_folder(
    invoke: Invoke, web: Path, monkeypatch: pytest.MonkeyPatch, leads: str
) -> None:
    inside = web.parent / "inside"
    inside.mkdir()
    outside = web.parent / "outside.yaml"
    outside.write_bytes(DEPLOYMENT.encode())
    (inside / "link.yaml").symlink_to("../outside.yaml")
    monkeypatch.chdir(inside)

    assert bump(invoke, "--tag", "v1.1.0", "--file", leads).code == 12
    assert outside.read_bytes() == DEPLOYMENT.encode()


def test_7_waiting_for_the_lock_of_another_process_has_a_limit(
    invoke: Invoke, web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(retry, "CLOCK", retry.Clock(lambda: sum(pauses), pauses.append))
    descriptor = os.open(web.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        ending = bump(invoke, "--tag", "v1.1.0", "--retry-for", "0.2")
    finally:
        os.close(descriptor)

    assert ending.code == 7, ending.stderr
    assert str(web.parent) in ending.stderr
    assert sum(pauses) == pytest.approx(0.2, abs=0.02)
    assert set(pauses) == {0.02}
    assert web.read_bytes() == DEPLOYMENT.encode()
    assert bump(invoke, "--tag", "v1.1.0").code == 0


def test_a_lock_that_is_given_up_in_time_is_waited_for(
    invoke: Invoke, web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor = os.open(web.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    monkeypatch.setattr(
        retry, "CLOCK", retry.Clock(sleep=lambda _: fcntl.flock(descriptor, fcntl.LOCK_UN))
    )
    try:
        ending = bump(invoke, "--tag", "v1.1.0")
    finally:
        os.close(descriptor)

    assert ending.code == 0, ending.stderr
    assert web.read_bytes() == BUMPED.encode()


def test_a_run_that_is_killed_leaves_nothing_behind(web: Path) -> None:
    """Killed at moments spread over the time that a run takes."""
    started = time.monotonic()
    command = [sys.executable, "-m", "cmd_bump_image_tag", "--image", WEB, "--allow-downgrade"]
    environment = {"PATH": os.environ["PATH"]}
    subprocess.run([*command, "--tag", "v1"], check=True, env=environment, capture_output=True)
    took = time.monotonic() - started
    for number in range(8):
        process = subprocess.Popen(
            [*command, "--tag", f"v2.{number}"], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(took * (0.6 + number / 20))
        process.kill()
        process.wait()
        assert [path.name for path in web.parent.iterdir()] == ["web.yaml"]
        assert web.read_bytes().count(b"\n") == DEPLOYMENT.count("\n")


def test_4_no_such_image(invoke: Invoke, web: Path) -> None:
    assert invoke(cli, "--image", "other", "--tag", "v1").code == 4
    assert web.read_bytes() == DEPLOYMENT.encode()


def test_from_python_without_a_server(web: Path) -> None:
    result = bump_image_tag(image=f"{WEB}=v1.1.0", directory=web.parent)

    assert result.changed
    assert [(change.path, change.line) for change in result.files] == [("web.yaml", 4)]
    assert web.read_bytes() == BUMPED.encode()
