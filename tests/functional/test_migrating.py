"""Every replacement in docs/migrating.md is run as it is there, and does what the script did."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox import Access, Sandbox, git
from sandbox.scenarios import DOCKER_STAND_IN, newest_pipeline, set_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.model import Project
    from sandbox.scenarios import Scene

PAGE = (Path(__file__).parents[2] / "docs/migrating.md").read_text(encoding="utf-8")
SERVER = "https://gitlab.example.com"
SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n)+)", re.MULTILINE)
FENCE = re.compile(r"^```(yaml|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"^ *- cmd-|\$CMD_\w+_IMAGE|^from cmd_", re.MULTILINE)
IMAGE = "registry.example.com:5000/tech-lunch/shop"
SERVICE_TESTS = """\
end-to-end:
  script:
    - echo "the suite is ${SUITE:-all}"
    - mkdir reports
    - echo "214 tests passed" > reports/summary.txt
  artifacts:
    paths: [reports]
"""
DEPLOYMENT = {
    "k8s/shop.yaml": f"""\
apiVersion: v1
kind: Pod
metadata:
  name: shop  # v1.3.0 of the shop
spec:
  containers:
    - name: shop
      image: {IMAGE}:v1.3.0
""",
    "chart/Chart.yaml": "apiVersion: v2\nname: shop\nversion: 0.7.0\nappVersion: v1.3.0\n",
    "overlays/production/kustomization.yaml": f"images:\n- name: {IMAGE}\n  newTag: v1.3.0\n",
}
SECTIONS = dict(SECTION.findall(PAGE))
REPLACEMENTS = [
    pytest.param(heading, language, block, id=f"{heading} {number}")
    for heading, text in SECTIONS.items()
    for number, (language, block) in enumerate(FENCE.findall(text))
    if CALL.search(block)
]


@pytest.fixture
def scene() -> Iterator[Scene]:
    """The group of the page, on a runner that has Docker's command and the commands."""
    with Sandbox(job_path=DOCKER_STAND_IN, shell_runner=True) as gitlab:
        images = {"CMD_TAG_PROJECT_IMAGE": "registry.example.com/cmd-tag-project:1.0"}
        made = set_up(gitlab, "tech-lunch", ("deployment", "shop"), variables=images)
        deployment, shop = made.projects["deployment"], made.projects["shop"]
        gitlab.commit(deployment, DEPLOYMENT)
        gitlab.commit(shop, {"NOTES.md": "Baskets hold more.\n"}, message="fix: hold more")
        gitlab.tag(shop, "v1.3.0")
        service_tests = gitlab.add_project(
            "tech-lunch/service-tests", members={made.executor: Access.MAINTAINER}
        )
        gitlab.commit(service_tests, {".gitlab-ci.yml": SERVICE_TESTS})
        yield replace(made, projects={**made.projects, "service-tests": service_tests})


def started(scene: Scene, log: str) -> None:
    """A pipeline with the suite was started and waited for."""
    pipeline = newest_pipeline(scene, "service-tests")
    assert f"pipeline {pipeline.id} success" in log
    assert b"the suite is smoke" in pipeline.jobs[0].trace


def started_from_python(scene: Scene, log: str) -> None:
    pipeline = newest_pipeline(scene, "service-tests")
    assert (pipeline.source, log) == ("api", f"{pipeline.id} success\n")


def started_and_read(scene: Scene, log: str) -> None:
    pipeline = newest_pipeline(scene, "service-tests")
    assert pipeline.source != "push"
    assert f"pipeline {pipeline.id} success" in log
    assert "214 tests passed" in log


def read(scene: Scene, log: str) -> None:
    [pipeline] = scene.gitlab.pipelines(scene.projects["service-tests"])
    assert f"pipeline {pipeline.id} success" in log
    assert "214 tests passed" in log


