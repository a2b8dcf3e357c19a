"""Turns every exception into an exit code and a message, in one place."""

from __future__ import annotations

import os
import signal
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn

import click

from cicd_common import cleaning
from cicd_common.cli import console
from cicd_common.errors import CommandError, Interrupted, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from cicd_common.cli.output import Output

# sysexits.h: an internal software error. The contract does not list it, because it is a bug.
EX_SOFTWARE = 70


def run(command: click.Command, arguments: list[str] | None = None) -> NoReturn:
    """Runs a command as a process and ends with one of the exit codes of the contract.

    Args:
        command: The command; it returns its exit code.
        arguments: The command-line arguments; default: those of the process.

    Raises:
        SystemExit: Always.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    _received.clear()
    # As PID 1 of a container, a process without a handler ignores SIGTERM.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    cleaning.hide_those_of(os.environ)
    try:
        try:
            code = _run(command, arguments)
            _ignore_signals()
        except Interrupted as first:
            code = first.exit_code
            _ignore_signals()
    except Interrupted as second:  # its handler has made the process ignore all others
        code = second.exit_code
    sys.exit(code)


def _run(command: click.Command, arguments: list[str]) -> int:
    try:
        return _outcome(command, arguments)
    except BrokenPipeError:
        # The reader has closed stdout; Python must not fail again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _outcome(command: click.Command, arguments: list[str]) -> int:
    # The command adds its own as soon as its options are parsed.
    outputs: list[Output] = []
    try:
        code = command.main(arguments, prog_name=command.name, standalone_mode=False, obj=outputs)
        return int(code or 0)
    except CommandError as error:
        failure = error
    except click.ClickException as error:
        failure = UsageError(error.format_message(), hint=f"See {command.name} --help.")
    except Interrupted as signaled:
        return _report_signal(command, _output(outputs, arguments), signaled)
    except BrokenPipeError:
        raise
    except Exception as bug:  # noqa: BLE001 - the last handler: there is nothing above it
        # Python 3.11 wraps what `__set_name__` of a descriptor raises in a RuntimeError.
        if isinstance(bug.__cause__, Interrupted):
            return _report_signal(command, _output(outputs, arguments), bug.__cause__)
        return _report_bug(command, bug)
    _show_traceback(failure)
    return _output(outputs, arguments).finish([failure])


def _output(outputs: list[Output], arguments: list[str]) -> Output:
    from cicd_common.cli.output import Output  # noqa: PLC0415 - slow to import

    return outputs[-1] if outputs else Output("json" if _asks_for_json(arguments) else "text")


def _asks_for_json(arguments: list[str]) -> bool:
    """Returns whether JSON was asked for, even if the options cannot be parsed."""
    pairs = pairwise([*arguments, ""])
    return any(
        pair[0] in {"--output=json", "-ojson"} or pair in {("--output", "json"), ("-o", "json")}
        for pair in pairs
    )


def _report_signal(command: click.Command, output: Output, signaled: Interrupted) -> int:
    console.say(f"{command.name}: ended by {signaled}")
    return output.finish(signaled.outcomes, interrupted=signaled)


def _report_bug(command: click.Command, bug: Exception) -> int:
    console.say(f"{console.styled('bug:', 'red')} {type(bug).__name__}: {bug}")
    console.say(f"  why: This is a bug in {command.name}.")
    console.say("   do: Run it again with -vv, and report what it prints.")
    _show_traceback(bug)
    return EX_SOFTWARE


def _show_traceback(error: Exception) -> None:
    import traceback  # noqa: PLC0415 - slow to import

    from cicd_common.cli.verbosity import shows_tracebacks  # noqa: PLC0415

    if shows_tracebacks():
        console.say("".join(traceback.format_exception(error)))


_received: list[int] = []


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """Ends the command: the first signal lets it clean up, the second also stops that."""
    del frame
    _received.append(signum)
    if len(_received) > 1:
        _ignore_signals()  # the exit code is decided
    raise Interrupted(signum)


def _ignore_signals() -> None:
    """Ignores signals, so that none changes the exit code when Python removes its handlers."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
