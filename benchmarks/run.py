"""Runs all benchmarks, and writes docs/benchmarks.md: `make bench`.

Each section's result is kept in build/benchmarks, so that a run that was stopped continues. With
`--again SECTION` one is measured anew, with `--fresh` all are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import commands
import files
import waits
from environment import HOME, ROOT, set_up
from measuring import exponent, plot, table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DOCUMENT = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "plots" / "growth.svg"
ROUNDS = 15
NOTES = ROOT / "benchmarks" / "notes.md"  # what the profiles show, by section

# Title, function and rounds of each section.
SECTIONS: dict[str, tuple[str, Callable[[int], str], int]] = {
    "start": ("Start", commands.start, ROUNDS),
    "tag": ("A tag", commands.tag, ROUNDS),
    "trigger": ("A trigger", commands.trigger, ROUNDS),
    "bump": ("A bump of one named file by the API", commands.bump, ROUNDS),
    "fifty": ("50 projects at 200 ms an answer", commands.fifty_projects, 5),
    "image": ("The image", commands.image, 10),
    "pauses": ("A wait of ten minutes beside fixed pauses", waits.fixed_pauses, 8),
    "many": ("Waits for many pipelines in ten projects", waits.many, 1),
    "files": ("Bumps of many files, and of a large one", files.bump_files, 7),
    "artifacts": ("Artifacts of 1 GB", files.gigabyte, 1),
}
GROWTH: dict[str, tuple[str, str, Callable[[], list[tuple[float, float]]]]] = {
    "pipelines": ("pipelines waited for", "processor", waits.pipelines),
    "jobs": ("jobs of a pipeline", "processor", waits.jobs),
    "projects": ("projects triggered", "time", waits.projects),
    "manifests": ("files of a bump", "processor", files.many_files),
    "bytes": ("bytes of a file", "processor", files.large_files),
    "unpacked": ("files of artifacts", "processor", files.many_artifacts),
}


def main() -> None:
    """Measures what is not measured yet, and writes the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", nargs="*", choices=[*SECTIONS, *GROWTH], default=[])
    parser.add_argument("--fresh", action="store_true", help="measure everything anew")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="at most, for a quick look")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True, exist_ok=True)
    for name in options.again:
        _kept(name).unlink(missing_ok=True)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    missing = _once("peers", set_up)
    for name, (_, measure, rounds) in SECTIONS.items():
        _once(name, lambda measure=measure, rounds=rounds: measure(min(rounds, options.rounds)))
    for name, (_, _, measure_growth) in GROWTH.items():
        _once(name, measure_growth)
    DOCUMENT.write_text(_document(missing), encoding="utf-8")
    PLOT.parent.mkdir(exist_ok=True)
    lines = {what: _once(name, list) for name, (what, _, _) in GROWTH.items()}
    PLOT.write_text(plot("Seconds by size", lines), encoding="utf-8")


def _kept(name: str) -> Path:
    return HOME / f"{name}.json"


def _once(name: str, measure: Callable[[], Any]) -> Any:
    """Returns what was measured before; else measures, and keeps it."""
    if not _kept(name).exists():
        print(name, flush=True)
        _kept(name).write_text(json.dumps(measure()), encoding="utf-8")
    return json.loads(_kept(name).read_text(encoding="utf-8"))


def _document(missing: list[str]) -> str:
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    left_out = f"Left out, because no package was found: {', '.join(missing)}." if missing else ""
    python = platform.python_version()
    notes = _notes()
    text = f"""# Benchmarks

`make bench` measures all of this in one run and writes this page. It needs half an hour. The
figures are of {day}, with Python {python} on {os.cpu_count()} cores ({platform.machine()}).

Commands that are compared run in turns, against the embedded GitLab. A ratio is the median of the
ratios of the rounds. A command's time includes the start of its process.
{left_out}
"""
    for name, (title, _, _) in SECTIONS.items():
        text += f"\n## {title}\n\n{_once(name, str)}"
        text += f"\n{notes[name]}\n" if name in notes else ""
    rows = []
    for name, (what, unit, _) in GROWTH.items():
        points = [tuple(point) for point in _once(name, list)]
        (least, first), (most, last) = points[0], points[-1]
        rows.append(
            [
                f"{what}, {unit}",
                f"{least:,.0f} to {most:,.0f}",
                f"{first:.2f} s",
                f"{last:.2f} s",
                f"{exponent(points):.2f}",
            ]
        )
    head = ("what", "sizes", "at the smallest", "at the largest", "exponent")
    text += f"""
## Growth

{table(head, rows)}
The exponent is that of the power law that fits the largest three sizes best, less what the smallest
takes, which is mostly the start of the process: with 1, twice the size takes twice as long.

![Seconds by size, on logarithmic axes](plots/growth.svg)
"""
    return text + (f"\n{notes['growth']}\n" if "growth" in notes else "")


def _notes() -> dict[str, str]:
    """Returns the paragraphs of notes.md by section."""
    parts = NOTES.read_text(encoding="utf-8").split("\n## ")[1:]
    pairs = (part.partition("\n\n") for part in parts)
    return {name.strip(): note.strip() for name, _, note in pairs}


if __name__ == "__main__":
    main()
