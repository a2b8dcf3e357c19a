"""What `pip install` of the wheel gives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from cicd_common import __version__

ROOT = Path(__file__).parents[2]
SCRIPTS = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])
PACKAGES = [script.replace("-", "_") for script in SCRIPTS if script.startswith("cmd-")]


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, in an environment without settings of Python."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


def build(tree: Path, folder: Path) -> Path:
    """Builds the wheel of a tree, into a folder."""
    run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, tree),
        cwd=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel; what it depends on is lent by this one."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home)
    run(
        *(sys.executable, "-m", "pip", "--python", home, "install"),
        *("--quiet", "--no-index", "--no-deps", wheel),
        cwd=home,
    )
    (packages,) = home.glob("lib/python3*/site-packages")
    # A path of a .pth file is searched last, and the .pth files there, such as the one that leads
    # to this working tree, are not read.
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib"))
    return home


def test_the_wheel_holds_the_commands_and_what_they_share_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.partition("/")[0] for name in names}
    metadata = f"ci_cd_commands-{__version__}.dist-info"
    assert top == {"cicd_common", "cicd_doctor", *PACKAGES, metadata}
    assert {name for name in names if name.endswith("py.typed")} == {
        f"{package}/py.typed" for package in ("cicd_common", "cicd_doctor", *PACKAGES)
    }
    assert f"{metadata}/licenses/LICENSE" in names


def test_a_wheel_of_a_servers_job_leads_back_to_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = "https://gitlab.example.com/group/name"
    monkeypatch.setenv("CI_PROJECT_URL", project)
    monkeypatch.setenv("CI_COMMIT_TAG", "1.2.3")
    built = build(ROOT, tmp_path)
    metadata = metadata_of(built)
    assert f"Project-URL: Homepage, {project}\n" in metadata
    assert f"Project-URL: Changelog, {project}/-/blob/1.2.3/CHANGELOG.md\n" in metadata
    assert f"]({project}/-/raw/1.2.3/docs/pictures/wait.svg)" in metadata
    assert f"]({project}/-/blob/1.2.3/docs/install.md)" in metadata
    assert set(re.findall(r"\]\(([^)]*)\)", metadata)) == set(
        re.findall(rf"\]\(({project}/[^)]*)\)", metadata)
    )
    with ZipFile(built) as wheel:
        wheel.extractall(tmp_path / "installed")
    for script in SCRIPTS:
        module = script.replace("-", "_")
        shown = run(sys.executable, "-m", module, "--help", cwd=tmp_path / "installed")
        link = shown.splitlines()[-1].removeprefix(f"Documentation: {project}/-/blob/1.2.3/")
        assert (ROOT / link).is_file()


def test_a_wheel_from_elsewhere_names_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI_PROJECT_URL", raising=False)
    metadata = metadata_of(build(ROOT, tmp_path))
    assert "Project-URL" not in metadata
    assert (ROOT / "README.md").read_text() in metadata


def metadata_of(wheel: Path) -> str:
    """The text of a wheel's METADATA."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return archive.read(name).decode()


def test_the_wheel_is_the_same_wherever_and_whenever_it_is_built(
    wheel: Path, elsewhere: Path, tmp_path: Path
) -> None:
    assert build(elsewhere, tmp_path).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_installed_wheel_gives_the_console_script(installed: Path, script: str) -> None:
    assert __version__ in run(installed / "bin" / script, "--version", cwd=installed)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_installed_wheel_gives_the_function_for_scripts(installed: Path, package: str) -> None:
    function = package.removeprefix("cmd_")
    show = f"import {package} as it; print(it.__file__, it.{function}.__name__)"
    file, name = run(installed / "bin" / "python", "-c", show, cwd=installed).split()
    assert Path(file).is_relative_to(installed)
    assert name == function
