"""What every test folder goes by: which tests need Docker, and which skips count as failures."""

from __future__ import annotations

import functools
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from cicd_common import cleaning

if TYPE_CHECKING:
    from collections.abc import Generator

IN_CI = os.environ.get("CI") == "true"


@functools.cache
def missing_engine() -> str | None:
    """Why no Docker Engine can be used; None if one can."""
    try:
        subprocess.run(["docker", "info"], check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        return "there is no docker on PATH"
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return f"no Docker Engine answers: {(error.stderr or b'').decode().strip() or error}"
    return None


@pytest.fixture(autouse=True)
def _no_secret_of_another_test() -> None:
    """A password that one test hides may be a word that another test expects to see."""
    cleaning.forget()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs a Docker Engine where there is none."""
    if item.get_closest_marker("docker") and (reason := missing_engine()):
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing skips that the set-up could provide: what is missing there is its fault."""
    report = yield
    if IN_CI and report.skipped and not item.get_closest_marker("may_skip"):
        report.outcome = "failed"
        report.longrepr = f"in CI nothing may skip: {report.longreprtext}"
    return report
