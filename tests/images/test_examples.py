"""The examples through the images: each pulled from a registry with a login, run by a job."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from sandbox import Sandbox, git
from sandbox.model import ENDED, Variable
from sandbox.scenarios import argo, job, newest_pipeline, push, tech_lunch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker import DockerClient

    from sandbox.model import Pipeline
    from sandbox.scenarios import Scene
    from tests.conftest import Registry

pytestmark = pytest.mark.docker

VERSION = "0.0.1"
HELLO_WORLD = b'FROM alpine\nCMD ["echo", "Hello from Docker!"]\n'


@pytest.fixture
def gitlab(address: str, tmp_path: Path) -> Iterator[Sandbox]:
    environment = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    with Sandbox(host=address, job_environment=environment, shell_runner=True) as running:
        yield running


@pytest.fixture
def published(
    engine: DockerClient, images: dict[str, str], registry: Registry
) -> Iterator[dict[str, str]]:
    """The commands' images in the registry, and nowhere else, by the commands' names."""
    account = {"username": registry.user, "password": registry.password}
    names = {
        command: f"{registry.address}/tech-lunch/ci-cd-commands/{command}" for command in images
    }
    for command, repository in names.items():
        engine.images.get(images[command]).tag(repository, VERSION)
        pushed = engine.images.push(repository, VERSION, auth_config=account)
        engine.images.remove(f"{repository}:{VERSION}")  # so that the job really pulls it
        assert "errorDetail" not in pushed
    yield {command: f"{repository}:{VERSION}" for command, repository in names.items()}
    for image in engine.images.list():
        for tag in image.tags:
            if tag.startswith(f"{registry.address}/"):
                engine.images.remove(tag)


@pytest.fixture
def hello_world(engine: DockerClient) -> Iterator[None]:
    """The image hello-world, or one that says the same where it cannot be pulled."""
    if engine.images.list("hello-world"):
        yield
        return
    engine.images.build(fileobj=io.BytesIO(HELLO_WORLD), tag="hello-world", rm=True)
    yield
    engine.images.remove("hello-world")


def may_log_in(scene: Scene, group: str, registry: Registry) -> None:
    """Lets the group's jobs log in to the registry."""
    scene.gitlab.state.group_variables[group] += [
        Variable("CI_REGISTRY_USER", registry.user),
        Variable("CI_REGISTRY_PASSWORD", registry.password, masked=True),
    ]


def set_up(gitlab: Sandbox, registry: Registry, published: dict[str, str], *names: str) -> Scene:
    """The group of the first seed; its jobs may log in to the registry."""
    scene = tech_lunch(gitlab, *names, images=published, registry=registry.address)
    may_log_in(scene, "tech-lunch", registry)
    return scene


def run(scene: Scene, name: str, example: str | None = None) -> Pipeline:
    """Pushes an example; its pipeline, which went well and showed no secret."""
    push(scene, name, example)
    pipeline = newest_pipeline(scene, name)
    trace = b"".join(each.trace for each in pipeline.jobs).decode()
    assert pipeline.status == "success", trace
    assert "stand-in" not in trace
    assert scene.token.secret not in trace
    return pipeline


def test_a_push_to_hello_world_ends_in_service_tests_tag_pipeline(
    gitlab: Sandbox, registry: Registry, published: dict[str, str]
) -> None:
    scene = set_up(gitlab, registry, published, "hello-world")
    upstream = run(scene, "hello-world")
    tagging = job(upstream, "trigger-downstream-pipelines")
    tag = f"tech-lunch-hello-world_{upstream.sha}_{tagging.id}"
    assert f"tech-lunch/service-tests: tag {tag} created" in tagging.trace.decode()
    downstream = newest_pipeline(scene, "service-tests")
    assert (downstream.status, downstream.ref) == ("success", tag)
    assert [each.name for each in downstream.jobs] == ["run-on-upstream"]


def test_tag_project_tags_itself(
    gitlab: Sandbox, registry: Registry, published: dict[str, str]
) -> None:
    scene = set_up(gitlab, registry, published, "tag-project")
    pipeline = run(scene, "tag-project")
    assert list(gitlab.tags(scene.projects["tag-project"]).values()) == [pipeline.sha]


def test_trigger_and_wait_hands_the_pipeline_on_from_job_to_job(
    gitlab: Sandbox, registry: Registry, published: dict[str, str]
) -> None:
    scene = set_up(gitlab, registry, published, "trigger-and-wait")
    upstream = run(scene, "trigger-and-wait")
    (downstream,) = gitlab.pipelines(scene.projects["service-tests"])
    assert (downstream.status, downstream.source) == ("success", "api")
    waited = job(upstream, "wait-for-service-tests").trace.decode()
    assert f"tech-lunch/service-tests: pipeline {downstream.id}" in waited


def test_what_one_project_builds_another_deploys_from_a_mounted_folder(
    gitlab: Sandbox, registry: Registry, published: dict[str, str]
) -> None:
    scene = set_up(gitlab, registry, published, "app-build", "app-deploy")
    sha = push(scene, "app-build")
    trace = job(run(scene, "app-deploy"), "deploy").trace.decode()
    assert "deploying version 1.0." in trace
    assert f"the application, built from {sha}" in trace


@pytest.mark.usefixtures("hello_world")
def test_hello_docker_logs_in_and_runs_a_container(gitlab: Sandbox, registry: Registry) -> None:
    scene = set_up(gitlab, registry, {}, "hello-docker")
    trace = job(run(scene, "hello-docker"), "hello-docker").trace.decode()
    assert "Login Succeeded" in trace
    assert "Hello from Docker!" in trace


@pytest.mark.parametrize(
    ("example", "tags"),
    [
        ("image-build", ("tech-lunch/image-build:0.0.1", "tech-lunch/image-build:latest")),
        ("image-build-dind", ("tech-lunch/image-build-dind/image-build-dind:v0.0.1",)),
    ],
)
def test_an_image_is_built_and_pushed(
    gitlab: Sandbox,
    registry: Registry,
    engine: DockerClient,
    example: str,
    tags: tuple[str, ...],
) -> None:
    run(set_up(gitlab, registry, {}, example), example)
    account = {"username": registry.user, "password": registry.password}
    for tag in tags:
        image = f"{registry.address}/{tag}"
        engine.images.remove(image)
        engine.images.pull(image, auth_config=account)
        assert engine.containers.run(image, remove=True) == b"Hello, world!\n"
        engine.images.remove(image)


@pytest.mark.parametrize(
    ("upstream", "downstream"),
    [("code-repo", "k8s-repo-by-api"), ("code-repo-by-command", "k8s-repo")],
)
def test_an_image_is_built_and_its_tag_bumped_downstream(
    gitlab: Sandbox,
    registry: Registry,
    published: dict[str, str],
    upstream: str,
    downstream: str,
) -> None:
    scene = argo(gitlab, downstream=downstream, images=published, registry=registry.address)
    may_log_in(scene, "test-ci6881616/argo", registry)
    k8s_repo = scene.projects["k8s-repo"]
    run(scene, "code-repo", upstream)
    bumped = gitlab.pipelines(k8s_repo)[0]
    gitlab.wait_until(lambda: bumped.status in ENDED)
    assert bumped.status == "success", bumped.jobs[0].trace.decode()
    pod = git.run(k8s_repo.repository, "show", "main:k8s-files/pod.yaml").decode()
    assert "argo/code-repo/code-repo:v0.0.3\n" in pod
    assert "argo/proxy:v0.0.2" in pod
