from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.ci import process

if TYPE_CHECKING:
    import pytest

    from sandbox.model import Pipeline
    from sandbox.tests.ci.conftest import World


def statuses(pipeline: Pipeline) -> dict[str, str]:
    return {job.name: job.status for job in pipeline.jobs if not job.retried}


STAGES = """
stages: [a, b, c]
first: {stage: a, script: "true"}
gate: {stage: b, script: "true", rules: [{when: manual}]}
last: {stage: c, script: "true"}
"""


def test_a_blocking_manual_job_blocks_the_pipeline_until_it_is_played(world: World) -> None:
    pipeline = world.start(world.project("group/name", STAGES))
    world.wait(pipeline, "manual")
    assert statuses(pipeline) == {"first": "success", "gate": "manual", "last": "created"}
    assert pipeline.finished_at is None
    person = world.add_user("person")
    world.scheduler.play(world.job(pipeline, "gate"), person)
    world.wait(pipeline, "success")
    assert world.job(pipeline, "gate").user is person
    assert statuses(pipeline)["last"] == "success"


def test_an_optional_manual_job_does_not_block_the_pipeline(world: World) -> None:
    project = world.project(
        "group/name", "{job: {script: 'true'}, extra: {script: 'true', when: manual}}"
    )
    pipeline = world.run(project)
    assert pipeline.status == "success"
    assert statuses(pipeline) == {"job": "success", "extra": "manual"}


def test_a_pipeline_of_optional_manual_jobs_is_skipped(world: World) -> None:
    project = world.project("group/name", "extra: {script: 'true', when: manual}")
    pipeline = world.run(project)
    assert pipeline.status == "skipped"
    world.scheduler.play(pipeline.jobs[0], world.user)
    world.wait(pipeline, "success")


def test_canceling_ends_the_script_and_still_runs_after_script(world: World) -> None:
    project = world.project(
        "group/name",
        """
        job:
          script: [sleep 600, echo never]
          after_script: ['echo "after: $CI_JOB_STATUS"']
        later: {stage: deploy, script: "true"}
        """,
    )
    pipeline = world.start(project)
    world.wait_for_log(pipeline, "job", "$ sleep 600")
    with world.state.lock:
        world.scheduler.cancel(pipeline)
        assert world.job(pipeline, "job").status == "canceling"
    world.wait(pipeline, "canceled")
    assert statuses(pipeline) == {"job": "canceled", "later": "canceled"}
    assert "after: canceled" in world.log(pipeline, "job")
    assert "\nnever" not in world.log(pipeline, "job")


def test_a_script_that_ignores_sigterm_is_killed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_GRACE", 0.1)
    project = world.project(
        "group/name", "job: {script: [\"trap '' TERM\", echo trapped, sleep 600]}"
    )
    pipeline = world.start(project)
    world.wait_for_log(pipeline, "job", "\ntrapped")
    world.scheduler.cancel_job(pipeline.jobs[0])
    world.wait(pipeline, "canceled")


def test_canceling_a_pipeline_cancels_its_child(world: World) -> None:
    project = world.project(
        "group/name",
        "child: {trigger: {include: child.yml, strategy: depend}}",
        {"child.yml": "job: {script: sleep 600}"},
    )
    pipeline = world.start(project)
    world.wait(pipeline, "running")
    child = pipeline.jobs[0].downstream
    assert child
    world.wait(child, "running")
    world.scheduler.cancel(pipeline)
    world.wait(child, "canceled")
    world.wait(pipeline, "canceled")


def test_a_retry_runs_failed_and_skipped_jobs_again(world: World) -> None:
    flag = world.state.root / "flag"
    project = world.project(
        "group/name",
        f"""
        stages: [a, b]
        good: {{stage: a, script: "true"}}
        bad: {{stage: a, script: test -e {flag}}}
        later: {{stage: b, script: "true"}}
        """,
    )
    pipeline = world.start(project)
    world.wait(pipeline, "failed")
    good = world.job(pipeline, "good")
    flag.touch()
    with world.state.lock:
        world.scheduler.retry(pipeline, world.user)
        assert pipeline.status == "running"
    world.wait(pipeline, "success")
    assert world.job(pipeline, "good") is good
    assert [job.status for job in pipeline.jobs if job.name == "bad"] == ["failed", "success"]
    assert statuses(pipeline)["later"] == "success"


def test_a_retried_job_runs_the_skipped_jobs_after_it_again(world: World) -> None:
    flag = world.state.root / "flag"
    project = world.project(
        "group/name",
        f"""
        bad: {{stage: build, script: test -e {flag}}}
        worse: {{stage: build, script: "false", allow_failure: true}}
        later: {{stage: test, script: "true"}}
        """,
    )
    pipeline = world.start(project)
    world.wait(pipeline, "failed")
    worse = world.job(pipeline, "worse")
    flag.touch()
    new = world.scheduler.retry_job(world.job(pipeline, "bad"), world.user)
    world.wait(pipeline, "success")
    assert new.status == "success"
    assert world.job(pipeline, "worse") is worse
    assert world.job(pipeline, "later").status == "success"
