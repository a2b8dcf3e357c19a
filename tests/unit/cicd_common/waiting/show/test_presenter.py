"""Which presenter shows a wait."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from cicd_common.waiting.events import Presenter
from cicd_common.waiting.show.lines import Lines
from cicd_common.waiting.show.live import Live
from cicd_common.waiting.show.presenter import Together, is_live_place, presenter


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "live"),
    [
        (Tty(), {"TERM": "xterm-256color"}, True),
        (Tty(), {"TERM": "xterm-256color", "CI": ""}, True),
        (Tty(), {"TERM": "xterm-256color", "CI": "true"}, False),
        (Tty(), {"TERM": "dumb"}, False),
        (Tty(), {}, False),
        (io.StringIO(), {"TERM": "xterm-256color"}, False),
        (None, {"TERM": "xterm-256color"}, False),
    ],
)
def test_a_live_table_needs_a_terminal(
    stream: io.StringIO | None, environment: dict[str, str], live: bool
) -> None:
    assert is_live_place(stream, environment) is live


def test_the_presenter_depends_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(presenter(), Lines)
    monkeypatch.setattr(sys, "stderr", Tty())
    assert isinstance(presenter(), Live)
    assert isinstance(presenter(quiet=True), Lines)


def test_combined_presenters_use_the_shortest_interval() -> None:
    assert Together([Lines(), Lines(quiet=True)]).every == Lines().every
    assert Together([Lines(quiet=True), Presenter()]).every is None


def test_every_presenter_is_closed_even_if_one_fails() -> None:
    ended = []

    class Failing(Lines):
        def __exit__(self, *error: object) -> None:
            ended.append(self)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Together([Failing(), Failing()]):
        pass
    assert len(ended) == 2


def test_rich_is_imported_only_for_a_live_table() -> None:
    code = (
        "import sys; from cicd_common.waiting.show.presenter import presenter; presenter();"
        "sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
