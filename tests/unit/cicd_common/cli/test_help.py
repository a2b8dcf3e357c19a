from __future__ import annotations

import re
import shlex
from importlib import import_module

import click
import pytest

from cicd_common.cli.options import Command, option, seconds

NAMES = ("tag_project", "trigger_pipeline", "wait_pipeline", "bump_image_tag")
COMMANDS = [import_module(f"cmd_{name}.cli").cli for name in NAMES]
each_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def help_of(command: click.Command, width: int) -> str:
    with click.Context(command, terminal_width=width, info_name=command.name) as context:
        return command.get_help(context)


@each_command
@pytest.mark.parametrize("width", [80, 100])
def test_the_help_is_no_wider_than_the_terminal(command: click.Command, width: int) -> None:
    assert max(map(len, help_of(command, width).splitlines())) <= width


@each_command
def test_the_own_options_stand_first_and_the_examples_last(command: click.Command) -> None:
    headings = re.findall(r"^(\w+):$", help_of(command, 80), re.MULTILINE)
    waiting = [] if command.name == "cmd-bump-image-tag" else ["Waiting"]
    assert headings == ["Options", *waiting, "Connection", "Output", "Examples"]


@each_command
def test_what_is_broken_into_lines_is_still_the_same_command_line(command: Command) -> None:
    shown = help_of(command, 80).partition("Examples:\n")[2].replace("\\\n", "")
    examples = [line for line in shown.splitlines() if line.strip() and "  #" not in line]
    assert list(map(shlex.split, examples)) == list(map(shlex.split, command.examples.values()))


@each_command
def test_every_example_is_a_command_line_that_can_be_parsed(command: Command) -> None:
    for line in command.examples.values():
        words = shlex.split(line)
        arguments = words[words.index(command.name or "") + 1 :]
        command.make_parser(click.Context(command)).parse_args(arguments)


def test_a_number_is_shown_as_a_person_writes_it() -> None:
    @click.command("cmd-test", cls=Command, examples={})
    @option("--for", type=seconds, default=60.0, show_default=True, help="How long.")
    @option("--lines", type=click.IntRange(min=0), default=2, show_default=True, help="How many.")
    def cli() -> None: ...

    text = help_of(cli, 80)
    assert "[default: 60]" in text
    assert "[default: 2]" in text
