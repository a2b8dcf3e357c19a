"""Runs of the console scripts, as processes with an environment and a folder of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORK_SERVER = Path(__file__).with_name("fork_server.py")


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        code: The exit code; less than 0 for a signal; None if it had to be killed at the limit.
        stdout: What it printed there.
        stderr: What it printed there.
        seconds: How long it ran.
    """

    code: int | None
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True)
class Kill:
    """A signal, and the seconds after which a run gets it."""

    after: float
    signal: signal.Signals


class ConsoleScripts:
    """Starts console scripts; runs a fork server while its `with` block runs."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="console-scripts-")
        self._socket = f"{self._folder.name}/socket"
        self._server = subprocess.Popen(
            [sys.executable, FORK_SERVER, self._socket],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.communicate()  # closes its stdin, which ends it
        self._folder.cleanup()

    def run(
        self,
        command: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        output: Path,
        limit: float,
        kill: Kill | None = None,
    ) -> Ended:
        """Runs one to its end.

        Args:
            command: The console script.
            arguments: Its arguments.
            environment: Its whole environment.
            folder: Its working directory.
            output: A folder for the files that hold its output.
            limit: Seconds after which it is killed.
            kill: A signal that it gets, if it still runs then.
        """
        stdout, stderr = output / "stdout", output / "stderr"
        job = {
            "command": command,
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(folder),
            "stdout": str(stdout),
            "stderr": str(stderr),
        }
        for path in (stdout, stderr):  # a run can be killed before it opens them
            path.write_text("")
        started = time.monotonic()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._socket)
            connection.sendall(f"{json.dumps(job)}\n".encode())
            process = _number(connection, limit)
            assert process
            code = _number(connection, kill.after) if kill else None
            if kill and code is None:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(process, kill.signal)
            if code is None:
                code = _number(connection, limit)
            seconds = time.monotonic() - started
            # Those it started can outlive it.
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
        return Ended(code, _read(stdout), _read(stderr), seconds)


def _number(connection: socket.socket, limit: float) -> int | None:
    """The number of the line that comes next; None if it does not come in time."""
    connection.settimeout(limit)
    line = b""
    try:
        while not line.endswith(b"\n"):
            line += connection.recv(1)
    except TimeoutError:
        return None
    return int(line)


def _read(path: Path) -> str:
    return path.read_text(errors="surrogateescape")
