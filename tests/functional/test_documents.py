"""Every fenced block of the README and of docs/ is run, or validated, as it is.

test_migrating.py runs those of docs/migrating.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox import Access, Sandbox, ScriptedJob, ScriptedPipeline
from sandbox.scenarios import DOCKER_STAND_IN, newest_pipeline, tech_lunch
from tests.functional.conftest import hold_against_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.model import Project, Token, User
    from sandbox.scenarios import Scene

ROOT = Path(__file__).parents[2]
SERVER = "https://gitlab.example.com"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = ("cmd-tag-project", "cmd-trigger-pipeline", "cmd-wait-pipeline", "cmd-bump-image-tag")
IMAGES = {name: f"registry.example.com/tech-lunch/ci-cd-commands/{name}:1.0" for name in NAMES}
CALL = re.compile(r"- cmd-|\$CMD_\w+_IMAGE|\$IMAGE")
# A pipeline that only another one starts: tests of examples/ run those.
DOWNSTREAM = '$CI_PIPELINE_SOURCE == "pipeline"'
# What differs from run to run, and what stands for it when a document is compared with one.
VARYING = (
    (re.compile(r"\b(?=[0-9a-f]*\d)([0-9a-f]{40}|[0-9a-f]{8})\b"), "SHA"),
    (re.compile(r"(?<=pipeline )\d+|(?<=Pipeline )\d+|(?<= #)\d+"), "ID"),
    (re.compile(r"(?<=id\": )\d+|(?<=PIPELINE_ID=)\d+"), "ID"),
    (re.compile(r"(?<=/pipelines/)\d+|(?<=/jobs/)\d+|(?<=/merge_requests/)\d+"), "ID"),
    (re.compile(r"\bin \d+ s\b"), "in N s"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
)
SHOP = """\
apiVersion: v1
kind: Pod
metadata:
  name: shop  # v1.3.0 of the shop
spec:
  containers:
    - name: shop
      image: registry.example.com:5000/tech-lunch/shop:v1.3.0
"""
# What lies in the folder in which a document's commands run.
FOLDER = {
    "compose.yaml": """\
services:
  web:
    image: registry.example.com/web:v2.0.3  # the shop
  # web-admin goes its own way.
  admin:
    image: registry.example.com/web-admin:v2.0.3
  cache:
    image: redis:7.2@sha256:4c6b6ff1ffcb2d40ba1a9a4bb1b0a6a6d0d2b0b3a4ad0f6b1f1a8a2b4d1a9e55
""",
    "values.yaml": """\
api:
  image:
    registry: registry.example.com
    repository: api
    tag: 1.9.2
    digest: sha256:0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9
canary:
  image: registry.example.com/api:1.9.0  # bump: ignore
""",
}


@dataclass(frozen=True)
class Block:
    """A fenced block and where it stands."""

    place: str
    language: str
    text: str


def blocks(language: str) -> list[Block]:
    found = []
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]:
        text = path.read_text(encoding="utf-8")
        for fence in FENCE.finditer(text):
            line = text.count("\n", 0, fence.start()) + 1
            if fence[1] == language:
                found.append(Block(f"{path.name}:{line}", fence[1], fence[2]))
    return found


def each(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", blocks(language), ids=lambda block: block.place)


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """A console block as pairs of a command and what it prints."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        last = next(n for n, line in enumerate(lines) if not line.endswith("\\\n"))
        yield "".join(lines[: last + 1]), "".join(lines[last + 1 :])


@pytest.fixture
def world(gitlab: Sandbox, executor: User) -> Project:
    """What the documents' commands meet."""
    roles = {executor: Access.MAINTAINER}
    project = gitlab.add_project("tech-lunch/service-tests", {"a": "b"}, members=roles)
    gitlab.add_project("tech-lunch/deployment", {"k8s/shop.yaml": SHOP}, members=roles)
    for name in ("v1.1.0", "v1.2.0", "v1.3.0"):
        gitlab.tag(project, name)
    failing = ScriptedJob(
        name="end-to-end",
        stage="test",
        timeline=((0, "running"), (5, "failed")),
        trace="Opening the shop...\nthe basket is empty: expected 3 items\n",
    )
    gitlab.add_pipeline(project, ScriptedPipeline(jobs=(failing,)), user=executor, ref="v1.3.0")
    passing = ScriptedJob(
        name="end-to-end",
        timeline=((0, "running"), (1, "success")),
        artifacts={"summary.txt": b"1 test passed", "result.env": b"TESTS=214\n"},
    )
    blocking = ScriptedJob(name="release", stage="deploy", when="manual")
    for name, jobs in (("v1.1.0", (passing,)), ("v1.2.0", (passing, blocking))):
        gitlab.add_pipeline(project, ScriptedPipeline(jobs=jobs), user=executor, ref=name)
    project.script = ScriptedPipeline(jobs=(passing,))
    return project


