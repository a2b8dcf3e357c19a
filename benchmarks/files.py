"""Measures bumps of many and of large files, and the download of artifacts."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bump import NAME, large_file, manifests
from commands import PYTHON, SCRIPTS
from environment import BIN, serving
from measuring import HEAD, in_turns, row, run, table

from sandbox import ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from measuring import Command, Spent

SIZES = (100, 300, 1000, 3000, 10_000)  # files
BYTES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
ARTIFACTS = (10, 100, 1000, 20_000)  # files of 1 KB
GIGABYTE = 2**30


def bumped(number: int) -> list[str | Path]:
    """Returns the command of a bump in the working directory, to another tag in each round."""
    return [
        BIN / "cmd-bump-image-tag",
        "-q",
        "--allow-downgrade",
        "--image",
        NAME,
        "--tag",
        f"1.0.{number + 1}",
    ]


def bump_files(rounds: int) -> str:
    """Measures bumps in a folder beside the start, ruamel.yaml, yq, and reading the bytes."""
    text = ""
    cases = {
        "2,000 manifests, 20 of them with the image": lambda root: manifests(root, 2000, 20),
        "2,000 manifests, all with the image": lambda root: manifests(root, 2000, 2000),
        "one file with 50,000 images": lambda root: large_file(root / "a", 50_000),
    }
    for title, make in cases.items():
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            make(root)
            commands: dict[str, Command] = {
                "cmd-bump-image-tag": bumped,
                "its start (`--version`)": lambda _: [BIN / "cmd-bump-image-tag", "--version"],
                "reading the bytes in Python": lambda _, at=name: [PYTHON, SCRIPTS, "read", at],
            }
            ruamel = [PYTHON, SCRIPTS, "ruamel", name, NAME, "3.0.0"]
            spent = in_turns(commands, rounds, root)
            ours = spent["cmd-bump-image-tag"]
            # The others take up to a minute, so they run once.
            once = {"a script with ruamel.yaml, once": ruamel}
            if "one file" in title and shutil.which("yq"):
                change = f'(.images[] | .image) |= "{NAME}:2"'
                once["yq, once"] = ["yq", "-y", change, root / "a" / "images.yaml"]
            spent |= {each: [run(line, root)] * rounds for each, line in once.items()}
            rows = [row(each, found, ours) for each, found in spent.items()]
            more = statistics.median(
                one.wall - other.wall
                for one, other in zip(ours, spent["its start (`--version`)"], strict=True)
            )
            text += f"**{title}**: {more:.2f} s more than the start.\n\n{table(HEAD, rows)}\n"
    return text


def gigabyte(rounds: int) -> str:
    """Measures the download of artifacts of 1 GB, and writing as much to the disk."""
    del rounds
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        content = {f"{number}.bin": os.urandom(GIGABYTE // 16) for number in range(16)}
        spent, _ = _download(server, content, Path(folder))
        small, _ = _download(server, {"a": b"a"}, Path(folder))
        started = time.perf_counter()
        with Path(folder, "copy").open("wb") as file:
            file.writelines(content.values())
            os.fsync(file.fileno())
        disk = time.perf_counter() - started
    took = spent.wall - small.wall
    rows = [
        ["1 GB downloaded, checked and unpacked", f"{took:.1f} s", f"{spent.peak:.0f} MB"],
        ["1 GB written and synced by Python", f"{disk:.1f} s", ""],
        ["one byte downloaded", f"{small.wall:.1f} s", f"{small.peak:.0f} MB"],
    ]
    return table(("what", "time beyond that of one byte", "peak memory"), rows)


def _download(server: object, content: dict[str, bytes], folder: Path) -> tuple[Spent, int]:
    job = ScriptedJob(name="build", timeline=((0, "success"),), artifacts=content)
    script = ScriptedPipeline(jobs=(job,))
    pipeline = server.gitlab.add_pipeline(server.project, script, user=server.user)  # type: ignore[attr-defined]
    line = [BIN / "cmd-wait-pipeline", "--quiet", "--no-realtime", "--artifacts", "build=out"]
    line += ["--project", server.project.path, str(pipeline.id)]  # type: ignore[attr-defined]
    spent = run(line, folder, **server.environment)  # type: ignore[attr-defined]
    shutil.rmtree(folder / "out")
    return spent, pipeline.id


def many_files() -> list[tuple[float, float]]:
    """Returns the seconds of a bump by the number of files, a hundredth with the image."""
    points = []
    for count in SIZES:
        with tempfile.TemporaryDirectory() as name:
            manifests(Path(name), count, count // 100)
            points.append((count, _fastest(Path(name))))
    return points


def large_files() -> list[tuple[float, float]]:
    """Returns the seconds of a bump by the size of the one file, full of images."""
    points = []
    for size in BYTES:
        with tempfile.TemporaryDirectory() as name:
            large_file(Path(name, "a"), max(1, size // 60))
            points.append((size, _fastest(Path(name))))
    return points


def _fastest(folder: Path) -> float:
    return min(run(bumped(number), folder).cpu for number in range(3))


def many_artifacts() -> list[tuple[float, float]]:
    """Returns the seconds of a download by the number of files of 1 KB."""
    points = []
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        for count in ARTIFACTS:
            content = {f"{number // 100}/{number}": os.urandom(1000) for number in range(count)}
            spent = [_download(server, content, Path(folder))[0].cpu for _ in range(3)]
            points.append((count, min(spent)))
    return points
