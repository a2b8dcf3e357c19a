"""The first ten minutes: what `python -m sandbox` says, with the pipelines of the README."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox import Sandbox, tour
from sandbox.model import ENDED
from sandbox.scenarios import DOCKER_STAND_IN

if TYPE_CHECKING:
    from collections.abc import Iterator

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PIPELINES = re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def toured() -> Iterator[tuple[Sandbox, str]]:
    files = tour.STOPS["service-tests"].files
    quick = {path: re.sub(r"sleep \d+", "sleep 0", text) for path, text in files.items()}
    with (
        pytest.MonkeyPatch.context() as patch,
        Sandbox(job_path=DOCKER_STAND_IN, shell_runner=True) as gitlab,
    ):
        patch.setitem(tour.STOPS, "service-tests", tour.Stop("tests", quick))
        token = tour.set_up(gitlab)
        yield gitlab, tour.guide(gitlab.url, token)


@pytest.mark.parametrize("way", range(3), ids=["docker run", "image", "component"])
def test_each_way_of_the_readme_is_green_when_it_is_pushed_as_the_guide_says(
    toured: tuple[Sandbox, str], way: int, tmp_path: Path
) -> None:
    gitlab, guide = toured
    exports = re.findall(r"^export .*$", guide, re.MULTILINE)
    (clone,) = re.findall(r"^#   (git clone .*)$", guide, re.MULTILINE)
    (tmp_path / ".gitlab-ci.yml").write_text(PIPELINES[way], encoding="utf-8")
    steps = (
        "set -e",
        *exports,
        "command -v cmd-wait-pipeline >&2",
        clone,
        "cd hello-world",
        "mv ../.gitlab-ci.yml .",
        "git add .gitlab-ci.yml",
        "git -c user.name=me -c user.email=me@example.com commit --quiet --message Try",
        "git push --quiet",
        "git rev-parse HEAD",
    )
    sha = subprocess.run(
        ["bash", "-c", "\n".join(steps)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (project,) = (
        each for each in gitlab.state.projects.values() if each.path == "tech-lunch/hello-world"
    )
    gitlab.wait_until(lambda: any(each.sha == sha for each in gitlab.pipelines(project)))
    (pipeline,) = (each for each in gitlab.pipelines(project) if each.sha == sha)
    gitlab.wait_until(lambda: pipeline.status in ENDED)
    assert pipeline.status == "success", [job.trace.decode() for job in pipeline.jobs]
