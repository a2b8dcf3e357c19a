"""The live table on a terminal: what it writes, and that it gives the terminal back."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from cicd_common.cli import console
from cicd_common.cli.verbosity import set_verbosity
from cicd_common.errors import PipelineFailedError
from cicd_common.waiting.events import Changed, Finished, Found, Note, Searching, Tick
from cicd_common.waiting.show.live import HIDE_CURSOR, SHOW_CURSOR, Live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.cicd_common.waiting.show.conftest import Scene

    Stderr = Callable[[], list[str]]


class Screen:
    """A terminal that understands what the table writes, and nothing else."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.row = 0
        self.cursor = True

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            match part:
                case "\n":
                    self.row += 1
                case "\r":
                    pass  # no line is written in two parts after one
                case "\x1b[2K":
                    self._here("")
                case "\x1b[1A":
                    self.row = max(0, self.row - 1)
                case "\x1b[?25l" | "\x1b[?25h":
                    self.cursor = part.endswith("h")
                case _ if part.startswith("\x1b"):
                    assert part.endswith("m"), part
                case _:
                    self._here(self.rows[self.row] + part if self.row < len(self.rows) else part)

    def _here(self, text: str) -> None:
        self.rows += [""] * (self.row + 1 - len(self.rows))
        self.rows[self.row] = text

    def shown(self) -> list[str]:
        return [row.rstrip() for row in self.rows[: self.row]]


class Terminal:
    """Where a live table is shown, and what stands there."""

    def __init__(self, scene: Scene) -> None:
        self.file = io.StringIO()
        self.console = Console(
            file=self.file,
            force_terminal=True,
            color_system="standard",
            width=80,
            height=24,
            legacy_windows=False,
        )
        self.live = Live(self.console, scene.now)

    def screen(self) -> Screen:
        screen = Screen()
        screen.write(self.file.getvalue())
        return screen


@pytest.fixture
def terminal(scene: Scene) -> Terminal:
    return Terminal(scene)


def test_only_the_last_table_stays_on_the_screen(scene: Scene, terminal: Terminal) -> None:
    before = scene.pipeline("pending", scene.job(1, "unit", "created"))
    after = scene.pipeline("running", scene.job(1, "unit", "running", started=5))
    with terminal.live as live:
        live.show(Searching("the pipeline of tag v1 in group/api", 60))
        live.show(Found(before))
        live.show(Changed(after, before))
        scene.seconds = 9
        live.show(Tick(scene.now(), 100))
        assert terminal.screen().shown() == [
            "group/api #1234 https://gitlab.example.com/group/api/-/pipelines/1234",
            "● group/api #1234 on main: running",
            "  00:00:09  0 of 1 jobs done",
            "  test  ● unit  running  00:00:04",
            "time limit in 1 min 40 s",
        ]
        assert not terminal.screen().cursor
    assert terminal.screen().cursor
    assert terminal.screen().shown()[-1] == "  test  ● unit  running  00:00:04"


def test_text_written_to_stderr_is_above_the_table(scene: Scene, terminal: Terminal) -> None:
    set_verbosity(1)
    with terminal.live as live:
        live.show(Found(scene.pipeline("pending")))
        console.say("from elsewhere")
        logging.getLogger("cicd_common.gitlab.session").debug("GET /api/v4/job 200 3 ms")
        live.show(Note("no news"))
        live.show(Note("mind this", warning=True))
        sys.stderr.write("no end")
        above = ["from elsewhere", "GET /api/v4/job 200 3 ms", "no news", "warning: mind this"]
        below = ["○ group/api #1234 on main: pending", "  00:00:00"]
        assert terminal.screen().shown()[1:] == [*above, *below]
    assert terminal.screen().shown()[1:] == [*above, "no end", *below]


