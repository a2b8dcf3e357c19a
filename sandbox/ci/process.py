"""Child processes of a job, each with its own process group, that another thread can end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_GRACE = 5.0  # seconds from SIGTERM to SIGKILL
_CHUNK = 65536


class Process:
    """Runs one command at a time and passes its output on.

    Args:
        write: Gets what the command prints, from a thread of its own.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._group: int | None = None
        self._timers: list[threading.Timer] = []

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout: float,
        unwanted: threading.Event,
    ) -> int | None:
        """Runs a command until it ends or is ended.

        Args:
            command: The program and its arguments.
            env: Its whole environment.
            cwd: Its working directory.
            timeout: Seconds after which it is ended.
            unwanted: Ends it if it is set before it runs, when `terminate` finds nothing yet.

        Returns:
            Its exit code, as a shell would put it; None if its time ran out.
        """
        child = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with self._lock:
            self._group = child.pid
        if unwanted.is_set():
            self.terminate()
        expired = threading.Event()
        limit = threading.Timer(timeout, self._expire, [expired])
        reader = threading.Thread(target=self._read, args=[child], daemon=True)
        limit.start()
        reader.start()
        try:
            code = child.wait()
        finally:
            limit.cancel()
            # What the command left behind in its group would keep the pipe open.
            self._signal(signal.SIGKILL)
            with self._lock:
                self._group = None
                timers, self._timers = self._timers, []
            # A daemon that left the group and kept the pipe must not hold the job up.
            reader.join(_GRACE)
            for timer in (limit, *timers):
                timer.cancel()
                timer.join()
        if expired.is_set():
            return None
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """Asks the running command to end, and kills it if it does not."""
        with self._lock:
            if self._group is None:
                return
            timer = threading.Timer(_GRACE, self._signal, [signal.SIGKILL])
            self._timers.append(timer)
            timer.start()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the running command at once."""
        self._signal(signal.SIGKILL)

    def _expire(self, expired: threading.Event) -> None:
        expired.set()
        self.terminate()

    def _signal(self, number: signal.Signals) -> None:
        with self._lock, suppress(ProcessLookupError):
            if self._group is not None:
                os.killpg(self._group, number)

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        if child.stdout is None:
            return
        with child.stdout as stream:
            while data := os.read(stream.fileno(), _CHUNK):
                self._write(data)
