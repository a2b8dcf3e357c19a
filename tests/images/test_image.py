from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cicd_common import __version__
from sandbox import Fault
from tests.images.conftest import SCRIPTS, build

if TYPE_CHECKING:
    from docker import DockerClient

    from sandbox import Sandbox
    from sandbox.model import Project, Token
    from tests.images.conftest import Run, Start

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
MOST_ADDED = 40 * 10**6  # bytes: our code and its dependencies, with their bytecode
HOME = "/opt/ci-cd-commands"
LOCKED_DOWN = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}

# For the Python of an image: all its files.
FILES = """
import json, os
found = []
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = set(folders) - {"dev", "proc", "sys"}
    found += [os.path.join(folder, name) for name in files]
print(json.dumps(found))
"""
# The same for what is installed: versions by name, and the files that belong to it.
INSTALLED = """
import importlib.metadata, json, os
found = list(importlib.metadata.distributions())
files = [os.path.normpath(each.locate_file(file)) for each in found for file in each.files]
print(json.dumps([{each.name.lower(): each.version for each in found}, files]))
"""


def base_image() -> str:
    """What the image is made from."""
    dockerfile = (ROOT / "dockerfiles/Dockerfile").read_text()
    default = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", dockerfile, re.MULTILINE)
    assert default
    return os.environ.get("PYTHON_IMAGE") or default[1]


def test_help_needs_no_setting_and_no_network(
    run: Run, images: dict[str, str], command: str
) -> None:
    ending = run("--help", image=images[command], network_mode="none", **LOCKED_DOWN)
    assert (ending.code, ending.stderr) == (0, "")
    assert ending.stdout.startswith(f"Usage: {command} ")


def test_the_tutorials_own_line_makes_the_tag_and_says_so_if_it_is_there(
    run: Run, gitlab: Sandbox, project: Project, token: Token
) -> None:
    line = (
        f"--base_url {gitlab.url} --api_access_token {token.secret} "
        "--project_group_and_name tech-lunch/service-tests --tag_name hello-world_1_2"
    )
    first = run(*line.split())
    assert (first.code, first.stderr) == (0, "")
    assert "hello-world_1_2 created" in first.stdout
    assert gitlab.tags(project) == {"hello-world_1_2": gitlab.sha(project)}
    second = run(*line.split())
    assert (second.code, second.stderr) == (0, "")
    assert "hello-world_1_2 already exists" in second.stdout


def test_it_works_on_a_read_only_file_system_without_capabilities(
    run: Run, gitlab: Sandbox, project: Project, token: Token
) -> None:
    environment = {"CI_SERVER_URL": gitlab.url, "COMMANDS_API_TOKEN": token.secret}
    arguments = ("--project", project.path, "--tag-name", "v1")
    ending = run(*arguments, environment=environment, **LOCKED_DOWN)
    assert (ending.code, ending.stderr) == (0, "")
    assert gitlab.tags(project) == {"v1": gitlab.sha(project)}


def test_sigterm_ends_it_at_once_though_it_is_process_1(
    start: Start, gitlab: Sandbox, project: Project, token: Token
) -> None:
    gitlab.fault(Fault(delay=3600))
    environment = {"CI_SERVER_URL": gitlab.url, "COMMANDS_API_TOKEN": token.secret}
    container = start("--project", project.path, "--tag-name", "v1", environment=environment)
    gitlab.wait_until(lambda: bool(gitlab.requests))
    container.kill("SIGTERM")
    assert container.wait()["StatusCode"] == 128 + signal.SIGTERM


