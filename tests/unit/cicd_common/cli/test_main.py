from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import click
import pytest

from cicd_common.cli import main as boundary

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Puts the process's own handlers back, which the boundary replaces for good."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@click.command("cmd-nothing")
def nothing() -> int:
    """Do nothing."""
    return 0


def test_a_command_without_arguments_runs() -> None:
    with pytest.raises(SystemExit) as ending:
        boundary.run(nothing, [])
    assert ending.value.code == 0


@pytest.mark.parametrize("asked", [["--output=json"], ["--output", "json"]])
def test_a_usage_error_is_json_if_json_output_was_requested(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        boundary.run(nothing, [*asked, "--none"])
    assert ending.value.code == 2
    assert capsys.readouterr().out.startswith("{")


class Named:
    def __set_name__(self, owner: type, name: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


@click.command("cmd-slow-import")
def slow_import() -> int:
    """Make a class, as each import does."""
    type("Class", (), {"attribute": Named()})
    return 0


def test_143_a_signal_during_class_creation_is_not_a_bug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ending:
        boundary.run(slow_import, [])
    assert ending.value.code == 143
    assert capsys.readouterr().err == "cmd-slow-import: ended by SIGTERM\n"


def test_143_of_two_signals_at_the_very_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ignore = boundary._ignore_signals

    def signaled_before() -> None:
        if len(boundary._received) < 2:
            os.kill(os.getpid(), signal.SIGTERM)
        ignore()

    monkeypatch.setattr(boundary, "_ignore_signals", signaled_before)

    with pytest.raises(SystemExit) as ending:
        boundary.run(nothing, [])

    assert ending.value.code == 143
    # Python gives the signals that it handles their default back when it ends: they would kill it.
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
