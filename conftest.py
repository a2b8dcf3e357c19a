"""What every test folder goes by: which tests need Docker, and which skips count as failures."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from cicd_common import cleaning

if TYPE_CHECKING:
    from collections.abc import Generator

    from xdist.remote import Producer

IN_CI = os.environ.get("CI") == "true"

# Examples take a busy machine any time. `make test` tries the same ones each time; `make fuzz`
# searches with others.
ANY_TIME = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("test", ANY_TIME, derandomize=True)
settings.register_profile("fuzz", ANY_TIME, max_examples=2_000, print_blob=True)
settings.load_profile("test")


@functools.cache
def missing_engine() -> str | None:
    """Why no Docker Engine can be used; None if one can."""
    try:
        subprocess.run(["docker", "info"], check=True, capture_output=True, timeout=300)
    except FileNotFoundError:
        return "there is no docker on PATH"
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return f"no Docker Engine answers: {(error.stderr or b'').decode().strip() or error}"
    return None


@pytest.fixture(autouse=True)
def _no_secret_of_another_test() -> None:
    """A password that one test hides may be a word that another test expects to see."""
    cleaning.forget()


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """Any worker takes any test, but one takes all tests that share what is costly to make.

    These are the tests of the images, each group of the fault matrix, and, because they are quick,
    those of a module of unit tests or of the project itself. The largest go first.
    The groups of pytest-xdist 3.8 would say the same, but pytest 9.2 does not read them.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/images/"):
            return "images"
        if nodeid.startswith(("tests/unit/", "tests/meta/")):
            return nodeid.partition("::")[0]
        group = re.match(r"tests/fault_matrix/test_fault_matrix\.py::\w+\[group \d+", nodeid)
        return group[0] if group else nodeid


def pytest_xdist_auto_num_workers() -> int:
    """Start two workers for each core: many tests wait for a process or for time to pass."""
    return 2 * (os.cpu_count() or 1)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Say in which order workers get tests, where there are several."""
    return Scheduling(config, log)


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
