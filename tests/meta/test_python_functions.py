"""Each command's Python function can do what its options can."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import subprocess
import sys

import click
import pytest

from cicd_common import errors
from cicd_common.cli.options import CONNECTION
from cicd_common.gitlab.connection import ConnectionOptions
from cicd_common.waiting.options import WAITING
from cicd_common.waiting.policy import WaitPolicy

FUNCTIONS = {
    "cmd_bump_image_tag": "bump_image_tag",
    "cmd_tag_project": "tag_project",
    "cmd_trigger_pipeline": "trigger_pipeline",
    "cmd_wait_pipeline": "wait_pipeline",
}
# Options whose parameter has another name: an option is repeated, a parameter holds all.
NAMES = {
    "--asset": "assets",
    "--gitlab": "gitlab",
    "--input": "inputs",
    "--job": "jobs",
    "--no-realtime": "realtime",
    "--timeout": "wait",  # a part of the policy
    "--variable": "variables",
    "--variable-file": "file_variables",
}
# What goes to stdout, stderr and files is a matter of the command line alone.
OF_THE_COMMAND_LINE = {
    "--output",
    "--dotenv",
    "--dotenv-prefix",
    "--quiet",
    "--verbose",
    "--version",
}
each_package = pytest.mark.parametrize("package", FUNCTIONS)


def options(package: str) -> list[click.Option]:
    command: click.Command = importlib.import_module(f"{package}.cli").cli
    found = [param for param in command.params if isinstance(param, click.Option)]
    return [each for each in found if not OF_THE_COMMAND_LINE & set(each.opts)]


def parameter(option: click.Option) -> str:
    spelling = next(name for name in option.opts if name.startswith("--"))
    return NAMES.get(spelling, spelling.removeprefix("--").replace("-", "_"))


@each_package
def test_every_option_is_a_parameter(package: str) -> None:
    function = getattr(importlib.import_module(package), FUNCTIONS[package])
    own = set(inspect.signature(function).parameters)
    of_group = {
        CONNECTION: set(ConnectionOptions.__annotations__),
        WAITING: {"wait", *(field.name for field in dataclasses.fields(WaitPolicy))},
    }
    missing = [
        option.opts
        for option in options(package)
        if parameter(option) not in of_group.get(getattr(option, "group", ""), own)
    ]
    assert missing == []


@each_package
def test_every_parameter_is_described(package: str) -> None:
    function = getattr(importlib.import_module(package), FUNCTIONS[package])
    described = inspect.getdoc(function)
    assert described is not None
    for name in inspect.signature(function).parameters:
        assert f"    {name}: " in described, name


@pytest.mark.parametrize("package", sorted(set(FUNCTIONS) - {"cmd_bump_image_tag"}))
def test_a_package_has_what_its_callers_need(package: str) -> None:
    module = importlib.import_module(package)
    for name in (*module.__all__, *errors.__all__, "WaitPolicy"):
        assert getattr(module, name) is not None
    assert {error.__name__ for error in errors.ALL_ERRORS} <= set(module.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing


@each_package
def test_the_console_script_shows_its_help_without_the_client(package: str) -> None:
    code = f"import {package}.cli, sys; print({{'requests', 'gitlab', 'yaml'}} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "set()\n"
