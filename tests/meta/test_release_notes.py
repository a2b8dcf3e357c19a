"""The notes of a release are what CHANGELOG.md says of its version."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cicd_common import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci/release_notes.py"
CHANGELOG = """\
# Changelog

## [Unreleased]

- Not yet.

## [1.10.0] - 2026-02-28

### Added

- Ten.

## [1.1.0] - 2026-01-31

- One.

## [1.0.0] - 2026-01-01

[1.10.0]: https://gitlab.example.com/group/name/-/compare/1.1.0...1.10.0
"""


@pytest.fixture(scope="module")
def notes() -> Callable[[str, str], str]:
    spec = importlib.util.spec_from_file_location("release_notes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[[str, str], str] = module.notes
    return function


@pytest.mark.parametrize(
    ("version", "expected"), [("1.10.0", "### Added\n\n- Ten."), ("1.1.0", "- One.")]
)
def test_they_end_where_the_next_version_begins(
    notes: Callable[[str, str], str], version: str, expected: str
) -> None:
    assert notes(CHANGELOG, version) == expected


@pytest.mark.parametrize(
    "version",
    [
        pytest.param("1.2.0", id="absent"),
        pytest.param("1.0.0", id="nothing-below"),
        pytest.param("1.1", id="another-that-begins-so"),
        pytest.param("1.1x0", id="not-a-pattern"),
        pytest.param("Unreleased", id="no-date"),
    ],
)
def test_a_version_without_notes_is_refused(notes: Callable[[str, str], str], version: str) -> None:
    with pytest.raises(ValueError, match="with notes below it"):
        notes(CHANGELOG, version)


@pytest.mark.parametrize("tag", ["99.0.0", f"v{__version__}"])
def test_a_tag_of_another_version_than_the_codes_is_refused(tag: str) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, tag], check=False, capture_output=True, text=True
    )
    place = "common/cicd_common/__init__.py"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: The tag is {tag}, the version in {place} {__version__}.\n"


def test_a_component_that_takes_another_versions_image_is_refused(tmp_path: Path) -> None:
    for path in (".ci/release_notes.py", "common/cicd_common/__init__.py", "CHANGELOG.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    shutil.copytree(ROOT / "templates", tmp_path / "templates")
    component = tmp_path / "templates/cmd-wait-pipeline.yml"
    component.write_text(component.read_text().replace(f":{__version__}", ":0.0.9"))
    command = [sys.executable, str(tmp_path / ".ci/release_notes.py"), __version__]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the version in templates/cmd-wait-pipeline.yml 0.0.9." in done.stderr


def test_the_documents_show_the_version_that_there_is() -> None:
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    shown = re.compile(r"ci-cd-commands(?:/cmd-[\w-]+)?[@:](\d[\w.]*)")
    found = {version for path in documents for version in shown.findall(path.read_text())}
    assert found == {__version__}
