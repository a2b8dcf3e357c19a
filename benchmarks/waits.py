"""Measures waits: requests, delays, and how both grow."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from environment import BIN, serving
from measuring import run, table
from waiting import SETTINGS, measure

from sandbox import ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from environment import Server
    from measuring import Spent

    from sandbox.model import Project

PIPELINES = (1, 5, 20, 100, 500)
JOBS = (10, 50, 200, 1000, 2000)
PROJECTS = (1, 3, 10, 30, 100)
LASTS = 8.0  # seconds of a pipeline that is waited for
MINUTES = 600.0  # seconds of the pipelines of waiting.py


def fixed_pauses(rounds: int) -> str:
    """Compares a wait's requests and delays with fixed pauses of the same mean delay."""
    rows = []
    for setting in SETTINGS:
        runs = [measure(setting, seed) for seed in range(rounds)]
        delays = [delay for each in runs for delay in each.delays]
        requests = statistics.median(each.requests for each in runs)
        end = statistics.mean(each.end for each in runs)
        # A poll every P seconds sees the end P / 2 late on average.
        fixed = MINUTES / (2 * max(end, 0.05))
        rows.append(
            [
                setting.name,
                f"{requests:.0f}",
                f"{statistics.mean(delays):.1f} s",
                f"{end:.1f} s",
                f"{fixed:.0f}" if setting.interval is None else "",
            ]
        )
    head = ("how", "requests", "a job is seen after", "the end after", "fixed pauses would need")
    return table(head, rows) + "\nGoal: half the requests of fixed pauses with the same delay.\n"


def many(rounds: int) -> str:
    """Counts the requests of waits for many pipelines in ten projects."""
    del rounds
    rows = []
    for count in (200, 500):
        for options in (["--quiet"], ["--quiet", "--output", "json"]):
            with serving() as server:
                projects = server.projects(10)
                spent, sent = _wait(server, projects, count, "--interval", "2", *options)
            lists = sum("updated_after" in path for path in sent)
            rows.append(
                [
                    f"{count} pipelines, `{' '.join(options)}`",
                    f"{len(sent)}",
                    f"{lists}",
                    f"{lists / (LASTS / 2):.0f}",
                    f"{spent.cpu:.1f} s",
                    f"{spent.peak:.0f} MB",
                ]
            )
    head = ("what", "requests", "of them polls", "each 2 s", "processor", "peak memory")
    return table(head, rows) + "\nGoal: 10 requests a poll at most.\n"


def _wait(
    server: Server, projects: list[Project], count: int, *options: str
) -> tuple[Spent, list[str]]:
    """Waits for pipelines that last some seconds, and returns the requests."""
    job = ScriptedJob(name="test", timeline=((0, "pending"), (LASTS, "success")))
    script = ScriptedPipeline(jobs=(job,))
    line = [BIN / "cmd-wait-pipeline", "--no-realtime", *options]
    for number in range(count):
        project = projects[number % len(projects)]
        pipeline = server.gitlab.add_pipeline(project, script, user=server.user)
        line.append(f"{server.gitlab.url}/{project.path}/-/pipelines/{pipeline.id}")
    before = len(server.gitlab.requests)
    spent = run(line, **server.environment)
    return spent, [each.path for each in server.gitlab.requests[before:]]


def pipelines() -> list[tuple[float, float]]:
    """Returns the processor seconds of a wait by the number of pipelines of a project."""
    points = []
    for count in PIPELINES:
        with serving() as server:
            points.append((count, _wait(server, [server.project], count)[0].cpu))
    return points


def jobs() -> list[tuple[float, float]]:
    """Returns the processor seconds of a wait by the number of jobs, each of which is shown."""
    points = []
    for count in JOBS:
        script = ScriptedPipeline(
            jobs=tuple(
                ScriptedJob(name=f"test {number}", timeline=((0, "running"), (LASTS, "success")))
                for number in range(count)
            )
        )
        with serving() as server:
            pipeline = server.gitlab.add_pipeline(server.project, script, user=server.user)
            line = [BIN / "cmd-wait-pipeline", "--no-realtime", str(pipeline.id)]
            line += ["--project", server.project.path]
            points.append((count, run(line, **server.environment).cpu))
    return points


def projects() -> list[tuple[float, float]]:
    """Returns the seconds of a trigger by the number of projects, at 200 ms an answer."""
    from sandbox import Fault  # noqa: PLC0415 - the projects are added without the delay

    points = []
    for count in PROJECTS:
        with serving() as server:
            line = [BIN / "cmd-trigger-pipeline", "--ref", "main"]
            for project in server.projects(count):
                line += ["--project", project.path]
            server.gitlab.fault(Fault(delay=0.2))
            points.append((count, run(line, **server.environment).wall))
    return points