def test_a_click_py_in_the_working_directory_is_harmless(run: Run, tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('imported')\n")
    tmp_path.chmod(0o755)
    ending = run("--version", volumes=[f"{tmp_path}:/checkout:ro"], working_dir="/checkout")
    assert ending.code == 0
    assert __version__ in ending.stdout


def test_a_job_whose_image_it_is_finds_the_command_in_a_shell(run: Run) -> None:
    ending = run("-c", "cmd-tag-project --version", entrypoint=["sh"])
    assert ending.code == 0
    assert __version__ in ending.stdout


def test_its_path_has_the_commands_and_python_but_no_script_of_a_dependency(run: Run) -> None:
    ending = run("-c", "ls /opt/ci-cd-commands/bin", entrypoint=["sh"])
    others = {name for name in ending.stdout.split() if not name.startswith("python")}
    assert others == set(SCRIPTS)


def test_its_python_has_the_function_for_scripts(run: Run) -> None:
    ending = run("-c", "from cmd_tag_project import tag_project", entrypoint=["python"])
    assert (ending.code, ending.stderr) == (0, "")


def test_its_settings_are_a_numeric_user_the_console_script_and_the_labels(
    engine: DockerClient, images: dict[str, str], command: str
) -> None:
    config = engine.images.get(images[command]).attrs["Config"]
    # Kubernetes' runAsNonRoot refuses root, and a user that has only a name.
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"])
    assert config["Entrypoint"] == [command]
    labels = {
        name.removeprefix("org.opencontainers.image."): v for name, v in config["Labels"].items()
    }
    assert labels.pop("description")
    assert labels == {
        "title": command,
        "vendor": "The ci-cd-commands developers",
        "licenses": "MIT",
    }


def test_it_adds_our_code_and_the_locked_wheels_to_its_base_and_nothing_else(run: Run) -> None:
    def python(script: str, **options: str) -> Any:
        ending = run("-c", script, entrypoint=["python3"], user="0", **options)
        assert ending.code == 0, ending.stderr
        return json.loads(ending.stdout)

    added = set(python(FILES)) - set(python(FILES, image=base_image()))
    assert {path for path in added if not path.startswith(f"{HOME}/")} == set()
    versions, owned = python(INSTALLED)
    assert versions.pop("ci-cd-commands") == __version__
    pins = re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert versions == dict(pins)
    installed = {path for path in added if path.startswith(f"{HOME}/lib/")}
    compiled = {path for path in installed if "/__pycache__/" in path}
    assert installed - compiled == {path for path in owned if path.startswith(f"{HOME}/lib/")}
    # Nobody may write there: a module that is not compiled is compiled anew at every start.
    modules = {path for path in installed if path.endswith(".py")}
    assert len(compiled) == len(modules)


def test_it_adds_one_layer_of_at_most_40_mb_to_its_base(
    engine: DockerClient, images: dict[str, str], command: str
) -> None:
    base, own = (engine.images.get(image).attrs for image in (base_image(), images[command]))
    beneath, layers = (each["RootFS"]["Layers"] for each in (base, own))
    assert layers[: len(beneath)] == beneath
    # That of the bump installs git where the base has none.
    assert len(layers) - len(beneath) <= 1 + (command == "cmd-bump-image-tag")
    added = own["Size"] - base["Size"]
    assert command == "cmd-bump-image-tag" or added <= MOST_ADDED


@pytest.mark.timeout(300)  # builds without the cache
def test_its_layers_are_the_same_wherever_and_whenever_they_are_built(
    engine: DockerClient, images: dict[str, str], elsewhere: Path
) -> None:
    again = f"{images['cmd-tag-project']}-again"
    build("cmd-tag-project", again, "--no-cache", tree=elsewhere)
    first, second = (
        engine.images.get(image).attrs["RootFS"]["Layers"]
        for image in (images["cmd-tag-project"], again)
    )
    engine.images.remove(again)
    assert second == first


def test_localhost_is_the_container_itself_and_is_tried_once(run: Run) -> None:
    environment = {"CI_SERVER_URL": "http://127.0.0.1:9", "COMMANDS_API_TOKEN": "glpat-of-nobody"}
    ending = run("--project", "a/b", "--tag-name", "v1", environment=environment)
    assert ending.code == 8
    assert "this address is the container itself" in ending.stderr
    assert "Trying again" not in ending.stderr


def test_the_doctor_is_in_every_image(
    run: Run, images: dict[str, str], command: str, gitlab: Sandbox, token: Token
) -> None:
    environment = {"CI_SERVER_URL": gitlab.url, "COMMANDS_API_TOKEN": token.secret}
    doctor = {"image": images[command], "entrypoint": ["cicd-doctor"], "environment": environment}
    ending = run(**doctor, **LOCKED_DOWN)
    assert (ending.code, ending.stderr) == (0, "")
    assert ending.stdout.startswith("ok    server")
