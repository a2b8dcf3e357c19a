from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox.model import Access, Variable

if TYPE_CHECKING:
    from sandbox.tests.ci.conftest import World

DOWNSTREAM = """
change_tag:
  rules: [{if: $CI_PIPELINE_SOURCE == "pipeline"}]
  script: ['echo "tag <$IMAGE_TAG> secret <$SECRET>"']
"""


def test_a_bridge_passes_its_variables_and_is_done_once_the_pipeline_exists(world: World) -> None:
    k8s = world.project("argo/k8s-repo", DOWNSTREAM)
    code = world.project(
        "argo/code-repo",
        """
        variables: {IMAGE_TAG: v0.0.3}
        update_image_tag:
          stage: deploy
          variables: {TARGET: argo/k8s-repo}
          trigger: {project: $TARGET}
        """,
    )
    pipeline = world.start(code, variables=[Variable("SECRET", "of the pipeline")])
    world.wait(pipeline, "success")
    bridge = pipeline.jobs[0]
    downstream = bridge.downstream
    assert downstream
    assert (downstream.project, downstream.source, downstream.upstream) == (k8s, "pipeline", bridge)
    world.wait(downstream, "success")
    assert "tag <v0.0.3> secret <>" in world.log(downstream, "change_tag")


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        ("{}", "tag <v1> secret <>"),
        ("{pipeline_variables: true}", "tag <v1> secret <s>"),
        ("{yaml_variables: false}", "tag <> secret <>"),
    ],
)
def test_forward_selects_the_variables_that_are_passed(
    world: World, forward: str, expected: str
) -> None:
    world.project("argo/k8s-repo", DOWNSTREAM)
    code = world.project(
        "argo/code-repo",
        f"""
        variables: {{IMAGE_TAG: v1}}
        go: {{trigger: {{project: argo/k8s-repo, strategy: depend, forward: {forward}}}}}
        """,
    )
    pipeline = world.start(code, variables=[Variable("SECRET", "s")])
    world.wait(pipeline, "success")
    downstream = pipeline.jobs[0].downstream
    assert downstream
    assert expected in world.log(downstream, "change_tag")


@pytest.mark.parametrize(("script", "status"), [("'true'", "success"), ("'false'", "failed")])
def test_with_depend_a_bridge_gets_the_final_status_of_its_pipeline(
    world: World, script: str, status: str
) -> None:
    world.project("group/down", f"job: {{script: {script}}}")
    up = world.project("group/up", "go: {trigger: {project: group/down, strategy: depend}}")
    pipeline = world.run(up)
    assert (pipeline.status, pipeline.jobs[0].status) == (status, status)


def test_with_mirror_a_bridge_gets_the_status_manual_too(world: World) -> None:
    world.project("group/down", "job: {script: 'true', when: manual, allow_failure: false}")
    up = world.project("group/up", "go: {trigger: {project: group/down, strategy: mirror}}")
    pipeline = world.start(up)
    world.wait(pipeline, "manual")
    downstream = pipeline.jobs[0].downstream
    assert downstream
    world.scheduler.play(downstream.jobs[0], world.user)
    world.wait(pipeline, "success")


def test_a_canceled_bridge_stays_canceled_when_its_pipeline_succeeds(world: World) -> None:
    flag = world.state.root / "flag"
    world.project("group/down", f"job: {{script: 'until test -e {flag}; do sleep 0.01; done'}}")
    up = world.project("group/up", "go: {trigger: {project: group/down, strategy: depend}}")
    pipeline = world.start(up)
    world.wait(pipeline, "running")
    downstream = pipeline.jobs[0].downstream
    assert downstream
    world.scheduler.cancel(pipeline)
    flag.touch()
    world.wait(downstream, "success")
    assert (pipeline.status, pipeline.jobs[0].status) == ("canceled", "canceled")


def test_a_retried_downstream_sets_its_bridge_running_again(world: World) -> None:
    world.project("group/down", 'job: {script: [test -e "$FLAG"]}')
    flag = world.state.root / "flag"
    up = world.project(
        "group/up",
        f"go: {{variables: {{FLAG: {flag}}}, trigger: {{project: group/down, strategy: depend}}}}",
    )
    pipeline = world.start(up)
    world.wait(pipeline, "failed")
    flag.touch()
    downstream = pipeline.jobs[0].downstream
    assert downstream
    with world.state.lock:
        world.scheduler.retry(downstream, world.user)
        assert pipeline.jobs[0].status == "running"
    world.wait(pipeline, "success")


def test_a_child_pipeline_comes_from_a_file_of_the_same_commit(world: World) -> None:
    project = world.project(
        "group/name",
        """
        child:
          variables: {PASSED: from the parent}
          trigger: {include: [{local: child.yml, inputs: {word: hello}}], strategy: depend}
        """,
        {
            "child.yml": "spec: {inputs: {word: }}\n---\n"
            "job: {script: ['echo \"$[[ inputs.word ]] $PASSED $CI_PIPELINE_SOURCE\"']}"
        },
    )
    pipeline = world.run(project)
    child = pipeline.jobs[0].downstream
    assert child
    assert (child.source, child.project, child.sha) == ("parent_pipeline", project, pipeline.sha)
    assert "hello from the parent parent_pipeline" in world.log(child, "job")
    assert pipeline.status == "success"


@pytest.mark.parametrize(
    ("trigger", "reason"),
    [
        ("group/nowhere", "downstream_bridge_project_not_found"),
        ("group/hidden", "downstream_bridge_project_not_found"),
        ("group/readable", "insufficient_bridge_permissions"),
        ("group/up", "invalid_bridge_trigger"),
        ("{project: group/down, branch: gone}", "downstream_pipeline_creation_failed"),
        ("group/filtered", "downstream_pipeline_creation_failed"),
        ("group/strict", "downstream_pipeline_creation_failed"),
    ],
)
def test_a_bridge_that_cannot_start_its_pipeline_fails(
    world: World, trigger: str, reason: str
) -> None:
    config = "job: {script: 'true'}"
    world.project("group/down", config)
    world.project("group/hidden", config).members.clear()
    world.project("group/readable", config).members[world.user.id] = Access.REPORTER
    world.project("group/filtered", "job: {script: 'true', only: [tags]}")
    strict = world.project("group/strict", config)
    strict.pipeline_variables_role = Access.OWNER
    up = world.project("group/up", f"variables: {{X: y}}\ngo: {{trigger: {trigger}}}")
    pipeline = world.run(up)
    assert (pipeline.status, pipeline.jobs[0].failure_reason) == ("failed", reason)


def test_pipelines_that_start_each_other_stop_after_two_rounds(world: World) -> None:
    world.project("group/a", "go: {trigger: group/b}")
    b = world.project("group/b", "go: {trigger: group/a}")
    world.start(b)
    with world.state.changed:
        assert world.state.changed.wait_for(
            lambda: any(
                job.failure_reason == "pipeline_loop_detected" for job in world.state.jobs.values()
            ),
            30,
        )
