"""The lock files hold what pyproject.toml asks for, and what that asks for in turn."""

from __future__ import annotations

import functools
import re
import tomllib
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
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


LOCKS = {
    "requirements.lock": RUNTIME,
    "requirements-dev.lock": RUNTIME + group("dev"),
    "requirements-build.lock": PYPROJECT["build-system"]["requires"] + group("build"),
    "requirements-audit.lock": group("audit"),
}
# The packages of the audit's are in an environment of its own, which `make audit` checks.
INSTALLED = [lock for lock in LOCKS if lock != "requirements-audit.lock"]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# The values of markers. Alpine's, with musl, are those of any Linux.
MACHINES = {
    f"{name}-{machine}": {
        "os_name": "posix",
        "platform_machine": machine,
        "platform_system": name,
        "sys_platform": name.lower(),
    }
    for name, machine in [
        ("Linux", "x86_64"),
        ("Linux", "aarch64"),
        ("Darwin", "x86_64"),
        ("Darwin", "arm64"),
    ]
}
# The licences that a package in the images can have: SPDX's names, and the words of packages whose
# metadata is older than PEP 639.
LICENCES = {
    "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "LGPL-3.0-or-later", "MIT", "MPL-2.0",
    "Apache 2.0", "MIT License",
}  # fmt: skip


def locked(lock: str) -> list[Requirement]:
    """The packages of a lock, each with its version and its marker."""
    lines = re.findall(r"^(\w.*?) \\$", (ROOT / lock).read_text(), re.MULTILINE)
    return list(map(Requirement, lines))


def pins(lock: str) -> dict[str, str]:
    """Locked versions by name."""
    return {
        canonicalize_name(each.name): next(iter(each.specifier)).version for each in locked(lock)
    }


def environment(python: str, machine: str) -> dict[str, str]:
    """What markers are evaluated with, for a version of CPython on a machine."""
    return {
        **MACHINES[machine],
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "implementation_version": f"{python}.0",
        "python_full_version": f"{python}.0",
        "python_version": python,
    }


@functools.cache
def requires(name: str) -> list[Requirement]:
    """What an installed package asks for; nothing, of one that is for another Python or machine."""
    try:
        return list(map(Requirement, metadata(name).get_all("Requires-Dist", [])))
    except PackageNotFoundError:
        return []


def licence(name: str) -> str:
    """A package's licence, in its metadata's words."""
    known = metadata(name)
    words = known.get_all("License-Expression") or known.get_all("License")
    kinds = [kind for kind in known.get_all("Classifier", []) if kind.startswith("License :: ")]
    return ", ".join(words or [kind.rpartition(" :: ")[2] for kind in kinds])


def holds(requirement: Requirement, where: dict[str, str], extras: set[str]) -> bool:
    """Whether a requirement is one in an environment, for one of the extras."""
    return requirement.marker is None or any(
        requirement.marker.evaluate({**where, "extra": extra}) for extra in extras
    )


def missing(lock: list[Requirement], roots: list[str], where: dict[str, str]) -> set[str]:
    """The requirements that a lock does not satisfy in an environment.

    Args:
        lock: What is locked.
        roots: The requirements that it was made for.
        where: The values of markers.
    """
    versions = {
        canonicalize_name(each.name): next(iter(each.specifier)).version
        for each in lock
        if holds(each, where, {""})
    }
    # Each package is followed once for each extra; "" is the package without any.
    followed: defaultdict[str, set[str]] = defaultdict(set)
    unmet, waiting = set(), [each for each in map(Requirement, roots) if holds(each, where, {""})]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if versions.get(name) is None or versions[name] not in requirement.specifier:
            unmet.add(str(requirement))
            continue
        extras = {"", *requirement.extras} - followed[name]
        followed[name] |= extras
        waiting += [each for each in requires(name) if extras and holds(each, where, extras)]
    return unmet


@pytest.mark.parametrize(("lock", "requirements"), LOCKS.items())
def test_every_requirement_is_locked_at_a_version_that_it_takes(
    lock: str, requirements: list[str]
) -> None:
    versions = pins(lock)
    for requirement in map(Requirement, requirements):
        found = versions.get(canonicalize_name(requirement.name))
        assert found, f"{lock} lacks {requirement}: make lock"
        assert found in requirement.specifier, f"{lock} has {found}, not {requirement}: make lock"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-build.lock"])
def test_the_image_gets_the_versions_that_the_tests_ran_with(lock: str) -> None:
    assert pins(lock).items() <= pins("requirements-dev.lock").items()


def test_the_tests_run_with_what_is_locked() -> None:
    for package in locked("requirements-dev.lock"):
        if package.marker is None or package.marker.evaluate():
            assert version(package.name) in package.specifier


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", INSTALLED)
def test_a_lock_is_complete(lock: str, python: str, machine: str) -> None:
    assert missing(locked(lock), LOCKS[lock], environment(python, machine)) == set()


@pytest.mark.parametrize("lock", INSTALLED)
def test_a_lock_without_one_of_its_packages_is_not_complete(lock: str) -> None:
    where = environment("3.11", "Linux-x86_64")
    packages = [each for each in locked(lock) if holds(each, where, {""})]
    for package in packages:
        others = [each for each in packages if each is not package]
        unmet = {
            canonicalize_name(Requirement(each).name)
            for each in missing(others, LOCKS[lock], where)
        }
        assert unmet == {canonicalize_name(package.name)}


@pytest.mark.parametrize("python", PYTHONS)
def test_every_locked_package_is_for_every_supported_python(python: str) -> None:
    for package in locked("requirements-dev.lock"):
        if package.marker is None or package.marker.evaluate():
            takes = SpecifierSet(*metadata(package.name).get_all("Requires-Python", []))
            assert python in takes, f"{package.name} takes Python {takes}"


@pytest.mark.parametrize("name", pins("requirements.lock"))
def test_what_the_images_hold_has_a_licence_that_allows_it(name: str) -> None:
    assert licence(name) in LICENCES
