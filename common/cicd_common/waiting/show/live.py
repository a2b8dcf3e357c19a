"""Shows a wait on a terminal: a table at the bottom that is redrawn below all other output."""

from __future__ import annotations

import io
import logging
import sys
import threading
from contextlib import ExitStack, redirect_stderr
from math import ceil
from typing import TYPE_CHECKING

from rich.console import Console

from cicd_common.cleaning import one_line
from cicd_common.cli import console
from cicd_common.waiting.events import Finished, Found, Note, Presenter, present
from cicd_common.waiting.show.lines import LogBudget, failure_report
from cicd_common.waiting.show.progress import Progress
from cicd_common.waiting.show.table import Canvas, render, render_final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from types import TracebackType

    from rich.text import Text

    from cicd_common.waiting.events import Event
    from cicd_common.waiting.pipelines import Pipeline

log = logging.getLogger(__name__)

EVERY = 1.0  # seconds; the timers change as often, and so a new window size shows soon

MAX_AGE = 10.0  # seconds, as on GitLab's own pages where they poll

# ECMA-48, and DEC's private mode 25.
HIDE_CURSOR = "\x1b[?25l"
SHOW_CURSOR = "\x1b[?25h"
ERASE_LINE = "\x1b[2K"
LINE_UP = "\x1b[1A"


class Live(Presenter):
    """Shows events as a table on stderr, and what failed when the wait is over.

    Everything else that this process writes to stderr meanwhile appears above the table.

    Args:
        terminal: The terminal to draw on; default: stderr.
        now: Returns the time.
    """

    every: float | None = EVERY
    shows_jobs = True
    max_age: float | None = MAX_AGE

    def __init__(
        self, terminal: Console | None = None, now: Callable[[], datetime] = present
    ) -> None:
        self.now = now
        self._progress = Progress()
        self._ended: list[Pipeline] = []
        self._area = _Area(terminal or _stderr())
        self._begun = False
        self._tidy = ExitStack()

    def show(self, event: Event) -> None:
        """Shows one event."""
        self._begin()
        match event:
            case Note(text=text, warning=True):
                log.warning("%s", one_line(text))
            case Note(text=text):
                console.say(one_line(text))
            case Found(pipeline=pipeline):
                console.say(
                    f"{one_line(pipeline.project)} #{pipeline.id} {one_line(pipeline.web_url)}"
                )
            case Finished(pipeline=pipeline) if pipeline is not None:
                self._ended.append(pipeline)
        self._progress.note(event)
        self._area.draw(render(self._progress, self.now(), self._area.canvas()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the last state on the terminal, restores the terminal, and shows what failed."""
        try:
            if self._begun:
                self._area.draw(render_final(self._progress, self.now(), self._area.canvas()))
        finally:
            self._tidy.close()
        budget = LogBudget()
        for pipeline in self._ended:
            for line in failure_report(pipeline, budget):
                console.say(line)

    def _begin(self) -> None:
        """Starts to use the terminal, at the first event."""
        if self._begun:
            return
        self._begun = True
        self._tidy.callback(self._area.leave)
        above = _Above(self._area)
        self._tidy.callback(above.finish)
        # Each logging handler keeps its own stream, so that each of them must be changed.
        for handler in logging.getLogger("cicd_common").handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
                self._tidy.callback(handler.setStream, handler.stream)
                handler.setStream(above)
        self._tidy.enter_context(redirect_stderr(above))


def _stderr() -> Console:
    return Console(
        file=sys.stderr,
        force_terminal=True,
        no_color=not console.colored(sys.stderr),
        highlight=False,
        markup=False,
        emoji=False,
    )


class _Area:
    """Draws the lines at the bottom of a terminal, with a hidden cursor below them.

    Other threads can write above it, so that one lock guards it. `rich.live.Live` was tried: it
    erases in the same way, but leaves parts of the table when the window becomes narrower, and the
    handlers of `logging` write past it, so that the code around it stays.
    """

    def __init__(self, terminal: Console) -> None:
        self._terminal = terminal
        self._lock = threading.RLock()
        self._lines: Sequence[Text] = ()

    def canvas(self) -> Canvas:
        """Returns the size that can be drawn on now; the last row is for the cursor."""
        size = self._terminal.size
        options = self._terminal.options
        return Canvas(size.width, size.height - 1, ascii=options.ascii_only)

    def draw(self, lines: Sequence[Text]) -> None:
        """Replaces the lines."""
        with self._lock:
            erase = self._erase()
            self._lines = lines
            self._write(f"{HIDE_CURSOR}{erase}{self._rendered()}")

    def write_above(self, text: str) -> None:
        """Writes complete lines above the area, where they stay."""
        with self._lock:
            self._write(f"{self._erase()}{text}{self._rendered()}")

    def leave(self) -> None:
        """Shows the cursor again, and leaves the lines on the terminal."""
        with self._lock:
            self._lines = ()
            self._write(SHOW_CURSOR)

    def _erase(self) -> str:
        """Returns the codes that move the cursor up to the first line and erase each line.

        If the window has become narrower, the lines take more rows than when they were drawn.
        Erasing everything below the cursor at once would be shorter, but some terminals then keep
        a copy of each drawing in their scrollback.
        """
        width = self._terminal.size.width
        rows = sum(max(1, ceil(line.cell_len / width)) for line in self._lines)
        return f"\r{ERASE_LINE}{f'{LINE_UP}{ERASE_LINE}' * rows}"

    def _rendered(self) -> str:
        with self._terminal.capture() as rendered:
            for line in self._lines:
                self._terminal.print(line, soft_wrap=True)
        return rendered.get()

    def _write(self, text: str) -> None:
        """Writes the whole text at once, so that nothing flickers."""
        self._terminal.file.write(text)
        self._terminal.file.flush()


class _Above(io.TextIOBase):
    """Replaces stderr, and writes complete lines above the area."""

    encoding = "utf-8"

    def __init__(self, area: _Area) -> None:
        self._area = area
        self._rest = ""

    def isatty(self) -> bool:
        return True

    def finish(self) -> None:
        """Writes the rest of an unfinished line."""
        if self._rest:
            self.write("\n")

    def write(self, text: str) -> int:
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            self._area.write_above(whole + newline)
        return len(text)
