from __future__ import annotations

import re
import shlex
from importlib import import_module

import click
import pytest

from cicd_common.cli.main import run
from cicd_common.cli.options import Command, option, seconds
from cicd_common.errors import ALL_ERRORS

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
def test_the_help_begins_with_the_commands_own_options_and_ends_with_exit_codes(
    command: click.Command,
) -> None:
    headings = re.findall(r"^([\w ]+):$", help_of(command, 80), re.MULTILINE)
    waiting = [] if command.name == "cmd-bump-image-tag" else ["Waiting"]
    assert headings == ["Options", *waiting, "Connection", "Output", "Examples", "Exit codes"]


@each_command
def test_an_example_wrapped_over_lines_is_still_the_same_command_line(command: Command) -> None:
    _, _, shown = help_of(command, 80).partition("Examples:\n")
    shown = shown.partition("Exit codes:\n")[0].replace("\\\n", "")
    examples = [line for line in shown.splitlines() if line.strip() and "  #" not in line]
    assert list(map(shlex.split, examples)) == list(map(shlex.split, command.examples.values()))


@each_command
def test_every_example_is_a_command_line_that_can_be_parsed(command: Command) -> None:
    for line in command.examples.values():
        words = shlex.split(line)
        arguments = words[words.index(command.name or "") + 1 :]
        command.make_parser(click.Context(command)).parse_args(arguments)


@each_command
def test_the_help_ends_with_the_exit_codes_and_the_documentation(command: Command) -> None:
    _, _, end = help_of(command, 80).partition("Exit codes:\n")
    codes = re.findall(r"^  (\d+)", end, re.MULTILINE)
    assert codes == ["0", *(str(kind.exit_code) for kind in ALL_ERRORS), "130"]
    assert re.search(rf"^Documentation: \S*{command.name}\S*", end, re.MULTILINE)


@each_command
def test_the_texts_of_all_options_begin_in_one_column(command: Command) -> None:
    options, _, _ = help_of(command, 100).partition("Examples:\n")
    texts = re.findall(r"^  (-\S.*?  +)\S", options, re.MULTILINE)
    assert len({len(text) for text in texts}) == 1


@each_command
def test_without_arguments_a_short_help_is_shown(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(command, [])
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) < 20
    assert f"Usage: {command.name}" in shown.err
    assert next(iter(command.examples)) in shown.err
    assert f"{command.name} --help" in shown.err


@each_command
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_an_argument_that_names_a_shell_gets_a_hint_about_the_image(
    command: Command, shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(command, [shell, "-c", "echo secret"])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert 'entrypoint: [""]' in shown
    assert "secret" not in shown


@each_command
def test_the_older_option_for_the_project_works_and_is_hidden(command: Command) -> None:
    assert "group-and-name" not in help_of(command, 80)
    for name in ("--project_group_and_name", "--project-group-and-name", "-p"):
        context = command.make_context("test", [name, "a/b"], resilient_parsing=True)
        assert context.params["project"] in {"a/b", ("a/b",)}


def test_a_whole_default_number_is_shown_without_decimals() -> None:
    @click.command("cmd-test", cls=Command, examples={}, no_args_is_help=False)
    @option("--for", type=seconds, default=60.0, show_default=True, help="How long.")
    @option("--lines", type=click.IntRange(min=0), default=2, show_default=True, help="How many.")
    def cli() -> None: ...

    text = help_of(cli, 80)
    assert "[default: 60]" in text
    assert "[default: 2]" in text