def test_other_threads_can_write_to_stderr_during_the_wait(
    scene: Scene, terminal: Terminal
) -> None:
    def chatter() -> None:
        for number in range(50):
            console.say(f"line {number}")

    with terminal.live as live:
        live.show(Found(scene.pipeline("pending")))
        threads = [threading.Thread(target=chatter) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(50):
            live.show(Tick(scene.now(), 100))
        for thread in threads:
            thread.join()
    shown = terminal.screen().shown()
    assert sorted(shown[1:-2]) == sorted(f"line {number}" for number in range(50) for _ in "1234")


def test_failures_are_reported_at_the_end_on_the_original_stderr(
    scene: Scene, terminal: Terminal, stderr: Stderr
) -> None:
    pipeline = scene.failed_downstream()
    with terminal.live as live:
        live.show(Found(pipeline))
        live.show(Finished(PipelineFailedError("failed"), pipeline))
        assert stderr() == []
    told = stderr()
    assert told[1] == "group/api #1234"
    assert "failed: test / unit: script failure" in told
    assert terminal.screen().shown()[1] == "✗ group/api #1234 on main"


def test_a_failure_during_the_live_table_restores_terminal_and_logging(
    scene: Scene, terminal: Terminal
) -> None:
    set_verbosity(0)
    [handler] = [
        handler
        for handler in logging.getLogger("cicd_common").handlers
        if type(handler) is logging.StreamHandler
    ]
    before = sys.stderr, handler.stream

    def fail() -> None:
        with terminal.live as live:
            live.show(Found(scene.pipeline("running")))
            assert sys.stderr is handler.stream is not before[0]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (sys.stderr, handler.stream) == before
    assert terminal.screen().cursor


def test_without_an_event_nothing_is_written(terminal: Terminal) -> None:
    with terminal.live:
        pass
    assert terminal.file.getvalue() == ""


def test_a_narrower_window_is_redrawn(scene: Scene, terminal: Terminal) -> None:
    job = scene.job(1, "a-job-whose-name-is-as-long-as-a-window-is-wide-or-nearly-so", "created")
    with terminal.live as live:
        live.show(Found(scene.pipeline("running", job)))
        written = len(terminal.file.getvalue())
        terminal.console.width = 40
        live.show(Tick(scene.now(), 100))
    erased = terminal.file.getvalue()[written:].split("●")[0]
    # Of the three lines one was wider than 40 columns, so that it takes two rows now.
    assert erased.count("\x1b[1A") == 4


def test_no_color_is_respected(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for value, colored in (("1", False), ("", True)):
        monkeypatch.setenv("NO_COLOR", value)
        monkeypatch.setenv("FORCE_COLOR", "1")
        with Live(now=scene.now) as live:
            live.show(Found(scene.pipeline("failed")))
        assert ("\x1b[1;31m" in capsys.readouterr().err) is colored


# A command that shows a pipeline and waits to be ended.
COMMAND = """
import threading
from datetime import UTC, datetime
import click
from cicd_common.cli import main as boundary
from cicd_common.waiting.events import Found
from cicd_common.waiting.pipelines import Pipeline
from cicd_common.waiting.show.presenter import presenter

@click.command("wait")
def wait():
    now = datetime.now(UTC)
    pipeline = Pipeline("group/api", "1", 7, "running", "main", "a", "push", "URL", now, now)
    with presenter() as shown:
        shown.show(Found(pipeline))
        threading.Event().wait()

boundary.run(wait)
"""


@pytest.fixture
def terminal_file() -> Iterator[tuple[int, int]]:
    """The two ends of a pseudo-terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_restores_the_cursor(
    signum: signal.Signals, terminal_file: tuple[int, int], tmp_path: Path
) -> None:
    ours, theirs = terminal_file
    variables = {name: text for name, text in os.environ.items() if name != "CI"}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=variables | {"TERM": "xterm-256color"},
        cwd=tmp_path,
    )
    os.close(theirs)
    said = b""
    while b"running" not in said:
        said += os.read(ours, 4096)
    assert said.count(HIDE_CURSOR.encode()) > said.count(SHOW_CURSOR.encode())
    process.send_signal(signum)
    try:
        while more := os.read(ours, 4096):
            said += more
    except OSError:  # how Linux tells that the other end is closed
        pass
    assert process.wait() == 128 + signum
    _, _, rest = said.rpartition(SHOW_CURSOR.encode())
    assert HIDE_CURSOR.encode() not in rest
    assert f"ended by {signum.name}".encode() in rest
