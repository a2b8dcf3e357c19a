"""The lock files hold what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PYPROJECT["project"]["dependencies"]


def group(name: str) -> list[str]:
    """A dependency group's requirements, those of the groups that it includes among them."""
    return [
        requirement
        for entry in PYPROJECT["dependency-groups"][name]
        for requirement in (group(entry["include-group"]) if isinstance(entry, dict) else [entry])
    ]


def pins(lock: str) -> dict[str, str]:
    """Locked versions by name."""
    lines = re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("requirements.lock", RUNTIME),
        ("requirements-dev.lock", RUNTIME + group("dev")),
        ("requirements-build.lock", PYPROJECT["build-system"]["requires"] + group("build")),
    ],
)
def test_every_requirement_is_locked_at_a_version_that_it_takes(
    lock: str, requirements: list[str]
) -> None:
    locked = pins(lock)
    for requirement in map(Requirement, requirements):
        version = locked.get(canonicalize_name(requirement.name))
        assert version, f"{lock} lacks {requirement}: make lock"
        assert version in requirement.specifier, (
            f"{lock} has {version}, not {requirement}: make lock"
        )


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-build.lock"])
def test_the_image_gets_the_versions_that_the_tests_ran_with(lock: str) -> None:
    assert pins(lock).items() <= pins("requirements-dev.lock").items()
