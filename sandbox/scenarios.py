"""The examples' projects set up in a sandbox, for the demo and for the tests that follow them."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from sandbox.model import ENDED, Access, ProtectedRef, Variable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sandbox.model import Job, Pipeline, Project, Token, User
    from sandbox.world import Sandbox

EXAMPLES = Path(__file__).parent.parent / "examples"
DOCKER_STAND_IN = Path(__file__).parent / "bin"


@dataclass(frozen=True)
class Scene:
    """A group's projects in a sandbox.

    Attributes:
        gitlab: The server.
        executor: A Maintainer of all projects, whose token the commands use.
        token: That token, `COMMANDS_API_TOKEN` of the group.
        projects: By their names.
    """

    gitlab: Sandbox
    executor: User
    token: Token
    projects: Mapping[str, Project]


def set_up(
    gitlab: Sandbox,
    group: str,
    names: Collection[str],
    *,
    filled: Mapping[str, str] = MappingProxyType({}),
    registry: str = "registry.example.com",
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Scene:
    """Sets a group up, as its owner would in GitLab's pages.

    Args:
        gitlab: The server.
        group: The group's path.
        names: The projects that wait for a push.
        filled: The projects that hold an example already, and which.
        registry: `CI_REGISTRY`.
        variables: The group's CI/CD variables beside those of the token and the server.
    """
    executor = gitlab.add_user("ci-cd-executor")
    token = gitlab.add_token(executor, name="ci-cd-execution", scopes=("api",))
    gitlab.state.registry = registry
    gitlab.state.group_variables[group] = [
        Variable("COMMANDS_API_TOKEN", token.secret, masked=True, protected=True),
        Variable("GITLAB_SERVER_BASE_URL", gitlab.url),
        Variable("HOST_NETWORK", "host"),
        *(Variable(key, value) for key, value in variables.items()),
    ]
    members = {executor: Access.MAINTAINER}
    projects = {
        name: gitlab.add_project(f"{group}/{name}", tree(EXAMPLES / example), members=members)
        for name, example in filled.items()
    }
    for name in names:
        projects[name] = gitlab.add_project(f"{group}/{name}", members=members)
    return Scene(gitlab, executor, token, projects)


def tech_lunch(
    gitlab: Sandbox,
    *names: str,
    images: Mapping[str, str],
    registry: str = "registry.example.com",
) -> Scene:
    """The group `tech-lunch`, whose jobs call the commands by `docker run`.

    Args:
        gitlab: The server.
        names: The projects that are to be pushed to, beside `service-tests`, which is there.
        images: The commands' images, as the jobs reach them, by the commands' names.
        registry: `CI_REGISTRY`.
    """
    scene = set_up(
        gitlab,
        "tech-lunch",
        names,
        filled={"service-tests": "service-tests"},
        registry=registry,
        variables=_image_variables(images),
    )
    scene.projects["service-tests"].protected_tags.append(ProtectedRef("*", Access.DEVELOPER))
    return scene


def argo(
    gitlab: Sandbox,
    *,
    downstream: str = "k8s-repo",
    images: Mapping[str, str],
    registry: str = "registry.gitlab.com",
) -> Scene:
    """The group `test-ci6881616/argo`: `code-repo`'s pipeline has `k8s-repo`'s bump a tag.

    Args:
        gitlab: The server.
        downstream: The example that is `k8s-repo`; its settings are as that example asks for.
        images: As for `tech_lunch`.
        registry: `CI_REGISTRY`.
    """
    scene = set_up(
        gitlab,
        "test-ci6881616/argo",
        ["code-repo"],
        filled={"k8s-repo": downstream},
        registry=registry,
        variables=_image_variables(images),
    )
    k8s_repo = scene.projects["k8s-repo"]
    k8s_repo.job_token_allowlist = {scene.projects["code-repo"].path}
    k8s_repo.job_token_push = True
    k8s_repo.pipeline_variables_role = Access.DEVELOPER
    return scene


def _image_variables(images: Mapping[str, str]) -> dict[str, str]:
    """`CMD_TAG_PROJECT_IMAGE` and its like."""
    return {f"{name.upper().replace('-', '_')}_IMAGE": image for name, image in images.items()}


def tree(folder: Path) -> dict[str, bytes]:
    """The files of an example, by their paths within it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def push(scene: Scene, name: str, example: str | None = None) -> str:
    """Pushes an example to its project with git over HTTP, as a developer does.

    Args:
        scene: Where.
        name: The project, whose default branch is pushed.
        example: The example; default: the one that the project is named after.

    Returns:
        The commit's SHA.
    """
    project = scene.projects[name]
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
        for file, content in tree(EXAMPLES / (example or name)).items():
            path = Path(folder, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        git("add", "--all")
        git("commit", "--quiet", "--message", "Say hello")
        git("push", "--quiet", address, f"HEAD:{project.default_branch}")
        return git("rev-parse", "HEAD")


def newest_pipeline(scene: Scene, name: str) -> Pipeline:
    """A project's newest pipeline, waited for until it is there and has ended.

    Args:
        scene: Where.
        name: The project.

    Raises:
        TimeoutError: None was there, or it did not end, in time.
    """
    project = scene.projects[name]
    pipelines = scene.gitlab.pipelines
    scene.gitlab.wait_until(lambda: bool(pipelines(project)))
    pipeline = max(pipelines(project), key=lambda each: each.id)
    scene.gitlab.wait_until(lambda: pipeline.status in ENDED)
    return pipeline


def job(pipeline: Pipeline, name: str) -> Job:
    """A pipeline's job by its name."""
    return next(each for each in pipeline.jobs if each.name == name)
