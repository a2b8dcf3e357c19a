from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sandbox
from sandbox.ci import Scheduler, executor
from sandbox.ci.executor import Container
from sandbox.ci.plan import Image
from sandbox.model import Variable

if TYPE_CHECKING:
    from sandbox.tests.ci.conftest import World

STAND_IN = Path(sandbox.__file__).parent / "bin"


@pytest.fixture
def docker() -> str:
    found = executor.engine(os.environ["PATH"])
    if found is None and "CI" not in os.environ:
        pytest.skip("no Docker Engine answers")
    assert found, "no Docker Engine answers"
    return found


def test_values_of_variables_stay_out_of_the_arguments() -> None:
    container = Container("docker", Image("alpine"), "name")
    command = container.command(Path("/b/1/x.tmp/script"), Path("/b/1/x"), ["SECRET"])
    assert command[command.index("--env") + 1] == "SECRET"
    assert command[-5:] == ["alpine", "sh", "-c", command[-2], "/b/1/x.tmp/script"]


@pytest.mark.parametrize(
    ("entrypoint", "option", "arguments"),
    [
        (None, [], []),
        (("",), ["--entrypoint", ""], []),
        (("env", "-i"), ["--entrypoint", "env"], ["-i"]),
    ],
)
def test_the_images_entrypoint_is_kept_cleared_or_replaced(
    entrypoint: tuple[str, ...] | None, option: list[str], arguments: list[str]
) -> None:
    container = Container("docker", Image("alpine", entrypoint), "name")
    command = container.command(Path("/b/1/x.tmp/script"), Path("/b/1/x"), [])
    image = command.index("alpine")
    assert command[image - len(option) : image] == option
    assert command[image + 1 :][: len(arguments) + 1] == [*arguments, "sh"]


@pytest.mark.docker
@pytest.mark.usefixtures("docker")
def test_a_job_with_an_image_runs_in_a_container(world: World) -> None:
    project = world.project(
        "group/name",
        """
        job:
          image: {name: "$BASE:latest", entrypoint: [""]}
          variables: {BASE: alpine}
          script:
            - cat /etc/passwd
            - echo "in $PWD with $SECRET and $(cat $FILE)"
            - echo made > made
          after_script: ['echo "after: $CI_JOB_STATUS"']
          artifacts: {paths: [made]}
        fails: {image: alpine, script: exit 3}
        """,
    )
    project.variables += [Variable("SECRET", "masked-value", masked=True)]
    project.variables += [Variable("FILE", "content", kind="file")]
    pipeline = world.start(project)
    world.wait(pipeline, "failed")
    log = world.log(pipeline, "job")
    assert "Using Docker executor with image alpine:latest ..." in log
    assert "root:x:0:0:root:/root:/bin/sh" in log
    assert "with [MASKED] and content" in log
    assert "after: success" in log
    assert "1 matching artifact files" in log
    assert "ERROR: Job failed: exit code 3" in world.log(pipeline, "fails")


@pytest.mark.docker
def test_a_canceled_job_removes_its_container(world: World, docker: str) -> None:
    project = world.project("group/name", "job: {image: alpine, script: [echo up, sleep 600]}")
    pipeline = world.start(project)
    world.wait_for_log(pipeline, "job", "\nup")
    folder = world.state.root / "builds" / str(pipeline.jobs[0].id)

    def containers() -> bytes:
        listed = subprocess.run(
            [docker, "ps", "--all", "--quiet", "--filter", f"volume={folder}"],
            capture_output=True,
            check=True,
        )
        return listed.stdout

    assert containers()
    world.scheduler.cancel(pipeline)
    world.wait(pipeline, "canceled")
    assert containers() == b""


@pytest.mark.parametrize(
    "runner",
    [{"path_prepend": STAND_IN}, {"shell_runner": True}],
    ids=["no engine answers", "a shell runner"],
)
def test_without_docker_the_shell_is_used_and_the_log_says_so(
    still: World, runner: dict[str, Any]
) -> None:
    scheduler = Scheduler(still.state, **runner)
    scheduler.start()
    project = still.project("group/name", "job: {image: 'nowhere:1', script: echo here}")
    pipeline = still.run(project)
    scheduler.stop()
    log = still.log(pipeline, "job")
    assert "Image nowhere:1 is not used: this runner has the shell executor." in log
    assert "\nhere\n" in log


def test_the_docker_calls_of_the_examples_run_with_the_stand_in(still: World) -> None:
    scheduler = Scheduler(still.state, path_prepend=STAND_IN)
    scheduler.start()
    project = still.project(
        "tech-lunch/hello-world",
        """
        before_script:
          - echo $CI_BUILD_TOKEN | docker login --username=u --password-stdin $CI_REGISTRY
        after_script:
          - docker logout $CI_REGISTRY
        build-some-stuff:
          script:
            - docker run --rm alpine /bin/sh -c "echo 'fake build starting...' && echo '...done!'"
            - docker run --rm hello-world
        """,
    )
    pipeline = still.run(project)
    scheduler.stop()
    log = still.log(pipeline, "build-some-stuff")
    assert pipeline.status == "success"
    assert "\nfake build starting...\n...done!\n" in log
    assert "Hello from Docker!" in log


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["run", "nginx"], 125, "it has no image nginx"),
        (["run", "--gpus", "all", "alpine"], 125, "unrecognized arguments: --gpus"),
        (["version"], 125, "'docker version' is not supported"),
        (["run", "alpine", "no-such-program"], 127, "no-such-program: not found"),
        (["run", "-w", "/away", "alpine", "pwd"], 125, "working directory /away lies in no volume"),
        (["login", "-u", "me", "-p", "password", "host"], 0, "'docker login' is pretended"),
        (["run", "--rm", "hello-world"], 0, "Hello from Docker!"),
        (["run", "-v", "/usr:/mnt", "-w", "/mnt/bin", "alpine", "pwd"], 0, "/usr/bin"),
        (["run", "-e", "A", "-e", "B=2", "alpine", "env"], 0, "A=1\nB=2"),
        (["run", "--entrypoint", "echo", "reg:5000/x/cmd-tag-project:1@sha256:0", "hi"], 0, "hi"),
    ],
)
def test_the_stand_in_refuses_commands_that_it_does_not_support(
    arguments: list[str], code: int, text: str
) -> None:
    done = subprocess.run(
        [STAND_IN / "docker", *arguments],
        env={"PATH": os.environ["PATH"], "A": "1", "HIDDEN": "from the container"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert text in done.stdout + done.stderr
    assert "the sandbox's stand-in, no engine" in done.stderr
    assert "HIDDEN" not in done.stdout
    assert "password" not in done.stderr
