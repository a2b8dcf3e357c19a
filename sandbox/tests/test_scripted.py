from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox import Access, ManualClock, Sandbox, ScriptedJob, ScriptedPipeline
from sandbox.scripted import Director

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.model import Pipeline, Project, User


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def gitlab(clock: ManualClock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock, run_jobs=False) as running:
        yield running


@pytest.fixture
def user(gitlab: Sandbox) -> User:
    return gitlab.add_user("ci-cd-executor")


@pytest.fixture
def project(gitlab: Sandbox, user: User) -> Project:
    return gitlab.add_project("group/name", {"f": ""}, members={user: Access.MAINTAINER})


def statuses(gitlab: Sandbox, pipeline: Pipeline) -> dict[str, str]:
    gitlab.pipelines(pipeline.project)  # looks
    return {"": pipeline.status} | {job.name: job.status for job in pipeline.jobs}


def test_a_scripted_status_depends_only_on_the_clock(
    gitlab: Sandbox, clock: ManualClock, project: Project, user: User
) -> None:
    script = ScriptedPipeline(timeline=((0, "pending"), (2, "running"), (5, "success")))
    pipeline = gitlab.add_pipeline(project, script, user=user)
    seen = []
    for _ in range(6):
        seen.append(statuses(gitlab, pipeline)[""])
        clock.advance(1)
    assert seen == ["pending", "pending", "running", "running", "running", "success"]
    assert pipeline.started_at is not None
    assert pipeline.finished_at is not None
    assert (pipeline.finished_at - pipeline.started_at).total_seconds() == 3


def test_an_unscripted_status_is_computed_from_the_jobs(
    gitlab: Sandbox, clock: ManualClock, project: Project, user: User
) -> None:
    script = ScriptedPipeline(
        jobs=(
            ScriptedJob(name="build", timeline=((0, "running"), (2, "success"))),
            ScriptedJob(name="test", timeline=((0, "created"), (2, "running"), (4, "failed"))),
        )
    )
    pipeline = gitlab.add_pipeline(project, script, user=user)
    assert statuses(gitlab, pipeline) == {"": "running", "build": "running", "test": "created"}
    clock.advance(4)
    assert statuses(gitlab, pipeline) == {"": "failed", "build": "success", "test": "failed"}
    assert pipeline.jobs[1].failure_reason == "script_failure"


def test_a_pipeline_scheduled_for_later_does_not_exist_yet(
    gitlab: Sandbox, clock: ManualClock, project: Project, user: User
) -> None:
    gitlab.add_pipeline(project, ScriptedPipeline(), user=user, after=3)
    assert gitlab.pipelines(project) == []
    clock.advance(3)
    assert len(gitlab.pipelines(project)) == 1


def test_a_pipeline_scheduled_in_the_past_has_finished(
    gitlab: Sandbox, project: Project, user: User
) -> None:
    script = ScriptedPipeline(timeline=((0, "running"), (60, "success")))
    assert gitlab.add_pipeline(project, script, user=user, after=-100).status == "success"


def test_a_downstream_pipeline_appears_while_its_bridge_runs(
    gitlab: Sandbox, clock: ManualClock, project: Project, user: User
) -> None:
    child = ScriptedPipeline(timeline=((0, "running"), (2, "failed")))
    bridge = ScriptedJob(
        name="child", timeline=((0, "running"), (3, "failed")), downstream=child, downstream_after=1
    )
    pipeline = gitlab.add_pipeline(project, ScriptedPipeline(jobs=(bridge,)), user=user)
    assert [job.downstream for job in pipeline.jobs] == [None]
    clock.advance(1)
    downstream = gitlab.pipelines(project)[1]
    assert [job.downstream for job in pipeline.jobs] == [downstream]
    assert (downstream.source, downstream.status) == ("parent_pipeline", "running")


def test_a_canceled_bridge_starts_nothing(
    gitlab: Sandbox, clock: ManualClock, project: Project, user: User
) -> None:
    bridge = ScriptedJob(
        name="child",
        timeline=((0, "running"),),
        downstream=ScriptedPipeline(),
        downstream_after=1,
    )
    pipeline = gitlab.add_pipeline(project, ScriptedPipeline(jobs=(bridge,)), user=user)
    Director(gitlab.state).cancel(pipeline)
    clock.advance(1)
    assert gitlab.pipelines(project) == [pipeline]
    assert pipeline.status == "canceled"


def test_a_retry_replaces_failed_jobs_with_new_ones(
    gitlab: Sandbox, clock: ManualClock, project: Project, user: User
) -> None:
    script = ScriptedPipeline(
        timeline=((0, "failed"),),
        jobs=(
            ScriptedJob(name="build"),
            ScriptedJob(name="test", timeline=((0, "failed"),), retried=((0, "running"),)),
        ),
    )
    pipeline = gitlab.add_pipeline(project, script, user=user)
    first_end = pipeline.finished_at
    clock.advance(1)
    Director(gitlab.state).retry(pipeline, user)
    assert [(job.name, job.status, job.retried) for job in pipeline.jobs] == [
        ("build", "success", False),
        ("test", "failed", True),
        ("test", "running", False),
    ]
    assert (pipeline.status, pipeline.finished_at) == ("running", first_end)


def test_a_manual_job_waits_until_it_is_played(
    gitlab: Sandbox, clock: ManualClock, project: Project, user: User
) -> None:
    script = ScriptedPipeline(
        jobs=(ScriptedJob(name="deploy", when="manual", played=((0, "running"), (2, "success"))),)
    )
    pipeline = gitlab.add_pipeline(project, script, user=user)
    clock.advance(10)
    assert statuses(gitlab, pipeline) == {"": "manual", "deploy": "manual"}
    Director(gitlab.state).play(pipeline.jobs[0], user)
    assert statuses(gitlab, pipeline) == {"": "running", "deploy": "running"}
    clock.advance(2)
    assert statuses(gitlab, pipeline) == {"": "success", "deploy": "success"}


def test_a_pipeline_can_stay_in_canceling(
    gitlab: Sandbox, clock: ManualClock, project: Project, user: User
) -> None:
    script = ScriptedPipeline(
        timeline=((0, "running"),), canceled=((0, "canceling"), (5, "canceled"))
    )
    pipeline = gitlab.add_pipeline(project, script, user=user)
    Director(gitlab.state).cancel(pipeline)
    assert pipeline.status == "canceling"
    clock.advance(5)
    assert statuses(gitlab, pipeline) == {"": "canceled"}
