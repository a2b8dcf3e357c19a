"""How a job's scripts are run: by a shell of this machine, or in a container of its image."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sandbox.ci.plan import Image

# Stops at the first command that fails, as the shells of GitLab's runner do; sh may lack pipefail.
_PREAMBLE = """\
if set -o | grep pipefail >/dev/null; then set -o pipefail; fi
set -o errexit
set +o noclobber
"""
# The shell that an image has, the better one first.
_PICK_SHELL = 'if command -v bash >/dev/null; then exec bash "$0"; else exec sh "$0"; fi'
_ENGINE_TIMEOUT = 10  # seconds


@dataclass(frozen=True)
class Shell:
    """The bash of this machine."""

    name: str = "shell"
    umask: int = 0o022  # of the job's working copy
    reach: int = 0o700  # the mode of the folder with its scripts and file variables
    exit_text: str = "exit status"  # how the runner words a failed script

    def announce(self) -> str:
        """A line for the log."""
        return "Using Shell (bash) executor..."

    def command(self, script: Path, directory: Path, names: Iterable[str]) -> list[str]:  # noqa: ARG002 - as a container has it; a shell sees both anyway
        """The command that runs a script."""
        return ["bash", str(script)]

    def forced_end(self) -> None:
        """A killed shell leaves nothing."""


@dataclass(frozen=True)
class Container:
    """A container of the job's image.

    Args:
        docker: The path of the Docker CLI.
        image: The image; its variables are already expanded.
        container: The container's name.
    """

    docker: str
    image: Image
    container: str
    name: str = "docker"
    umask: int = 0  # the image's user may be any
    reach: int = 0o777
    exit_text: str = "exit code"

    def announce(self) -> str:
        """A line for the log."""
        return f"Using Docker executor with image {self.image.name} ..."

    def command(self, script: Path, directory: Path, names: Iterable[str]) -> list[str]:
        """The command that runs a script.

        Args:
            script: The script, below the parent of the directory.
            directory: The job's working copy.
            names: The variables of the environment that the script sees; their values stay out
                of the arguments.
        """
        entrypoint = self.image.entrypoint
        first, *rest = entrypoint or ("",)
        return [
            *(self.docker, "run", "--rm", "--init", "--network", "host"),
            *("--name", self.container),
            *("--volume", f"{directory.parent}:{directory.parent}", "--workdir", str(directory)),
            *(part for name in names for part in ("--env", name)),
            *(("--entrypoint", first) if entrypoint is not None else ()),
            *(self.image.name, *rest, "sh", "-c", _PICK_SHELL, str(script)),
        ]

    def forced_end(self) -> list[str]:
        """A killed `docker run` leaves its container running."""
        return [self.docker, "rm", "--force", self.container]


Executor = Shell | Container


def engine(path: str) -> str | None:
    """The Docker CLI on a PATH if an engine answers it, None otherwise."""
    docker = shutil.which("docker", path=path)
    if docker is None:
        return None
    try:
        done = subprocess.run(
            [docker, "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            check=False,
            timeout=_ENGINE_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return None
    return docker if done.returncode == 0 else None


def script(commands: Iterable[str]) -> str:
    """A shell script that shows each command and runs it."""
    return _PREAMBLE + "".join(f"{_echo(command)}\n{command}\n" for command in commands)


def _echo(command: str) -> str:
    """A shell command that prints another as the runner shows it."""
    first, *more = command.rstrip("\n").split("\n")
    shown = f"$ {first}" + (" # collapsed multi-line command" if more else "")
    return "printf '%s\\n' " + shlex.quote(f"\x1b[32;1m{shown}\x1b[0;m")
