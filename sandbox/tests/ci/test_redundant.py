from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox import git

if TYPE_CHECKING:
    from sandbox.model import Pipeline, Project
    from sandbox.tests.ci.conftest import World

CONFIG = """
a: {script: a, interruptible: true}
b: {stage: deploy, script: b}
"""


def push(world: World, project: Project, text: str) -> Pipeline:
    before = git.resolve(project.repository, "main") or ""
    world.commit(project, {"file": text})
    pipeline = world.push(project, before=before)
    assert pipeline is not None
    return pipeline


@pytest.mark.parametrize(
    ("first", "second", "canceled"),
    [
        ("created", "created", True),
        ("running", "created", True),
        ("success", "running", False),
        ("success", "created", True),
    ],
)
def test_a_newer_push_cancels_interruptible_jobs(
    still: World, first: str, second: str, *, canceled: bool
) -> None:
    project = still.project("group/name", CONFIG)
    older = push(still, project, "1")
    still.job(older, "a").status, still.job(older, "b").status = first, second
    older.status = "running"
    push(still, project, "2")
    assert (still.job(older, "b").status == "canceled") is canceled


def test_the_same_commit_and_other_refs_cancel_nothing(still: World) -> None:
    project = still.project("group/name", CONFIG)
    older = push(still, project, "1")
    still.start(project)
    still.commit(project, {"file": "2"}, branch="feature")
    still.push(project, "feature")
    assert older.status == "created"


def test_nothing_is_canceled_if_the_setting_is_off(still: World) -> None:
    project = still.project("group/name", CONFIG)
    project.auto_cancel = False
    older = push(still, project, "1")
    push(still, project, "2")
    assert older.status == "created"


def test_a_canceled_pipeline_stops_its_running_script(world: World) -> None:
    project = world.project("group/name", "a: {script: sleep 60, interruptible: true}")
    older = push(world, project, "1")
    world.wait(world.job(older, "a"), "running")
    with world.state.lock:
        push(world, project, "2")
    world.wait(older)
    assert older.status == "canceled"
