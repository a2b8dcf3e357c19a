"""The notes of a release are what CHANGELOG.md says of its version."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cicd_common import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPT = Path(__file__).parents[2] / ".ci/release_notes.py"
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

[1.10.0]: https://gitlab.example.com/group/name/-/compare/v1.1.0...v1.10.0
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


def test_a_tag_of_another_version_than_the_codes_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "v99.0.0"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: The tag is v99.0.0, the code's __version__ {__version__}.\n"
