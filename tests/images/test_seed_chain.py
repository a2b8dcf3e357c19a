"""The first example through the image: pulled from a registry with a login, run by a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox import Sandbox
from sandbox.model import Variable
from sandbox.scenarios import job, newest_pipeline, push, tech_lunch

if TYPE_CHECKING:
    from pathlib import Path

    from docker import DockerClient

    from tests.conftest import Registry

pytestmark = pytest.mark.docker


def test_a_push_to_hello_world_ends_in_service_tests_tag_pipeline(
    engine: DockerClient,
    images: dict[str, str],
    registry: Registry,
    address: str,
    tmp_path: Path,
) -> None:
    repository = f"{registry.address}/tech-lunch/ci-cd-commands/cmd-tag-project"
    account = {"username": registry.user, "password": registry.password}
    engine.images.get(images["cmd-tag-project"]).tag(repository, "0.0.1")
    try:
        pushed = engine.images.push(repository, "0.0.1", auth_config=account)
        assert "errorDetail" not in pushed
    finally:
        engine.images.remove(f"{repository}:0.0.1")  # so that the job really pulls it

    environment = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    try:
        with Sandbox(host=address, job_environment=environment) as gitlab:
            scene = tech_lunch(
                gitlab,
                "hello-world",
                images={"cmd-tag-project": f"{repository}:0.0.1"},
                registry=registry.address,
            )
            gitlab.state.group_variables["tech-lunch"] += [
                Variable("CI_REGISTRY_USER", registry.user),
                Variable("CI_REGISTRY_PASSWORD", registry.password, masked=True),
            ]

            sha = push(scene, "hello-world")
            upstream = newest_pipeline(scene, "hello-world", timeout=90)
            tagging = job(upstream, "trigger-downstream-pipelines")
            trace = tagging.trace.decode()

            assert upstream.status == "success", trace
            assert "stand-in" not in trace
            tag = f"tech-lunch-hello-world_{sha}_{tagging.id}"
            assert f"tech-lunch/service-tests: tag {tag} created" in trace
            assert scene.token.secret not in trace
            downstream = newest_pipeline(scene, "service-tests", timeout=60)
            assert (downstream.status, downstream.ref) == ("success", tag)
            assert [each.name for each in downstream.jobs] == ["run-on-upstream"]
    finally:
        engine.images.remove(f"{repository}:0.0.1")
