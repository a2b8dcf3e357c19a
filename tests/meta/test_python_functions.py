"""Each command's Python function can do what its options can."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from cicd_common import errors
from cicd_common.cli.options import CONNECTION
from cicd_common.gitlab.connection import ConnectionOptions
from cicd_common.waiting.options import WAITING
from cicd_common.waiting.policy import WaitPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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


class Requested(Exception):  # noqa: N818 - it ends a call, nothing is wrong
    """What a function asks its command to do."""


# A value for each parameter whose type does not say one.
VALUES: dict[str, object] = {
    "assets": {"a": "https://h"},
    "base_url": "https://other.example.com",
    "ca_file": Path(__file__),
    "directory": Path("/"),
    "file_variables": {"A": "1"},
    "inputs": {"a": 1},
    "merge_request": 7,
    "newer_than": 7,
    "next": "patch",
    "pipeline_id": 7,
    "policy": WaitPolicy(interval=7),
    "request_timeout": 7,
    "retry_for": 7,
    "skip_ci": False,
    "variables": {"A": "1"},
    "variables_from": Path("a.env"),
    "via": "git",
}


@pytest.fixture
def requested(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[object, ...]]:
    """Calls a package's function; returns the request and the connection that it makes."""

    def end(*made: object) -> None:
        raise Requested(*made)

    runs = importlib.import_module(f"{package}.run")
    monkeypatch.setattr(runs, "bump" if "bump" in package else "run", end)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.env").write_text("B=2\n")
    function = getattr(importlib.import_module(package), FUNCTIONS[package])

    def call(**arguments: object) -> tuple[object, ...]:
        with pytest.raises(Requested) as raised:
            function(**{"project": "a/b", "base_url": "https://h", **arguments})
        return raised.value.args

    return call


@each_package
def test_every_parameter_arrives_and_does_nothing_by_default(
    package: str, requested: Callable[..., tuple[object, ...]]
) -> None:
    function = getattr(importlib.import_module(package), FUNCTIONS[package])
    parameters = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    others = dict.fromkeys(ConnectionOptions.__annotations__.keys() - {"gitlab"} - TOKENS)
    found = {name: requested(**{name: value}) for name, value in values(parameters | others)}

    assert [name for name, made in found.items() if made == requested()] == []
    assert len({repr(made) for made in found.values()}) == len(found)
    by_default = {name: default for name, default in parameters.items() if default}
    assert by_default.keys() <= {"project", "commit_message", "directory", "image"}


TOKENS = {"api_access_token", "api_access_token_file", "job_token"}


def values(parameters: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """A value for each parameter that is not its default."""
    for name, default in parameters.items():
        flag = not default if isinstance(default, bool) else None
        if name == "merge_request" and flag is not None:
            yield name, flag
        elif name == "wait":
            yield name, WaitPolicy(interval=7)
        else:
            yield name, VALUES.get(name, name if flag is None else flag)


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
