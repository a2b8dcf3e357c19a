"""A job's log as GitLab keeps it: coloured, in sections, with masked values replaced."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandbox.model import Job, State

_MASK = b"[MASKED]"
_RESET = "\x1b[0;m"
_CLEAR = "\x1b[0K"


class Trace:
    """Writes to a job's log.

    Args:
        state: The records.
        job: Whose log.
        secrets: Values that must not appear in it, wherever they are cut into pieces.
    """

    def __init__(self, state: State, job: Job, secrets: Iterable[str]) -> None:
        self._state = state
        self._job = job
        self._secrets = sorted({s.encode() for s in secrets if s}, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets)) or b"(?!)")
        self._held = b""

    def write(self, data: bytes) -> None:
        """Appends what a process printed; the beginning of what may be a secret is held back."""
        data = self._held + data
        end = len(data) - self._partial(data)
        for match in self._pattern.finditer(data):
            if match.start() < end < match.end():
                end = match.start()
        self._append(data[:end])
        self._held = data[end:]

    def line(self, text: str, *, colour: str = "") -> None:
        """Appends a line of the runner's own."""
        coloured = f"\x1b[{colour}m{text}{_RESET}" if colour else text
        self.write(f"{coloured}\n".encode())

    def flush(self) -> None:
        """Appends what was held back."""
        self._append(self._held)
        self._held = b""

    @contextmanager
    def section(self, name: str, title: str) -> Iterator[None]:
        """Marks what is written meanwhile as a section of the log."""
        self.write(f"section_start:{int(time.time())}:{name}\r{_CLEAR}".encode())
        self.line(title, colour="36;1")
        try:
            yield
        finally:
            self.flush()
            self.write(f"section_end:{int(time.time())}:{name}\r{_CLEAR}".encode())

    def _append(self, data: bytes) -> None:
        with self._state.lock:
            self._job.trace += self._pattern.sub(_MASK, data)
            self._state.changed.notify_all()

    def _partial(self, data: bytes) -> int:
        """The length of the end of some data with which a secret begins."""
        longest = max(map(len, self._secrets), default=1) - 1
        return next(
            (
                length
                for length in range(min(longest, len(data)), 0, -1)
                if any(secret.startswith(data[-length:]) for secret in self._secrets)
            ),
            0,
        )