def test_every_block_has_a_language_that_is_checked() -> None:
    checked = ("console", "yaml", "toml", "python", "text")
    text = "".join(path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
    assert len(FENCE.findall(text)) == text.count("\n```") / 2
    assert {found[0] for found in FENCE.findall(text)} <= set(checked)


@each("console")
def test_what_a_console_shows_is_what_happens(
    block: Block, gitlab: Sandbox, token: Token, world: Project, tmp_path: Path
) -> None:
    shown = [pair for pair in commands(block) if not pair[0].startswith("make ")]
    if not shown:
        targets = re.findall(r"^\$ make ([\w-]+)", block.text, re.MULTILINE)
        known = (ROOT / "Makefile").read_text()
        assert all(f"\n{target}:" in known for target in targets)
        return
    (tmp_path / "token").write_text(token.secret)
    (tmp_path / "trigger-token").write_text(gitlab.add_trigger_token(world, token.user).secret)
    for name, content in FOLDER.items():
        (tmp_path / name).write_text(content)
    if "v1.4.0 created" not in block.text:
        gitlab.tag(world, "v1.4.0")
    script = "".join(f"{command}\necho ==end-of-command==\n" for command, _ in shown)
    done = subprocess.run(
        ["bash", "-eu", "-c", script.replace(SERVER, gitlab.url)],
        cwd=tmp_path,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "CI_SERVER_URL": gitlab.url,
            "COMMANDS_API_TOKEN": token.secret,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.replace(gitlab.url, SERVER).split("==end-of-command==\n")
    assert [lasting(text) for text in printed[:-1]] == [lasting(output) for _, output in shown]


def lasting(text: str) -> str:
    """The text without what differs from run to run."""
    for pattern, stand_in in VARYING:
        text = pattern.sub(stand_in, text)
    return text.rstrip("\n")


@each("yaml")
def test_a_pipeline_is_valid_for_gitlab(block: Block, tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text(block.text)
    hold_against_schema(tmp_path / ".gitlab-ci.yml")


def calling() -> list[Block]:
    """The pipelines that call a command."""
    return [
        block
        for block in blocks("yaml")
        if CALL.search(block.text)
        and DOWNSTREAM not in block.text
        and not block.place.startswith("migrating.md:")
    ]


@pytest.fixture
def scene() -> Iterator[Scene]:
    """The group of the documents, on a runner that has Docker's command and the commands."""
    with Sandbox(job_path=DOCKER_STAND_IN, shell_runner=True) as gitlab:
        made = tech_lunch(gitlab, images=IMAGES)
        members = {made.executor: Access.MAINTAINER}
        gitlab.add_project("tech-lunch/deployment", {"k8s/shop.yaml": SHOP}, members=members)
        shop = gitlab.add_project("tech-lunch/shop", {"README.md": "# Shop\n"}, members=members)
        yield replace(made, projects={**made.projects, "shop": shop})


@pytest.mark.parametrize("block", calling(), ids=lambda block: block.place)
def test_a_pipeline_that_calls_a_command_passes(block: Block, scene: Scene) -> None:
    scene.gitlab.commit(scene.projects["shop"], {".gitlab-ci.yml": block.text})
    ended = newest_pipeline(scene, "shop")
    logs = "\n".join(job.trace.decode() for job in ended.jobs)
    assert ended.status == "success", logs


def test_every_command_has_a_pipeline_that_passes() -> None:
    calls = "".join(block.text for block in calling())
    assert all(f"- {name} " in calls for name in NAMES)


@each("toml")
def test_a_runners_configuration_can_be_read(block: Block) -> None:
    (runner,) = tomllib.loads(block.text)["runners"]
    assert runner["executor"] == "docker"


@pytest.mark.parametrize(
    "block",
    [block for block in blocks("python") if not block.place.startswith("migrating.md:")],
    ids=lambda block: block.place,
)
@pytest.mark.usefixtures("world")
def test_python_does_what_it_says(
    block: Block, gitlab: Sandbox, token: Token, capsys: pytest.CaptureFixture[str]
) -> None:
    code = compile(block.text.replace(SERVER, gitlab.url), block.place, "exec")
    exec(code, {"token": token.secret})  # noqa: S102 - the document's own example
    assert capsys.readouterr().out.startswith("v1.3.1 ")
