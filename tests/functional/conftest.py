from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox import Access, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.model import Project, Token, User


@pytest.fixture
def gitlab() -> Iterator[Sandbox]:
    with Sandbox(run_jobs=False) as running:
        yield running


@pytest.fixture
def executor(gitlab: Sandbox) -> User:
    return gitlab.add_user("ci-cd-executor")


@pytest.fixture
def token(gitlab: Sandbox, executor: User) -> Token:
    return gitlab.add_token(executor)


@pytest.fixture
def project(gitlab: Sandbox, executor: User) -> Project:
    return gitlab.add_project(
        "tech-lunch/service-tests",
        {"README.md": "# Service tests\n"},
        members={executor: Access.MAINTAINER},
    )
