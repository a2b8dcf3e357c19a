"""What a process imports before it can do its work: most of the time that a short command takes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Project, Token

COMMANDS = ["cmd_bump_image_tag", "cmd_tag_project", "cmd_trigger_pipeline", "cmd_wait_pipeline"]
# Each takes between 1 and 50 ms; importing click takes 20 ms.
SLOW = {
    "configparser",
    "email",
    "gitlab",
    "http.client",
    "importlib.metadata",
    "json",
    "logging",
    "pathlib",
    "requests",
    "rich",
    "semver",
    "socket",
    "ssl",
    "tempfile",
    "urllib.parse",
    "websockets",
    "xml.etree.ElementTree",
    "yaml",
}
# What defines options, and shows them.
OWN = {
    "cicd_common",
    "cicd_common.cleaning",
    "cicd_common.cli",
    "cicd_common.cli.console",
    "cicd_common.cli.main",
    "cicd_common.cli.options",
    "cicd_common.errors",
    "cicd_common.lazy",
    "cicd_common.waiting",
    "cicd_common.waiting.options",
    "cicd_common.waiting.policy",
}
WAITING = {f"cicd_common.waiting.{name}" for name in ("engine", "pipelines", "targets", "wait")}
# Runs a command, and then prints the modules that it imported, beyond those of click.
PROBE = """\
import sys
import click
before = set(sys.modules)
from {package}.cli import main
try:
    main()
finally:
    sys.stderr.write("\\n".join(set(sys.modules) - before))
"""


def imported(package: str, *arguments: str, **environment: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROBE.format(package=package), *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return set(done.stderr.splitlines())


@pytest.mark.parametrize("package", [*COMMANDS, "cicd_doctor"])
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_only_what_defines_the_options(package: str, option: str) -> None:
    found = imported(package, option)
    assert found & SLOW == set()
    own = {name for name in found if name.partition(".")[0] in {"cicd_common", package}}
    assert own <= OWN | {package, f"{package}.cli"}


@pytest.mark.parametrize(
    ("package", "options"),
    [("cmd_tag_project", ("--tag-name", "v1")), ("cmd_trigger_pipeline", ("--dry-run",))],
)
def test_a_command_that_does_not_wait_imports_nothing_that_waits(
    gitlab: Sandbox, project: Project, token: Token, package: str, options: tuple[str, ...]
) -> None:
    found = imported(
        package,
        *("--project", project.path, "--ref", "main", *options),
        CI_SERVER_URL=gitlab.url,
        GITLAB_TOKEN=token.secret,
    )
    assert found & (WAITING | {"rich", "semver", "websockets", "xml.etree.ElementTree"}) == set()
    assert "cicd_common.gitlab.client" in found
