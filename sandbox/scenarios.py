"""The examples' projects set up in a sandbox, for the demo and for the tests that follow them."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.model import ENDED, Access, ProtectedRef, Variable

if TYPE_CHECKING:
    from sandbox.model import Job, Pipeline, Project, Token, User
    from sandbox.world import Sandbox

EXAMPLES = Path(__file__).parent.parent / "examples"
DOCKER_STAND_IN = Path(__file__).parent / "bin"


@dataclass(frozen=True)
class TechLunch:
    """The group `tech-lunch` of the first example: one project's pipeline tags the other.

    Attributes:
        gitlab: The server.
        executor: The user whose token the commands use.
        token: That token, `COMMANDS_API_TOKEN` of the group.
        hello_world: The project that is pushed to; empty until then.
        service_tests: The project that is tagged.
    """

    gitlab: Sandbox
    executor: User
    token: Token
    hello_world: Project
    service_tests: Project


def tech_lunch(gitlab: Sandbox, *, image: str, registry: str = "registry.example.com") -> TechLunch:
    """Sets the group up, as its owner would in GitLab's pages.

    Args:
        gitlab: The server.
        image: `CMD_TAG_PROJECT_IMAGE`, as the jobs reach it.
        registry: `CI_REGISTRY`.
    """
    executor = gitlab.add_user("ci-cd-executor")
    token = gitlab.add_token(executor, name="ci-cd-execution", scopes=("api",))
    roles = {executor: Access.MAINTAINER}
    gitlab.state.registry = registry
    gitlab.state.group_variables["tech-lunch"] = [
        Variable("COMMANDS_API_TOKEN", token.secret, masked=True, protected=True),
        Variable("GITLAB_SERVER_BASE_URL", gitlab.url),
        Variable("HOST_NETWORK", "host"),
        Variable("CMD_TAG_PROJECT_IMAGE", image),
    ]
    hello_world = gitlab.add_project("tech-lunch/hello-world", members=roles)
    service_tests = gitlab.add_project(
        "tech-lunch/service-tests", tree(EXAMPLES / "service-tests"), members=roles
    )
    service_tests.protected_tags.append(ProtectedRef("*", Access.DEVELOPER))
    return TechLunch(gitlab, executor, token, hello_world, service_tests)


def tree(folder: Path) -> dict[str, bytes]:
    """The files of an example, by their paths within it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def push(scene: TechLunch, example: Path, project: Project) -> str:
    """Pushes an example to its project with git over HTTP, as a developer does.

    Args:
        scene: Where.
        example: The example's folder.
        project: The project, whose default branch is pushed.

    Returns:
        The commit's SHA.
    """
    address = f"{scene.gitlab.url}/{project.path}.git"
    # The token reaches git through a helper that reads a variable: not by an argument or a URL.
    helper = '!f() { echo username=oauth2; echo "password=$GIT_TOKEN"; }; f'
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "GIT_TOKEN": scene.token.secret,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
    for role in ("AUTHOR", "COMMITTER"):
        environment[f"GIT_{role}_NAME"] = scene.executor.name
        environment[f"GIT_{role}_EMAIL"] = scene.executor.email

    with tempfile.TemporaryDirectory() as folder:

        def git(*arguments: str) -> str:
            done = subprocess.run(
                ["git", "-c", f"credential.helper={helper}", *arguments],
                cwd=folder,
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            )
            return done.stdout.strip()

        git("init", "--quiet", f"--initial-branch={project.default_branch}")
        for name, content in tree(example).items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        git("add", "--all")
        git("commit", "--quiet", "--message", "Say hello")
        git("push", "--quiet", address, f"HEAD:{project.default_branch}")
        return git("rev-parse", "HEAD")


def newest_pipeline(scene: TechLunch, project: Project, timeout: float = 30.0) -> Pipeline:
    """The project's newest pipeline, waited for until it is there and has ended.

    Args:
        scene: Where.
        project: Whose.
        timeout: Seconds.

    Raises:
        TimeoutError: None was there, or it did not end, in time.
    """
    pipelines = scene.gitlab.pipelines
    scene.gitlab.wait_until(lambda: bool(pipelines(project)), timeout)
    pipeline = max(pipelines(project), key=lambda each: each.id)
    scene.gitlab.wait_until(lambda: pipeline.status in ENDED, timeout)
    return pipeline


def job(pipeline: Pipeline, name: str) -> Job:
    """A pipeline's job by its name."""
    return next(each for each in pipeline.jobs if each.name == name)
