"""Many processes of each writing command, at once or killed: nothing is lost, twice, or left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.fault_matrix.commands import PROJECT, effects, new_world
from tests.fault_matrix.console_scripts import ConsoleScripts, Kill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.model import Project
    from tests.fault_matrix.commands import World
    from tests.fault_matrix.console_scripts import Ended

LIMIT = 100
RETRY_FOR = "90"
# Longer than any of the commands takes alone.
LAST_KILL = 0.6


@dataclass(frozen=True)
class Writer:
    """A command that writes.

    Attributes:
        name: What it does.
        script: The console script.
        arguments: Its arguments; `{n}` is the number of the process.
        where: Where it writes: to a project, or to the files of the working directory.
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    where: Literal["project", "files"] = "project"

    def __str__(self) -> str:
        return self.name


BUMP = ("--image", "example.com/image-{n}=new-{n}")
WRITERS = (
    Writer("tag", "cmd-tag-project", ("--tag-name", "tag-{n}", "--message", "m")),
    Writer("tag --release", "cmd-tag-project", ("--tag-name", "tag-{n}", "--release")),
    Writer("trigger", "cmd-trigger-pipeline", ("--variable", "N={n}")),
    Writer("bump files", "cmd-bump-image-tag", BUMP, "files"),
    Writer("bump by API", "cmd-bump-image-tag", BUMP),
    Writer("bump by git", "cmd-bump-image-tag", (*BUMP, "--via", "git")),
    Writer("bump --merge-request", "cmd-bump-image-tag", (*BUMP, "--merge-request")),
)
QUICK = 4  # the first of them, which do not compete for a branch
each_writer = pytest.mark.parametrize("writer", WRITERS, ids=str)


@pytest.fixture
def processes(request: pytest.FixtureRequest) -> int:
    """How many at once: 24; in `make test` fewer where 24 take more than a few seconds."""
    if request.config.getoption("--whole-matrix", default=False):
        return 24
    asked = getattr(request.node, "callspec", None)
    if asked is None or "number" in asked.params:
        return 6
    return 24 if asked.params["writer"] in WRITERS[:QUICK] else 12


@pytest.fixture(scope="module")
def scripts() -> Iterator[ConsoleScripts]:
    with ConsoleScripts() as running:
        yield running


@dataclass(frozen=True)
class Workshop:
    """Runs processes in one world."""

    world: World
    scripts: ConsoleScripts
    folder: Path
    processes: int

    @property
    def files(self) -> Path:
        """The working directory of those that edit files."""
        return self.folder / "files"

    def run(self, writer: Writer, kills: list[Kill] | None = None) -> list[Ended]:
        """Starts all processes of a command at once; returns how they ended."""
        with ThreadPoolExecutor(self.processes) as pool:
            return list(
                pool.map(
                    lambda n: self._run_one(writer, n, kills[n] if kills else None),
                    range(self.processes),
                )
            )

    def _run_one(self, writer: Writer, number: int, kill: Kill | None) -> Ended:
        gitlab = self.world.gitlab
        own = self.folder / str(number)
        for name in ("output", "home", "temporary", "work"):
            (own / name).mkdir(parents=True, exist_ok=True)
        to_project = ("--base-url", gitlab.url, "--project", PROJECT, "--retry-for", RETRY_FOR)
        return self.scripts.run(
            writer.script,
            [
                *(to_project if writer.where == "project" else ()),
                *(each.format(n=number) for each in writer.arguments),
                *("--output", "json"),
            ],
            environment={
                "PATH": os.environ["PATH"],
                "HOME": str(own / "home"),
                "TMPDIR": str(own / "temporary"),
                "COMMANDS_API_TOKEN": self.world.token.secret,
            },
            folder=self.files if writer.where == "files" else own / "work",
            output=own / "output",
            limit=LIMIT,
            kill=kill,
        )

    def left(self, *, temporary: bool = True) -> list[str]:
        """The files and folders that nobody asked for."""
        names = ("home", "work", "temporary") if temporary else ("home", "work")
        folders = [self.folder / str(n) / name for n in range(self.processes) for name in names]
        found = [path for folder in folders for path in folder.rglob("*")]
        found += [path for path in self.files.iterdir() if path.name != "pods.yaml"]
        return [str(path.relative_to(self.folder)) for path in found]


@pytest.fixture
def workshop(tmp_path: Path, scripts: ConsoleScripts, processes: int) -> Iterator[Workshop]:
    pods = "kind: Pod\nspec:\n  containers:\n" + "".join(
        f"    - image: example.com/image-{n}:old\n" for n in range(processes)
    )
    (tmp_path / "files").mkdir()
    (tmp_path / "files/pods.yaml").write_text(pods)
    world = new_world(tmp_path / "gitlab")
    world.gitlab.commit(world.project, {"pods.yaml": pods}, start_pipeline=False)
    with world.gitlab:
        yield Workshop(world, scripts, tmp_path, processes)


