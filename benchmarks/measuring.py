"""Runs processes in turns, and makes tables and plots of the figures."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Command = Callable[[int], Sequence[str | Path]]

WARM_UP = 1


@dataclass(frozen=True)
class Spent:
    """What one process took.

    Attributes:
        wall: Seconds from its start to its end.
        cpu: Seconds of a processor.
        peak: Its largest memory, in MB.
    """

    wall: float
    cpu: float
    peak: float


# A small process starts and measures each command: a child's peak memory begins with its parent's.
STARTER = """
import json, os, subprocess, sys, time
nothing = subprocess.DEVNULL
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdin=nothing, stdout=nothing)
_, status, usage = os.wait4(process.pid, 0)
wall = time.perf_counter() - started
print(json.dumps([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


def run(command: Sequence[str | Path], folder: Path | None = None, **environment: str) -> Spent:
    """Runs a process, and fails if it fails.

    Args:
        command: The program and its arguments.
        folder: Its working directory.
        environment: Variables, beside PATH and HOME.
    """
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", STARTER, *command],
        cwd=folder,
        env=kept | environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr[-2000:]}")
    return Spent(*json.loads(done.stdout))


def in_turns(
    commands: Mapping[str, Command], rounds: int, folder: Path | None = None, **environment: str
) -> dict[str, list[Spent]]:
    """Runs commands in turns, so that each round meets the same machine.

    Args:
        commands: By name: makes the command of a round, whose number starts at 0.
        rounds: How often each runs; one more round comes first and does not count.
        folder: Their working directory.
        environment: Variables, beside PATH and HOME.
    """
    spent: dict[str, list[Spent]] = {name: [] for name in commands}
    for number in range(rounds + WARM_UP):
        for name, command in commands.items():
            one = run(command(number), folder, **environment)
            if number >= WARM_UP:
                spent[name].append(one)
    return spent


def row(name: str, spent: Sequence[Spent], beside: Sequence[Spent]) -> list[str]:
    """Returns a table's row: median, quartiles, processor, memory, and two ratios.

    Each ratio is the median of those of the rounds. That of the processor's time changes less than
    that of the time if the machine has other work.
    """
    walls = [each.wall for each in spent]
    low, middle, high = statistics.quantiles(walls, n=4, method="inclusive")
    rounds = list(zip(spent, beside, strict=True))
    return [
        name,
        f"{middle * 1000:.0f} ms",
        f"{low * 1000:.0f} to {high * 1000:.0f} ms",
        f"{statistics.median(each.cpu for each in spent) * 1000:.0f} ms",
        f"{max(each.peak for each in spent):.0f} MB",
        f"{statistics.median(one.wall / other.wall for one, other in rounds):.2f}",
        f"{statistics.median(one.cpu / other.cpu for one, other in rounds):.2f}",
    ]


HEAD = ("command", "median", "middle half", "processor", "peak memory", "ratio", "of processor")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table whose first column is text and whose other columns are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Returns the exponent of the power law that fits best: 1 is linear growth.

    What the smallest size takes, mostly the start of the process, is subtracted from the others.
    Of the largest three, the least squares of the logarithms count.
    """
    (_, first), *others = sorted(points)
    logs = [(math.log(size), math.log(max(value - first, 1e-3))) for size, value in others[-3:]]
    return statistics.linear_regression(*zip(*logs, strict=True)).slope


def plot(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Returns an SVG of lines on two logarithmic axes, each line with its name at its end."""
    width, height, left, bottom = 640.0, 400.0, 60.0, 40.0
    every = [point for points in lines.values() for point in points]
    spans = [
        (
            math.floor(math.log10(min(point[axis] for point in every))),
            math.ceil(math.log10(max(point[axis] for point in every))),
        )
        for axis in (0, 1)
    ]

    def place(point: tuple[float, float]) -> tuple[float, float]:
        (x0, x1), (y0, y1) = spans
        x = left + (width - left - 130) * (math.log10(point[0]) - x0) / (x1 - x0)
        y = height - bottom - (height - bottom - 40) * (math.log10(point[1]) - y0) / (y1 - y0)
        return round(x, 1), round(y, 1)

    parts = [f'<text x="{left}" y="20" font-weight="bold">{escape(title)}</text>']
    for axis, (first, last) in enumerate(spans):
        for power in range(first, last + 1):
            corner = [10.0 ** spans[0][0], 10.0 ** spans[1][0]]
            end = [10.0 ** spans[0][1], 10.0 ** spans[1][1]]
            corner[axis] = end[axis] = 10.0**power
            (x0, y0), (x1, y1) = place((corner[0], corner[1])), place((end[0], end[1]))
            parts.append(f'<path d="M{x0} {y0}L{x1} {y1}" stroke="#ddd"/>')
            label = f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"
            parts.append(
                f'<text x="{x0}" y="{y0 + 18}" text-anchor="middle">{label}</text>'
                if axis == 0
                else f'<text x="{x0 - 6}" y="{y0 + 4}" text-anchor="end">{label} s</text>'
            )
    for color, (name, points) in zip(COLORS, lines.items(), strict=False):
        placed = [place(point) for point in sorted(points)]
        path = "L".join(f"{x} {y}" for x, y in placed)
        parts.append(f'<path d="M{path}" stroke="{color}" stroke-width="2" fill="none"/>')
        x, y = placed[-1]
        parts.append(f'<text x="{x + 6}" y="{y + 4}" fill="{color}">{escape(name)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {width:.0f} '
        f'{height:.0f}" font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito
