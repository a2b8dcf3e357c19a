"""Every pipeline of the README and of docs/ that calls a command is run, as it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox import Access, Sandbox
from sandbox.scenarios import DOCKER_STAND_IN, newest_pipeline, tech_lunch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.scenarios import Scene

ROOT = Path(__file__).parents[2]
NAMES = ("cmd-tag-project", "cmd-trigger-pipeline", "cmd-wait-pipeline", "cmd-bump-image-tag")
IMAGES = {name: f"registry.example.com/tech-lunch/ci-cd-commands/{name}:1.0" for name in NAMES}
FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"- cmd-|\$CMD_\w+_IMAGE|\$IMAGE")
# A pipeline that only another one starts: tests of examples/ run those.
DOWNSTREAM = '$CI_PIPELINE_SOURCE == "pipeline"'
SHOP = """\
apiVersion: v1
kind: Pod
spec:
  containers:
    - name: shop
      image: registry.example.com:5000/tech-lunch/shop:v1.3.0
"""


@dataclass(frozen=True)
class Pipeline:
    """A fenced pipeline, and where it stands."""

    place: str
    text: str


def pipelines() -> list[Pipeline]:
    found = []
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]:
        text = path.read_text(encoding="utf-8")
        for fence in FENCE.finditer(text):
            line = text.count("\n", 0, fence.start()) + 1
            if CALL.search(fence[1]) and DOWNSTREAM not in fence[1]:
                found.append(Pipeline(f"{path.name}:{line}", fence[1]))
    return found


@pytest.fixture
def scene() -> Iterator[Scene]:
    """The group of the documents, on a runner that has Docker's command and the commands."""
    with Sandbox(job_path=DOCKER_STAND_IN, shell_runner=True) as gitlab:
        made = tech_lunch(gitlab, images=IMAGES)
        members = {made.executor: Access.MAINTAINER}
        gitlab.add_project("tech-lunch/deployment", {"k8s/shop.yaml": SHOP}, members=members)
        shop = gitlab.add_project("tech-lunch/shop", {"README.md": "# Shop\n"}, members=members)
        yield type(made)(gitlab, made.executor, made.token, {**made.projects, "shop": shop})


@pytest.mark.parametrize("pipeline", pipelines(), ids=lambda pipeline: pipeline.place)
def test_a_pipeline_that_calls_a_command_passes(pipeline: Pipeline, scene: Scene) -> None:
    scene.gitlab.commit(scene.projects["shop"], {".gitlab-ci.yml": pipeline.text})
    ended = newest_pipeline(scene, "shop", timeout=60.0)
    logs = "\n".join(job.trace.decode() for job in ended.jobs)
    assert ended.status == "success", logs


def test_every_command_has_a_pipeline_that_passes() -> None:
    calls = "".join(pipeline.text for pipeline in pipelines())
    assert all(f"- {name} " in calls for name in NAMES)