def bumped(*names: str) -> Callable[[Scene, str], None]:
    """Nothing but the tag changed, in these files."""

    def check(scene: Scene, _log: str) -> None:
        files = dict(DEPLOYMENT)
        for name in names:
            old, new = "v1.3.0\n", "v1.4.0\n"  # "v1.3.0 of the shop" is no tag
            assert old in files[name]
            files[name] = files[name].replace(old, new)
        assert files_of(scene.projects["deployment"], "main") == files

    return check


def opened_a_merge_request(scene: Scene, _log: str) -> None:
    deployment = scene.projects["deployment"]
    [request] = deployment.merge_requests
    assert (request.state, request.title, request.labels) == ("opened", "Shop v1.4.0", ["deploy"])
    assert f"{IMAGE}:v1.4.0" in files_of(deployment, request.source_branch)["k8s/shop.yaml"]
    assert files_of(deployment, "main") == DEPLOYMENT


def released(scene: Scene, _log: str) -> None:
    shop = scene.projects["shop"]
    assert scene.gitlab.tags(shop)["v1.4.0"] == scene.gitlab.sha(shop)
    release = shop.releases["v1.4.0"]
    assert release.description.strip() == "Baskets hold more."
    assert [link.url for link in release.links] == ["https://docs.example.com/shop/v1.4.0"]


def released_the_next(scene: Scene, log: str) -> None:
    shop = scene.projects["shop"]
    assert scene.gitlab.tags(shop)["v1.4.0"] == scene.gitlab.sha(shop)
    assert "v1.4.0" in shop.releases
    assert "feat: add a pipeline" in log


def tagged(scene: Scene, log: str) -> None:
    service_tests = scene.projects["service-tests"]
    [(name, sha)] = scene.gitlab.tags(service_tests).items()
    assert name in log
    assert sha == scene.gitlab.sha(service_tests)


# What each section's replacement leaves behind.
EFFECTS = {
    "From curl: trigger and poll": started,
    "From a loop with python-gitlab": started_from_python,
    "From `trigger:` and `needs: project`": started_and_read,
    "From glab ci": started,
    "From curl: download by a job's name": read,
    "From grep, sed and yq": bumped("k8s/shop.yaml", "chart/Chart.yaml"),
    "From kustomize": bumped("overlays/production/kustomization.yaml"),
    "From curl: a merge request": opened_a_merge_request,
    "From release-cli": released,
    "From semantic-release: the tag": released_the_next,
    "From the tutorial's script": tagged,
    "From pipeline-trigger": started,
}


def files_of(project: Project, branch: str) -> dict[str, str]:
    """The files of a branch, by their paths."""
    return {
        name: git.run(project.repository, "show", f"{branch}:{name}").decode()
        for name in git.run(project.repository, "ls-tree", "-r", "--name-only", branch)
        .decode()
        .splitlines()
    }


def test_every_section_has_a_replacement_that_is_run() -> None:
    assert list(SECTIONS) == list(EFFECTS)
    assert {str(each.values[0]) for each in REPLACEMENTS} == set(EFFECTS)
    assert PAGE.count("\n## ") == len(SECTIONS)


def test_the_scripts_in_python_can_be_parsed() -> None:
    for language, block in FENCE.findall(PAGE):
        assert language != "python" or compile(block, "migrating.md", "exec")


@pytest.mark.parametrize(("heading", "language", "block"), REPLACEMENTS)
def test_a_replacement_has_the_effect_of_the_script(
    scene: Scene,
    capsys: pytest.CaptureFixture[str],
    heading: str,
    language: str,
    block: str,
) -> None:
    if language == "python":
        code = compile(block.replace(SERVER, scene.gitlab.url), heading, "exec")
        exec(code, {"token": scene.token.secret})  # noqa: S102 - the page's own example
        log = capsys.readouterr().out
    else:
        job = {".gitlab-ci.yml": block}
        scene.gitlab.commit(scene.projects["shop"], job, message="feat: add a pipeline")
        ended = newest_pipeline(scene, "shop")
        log = "\n".join(job.trace.decode() for job in ended.jobs)
        assert ended.status == "success", log
    EFFECTS[heading](scene, log)
