"""Draws the pictures of the documents: what a terminal shows while the commands run.

`make pictures` runs it. The console scripts really run, each on a terminal of its own, against the
embedded GitLab; the terminal's content becomes an SVG: of the wait once on the way and once at the
end, of the others at the end.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from sandbox import Access, Sandbox, ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sandbox.model import Pipeline, Project, Steps, User

FOLDER = Path(__file__).parent / "pictures"
SERVER = "https://gitlab.example.com"
WAIT = "cmd-wait-pipeline --project tech-lunch/service-tests --ref main"
LOCK = "cmd-wait-pipeline --project tech-lunch/service-tests --ref main --all-running"
TAG = "cmd-tag-project --project tech-lunch/service-tests --tag-name v1.4.0"
IMAGE = "registry.example.com:5000/tech-lunch/shop"
BUMP = f"cmd-bump-image-tag --project tech-lunch/deployment \\\n    --image {IMAGE} --tag v1.4.0"
POD = f"""\
apiVersion: v1
kind: Pod
metadata:
  name: shop  # v1.3.0 of the shop
spec:
  containers:
    - name: shop
      image: {IMAGE}:v1.3.0
    - name: metrics
      image: registry.example.com:5000/tech-lunch/shop-metrics:v1.3.0
"""
COLUMNS, ROWS = 110, 30
AGE = 130.0  # of the pipeline when the wait begins, in seconds
ON_THE_WAY = "00:02:16"  # how long it has run in the first picture
# Rich has a picture load its font from elsewhere; without, the reader's own is used.
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)

# What the live table writes besides text and colours: ECMA-48, and DEC's private mode 25.
CONTROL = re.compile(r"(\x1b\[1A|\x1b\[2K|\x1b\[\?25[lh]|\r|\n)")


class Screen:
    """As much of a terminal as the live table needs: whole lines, erased from below."""

    def __init__(self) -> None:
        self.lines = [""]

    def write(self, text: str) -> None:
        """Takes what was written to the terminal; a control sequence comes in one piece."""
        for part in CONTROL.split(text):
            match part:
                case "\x1b[1A":
                    self.lines.pop()
                case "\x1b[2K":
                    self.lines[-1] = ""
                case "\n":
                    self.lines.append("")
                case "\r" | "\x1b[?25l" | "\x1b[?25h":
                    pass  # the line is erased, or ended, next
                case _:
                    self.lines[-1] += part


def main() -> None:
    """Runs the commands, and writes the pictures."""
    with Sandbox(run_jobs=False) as gitlab:
        user = gitlab.add_user("ci-cd-executor")
        secret = gitlab.add_token(user).secret
        members = {user: Access.MAINTAINER}
        project = gitlab.add_project("tech-lunch/service-tests", {"a": "b"}, members=members)
        gitlab.add_project("tech-lunch/deployment", {"k8s/shop.yaml": POD}, members=members)
        save("tag", [(TAG, run(gitlab, secret, TAG)), (TAG, run(gitlab, secret, TAG))])
        save("diff", [(BUMP, run(gitlab, secret, BUMP))])
        for hours in (1, 2, 3):
            add(gitlab, project, user, (200, "success"), -3600 * hours)
        draw_wait(gitlab, project, user, secret)
        add(gitlab, project, user, (44, "success"), -40)
        newest = add(gitlab, project, user, (200, "success"), 0)
        save("lock", [(LOCK, run(gitlab, secret, LOCK, CI_PIPELINE_ID=str(newest.id)))])


def add(
    gitlab: Sandbox, project: Project, user: User, end: tuple[float, str], after: float
) -> Pipeline:
    """Adds a pipeline of one job, which ends so many seconds after it began."""
    job = ScriptedJob(name="end-to-end", timeline=((0, "running"), end))
    return gitlab.add_pipeline(project, ScriptedPipeline(jobs=(job,)), user=user, after=after)


def draw_wait(gitlab: Sandbox, project: Project, user: User, secret: str) -> None:
    """Writes the two pictures of a wait."""
    gitlab.add_pipeline(project, failing(), user=user, after=-AGE)
    on_the_way = ""
    for shown in screens(gitlab, secret, WAIT):
        if ON_THE_WAY in shown and not on_the_way:
            on_the_way = shown
    if not on_the_way:
        sys.exit("This machine was too busy to draw every second; run it again.")
    save("wait", [(WAIT, on_the_way)])
    save("failure", [(WAIT, shown)])


def run(gitlab: Sandbox, secret: str, command: str, **variables: str) -> str:
    """Returns what a terminal shows when a command has ended."""
    return list(screens(gitlab, secret, command, **variables))[-1]


def screens(gitlab: Sandbox, secret: str, command: str, **variables: str) -> Iterator[str]:
    """What a terminal shows after each piece that a command writes."""
    screen = Screen()
    settings = {"CI_SERVER_URL": gitlab.url, "COMMANDS_API_TOKEN": secret, **variables}
    for text in terminal(command, settings):
        screen.write(text)
        yield "\n".join(screen.lines).replace(gitlab.url, SERVER)


def failing() -> ScriptedPipeline:
    """A pipeline with a bit of everything, which fails after two and a half minutes."""

    def job(stage: str, name: str, *timeline: tuple[float, str], trace: str = "") -> ScriptedJob:
        steps: Steps = ((0, "created"), *timeline)
        return ScriptedJob(stage=stage, name=name, timeline=steps, trace=trace)

    downstream = ScriptedPipeline(
        jobs=(
            job("prepare", "start-shop", (0, "running"), (30, "success")),
            job("test", "basket", (30, "running"), (78, "failed"), trace=LOG),
            job("test", "checkout", (30, "running"), (75, "success")),
        ),
    )
    return ScriptedPipeline(
        jobs=(
            job("build", "image", (4, "running"), (52, "success")),
            job("test", "unit-tests", (52, "running"), (97, "success")),
            ScriptedJob(
                stage="test",
                name="lint",
                timeline=((0, "created"), (52, "running"), (61, "failed")),
                allow_failure=True,
            ),
            ScriptedJob(
                stage="test",
                name="end-to-end",
                timeline=((0, "created"), (62, "running"), (141, "failed")),
                downstream=downstream,
                downstream_after=62,
            ),
            job("deploy", "staging", (141, "skipped")),
        )
    )


LOG = """\
Opening the shop...
Putting 3 items into the basket...
AssertionError: the basket is empty: expected 3 items
"""


def terminal(command: str, variables: Mapping[str, str]) -> Iterator[str]:
    """What the command writes to a terminal, piece by piece."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        **variables,
    }
    with subprocess.Popen(
        command.replace("\\\n", " ").split(), stdin=its, stdout=its, stderr=its, env=environment
    ):
        os.close(its)
        try:
            while data := os.read(ours, 1 << 16):
                yield data.decode()
        except OSError:
            pass  # Linux's way to say that nobody has the other end open any more


def save(name: str, shown: Iterable[tuple[str, str]]) -> None:
    """Writes a picture of commands and what they printed, with ANSI's colours."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for command, printed in shown:
        console.print(Text.from_ansi(f"$ {command}\n{printed.strip()}"))
    console.print()  # else the picture cuts the last line off below its base
    svg = console.export_svg(title=command.partition(" ")[0], unique_id=name)
    # Some viewers drop leading spaces otherwise, and with them the indentation.
    svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
    (FOLDER / f"{name}.svg").write_text(FONT.sub("", svg), encoding="utf-8")


if __name__ == "__main__":
    main()
