"""Every status, and what the options make of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from sandbox import Fault
from sandbox.model import ScriptedJob, ScriptedPipeline
from tests.functional.cmd_wait_pipeline.conftest import meanwhile

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox import Sandbox
    from sandbox.model import Pipeline, Project, User
    from sandbox.testing import Api
    from tests.functional.cmd_wait_pipeline.conftest import Add, Wait


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("success", 0, None),
        ("failed", 1, "failed"),
        ("canceled", 9, "canceled"),
        ("skipped", 10, "skipped"),
        ("manual", 11, "manual"),
    ],
)
def test_an_end_has_its_exit_code(
    bare: Add, wait: Wait, status: str, code: int, kind: str | None
) -> None:
    pipeline = bare((0, "running"), (0.6, status))
    ending = wait("--pipeline-id", pipeline.id, "--output", "json")
    document = json.loads(ending.stdout)
    assert ending.code == code
    assert document.get("error", {}).get("kind") == kind
    result = document["results"][0] if kind else document
    assert (result["id"], result["status"]) == (pipeline.id, status)


@pytest.mark.parametrize(
    "status",
    [
        "created",
        "waiting_for_resource",
        "preparing",
        "waiting_for_callback",
        "pending",
        "running",
        "canceling",
        "scheduled",
    ],
)
def test_any_other_status_is_active(bare: Add, wait: Wait, status: str) -> None:
    pipeline = bare((0, status), (0.6, "success"))
    assert wait("--pipeline-id", pipeline.id).code == 0


def test_a_status_of_a_later_gitlab_is_active_with_one_warning(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    script = ScriptedPipeline(
        timeline=((0, "waiting_for_moonrise"), (0.8, "success")), jobs=(ScriptedJob(name="test"),)
    )
    pipeline = gitlab.add_pipeline(project, script, user=executor)
    ending = wait("--pipeline-id", pipeline.id)
    assert ending.code == 0
    assert ending.stderr.count("'waiting_for_moonrise'") == 1


def test_success_with_warnings_is_success_and_names_them(add: Add, wait: Wait) -> None:
    flaky = ScriptedJob(name="flaky", timeline=((0, "failed"),), allow_failure=True)
    pipeline = add(jobs=(flaky, ScriptedJob(name="test")))
    ending = wait("--pipeline-id", pipeline.id, "--output", "json")
    assert ending.code == 0
    [job] = json.loads(ending.stdout)["failed_jobs"]
    assert (job["name"], job["allow_failure"]) == ("flaky", True)


BLOCKING = ScriptedJob(name="deploy", stage="deploy", when="manual", timeline=((0.2, "manual"),))
OPTIONAL = ScriptedJob(name="extra", stage="deploy", when="manual", allow_failure=True)


def test_a_blocked_pipeline_names_the_job_that_waits(add: Add, wait: Wait) -> None:
    ending = wait("--pipeline-id", add(jobs=(ScriptedJob(name="test"), BLOCKING, OPTIONAL)).id)
    assert ending.code == 11
    assert "Waiting to be started: deploy." in ending.stderr


def test_on_manual_pass_takes_it_for_an_end(add: Add, wait: Wait) -> None:
    pipeline = add(jobs=(BLOCKING,))
    ending = wait("--pipeline-id", pipeline.id, "--on-manual", "pass")
    assert (ending.code, " manual" in ending.stdout) == (0, True)


def test_on_manual_pass_does_not_hide_a_failure_beside_it(add: Add, wait: Wait) -> None:
    failed = ScriptedJob(name="test", timeline=((0, "failed"),))
    pipeline = add(jobs=(failed, BLOCKING))
    assert wait("--pipeline-id", pipeline.id, "--on-manual", "pass").code == 1


def test_on_manual_wait_waits_until_the_job_is_started(
    gitlab: Sandbox, add: Add, wait: Wait, api: Api
) -> None:
    pipeline = add(jobs=(BLOCKING,))
    play = f"/projects/{pipeline.project.id}/jobs/{pipeline.jobs[0].id}/play"
    person = meanwhile(gitlab, lambda: len(gitlab.requests) >= 5, lambda: api.post(play))
    ending = wait("--pipeline-id", pipeline.id, "--on-manual", "wait")
    person.join()
    assert ending.code == 0


def test_on_manual_play_starts_the_blocking_jobs_once(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    fast = ((0.0, "running"), (0.3, "success"))
    blocking = ScriptedJob(name="deploy", when="manual", played=fast)
    pipeline = add(jobs=(blocking, OPTIONAL))
    ending = wait("--pipeline-id", pipeline.id, "--on-manual", "play")
    assert ending.code == 0
    assert "Started the manual job deploy" in ending.stderr
    plays = [request.path for request in gitlab.requests if request.method == "POST"]
    assert plays == [f"/api/v4/projects/{pipeline.project.id}/jobs/{pipeline.jobs[0].id}/play"]


def test_after_a_lost_response_a_play_is_not_repeated(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    gitlab.fault(Fault(path=r"/play$", method="POST", nth=1, reset="after"))
    blocking = ScriptedJob(name="deploy", when="manual", played=((0.0, "success"),))
    pipeline = add(jobs=(blocking,))
    assert wait("--pipeline-id", pipeline.id, "--on-manual", "play").code == 0
    assert len([request for request in gitlab.requests if request.method == "POST"]) == 1


def test_a_manual_job_that_someone_else_starts_meanwhile_counts_as_started(
    gitlab: Sandbox, add: Add, wait: Wait, api: Api
) -> None:
    blocking = ScriptedJob(name="deploy", when="manual", played=((0.0, "success"),))
    pipeline = add(jobs=(blocking,))
    play = f"/projects/{pipeline.project.id}/jobs/{pipeline.jobs[0].id}/play"
    slow = gitlab.fault(Fault(path=r"/play$", nth=1, delay=0.5))
    person = meanwhile(gitlab, lambda: slow.fired > 0, lambda: api.post(play))
    ending = wait("--pipeline-id", pipeline.id, "--on-manual", "play")
    person.join()
    assert ending.code == 0


def test_a_play_that_is_refused_ends_the_wait(gitlab: Sandbox, add: Add, wait: Wait) -> None:
    gitlab.fault(Fault(path=r"/play$", status=403, body={"message": "403 Forbidden"}))
    assert wait("--pipeline-id", add(jobs=(BLOCKING,)).id, "--on-manual", "play").code == 6


def test_play_is_refused_to_a_job_token_before_anything_is_sent(
    gitlab: Sandbox, wait: Wait
) -> None:
    assert wait("--pipeline-id", 1, "--on-manual", "play", job_token="glcbt-some").code == 3
    assert gitlab.requests == []


def test_each_cause_of_a_skipped_pipeline_has_its_own_message(
    add: Add, bare: Add, wait: Wait
) -> None:
    optional = wait("--pipeline-id", add(jobs=(OPTIONAL,)).id)
    skip_ci = wait("--pipeline-id", bare((0, "skipped")).id)
    assert (optional.code, skip_ci.code) == (10, 10)
    assert "optional" in optional.stderr
    assert "[skip ci]" in skip_ci.stderr


def test_on_skipped_pass_takes_it_for_an_end(bare: Add, wait: Wait) -> None:
    assert wait("--pipeline-id", bare((0, "skipped")).id, "--on-skipped", "pass").code == 0


def test_settle_gives_a_retry_the_time_to_happen(
    gitlab: Sandbox, add: Add, wait: Wait, api: Api
) -> None:
    flaky = ScriptedJob(
        name="flaky", timeline=((0, "failed"),), retried=((0, "running"), (0.3, "success"))
    )
    pipeline = add(jobs=(flaky,))
    retry = f"/projects/{pipeline.project.id}/pipelines/{pipeline.id}/retry"
    person = meanwhile(gitlab, lambda: len(gitlab.requests) >= 3, lambda: api.post(retry))
    ending = wait("--pipeline-id", pipeline.id, "--settle", "5")
    person.join()
    assert ending.code == 0


def test_a_failure_that_settles_counts(add: Add, wait: Wait) -> None:
    assert wait("--pipeline-id", add((0, "failed")).id, "--settle", "0.3").code == 1


def parent_of(gitlab: Sandbox, project: Project, user: User, child: ScriptedPipeline) -> Pipeline:
    """A pipeline that does nothing but wait for its child."""
    bridge = ScriptedJob(name="suite", downstream=child, timeline=((0, "running"), (30, "success")))
    return gitlab.add_pipeline(project, ScriptedPipeline(jobs=(bridge,)), user=user)


GATE = ScriptedPipeline(
    jobs=(
        ScriptedJob(name="unit", timeline=((0, "success"),)),
        ScriptedJob(
            name="gate", stage="deploy", when="manual", played=((0, "running"), (0.1, "success"))
        ),
    )
)


@pytest.mark.parametrize(("on_manual", "code"), [("fail", 11), ("pass", 0)])
def test_a_child_blocked_by_a_manual_job_blocks_its_parent(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait, on_manual: str, code: int
) -> None:
    parent = parent_of(gitlab, project, executor, GATE)
    child = next(each for each in gitlab.pipelines(project) if each.id != parent.id)
    ending = wait("--pipeline-id", parent.id, "--on-manual", on_manual)
    assert ending.code == code
    assert f"#{child.id}, which waits for a person" in ending.stderr
    if code:
        assert f"a job of pipeline {child.id} of {project.path}" in ending.stderr


def test_the_blocking_jobs_of_a_child_are_started_once(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    parent = parent_of(gitlab, project, executor, GATE)
    ending = wait("--pipeline-id", parent.id, "--on-manual", "play")
    assert ending.code == 0
    assert "Started the manual job gate" in ending.stderr
    played = [request for request in gitlab.requests if request.path.endswith("/play")]
    assert len(played) == 1


def grandparent_of_gate(
    gitlab: Sandbox, project: Project, user: User, *more: ScriptedJob
) -> tuple[Pipeline, Pipeline]:
    """A pipeline whose child waits for a child of its own, and that one, which is blocked."""
    steps = ((0, "running"), (60, "success"))
    inner = ScriptedJob(name="inner", downstream=GATE, timeline=steps)
    middle = ScriptedPipeline(jobs=(inner, *more))
    top = parent_of(gitlab, project, user, middle)
    blocked = [each for each in gitlab.pipelines(project) if each.status == "manual"]
    return top, blocked[-1]


@pytest.mark.parametrize(("on_manual", "code"), [("fail", 11), ("pass", 0), ("wait", 0)])
def test_a_grandchild_blocked_by_a_manual_job_blocks_too(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait, on_manual: str, code: int
) -> None:
    top, gate = grandparent_of_gate(gitlab, project, executor)
    ending = wait("--pipeline-id", top.id, "--on-manual", on_manual)
    assert ending.code == code, ending.stderr
    assert f"below it {project.path} #{gate.id} waits for a person" in ending.stderr
    assert (f"a job of pipeline {gate.id} of {project.path}" in ending.stderr) is (code == 11)


def test_the_blocking_jobs_of_a_grandchild_are_started_once(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    top, _ = grandparent_of_gate(gitlab, project, executor)
    ending = wait("--pipeline-id", top.id, "--on-manual", "play")
    assert ending.code == 0, ending.stderr
    played = [request for request in gitlab.requests if request.path.endswith("/play")]
    assert len(played) == 1


def test_a_child_with_an_active_job_is_not_blocked_by_its_own_child(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    unit = ScriptedJob(name="unit", timeline=((0, "running"), (20, "success")))
    top, _ = grandparent_of_gate(gitlab, project, executor, unit)
    assert wait("--pipeline-id", top.id, "--timeout", "1").code == 7


def test_of_several_pipelines_those_that_wait_for_a_person_downstream_are_found(
    gitlab: Sandbox, project: Project, executor: User, add: Add, wait: Wait
) -> None:
    top, gate = grandparent_of_gate(gitlab, project, executor)
    other = add((0, "running"), (3, "success"))
    ending = wait("--pipeline-id", top.id, "--pipeline-id", other.id)
    assert ending.code == 11, ending.stderr
    assert f"a job of pipeline {gate.id} of {project.path}" in ending.stderr


def test_of_several_pipelines_one_that_waits_for_a_person_downstream_is_told_once(
    gitlab: Sandbox, project: Project, executor: User, add: Add, wait: Wait
) -> None:
    top, gate = grandparent_of_gate(gitlab, project, executor)
    other = add((0, "running"), (8, "success"))
    ending = wait(top.id, other.id, "--on-manual", "wait")
    waits = f"test / suite: running, .* below it {project.path} #{gate.id} waits for a person"
    assert len(re.findall(waits, ending.stderr)) == 1


@pytest.mark.parametrize("others", [0, 1])
def test_a_lock_passes_over_what_waits_for_a_person_downstream(
    gitlab: Sandbox, project: Project, executor: User, add: Add, wait: Wait, others: int
) -> None:
    top, gate = grandparent_of_gate(gitlab, project, executor)
    for _ in range(others):
        add((0, "running"), (30, "success"))
    ending = wait("--all-running", "--timeout", "40")
    assert ending.code == 0, ending.stderr
    assert f"Pipeline {top.id} of {project.path} waits for a person in pipeline {gate.id}" in (
        ending.stderr
    )


def test_a_pipeline_of_one_trigger_job_says_how_that_ended(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    child = ScriptedPipeline(jobs=(ScriptedJob(name="unit"),))
    ending = wait("--pipeline-id", parent_of(gitlab, project, executor, child).id)
    assert "ended: 1 success" in ending.stderr


def test_a_parent_with_active_jobs_is_not_blocked(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    jobs = (
        ScriptedJob(name="suite", downstream=GATE, timeline=((0, "running"), (4, "success"))),
        ScriptedJob(name="unit", timeline=((0, "running"), (4, "success"))),
    )
    parent = gitlab.add_pipeline(project, ScriptedPipeline(jobs=jobs), user=executor)
    assert wait("--pipeline-id", parent.id).code == 0


def test_a_cancel_that_is_retried_within_the_settling_time_does_not_count(
    add: Add, wait: Wait
) -> None:
    steps = ((0, "running"), (1, "canceled"), (2, "running"), (3, "success"))
    assert wait("--pipeline-id", add(*steps).id, "--settle", "30").code == 0
    canceled = add((0, "running"), (1, "canceled"))
    ending = wait("--pipeline-id", canceled.id, "--settle", "1")
    assert ending.code == 9
    assert "a newer push to its ref replaced it" in ending.stderr


def jobs_of(**statuses: tuple[tuple[float, str], ...]) -> tuple[ScriptedJob, ...]:
    return tuple(
        ScriptedJob(name=name.replace("_", " "), timeline=((0, "running"), *steps))
        for name, steps in statuses.items()
    )


def test_nothing_is_not_finished_after_the_last_job(add: Add, wait: Wait) -> None:
    ending = wait("--pipeline-id", add(jobs=jobs_of(unit=((1, "success"),))).id, "--job", "unit")
    assert ending.code == 0
    assert "Not finished yet" not in ending.stderr


@pytest.mark.parametrize(
    ("status", "code"), [("success", 0), ("failed", 1), ("canceled", 9), ("skipped", 10)]
)
def test_one_job_is_waited_for_and_the_exit_code_is_its_own(
    add: Add, wait: Wait, status: str, code: int
) -> None:
    jobs = jobs_of(unit=((1, status),), other=((1, "failed"),), long=((3600, "success"),))
    pipeline = add(jobs=jobs)
    ending = wait("--pipeline-id", pipeline.id, "--job", "unit")
    assert ending.code == code
    assert "Not finished yet: long" in ending.stderr
    if code:
        assert f"unit in pipeline {pipeline.id} of {pipeline.project.path}" in ending.stderr


def test_a_job_that_can_fail_is_not_green_if_it_is_the_one_waited_for(
    add: Add, wait: Wait, tmp_path: Path
) -> None:
    ends = ((0, "running"), (0.1, "failed"))
    below = ScriptedPipeline(jobs=(ScriptedJob(name="deep", timeline=ends, trace="deep end\n"),))
    jobs = (
        ScriptedJob(name="unit", timeline=ends, allow_failure=True, trace="the end\n"),
        ScriptedJob(name="child", timeline=ends, allow_failure=True, downstream=below),
        ScriptedJob(name="other"),
    )
    pipeline = add(jobs=jobs)
    for name, failed, log in (("unit", "unit", "the end"), ("child", "deep", "deep end")):
        ending = wait(pipeline.id, "--job", name, "--junit", str(tmp_path / "r.xml"))
        assert ending.code == 1
        assert f"Failed: {failed} (script failure)" in ending.stderr
        assert f"failed: test / {failed}: script failure" in ending.stderr
        assert f"  | {log}\n" in ending.stderr
        [case] = ET.fromstring((tmp_path / "r.xml").read_text()).iterfind(".//*[failure]")  # noqa: S314 - our own
        assert case.get("name") == failed
    assert wait(pipeline.id, "--job", "other").code == wait(pipeline.id).code == 0


@pytest.mark.parametrize("name", ["first", "last"])
def test_a_job_is_found_among_more_than_a_hundred(add: Add, wait: Wait, name: str) -> None:
    names = ["first", *(f"job-{number}" for number in range(100)), "last"]
    long = ((0, "running"), (3600, "success"))
    jobs = tuple(
        ScriptedJob(name=each, timeline=((0, "running"), (1, "success")) if each == name else long)
        for each in names
    )
    assert wait(add(jobs=jobs).id, "--job", name, "-q").code == 0


@pytest.mark.parametrize(("status", "code"), [(403, 6), (200, 0), (502, 0)])
def test_a_job_that_cannot_be_read_has_no_end_yet(
    gitlab: Sandbox, add: Add, wait: Wait, status: int, code: int
) -> None:
    pipeline = add(jobs=jobs_of(unit=((20, "success"),)))
    gitlab.fault(Fault(path="/jobs", status=status, first=3, body=[{"id": "x"}]))
    assert wait(pipeline.id, "--job", "unit").code == code


def test_several_jobs_are_all_waited_for_and_the_worst_result_counts(add: Add, wait: Wait) -> None:
    jobs = jobs_of(a=((1, "failed"),), b=((2, "success"),), c=((3600, "success"),))
    pipeline = add(jobs=jobs)
    assert wait("--pipeline-id", pipeline.id, "--job", "a", "--job", "b").code == 1
    assert wait("--pipeline-id", pipeline.id, "--job", "b").code == 0


def test_a_name_means_all_parts_of_a_matrix_and_no_other_job(add: Add, wait: Wait) -> None:
    names = {"build 1/2": "success", "build 2/2": "failed", "build it": "failed"}
    jobs = tuple(
        ScriptedJob(name=name, timeline=((0, "running"), (1, status)))
        for name, status in names.items()
    )
    ending = wait("--pipeline-id", add(jobs=jobs).id, "--job", "build")
    assert ending.code == 1
    assert "Failed: build 2/2 (script failure)." in ending.stderr


def test_4_a_job_that_the_pipeline_does_not_have(add: Add, wait: Wait) -> None:
    ending = wait("--pipeline-id", add(jobs=jobs_of(unit=((3600, "success"),))).id, "--job", "unti")
    assert ending.code == 4
    assert "has no job unti" in ending.stderr
    assert "unit" in ending.stderr


def test_a_job_of_each_of_several_pipelines_is_waited_for(add: Add, wait: Wait) -> None:
    pipelines = [add(jobs=jobs_of(unit=((1, "success"),), long=((3600, "success"),)))] * 1
    pipelines += [add(jobs=jobs_of(unit=((2, "success"),), long=((3600, "success"),)))]
    ids = [f"--pipeline-id={each.id}" for each in pipelines]
    assert wait(*ids, "--job", "unit").code == 0


def test_a_manual_job_is_started_with_on_manual_play(add: Add, wait: Wait) -> None:
    def gated() -> tuple[ScriptedJob, ...]:
        played = ((0.0, "running"), (0.1, "success"))
        gate = ScriptedJob(name="deploy", when="manual", played=played, allow_failure=True)
        return (gate, ScriptedJob(name="long", timeline=((0, "running"),)))

    assert wait("--pipeline-id", add(jobs=gated()).id, "--job", "deploy").code == 11
    play = ("--job", "deploy", "--on-manual", "play")
    assert wait("--pipeline-id", add(jobs=gated()).id, *play).code == 0


@pytest.mark.usefixtures("project")
def test_2_a_lock_waits_for_no_single_job(wait: Wait) -> None:
    assert wait("--all-running", "--job", "unit").code == 2


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("refused", [r"/pipelines\?", r"/bridges"])
def test_what_an_older_server_refuses_is_read_in_another_way(
    gitlab: Sandbox, add: Add, wait: Wait, refused: str, status: int
) -> None:
    pipelines = [add((0, "running"), (3, "success")) for _ in range(3)]
    fault = gitlab.fault(Fault(path=refused, status=status))

    ending = wait(*(word for each in pipelines for word in ("--pipeline-id", each.id)))

    assert ending.code == 0, ending.stderr
    assert fault.fired
