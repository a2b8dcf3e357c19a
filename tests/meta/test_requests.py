"""Each option and each parameter arrives in what a command is asked to do."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from cicd_common.gitlab.connection import ConnectionOptions
from cicd_common.waiting.policy import WaitPolicy
from tests.meta.test_python_functions import FUNCTIONS, each_package, options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


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


@pytest.fixture(autouse=True)
def _requests_are_raised(package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Has the command raise its request and its connection, outside a GitLab job."""

    def end(*made: object) -> None:
        raise Requested(*made[:2])

    runs = importlib.import_module(f"{package}.run")
    monkeypatch.setattr(runs, "bump" if "bump" in package else "run", end)
    for name in os.environ:
        if name.startswith(("CI", "GITLAB", "COMMANDS")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.env").write_text("B=2\n")
    (tmp_path / "token").write_text("glpat-of-a-file")


@pytest.fixture
def requested(package: str) -> Callable[..., tuple[object, ...]]:
    """Calls a package's function; returns the request and the connection that it makes."""
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


REQUESTS = {
    "cmd_bump_image_tag": "BumpRequest",
    "cmd_tag_project": "TagRequest",
    "cmd_trigger_pipeline": "TriggerRequest",
    "cmd_wait_pipeline": "WaitRequest",
}


@each_package
def test_a_request_asks_for_nothing_by_default(package: str) -> None:
    request = getattr(importlib.import_module(f"{package}.request"), REQUESTS[package])
    assert [field.name for field in dataclasses.fields(request) if field.default is True] == []


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


# Of the options whose type does not say a value.
TEXTS = {
    "--api-access-token": "glpat-another",
    "--api-access-token-file": "token",
    "--artifacts": "build=out",
    "--asset": "a=https://h",
    "--base-url": "https://other.example.com",
    "--ca-file": __file__,
    "--cancel-on": "timeout",
    "--directory": "/",
    "--dotenv-from": "build=out.env",
    "--file-variable": "A=a.env",
    "--input": "a=1",
    "--junit": "out.xml",
    "--release-notes": "a.env",
    "--variable": "A=1",
    "--variable-file": "A=a.env",
    "--variables-from": "a.env",
}
# They select a section of a file, or only matter together with another option.
APART = {"--gitlab", "--job-token"}


@each_package
def test_every_option_arrives(package: str) -> None:
    command: click.Command = importlib.import_module(f"{package}.cli").cli
    waits = [] if package == "cmd_wait_pipeline" else ["--wait"]

    def requested(*arguments: str) -> tuple[object, ...]:
        given = ["--project", "a/b", "--base-url", "https://h", *waits, *arguments]
        with pytest.raises(Requested) as raised:
            command.main(given, standalone_mode=False)
        return raised.value.args

    default, found = requested(), {}
    for option in options(package):
        name = next(each for each in option.opts if each.startswith("--"))
        if name not in {"--wait", *APART}:
            found[name] = requested(name, *_values(option, name))

    assert [name for name, made in found.items() if made == default] == []


def _values(option: click.Option, name: str) -> list[str]:
    if option.is_flag or option.count:
        return []
    if isinstance(option.type, click.Choice):
        return [str(next(each for each in option.type.choices if each != option.default))]
    return [TEXTS.get(name, "7")]
