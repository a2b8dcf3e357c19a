"""Measures whole processes of the commands beside what others do in their place."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from typing import TYPE_CHECKING

from environment import BIN, ROOT, serving
from measuring import HEAD, in_turns, row, table

if TYPE_CHECKING:
    from environment import Server
    from measuring import Command

COMMANDS = ("cmd-tag-project", "cmd-trigger-pipeline", "cmd-wait-pipeline", "cmd-bump-image-tag")
DELAYS = (0.0, 0.05, 0.15)
PYTHON = BIN / "python"
SCRIPTS = ROOT / "benchmarks" / "peers.py"


def start(rounds: int) -> str:
    """Measures `--version` and `--help` beside the import of click."""
    base = "python -c 'import click'"
    commands: dict[str, Command] = {base: lambda _: [PYTHON, "-c", "import click"]}
    for command in COMMANDS:
        for option in ("--version", "--help"):
            line = [BIN / command, option]
            commands[f"{command} {option}"] = lambda _, line=line: line
    spent = in_turns(commands, rounds)
    rows = [row(f"`{name}`", each, spent[base]) for name, each in spent.items()]
    return table(HEAD, rows) + "\nGoal: a ratio of 1.3 at most.\n"


def tag(rounds: int) -> str:
    """Measures a tag with `--ref` beside the tutorial's script and python-gitlab's command."""

    def commands(server: Server) -> dict[str, Command]:
        url, token, path = server.gitlab.url, server.token, server.project.path
        return {
            "cmd-tag-project": lambda n: [
                *(BIN / "cmd-tag-project", "--project", path),
                *("--tag-name", f"ours-{n}", "--ref", "main"),
            ],
            "the tutorial's script": lambda n: [
                *(PYTHON, SCRIPTS, "tag", url, token, path, f"script-{n}")
            ],
            "gitlab project-tag create": lambda n: [
                *(BIN / "gitlab", "--server-url", url, "--private-token", token),
                *("project-tag", "create", "--project-id", path),
                *("--tag-name", f"peer-{n}", "--ref", "main"),
            ],
        }

    goal = "Goal: at most 0.85 times the script at 0 ms, 0.6 times at 150 ms."
    return _at_each_delay(commands, "the tutorial's script", rounds) + f"\n{goal}\n"


def trigger(rounds: int) -> str:
    """Measures a trigger with `--ref` beside a script with python-gitlab."""

    def commands(server: Server) -> dict[str, Command]:
        url, token, path = server.gitlab.url, server.token, server.project.path
        ours = [BIN / "cmd-trigger-pipeline", "--project", path, "--ref", "main"]
        script = [PYTHON, SCRIPTS, "trigger", url, token, path]
        return {"cmd-trigger-pipeline": lambda _: ours, "a script": lambda _: script}

    return _at_each_delay(commands, "a script", rounds)


def bump(rounds: int) -> str:
    """Measures a bump of one named file by the API beside a script with python-gitlab."""

    def commands(server: Server) -> dict[str, Command]:
        url, token, path = server.gitlab.url, server.token, server.project.path
        return {
            "cmd-bump-image-tag": lambda n: [
                *(BIN / "cmd-bump-image-tag", "--project", path, "--branch", "main"),
                *("--file", "web.yaml", "--image", "example.com/web", "--tag", f"v2.{n}"),
            ],
            "a script": lambda n: [
                *(PYTHON, SCRIPTS, "bump", url, token, path, f"v1.{n}"),
            ],
        }

    return _at_each_delay(commands, "a script", rounds)


def _at_each_delay(commands: object, beside: str, rounds: int) -> str:
    rows = []
    for delay in DELAYS:
        with serving(delay) as server:
            spent = in_turns(commands(server), rounds, **server.environment)  # type: ignore[operator]
        rows += [
            row(f"{name}, {delay * 1000:.0f} ms", each, spent[beside])
            for name, each in spent.items()
        ]
    return table(HEAD, rows)


def fifty_projects(rounds: int) -> str:
    """Measures a trigger in 50 projects at 200 ms beside the start of the command."""
    with serving() as server:
        projects = server.projects(50)
        from sandbox import Fault  # noqa: PLC0415 - the projects are added without the delay

        server.gitlab.fault(Fault(delay=0.2))
        line = [BIN / "cmd-trigger-pipeline", "--ref", "main"]
        for project in projects:
            line += ["--project", project.path]
        commands: dict[str, Command] = {
            "50 projects": lambda _: line,
            "one project": lambda _: line[:5],
        }
        spent = in_turns(commands, rounds, **server.environment)
    rows = [row(name, each, spent["one project"]) for name, each in spent.items()]
    more = statistics.median(
        many.wall - one.wall
        for many, one in zip(spent["50 projects"], spent["one project"], strict=True)
    )
    return table(HEAD, rows) + f"\n{more:.2f} s more than for one. Goal: under 2 s.\n"


def image(rounds: int) -> str:
    """Measures `docker run IMAGE --version` beside its base, and the size of the image."""
    import os  # noqa: PLC0415

    base = os.environ.get("PYTHON_IMAGE", "python:3.14-alpine")
    built = "ci-cd-commands-benchmark"
    if shutil.which("docker") is None:
        return "Left out: there is no Docker Engine here.\n"
    argument = ["--build-arg", f"PYTHON_IMAGE={base}"]
    subprocess.run(
        [
            *("docker", "build", "--quiet", "--file", "dockerfiles/Dockerfile", *argument),
            *("--target", "cmd-tag-project", "--tag", built, "."),
        ],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    docker = ["docker", "run", "--rm"]
    commands: dict[str, Command] = {
        "docker run IMAGE --version": lambda _: [*docker, built, "--version"],
        "docker run BASE python -c pass": lambda _: [
            *(*docker, "--entrypoint", "python3", base, "-c", "pass")
        ],
    }
    spent = in_turns(commands, rounds)
    names = list(commands)
    rows = [row(f"`{name}`", each, spent[names[1]]) for name, each in spent.items()]
    more = statistics.median(
        one.wall - other.wall for one, other in zip(spent[names[0]], spent[names[1]], strict=True)
    )
    sizes = [
        int(
            subprocess.run(
                ["docker", "image", "inspect", "--format", "{{.Size}}", each],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for each in (built, base)
    ]
    subprocess.run(["docker", "image", "rm", built], check=True, stdout=subprocess.DEVNULL)
    return (
        f"{table(HEAD, rows)}\n{more * 1000:.0f} ms more. Goal: at most 120 ms. The image is "
        f"{(sizes[0] - sizes[1]) / 1e6:.0f} MB larger than its base of {sizes[1] / 1e6:.0f} MB.\n"
    )
