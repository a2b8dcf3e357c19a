"""Which pipelines are waited for."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from sandbox import Access, Fault
from sandbox.model import ScriptedJob, ScriptedPipeline
from sandbox.versions import PIPELINE_JOBS_BY_JOB_TOKEN, PIPELINES_BY_JOB_TOKEN
from tests.functional.cmd_wait_pipeline.conftest import SOON
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Pipeline, Project, User
    from sandbox.testing import Api
    from tests.functional.cmd_wait_pipeline.conftest import Add, Wait
    from tests.functional.conftest import Ending


def url(gitlab: Sandbox, pipeline: Pipeline) -> str:
    return f"{gitlab.url}/{pipeline.project.path}/-/pipelines/{pipeline.id}"


def found(ending: Ending) -> list[int]:
    assert ending.code == 0, ending.stderr
    document = json.loads(ending.stdout)
    return [result["id"] for result in (document if isinstance(document, list) else [document])]


@pytest.fixture
def other(gitlab: Sandbox, executor: User) -> Project:
    return gitlab.add_project(
        "tech-lunch/other", {"README.md": ""}, members={executor: Access.MAINTAINER}
    )


def test_by_id_path_numeric_id_and_url(
    gitlab: Sandbox, project: Project, add: Add, wait: Wait
) -> None:
    pipeline = add(*SOON)
    page = url(gitlab, pipeline)
    json_ = ("--output", "json")
    assert found(wait("--pipeline-id", pipeline.id, *json_)) == [pipeline.id]
    assert found(wait("--pipeline-url", f"{page}/failures?x=1", *json_)) == [pipeline.id]
    by_number = wait("--project", project.id, "--pipeline-id", pipeline.id, *json_)
    assert json.loads(by_number.stdout)["project"] == "tech-lunch/service-tests"
    by_address = ("--project", f"{gitlab.url}/{project.path}", "--pipeline-id", pipeline.id)
    assert found(wait(*by_address, *json_)) == [pipeline.id]


def test_a_url_of_another_server_is_refused_before_anything_is_sent(
    gitlab: Sandbox, wait: Wait
) -> None:
    ending = wait("--pipeline-url", "https://elsewhere.example.com/a/b/-/pipelines/1")
    assert ending.code == 2
    assert gitlab.requests == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--pipeline-id", "1", "--ref", "main"),
        ("--pipeline-id", "1", "--all-running"),
        ("--all-running", "--tag", "v1"),
        ("--ref", "main", "--tag", "v1"),
        ("--pipeline-url", "https://gitlab.example.com/a/b"),
        ("--pipeline-id", "0"),
        ("--ref", "main", "--timeout", "0"),
        ("--ref", "main", "--interval", "-1"),
        ("--ref", "main", "--log-tail", "-1"),
        ("--ref", "main", "--junit", "/nowhere/at/all.xml"),
        ("--ref", "main", "--cancel-on", "timeout"),
    ],
    ids=" ".join,
)
def test_an_invalid_option_is_refused_before_anything_is_sent(
    gitlab: Sandbox, wait: Wait, arguments: tuple[str, ...]
) -> None:
    assert wait(*arguments).code == 2
    assert gitlab.requests == []


def test_without_a_project_there_is_no_id(
    gitlab: Sandbox, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_PROJECT_PATH", "")
    assert wait("--pipeline-id", "1").code == 2
    assert gitlab.requests == []


def test_pipelines_of_several_projects_are_in_the_order_given(
    gitlab: Sandbox, other: Project, add: Add, wait: Wait
) -> None:
    first, second = add(*SOON, project=other), add(*SOON)
    ending = wait(
        "--pipeline-url", url(gitlab, first), "--pipeline-url", url(gitlab, second),
        "--output", "json",
    )  # fmt: skip
    assert found(ending) == [first.id, second.id]


def test_the_exit_code_is_that_of_the_first_that_did_not_succeed(
    gitlab: Sandbox, other: Project, add: Add, wait: Wait
) -> None:
    green, canceled, failed = add((0, "success")), add((0, "canceled")), add((0, "failed"))
    ids = [f"--pipeline-id={pipeline.id}" for pipeline in (green, canceled, failed)]
    ending = wait(*ids, "--output", "json")
    assert ending.code == 9
    assert len(json.loads(ending.stdout)["results"]) == 3
    assert gitlab.requests
    assert other


def test_the_newest_of_a_branch_a_commit_a_source(
    gitlab: Sandbox, project: Project, add: Add, wait: Wait
) -> None:
    sha = gitlab.commit(project, {"a": "1"}, branch="topic", start_pipeline=False)
    first, nightly = add(*SOON), add(*SOON, source="schedule")
    topic, newest = add(*SOON, ref="topic"), add(*SOON)
    json_ = ("--output", "json")
    assert found(wait("--ref", "main", *json_)) == [newest.id]
    assert found(wait("--sha", sha, *json_)) == [topic.id]
    assert found(wait("--sha", sha[:8], *json_)) == [topic.id]
    assert found(wait("--source", "schedule", *json_)) == [nightly.id]
    assert found(wait("--ref", "main", "--source", "schedule", *json_)) == [nightly.id]
    assert first.id < nightly.id


@every_server
def test_a_branch_and_a_tag_of_the_same_name_are_distinguished(
    gitlab: Sandbox, project: Project, add: Add, wait: Wait
) -> None:
    gitlab.commit(project, {"a": "1"}, branch="v1", start_pipeline=False)
    gitlab.tag(project, "v1")
    branch, tag = add(*SOON, ref="v1"), add(*SOON, ref="v1")
    branch.tag = False
    assert tag.tag
    json_ = ("--output", "json")
    assert found(wait("--tag", "v1", *json_)) == [tag.id]
    assert found(wait("--ref", "v1", *json_)) == [branch.id]


@every_server
def test_a_ref_can_be_a_tag_if_there_is_no_such_branch(
    gitlab: Sandbox, project: Project, add: Add, wait: Wait
) -> None:
    gitlab.tag(project, "v2")
    pipeline = add(*SOON, ref="v2")
    assert found(wait("--ref", "v2", "--output", "json")) == [pipeline.id]


@every_server
def test_the_pipeline_of_a_tag_that_is_yet_to_come(
    gitlab: Sandbox, project: Project, add: Add, wait: Wait
) -> None:
    gitlab.tag(project, "v3")
    pipeline = add(*SOON, ref="v3", after=0.5)
    ending = wait("--tag", "v3", "--output", "json")
    assert found(ending) == [pipeline.id]
    assert "to appear" in ending.stderr


def test_once_found_it_is_known_by_its_id(add: Add, wait: Wait) -> None:
    pipeline = add((0, "running"), (1, "success"))
    newer = add((0, "failed"), after=0.4)
    assert found(wait("--ref", "main", "--output", "json")) == [pipeline.id]
    assert newer.id > pipeline.id


def test_a_pipeline_that_never_appears_ends_with_4_and_names_the_causes(
    gitlab: Sandbox, project: Project, wait: Wait
) -> None:
    gitlab.tag(project, "v4")
    ending = wait("--tag", "v4", "--appear-timeout", "0.3")
    assert ending.code == 4
    assert "rules filter every job" in ending.stderr
    missing = wait("--tag", "v5", "--appear-timeout", "0.3")
    assert missing.code == 4
    assert "has no branch, tag or commit v5" in missing.stderr


@pytest.mark.parametrize(("status", "code"), [(500, 8), (403, 6)])
@pytest.mark.usefixtures("project")
def test_a_ref_that_cannot_be_read_is_not_called_absent(
    gitlab: Sandbox, wait: Wait, status: int, code: int
) -> None:
    gitlab.fault(Fault(path=r"/repository/commits/", status=status))
    ending = wait("--tag", "v4", "--appear-timeout", "0.3", "--retry-for", "0")
    assert ending.code == code, ending.stderr
    assert "has no branch" not in ending.stderr


def test_a_pipeline_or_project_that_is_not_there_is_not_found(wait: Wait) -> None:
    assert wait("--pipeline-id", 999999).code == 4
    assert wait("--project", "no/where", "--ref", "main").code == 4


def test_all_running_of_a_ref_is_what_runs_on_it(
    gitlab: Sandbox, project: Project, add: Add, wait: Wait
) -> None:
    gitlab.commit(project, {"a": "1"}, branch="topic", start_pipeline=False)
    add((0, "running"))
    topic = add((0, "running"), (2.5, "success"), ref="topic")
    ending = wait("--all-running", "--ref", "topic", "--output", "json")
    assert found(ending) == [topic.id]


def test_all_running_takes_those_that_run_when_it_begins(add: Add, wait: Wait) -> None:
    running = [add((0, status), (2.5, "success")) for status in ("created", "pending", "running")]
    ending = wait("--all-running", "--output", "json")
    assert found(ending) == [pipeline.id for pipeline in running]


def test_all_running_with_nothing_running_is_done_and_says_so(add: Add, wait: Wait) -> None:
    add((0, "success"))
    ending = wait("--all-running", "--output", "json")
    assert (ending.code, json.loads(ending.stdout)) == (0, [])
    assert "Nothing else runs in tech-lunch/service-tests" in ending.stderr


@pytest.mark.parametrize("status", ["failed", "canceled", "skipped", "success"])
def test_a_lock_opens_after_any_end_of_the_other_pipelines(
    add: Add, wait: Wait, status: str
) -> None:
    before = add((0, "running"), (2.5, status))
    ending = wait("--all-running", "--output", "json")
    assert (ending.code, found(ending)) == (0, [before.id])
    assert json.loads(ending.stdout)[0]["status"] == status


def test_2_a_lock_starts_no_manual_jobs(gitlab: Sandbox, add: Add, wait: Wait) -> None:
    add((0, "manual"))
    assert wait("--all-running", "--on-manual", "play").code == 2
    assert len(gitlab.requests) == 0


@pytest.mark.parametrize("name", ["CI", "CI_JOB_ID", "CI_JOB_TOKEN"])
def test_2_a_lock_in_a_job_that_does_not_know_its_pipeline(
    gitlab: Sandbox, wait: Wait, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "64_abcdefghijklmnop")
    ending = wait("--all-running", job_token=os.environ.get("CI_JOB_TOKEN", ""))
    assert ending.code == 2
    assert "-e CI_PIPELINE_ID" in ending.stderr
    assert len(gitlab.requests) == 0


def test_a_pipeline_blocked_by_a_manual_job_holds_no_lock_and_is_named(
    add: Add, wait: Wait
) -> None:
    gate, before = add((0, "manual")), add((0, "running"), (2.5, "success"))
    ending = wait("--all-running", "--output", "json")
    assert (ending.code, found(ending)) == (0, [before.id])
    assert f"Pipeline {gate.id} of tech-lunch/service-tests waits for a person" in ending.stderr


def test_a_lock_waits_for_a_manual_job_with_on_manual_wait(add: Add, wait: Wait) -> None:
    gate = add((0, "manual"), (2.5, "running"), (3, "success"))
    ending = wait("--all-running", "--on-manual", "wait", "--output", "json")
    assert (ending.code, found(ending)) == (0, [gate.id])


def test_all_running_in_a_job_leaves_out_its_own_pipeline_and_nothing_else(
    add: Add, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, own = add((0, "running"), (2.5, "success")), add((0, "running"))
    newer = add((0, "running"), (2.5, "success"))
    monkeypatch.setenv("CI_PIPELINE_ID", str(own.id))
    ending = wait("--all-running", "--output", "json")
    assert found(ending) == [before.id, newer.id]
    assert "pass CI_JOB_NAME on" in ending.stderr


def test_of_two_jobs_at_one_lock_the_older_pipeline_comes_first(
    add: Add, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(status: str) -> tuple[ScriptedJob, ...]:
        deploy = ScriptedJob(name="deploy", timeline=((0, "running"), (4, "success")))
        return (ScriptedJob(name="lock", timeline=((0, status),)), deploy)

    own = add((0, "running"))
    add(jobs=locked("running"))  # waits for this very job
    holder = add(jobs=locked("success"))  # has passed the lock: this job was retried
    monkeypatch.setenv("CI_PIPELINE_ID", str(own.id))
    monkeypatch.setenv("CI_JOB_NAME", "lock")
    assert found(wait("--all-running", "--output", "json")) == [holder.id]


@every_server
def test_in_a_merge_request_pipeline_its_branch_means_its_own_pipelines_too(
    gitlab: Sandbox, project: Project, add: Add, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    gitlab.commit(project, {"a": "1"}, branch="topic", start_pipeline=False)
    own, other = "refs/merge-requests/1/head", "refs/merge-requests/2/head"
    steps = ((0, "running"), (2.5, "success"))
    branch = add(*steps, ref="topic")
    of_request = add(*steps, ref=own, sha=branch.sha)
    add(*steps, ref=other, sha=branch.sha)
    add(*steps)
    here = add((0, "running"), ref=own, sha=branch.sha)
    for name, value in {
        "CI_PIPELINE_ID": str(here.id),
        "CI_MERGE_REQUEST_IID": "1",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic",
    }.items():
        monkeypatch.setenv(name, value)
    ending = wait("--all-running", "--ref", "topic", "--output", "json")
    assert found(ending) == [branch.id, of_request.id]


def test_a_ref_spelled_in_full_is_of_one_kind(
    gitlab: Sandbox, project: Project, add: Add, wait: Wait
) -> None:
    gitlab.commit(project, {"a": "1"}, branch="v1", start_pipeline=False)
    gitlab.tag(project, "v1")
    branch, tag = add(*SOON, ref="v1"), add(*SOON, ref="v1")
    branch.tag = False
    json_ = ("--output", "json")
    assert found(wait("--ref", "refs/heads/v1", *json_)) == [branch.id]
    assert found(wait("--ref", "refs/tags/v1", *json_)) == [tag.id]
    assert found(wait("--tag", "refs/tags/v1", *json_)) == [tag.id]


def test_one_that_had_finished_before_is_named_in_a_warning(add: Add, wait: Wait) -> None:
    old = add((0, "success"))
    ending = wait("--ref", "main")
    assert ending.code == 0
    assert f"warning: Pipeline {old.id}" in ending.stderr
    assert f"--newer-than {old.id}" in ending.stderr


def test_one_that_finishes_later_gets_no_such_warning(add: Add, wait: Wait) -> None:
    add(*SOON)
    assert "--newer-than" not in wait("--ref", "main").stderr


def test_a_job_does_not_wait_for_its_own_pipeline(
    gitlab: Sandbox, add: Add, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, own = add(*SOON), add((0, "running"))
    monkeypatch.setenv("CI_PIPELINE_ID", str(own.id))
    assert found(wait("--ref", "main", "--output", "json")) == [before.id]
    sent = len(gitlab.requests)
    assert wait("--pipeline-id", own.id).code == 2
    assert len(gitlab.requests) == sent


def test_in_a_child_pipeline_the_parent_is_not_waited_for_and_others_of_its_commit_are(
    gitlab: Sandbox,
    project: Project,
    executor: User,
    add: Add,
    wait: Wait,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = add((0, "running"), (2.5, "success"), source="schedule")
    child = ScriptedPipeline(jobs=(ScriptedJob(name="lock", timeline=((0, "running"),)),))
    bridge = ScriptedJob(name="child", downstream=child, timeline=((0, "running"),))
    gitlab.add_pipeline(project, ScriptedPipeline(jobs=(bridge,)), user=executor)
    [own] = [each for each in gitlab.pipelines(project) if each.source == "parent_pipeline"]
    monkeypatch.setenv("CI_PIPELINE_ID", str(own.id))
    monkeypatch.setenv("CI_PIPELINE_SOURCE", "parent_pipeline")
    assert found(wait("--all-running", "--output", "json")) == [before.id]


def test_the_way_up_from_a_child_pipeline_leads_through_active_pipelines_only(
    gitlab: Sandbox,
    project: Project,
    executor: User,
    wait: Wait,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = ScriptedPipeline(jobs=(ScriptedJob(name="unit", timeline=((0, "success"),)),))
    ours = ScriptedPipeline(jobs=(ScriptedJob(name="lock", timeline=((0, "running"),)),))
    bridges = (
        ScriptedJob(name="ours", downstream=ours, timeline=((0, "running"),)),
        ScriptedJob(name="old", downstream=old, timeline=((0, "success"),)),  # listed first
    )
    parent = gitlab.add_pipeline(project, ScriptedPipeline(jobs=bridges), user=executor)
    children = [each for each in gitlab.pipelines(project) if each is not parent]
    [finished] = [each for each in children if each.status == "success"]
    [own] = [each for each in children if each is not finished]
    monkeypatch.setenv("CI_PIPELINE_ID", str(own.id))
    monkeypatch.setenv("CI_PIPELINE_SOURCE", "parent_pipeline")

    assert found(wait("--all-running", "--output", "json")) == []
    read = [request.path for request in gitlab.requests if "/bridges" in request.path]
    assert any(f"/pipelines/{parent.id}/" in path for path in read)
    assert not any(f"/pipelines/{finished.id}/" in path for path in read)


def test_dry_run_says_how_they_are_and_waits_for_none(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipeline = add((0, "running"))
    ending = wait("--ref", "main", "--dry-run")
    assert (ending.code, f"pipeline {pipeline.id} running" in ending.stdout) == (0, True)
    assert wait("--tag", "v1", "--dry-run").code == 4
    assert {request.method for request in gitlab.requests} == {"GET"}


def test_a_dry_run_of_a_lock_names_what_waits_for_a_person_and_what_it_would_wait_for(
    add: Add, wait: Wait
) -> None:
    gate = add((0, "manual"))
    ending = wait("--all-running", "--dry-run", "--output", "json")
    assert found(ending) == []
    assert f"Pipeline {gate.id} of tech-lunch/service-tests waits for a person" in ending.stderr
    assert "Nothing else runs in tech-lunch/service-tests" in ending.stderr
    running = add((0, "running"))
    assert found(wait("--all-running", "--dry-run", "--output", "json")) == [running.id]
    both = wait("--all-running", "--dry-run", "--on-manual", "wait", "--output", "json")
    assert found(both) == [gate.id, running.id]


def test_a_child_pipeline_and_its_parent_can_be_waited_for_together(
    gitlab: Sandbox, project: Project, executor: User, add: Add, wait: Wait
) -> None:
    child = ScriptedPipeline(jobs=(ScriptedJob(name="deep", timeline=SOON),))
    bridge = ScriptedJob(name="child", downstream=child, timeline=((0, "running"), (2, "success")))
    parent = gitlab.add_pipeline(project, ScriptedPipeline(jobs=(bridge,)), user=executor)
    sibling = add(*SOON)
    [below] = [each for each in gitlab.pipelines(project) if each.source == "parent_pipeline"]
    ids = [f"--pipeline-id={number}" for number in (parent.id, below.id, sibling.id)]
    assert found(wait(*ids, "--output", "json")) == [parent.id, below.id, sibling.id]


def test_twenty_pipelines_of_a_project_cost_one_request_a_look(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipelines = [add((0, "running"), (5, "success")) for _ in range(20)]
    ids = [f"--pipeline-id={pipeline.id}" for pipeline in pipelines]
    assert wait(*ids).code == 0
    looks = [request for request in gitlab.requests if "updated_after" in request.path]
    per_pipeline = [request for request in gitlab.requests if "updated_after" not in request.path]
    assert len(looks) >= 5
    # Each is found by its jobs and trigger jobs, and in the end asked for its jobs and tests; the
    # history is one more.
    assert len(per_pipeline) == 20 * 4 + 1


@every_server
def test_a_job_token_finds_what_the_server_shows_it(
    gitlab: Sandbox, project: Project, executor: User, add: Add, wait: Wait
) -> None:
    job = gitlab.add_running_job(project, executor)
    pipelines = [add((0, "running"), (2, "success")) for _ in range(3)]
    nightly = add((0, "running"), (2, "success"), source="schedule")
    ids = [f"--pipeline-id={pipeline.id}" for pipeline in pipelines]
    by_id = wait(*ids, "--output", "json", job_token=job.token)
    by_source = wait("--source", "schedule", "--output", "json", job_token=job.token)
    version = gitlab.state.version
    if version.has(PIPELINE_JOBS_BY_JOB_TOKEN):
        assert found(by_id) == [pipeline.id for pipeline in pipelines]
    else:
        assert by_id.code == 4
        assert "GitLab before 18.4 ignores job tokens for this request" in by_id.stderr
    if version.has(PIPELINES_BY_JOB_TOKEN):
        assert found(by_source) == [nightly.id]
    else:
        assert by_source.code == 4
        assert "GitLab before 19.0 ignores job tokens for this request" in by_source.stderr


@every_server
def test_a_pipeline_without_jobs_is_a_success_only_if_a_job_token_shows_it(
    gitlab: Sandbox, project: Project, executor: User, bare: Add, wait: Wait
) -> None:
    job = gitlab.add_running_job(project, executor)
    ending = wait("--pipeline-id", bare((0, "success")).id, job_token=job.token)
    version = gitlab.state.version
    if version.has(PIPELINES_BY_JOB_TOKEN):
        assert ending.code == 0
    elif version.has(PIPELINE_JOBS_BY_JOB_TOKEN):
        assert ending.code == 3
        assert "Older GitLab servers" in ending.stderr
    else:
        assert ending.code == 4
        assert "GitLab before 18.4 ignores job tokens for this request" in ending.stderr


def test_a_pipeline_is_found_by_its_id_or_url_as_an_argument(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    first, second = add(*SOON), add(*SOON)

    ending = wait(first.id, url(gitlab, second), "--interval", "0.05", "--output", "json")

    assert found(ending) == [first.id, second.id]


@pytest.mark.parametrize("argument", ["abc", "-5", "1.5", "9" * 30, "https://h/a/b"])
def test_2_an_argument_that_is_neither_is_named(wait: Wait, gitlab: Sandbox, argument: str) -> None:
    ending = wait("--", argument)

    assert ending.code == 2
    assert "is not an id" in ending.stderr or "not the address of a pipeline" in ending.stderr
    assert len(gitlab.requests) == 0


@every_server
def test_the_newest_pipeline_of_a_merge_request_is_found(
    gitlab: Sandbox, project: Project, api: Api, add: Add, wait: Wait
) -> None:
    sha = gitlab.commit(project, {"a": "1"}, branch="topic", start_pipeline=False)
    request = {"source_branch": "topic", "target_branch": "main", "title": "Topic"}
    iid = api.post(f"/projects/{project.id}/merge_requests", json=request).json()["iid"]
    ref = f"refs/merge-requests/{iid}/head"
    add((0, "failed"), ref=ref, sha=sha, source="merge_request_event")
    newest = add(*SOON, ref=ref, sha=sha, source="merge_request_event")
    add((0, "failed"), ref="topic", sha=sha)
    json_ = ("--output", "json")
    assert found(wait("--merge-request", iid, *json_)) == [newest.id]
    assert found(wait("--ref", ref, *json_)) == [newest.id]
    assert found(wait("--merge-request", iid, "--sha", sha, *json_)) == [newest.id]
    later = ("--newer-than", newest.id, "--appear-timeout", "1")
    assert wait("--merge-request", iid, *later).code == 4
    assert wait("--merge-request", 99, "--appear-timeout", "1").code == 4


def test_an_older_pipeline_does_not_count_with_newer_than(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    older = add(*SOON)
    assert wait("--ref", "main", "--newer-than", older.id, "--appear-timeout", "0.5").code == 4
    newer = add(*SOON)

    ending = wait("--ref", "main", "--newer-than", older.id, "--interval", "0.05")

    assert ending.code == 0, ending.stderr
    assert f"pipeline {newer.id} " in ending.stdout
    assert gitlab.requests


@pytest.mark.parametrize(
    "arguments",
    [
        ["--all-running", "--on-manual", "play"],
        ["--all-running", "--newer-than", "5"],
        ["--pipeline-id", "5", "--newer-than", "4"],
        ["--newer-than", "4"],
        ["--merge-request", "0x1"],
        ["--merge-request", "1", "--pipeline-id", "5"],
    ],
    ids=" ".join,
)
def test_2_options_that_contradict_each_other_are_refused(
    wait: Wait, gitlab: Sandbox, arguments: list[str]
) -> None:
    assert wait(*arguments).code == 2
    assert len(gitlab.requests) == 0


@pytest.mark.parametrize(("option", "code"), [([], 0), (["--on-failed", "fail"], 1)])
def test_a_lock_ends_with_0_or_as_the_pipelines_before_it(
    add: Add, wait: Wait, option: list[str], code: int
) -> None:
    add((0, "running"), (4, "failed"))

    assert wait("--all-running", "--interval", "0.05", *option).code == code


@every_server
def test_4_a_tag_whose_name_a_branch_with_a_pipeline_has(
    gitlab: Sandbox, project: Project, add: Add, wait: Wait
) -> None:
    gitlab.commit(project, {"a": "1"}, branch="v1", start_pipeline=False)
    add((0, "success"), ref="v1")
    gitlab.tag(project, "v1")
    assert wait("--tag", "v1", "--appear-timeout", "1").code == 4


def test_8_a_list_that_cannot_be_read_is_not_nothing_running(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    add((0, "running"))
    gitlab.fault(Fault(path="status=running", status=500))
    ending = wait("--all-running", "--retry-for", "0")
    assert ending.code == 8
    assert "Nothing else runs" not in ending.stderr


def test_one_that_changes_its_status_between_the_lists_is_found(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    hidden = Fault(path=r"[?&]status=", edit=lambda _: [])
    gitlab.fault(hidden)
    pipeline = add((0, "running"), (4, "success"))
    assert found(wait("--all-running", "--output", "json")) == [pipeline.id]
    assert hidden.fired


def test_8_trigger_jobs_that_cannot_be_read_are_not_none(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipeline = add((0, "running"), (3600, "success"))
    gitlab.fault(Fault(path="/bridges", status=503))
    assert wait("--pipeline-id", pipeline.id, "--retry-for", "0").code == 8


def test_names_of_the_server_do_not_command_a_terminal(add: Add, wait: Wait) -> None:
    name = "unit\x1b[2J\x1b]0;owned\x07\u202e"
    job = ScriptedJob(name=name, timeline=((0, "running"), (1, "failed")))
    ending = wait("--pipeline-id", add(jobs=(job,)).id)
    assert ending.code == 1
    assert "\x1b" not in ending.stderr + ending.stdout
    assert "\u202e" not in ending.stderr + ending.stdout


def test_a_pipeline_of_the_same_id_on_another_server_is_not_the_jobs_own(
    gitlab: Sandbox, add: Add, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = add((0, "running"), (2.5, "success"))
    monkeypatch.setenv("CI_PIPELINE_ID", str(pipeline.id))
    monkeypatch.setenv("CI_SERVER_URL", "https://gitlab.example.com")
    ending = wait("--base-url", gitlab.url, "--all-running", "--output", "json")
    assert found(ending) == [pipeline.id]


def test_2_a_dry_run_of_a_lock_needs_the_pipeline_too(
    gitlab: Sandbox, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    assert wait("--all-running", "--dry-run").code == 2
    assert len(gitlab.requests) == 0


def test_a_project_that_was_renamed_meanwhile_knows_its_own_pipeline(
    project: Project, add: Add, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, own = add((0, "running"), (2.5, "success")), add((0, "running"))
    for name, value in {
        "CI_PIPELINE_ID": str(own.id),
        "CI_PROJECT_PATH": "old/name",
        "CI_PROJECT_ID": str(project.id),
    }.items():
        monkeypatch.setenv(name, value)
    ending = wait("--project", project.id, "--all-running", "--output", "json")
    assert found(ending) == [before.id]


@pytest.mark.parametrize("by_job_token", [False, True])
def test_2_one_pipeline_named_by_the_projects_path_and_id_is_refused(
    gitlab: Sandbox, add: Add, wait: Wait, project: Project, executor: User, by_job_token: bool
) -> None:
    pipeline = add((0, "success"))
    token = gitlab.add_running_job(project, executor).token if by_job_token else ""
    url = f"{gitlab.url}/{project.path}/-/pipelines/{pipeline.id}"
    ending = wait("--project", project.id, pipeline.id, url, job_token=token)
    assert ending.code == 2
    assert f"{project.path} is named twice" in ending.stderr


def test_4_a_merge_request_that_does_not_exist_is_named(
    gitlab: Sandbox, wait: Wait, project: Project
) -> None:
    ending = wait("--merge-request", 5)
    assert ending.code == 4
    assert f"{project.path} has no merge request !5" in ending.stderr
    assert len(gitlab.requests) == 1


def test_4_the_only_pipeline_is_the_jobs_own(
    add: Add, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = add((0, "running"))
    monkeypatch.setenv("CI_PIPELINE_ID", str(own.id))
    ending = wait("--sha", own.sha, "--appear-timeout", "1")
    assert ending.code == 4
    assert f"The only one is {own.id}, which this job runs in." in ending.stderr