def wanted(writer: Writer, processes: int) -> Counter[str]:
    """What all processes together are to make."""
    kinds = {
        "tag": ("tag tag-{n}",),
        "tag --release": ("tag tag-{n}", "release tag-{n}"),
        "trigger": ("pipeline with N={n}",),
        "bump files": (),
        "bump by API": ("commit 'Update image tag to new-{n}'",),
        "bump by git": ("commit 'Update image tag to new-{n}'",),
        "bump --merge-request": (
            "commit 'Update image tag to new-{n}'",
            "merge request 'Update image tag to new-{n}'",
        ),
    }
    return Counter(each.format(n=n) for each in kinds[writer.name] for n in range(processes))


def made(workshop: Workshop) -> Counter[str]:
    """What all processes together have made in the project."""
    found = effects(workshop.world)
    given = ("tag v1.2.3", "commit 'Initial commit'", "commit 'Change files'")
    return Counter({what: n for what, n in found.items() if what not in given})


def check_files(writer: Writer, workshop: Workshop) -> None:
    """Each image has the tag of its process, where the edit is one of files or of main."""
    text = (workshop.files / "pods.yaml").read_text()
    if writer.name in ("bump by API", "bump by git"):
        text = _pods(workshop.world.project)
    if writer.script == "cmd-bump-image-tag" and "merge" not in writer.name:
        assert text.splitlines()[3:] == [
            f"    - image: example.com/image-{n}:new-{n}" for n in range(workshop.processes)
        ]


def _pods(project: Project) -> str:
    done = subprocess.run(
        ["git", "--git-dir", str(project.repository), "show", "main:pods.yaml"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def result(ended: Ended) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


@each_writer
def test_what_many_do_at_once_is_done_once_each(writer: Writer, workshop: Workshop) -> None:
    endings = workshop.run(writer)

    assert [ended.code for ended in endings] == [0] * workshop.processes, endings
    assert made(workshop) == wanted(writer, workshop.processes)
    check_files(writer, workshop)
    assert workshop.left() == []


def test_of_many_that_make_the_same_tag_one_makes_it(workshop: Workshop) -> None:
    writer = Writer("same tag", "cmd-tag-project", ("--tag-name", "same"))

    endings = workshop.run(writer)

    assert [ended.code for ended in endings] == [0] * workshop.processes, endings
    assert made(workshop) == {"tag same": 1}
    assert sum(result(ended)["created"] for ended in endings) == 1


def test_of_many_that_propose_the_same_bump_one_proposes_it(workshop: Workshop) -> None:
    arguments = ("--image", "example.com/image-0=new", "--merge-request")
    writer = Writer("same merge request", "cmd-bump-image-tag", arguments)

    endings = workshop.run(writer)

    assert [ended.code for ended in endings] == [0] * workshop.processes, endings
    assert made(workshop) == {
        "commit 'Update image tag to new'": 1,
        "merge request 'Update image tag to new'": 1,
    }
    assert len({result(ended)["merge_request"] for ended in endings}) == 1


def test_many_next_versions_have_no_gap_and_each_is_there(workshop: Workshop) -> None:
    writer = Writer("next", "cmd-tag-project", ("--next", "patch"))

    endings = workshop.run(writer)

    assert [ended.code for ended in endings] == [0] * workshop.processes, endings
    named = {result(ended)["tag"] for ended in endings}
    assert named == {f"v1.2.{4 + n}" for n in range(len(named))}
    assert made(workshop) == dict.fromkeys((f"tag {name}" for name in named), 1)


@each_writer
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_what_is_killed_and_run_again_is_done_once(
    writer: Writer, number: signal.Signals, workshop: Workshop
) -> None:
    moments = random.Random(f"{writer.name} {number}")  # noqa: S311 - a seed, no secret
    kills = [Kill(moments.uniform(0, LAST_KILL), number) for _ in range(workshop.processes)]

    killed = workshop.run(writer, kills)

    for ended in killed:
        # Before the command has begun, a signal ends Python itself.
        begun = ended.stdout + ended.stderr
        assert ended.code in {0, 143 if begun and number == signal.SIGTERM else -number}, ended
    early = made(workshop)
    assert not early - wanted(writer, workshop.processes)
    if number == signal.SIGTERM:
        assert workshop.left() == []
        for n, ended in enumerate(killed):
            started = early[f"pipeline with N={n}"]
            said = ended.stdout + ended.stderr
            assert not started or "/-/pipelines" in said, said
    if writer.name == "trigger":
        return  # what is run again is a pipeline more

    again = workshop.run(writer)

    assert [ended.code for ended in again] == [0] * workshop.processes, again
    assert made(workshop) == wanted(writer, workshop.processes)
    check_files(writer, workshop)
    # What git had for itself while it was killed is not ours to remove.
    assert workshop.left(temporary=False) == []
