"""hello-world is pushed; its pipeline tags service-tests, and waits for the tag's pipeline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from sandbox import Sandbox
from sandbox.scenarios import (
    DOCKER_STAND_IN,
    EXAMPLES,
    Scene,
    job,
    newest_pipeline,
    push,
    tech_lunch,
    tree,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

REGISTRY = "registry.example.com/tech-lunch/ci-cd-commands"
IMAGES = {name: f"{REGISTRY}/{name}:0.0.1" for name in ("cmd-tag-project", "cmd-wait-pipeline")}
TESTS = "echo 'fake run service tests on upstream change'"


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Sandbox(job_path=DOCKER_STAND_IN) as gitlab:
        yield tech_lunch(gitlab, "hello-world", images=IMAGES)


def test_the_chain_ends_well_when_the_service_tests_do(scene: Scene) -> None:
    service_tests = scene.projects["service-tests"]

    sha = push(scene, "hello-world")
    upstream = newest_pipeline(scene, "hello-world")
    tagging = job(upstream, "trigger-downstream-pipelines")
    trace = tagging.trace.decode()

    assert upstream.status == "success", trace
    tag = f"tech-lunch-hello-world_{sha}_{tagging.id}"
    assert f"tech-lunch/service-tests: tag {tag} created" in trace
    assert scene.token.secret not in trace
    assert scene.gitlab.tags(service_tests) == {tag: scene.gitlab.sha(service_tests)}

    downstream = newest_pipeline(scene, "service-tests")
    assert (downstream.status, downstream.ref, downstream.tag) == ("success", tag, True)
    assert f"tech-lunch/service-tests: pipeline {downstream.id} success" in trace
    assert [each.name for each in downstream.jobs] == ["run-on-upstream"]
    ran = job(downstream, "run-on-upstream").trace.decode()
    assert re.search(r"^fake run service tests on upstream change\r?$", ran, re.MULTILINE)


def test_the_chain_fails_with_the_log_of_the_service_tests_that_fail(scene: Scene) -> None:
    config = tree(EXAMPLES / "service-tests")[".gitlab-ci.yml"].decode()
    assert TESTS in config
    broken = config.replace(TESTS, "echo 'the login page is gone'; exit 3")
    service_tests = scene.projects["service-tests"]
    scene.gitlab.commit(service_tests, {".gitlab-ci.yml": broken}, start_pipeline=False)

    push(scene, "hello-world")
    upstream = newest_pipeline(scene, "hello-world")
    trace = job(upstream, "trigger-downstream-pipelines").trace.decode()

    assert upstream.status == "failed", trace
    assert "run-on-upstream" in trace
    assert "the login page is gone" in trace
