"""The project's own files agree with each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMMANDS = {script for script in PYPROJECT["project"]["scripts"] if script.startswith("cmd-")}
PACKAGES = {command.replace("-", "_") for command in COMMANDS}
TOOL = PYPROJECT["tool"]
MODULE_LISTS = ("modules", "source_modules", "forbidden_modules")
PIPELINE = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
# A path that exists on one machine alone; within an address the same words are a page.
MACHINE_PATH = r"(^|[^[:alnum:]])/((home|Users)/[a-z]|root/|work/|var/folders/)"


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param(TOOL["hatch"]["build"]["targets"]["wheel"]["packages"], id="wheel"),
        pytest.param(TOOL["mypy"]["files"], id="mypy"),
        pytest.param(TOOL["coverage"]["run"]["source_pkgs"], id="coverage"),
        pytest.param(TOOL["importlinter"]["root_packages"], id="import-linter"),
        *(
            pytest.param(
                [module for key in MODULE_LISTS for module in contract.get(key, ())],
                id=contract["name"],
            )
            for contract in TOOL["importlinter"]["contracts"]
            if "ancestors" not in contract
        ),
    ],
)
def test_every_tool_knows_every_command(listed: list[str]) -> None:
    assert set(listed) >= PACKAGES


def test_only_these_places_catch_every_exception() -> None:
    """Elsewhere a bug must not be taken for a failure that is expected."""
    catch_all = re.compile(r"^ *except (Base)?Exception\b|^ *except:", re.MULTILINE)
    folders = [*PACKAGES, "cicd_doctor", "common/cicd_common"]
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    found = {
        str(file.relative_to(ROOT)): len(catch_all.findall(file.read_text())) for file in files
    }
    assert {file: number for file, number in found.items() if number} == {
        "common/cicd_common/cli/main.py": 1,
        "common/cicd_common/gitlab/session.py": 1,
        "common/cicd_common/gitlab/transport.py": 2,
        "common/cicd_common/parallel.py": 1,
        "common/cicd_common/waiting/clock.py": 1,
        "common/cicd_common/waiting/push/listener.py": 1,
        "common/cicd_common/waiting/push/websocket.py": 1,
    }


def test_every_command_has_a_target_in_the_dockerfile() -> None:
    dockerfile = (ROOT / "dockerfiles/Dockerfile").read_text()
    targets = set(re.findall(r"^FROM runtime AS (\S+)$", dockerfile, re.MULTILINE))
    assert targets == COMMANDS


def test_the_image_is_built_from_every_package_of_the_wheel() -> None:
    taken = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for package in TOOL["hatch"]["build"]["targets"]["wheel"]["packages"]:
        folder = package.partition("/")[0]
        assert any(fnmatch(folder, pattern) for pattern in taken), (
            f".dockerignore leaves out {folder}"
        )


def test_the_pipeline_publishes_every_target_of_the_dockerfile() -> None:
    (matrix,) = PIPELINE["build-and-push"]["parallel"]["matrix"]
    dockerfile = (ROOT / "dockerfiles/Dockerfile").read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE))
    assert set(matrix["COMMAND"]) == stages - {"build", "runtime"} == COMMANDS | {"ci-cd-commands"}


def test_the_pipeline_uses_every_component_of_its_own_commit() -> None:
    used = {include["component"] for include in PIPELINE["include"]}
    home = "$CI_SERVER_FQDN/$CI_PROJECT_PATH"
    assert used == {f"{home}/{command}@$CI_COMMIT_SHA" for command in COMMANDS}


def test_the_pipeline_tests_with_the_oldest_python_and_the_newest() -> None:
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(PYPROJECT["project"]["classifiers"]))
    images = [PIPELINE[job]["image"].partition("@")[0] for job in ("test-oldest", "test-newest")]
    assert images == [f"python:{versions[0]}", f"python:{versions[-1]}"]
    assert PYPROJECT["project"]["requires-python"] == f">={versions[0]}"


def test_the_pipeline_and_the_check_of_a_change_make_the_same() -> None:
    """But for the audit, which needs a service on the internet."""
    jobs = (PIPELINE["lint"]["script"], PIPELINE[".test"]["script"])
    check = (ROOT / ".ci/run").read_text()
    assert [step for script in jobs[::-1] for step in script] == re.findall(
        r"^make .+$", check, re.MULTILINE
    )


def test_the_pipeline_names_each_image_where_it_is_renewed() -> None:
    text = (ROOT / ".gitlab-ci.yml").read_text()
    used = re.findall(r"^ {2,4}(?:- )?(?:image|name|\w+_IMAGE): (\S+)$", text, re.MULTILINE)
    assert used
    for image in used:
        assert image.startswith(("*", "$CI_REGISTRY_IMAGE/"))


def test_the_pipeline_builds_the_wheel_with_the_uv_that_is_locked() -> None:
    locked = re.search(
        r"^uv==(\d+\.\d+)\.", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE
    )
    assert locked
    assert f"/uv:{locked[1]}-" in PIPELINE["wheel"]["image"]


def test_the_imports_keep_the_contracts() -> None:
    lint = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run(
        [lint, "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_make_help_lists_every_target() -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make on PATH")
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    command = ["make", "--no-print-directory", "help"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert [line.split()[1] for line in done.stdout.splitlines()] == phony.split()


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    search = ["git", "grep", "-nIE", MACHINE_PATH, "--", ":!tests/meta/test_project.py"]
    done = subprocess.run(search, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
