"""What a wait says when it is over."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from cicd_common.waiting import report
from cmd_wait_pipeline import PipelineFailedError, WaitPolicy, wait_pipeline
from sandbox import Access, Fault
from sandbox.model import ScriptedJob, ScriptedPipeline
from sandbox.versions import PIPELINE_JOBS_BY_JOB_TOKEN
from tests.functional.cmd_wait_pipeline.conftest import SOON
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox import Sandbox
    from sandbox.model import Project, Steps, Token, User
    from tests.functional.cmd_wait_pipeline.conftest import Add, Wait

FAILED = ((0.0, "running"), (0.6, "failed"))
LOG = "section_start:1:step\r\x1b[0K\x1b[32mRun\x1b[0m\none\ntwo\n\x1b[31mthree\x1b[0m\n"


@pytest.fixture
def deep(gitlab: Sandbox, executor: User) -> ScriptedPipeline:
    """A pipeline that fails in another project, downstream of its child pipeline."""
    other = gitlab.add_project(
        "tech-lunch/deep", {"README.md": ""}, members={executor: Access.MAINTAINER}
    )
    failing = ScriptedJob(name="unit", timeline=FAILED, trace=LOG)
    bottom = ScriptedPipeline(project=other, jobs=(failing, ScriptedJob(name="lint")))
    middle = ScriptedPipeline(
        jobs=(ScriptedJob(name="other-project", timeline=FAILED, downstream=bottom),)
    )
    return ScriptedPipeline(
        jobs=(
            ScriptedJob(name="own", timeline=FAILED, failure_reason="runner_system_failure"),
            ScriptedJob(name="flaky", timeline=FAILED, allow_failure=True, trace="never read"),
            ScriptedJob(name="child", stage="deploy", timeline=FAILED, downstream=middle),
        )
    )


def test_a_failure_names_each_failed_job_downstream_too_with_the_end_of_its_log(
    gitlab: Sandbox, project: Project, executor: User, deep: ScriptedPipeline, wait: Wait
) -> None:
    pipeline = gitlab.add_pipeline(project, deep, user=executor)
    ending = wait("--pipeline-id", pipeline.id, "--output", "json", "--log-tail", "2")
    document = json.loads(ending.stdout)
    assert ending.code == 1
    assert document["error"]["why"] == (
        "Failed: own (runner system failure), unit (script failure) in tech-lunch/deep."
    )
    [result] = document["results"]
    jobs = {job["name"]: job for job in result["failed_jobs"]}
    assert set(jobs) == {"own", "flaky", "unit"}
    assert jobs["unit"]["project"] == "tech-lunch/deep"
    assert jobs["unit"]["log"] == "two\nthree"
    assert jobs["unit"]["web_url"] in ending.stderr
    assert "  | two\n  | three\n" in ending.stderr
    assert [jobs[name]["allow_failure"] for name in ("own", "flaky", "unit")] == [
        False, True, False,
    ]  # fmt: skip
    assert "\x1b" not in ending.stderr + ending.stdout


def test_log_tail_0_reads_no_logs(
    gitlab: Sandbox, project: Project, executor: User, deep: ScriptedPipeline, wait: Wait
) -> None:
    pipeline = gitlab.add_pipeline(project, deep, user=executor)
    assert wait("--pipeline-id", pipeline.id, "--log-tail", "0").code == 1
    assert not [request for request in gitlab.requests if "trace" in request.path]


@every_server
def test_with_a_job_token_missing_logs_are_reported_once(
    gitlab: Sandbox, project: Project, executor: User, add: Add, wait: Wait
) -> None:
    job = gitlab.add_running_job(project, executor)
    failing = tuple(ScriptedJob(name=name, timeline=FAILED) for name in ("one", "two"))
    ending = wait("--pipeline-id", add(jobs=failing).id, job_token=job.token)
    if not gitlab.state.version.has(PIPELINE_JOBS_BY_JOB_TOKEN):
        assert ending.code == 4
        return
    assert ending.code == 1
    assert ending.stderr.count("logs of the failed jobs cannot be read") == 1


def test_a_downstream_project_that_the_token_cannot_see_is_a_gap_and_no_error(
    gitlab: Sandbox, project: Project, executor: User, deep: ScriptedPipeline, wait: Wait
) -> None:
    pipeline = gitlab.add_pipeline(project, deep, user=executor)
    [other] = [each for each in gitlab.state.projects.values() if each.path == "tech-lunch/deep"]
    other.members.clear()
    ending = wait("--pipeline-id", pipeline.id)
    assert ending.code == 1
    assert "Cannot read the jobs of" in ending.stderr
    assert "other-project" in ending.stderr


def test_a_report_that_cannot_be_read_does_not_hide_the_failure(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    gitlab.fault(Fault(path=r"/(trace|test_report_summary)", status=500))
    gitlab.fault(Fault(path=r"/bridges", nth=2, status=500))  # the first is for finding
    ending = wait("--pipeline-id", add(*FAILED).id, "--retry-for", "0")
    assert ending.code == 1


def test_a_part_of_a_report_that_is_nonsense_hides_no_other_part(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    pipeline = add(jobs=(ScriptedJob(name="unit", timeline=FAILED, trace=LOG),))
    gitlab.fault(Fault(path=r"/bridges", nth=2, status=200, body=[{"id": 1}]))
    ending = wait("--pipeline-id", pipeline.id)
    assert ending.code == 1
    assert "Cannot read the trigger jobs" in ending.stderr
    assert "  | three\n" in ending.stderr


def test_jobs_that_are_older_than_the_status_of_their_pipeline_are_read_again(
    gitlab: Sandbox, add: Add, wait: Wait
) -> None:
    """GitLab reads the jobs before the pipeline that each of them shows."""

    def running(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if any(job["status"] == "failed" for job in jobs):
            stale.path = "none any more"
        return [job | {"status": "running", "finished_at": None} for job in jobs]

    stale = gitlab.fault(Fault(path="/jobs", edit=running))
    ending = wait("--pipeline-id", add(*FAILED).id)
    assert ending.code == 1
    assert "Failed: test (script failure)." in ending.stderr


def test_a_wrong_configuration_is_named(bare: Add, wait: Wait) -> None:
    pipeline = bare((0, "failed"))
    pipeline.yaml_errors = (
        "jobs:test config should implement the script:, run:, or trigger: keyword"
    )
    assert "jobs:test config should" in wait("--pipeline-id", pipeline.id).stderr


def test_test_counts_and_the_duration_are_in_the_result(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    counts = {"total": 10, "success": 7, "failed": 1, "skipped": 2, "error": 0}
    script = ScriptedPipeline(
        jobs=(ScriptedJob(name="test", timeline=((0, "running"), (2, "failed"))),),
        test_summary=counts,
    )
    pipeline = gitlab.add_pipeline(project, script, user=executor, after=-10)
    ending = wait("--pipeline-id", pipeline.id, "--output", "json")
    [result] = json.loads(ending.stdout)["results"]
    assert result["tests"] == counts
    assert result["duration"] == 2


def test_the_result_is_one_line_and_the_dotenv_file_that_of_a_trigger(
    gitlab: Sandbox, add: Add, wait: Wait, tmp_path: Path
) -> None:
    pipeline, dotenv = add(*SOON), tmp_path / "wait.env"
    ending = wait("--pipeline-id", pipeline.id, "--dotenv", str(dotenv))
    page = f"{gitlab.url}/tech-lunch/service-tests/-/pipelines/{pipeline.id}"
    assert ending.stdout.startswith(f"tech-lunch/service-tests: pipeline {pipeline.id} success in ")
    assert ending.stdout.endswith(f" {page}\n")
    assert dotenv.read_text() == (
        f"PIPELINE_ID={pipeline.id}\nPIPELINE_PROJECT=tech-lunch/service-tests\n"
        f"PIPELINE_URL={page}\nPIPELINE_STATUS=success\nPIPELINE_SHA={pipeline.sha}\n"
    )


def test_a_failure_leaves_its_dotenv_file_too(add: Add, wait: Wait, tmp_path: Path) -> None:
    dotenv = tmp_path / "wait.env"
    assert wait("--pipeline-id", add(*FAILED).id, "--dotenv", str(dotenv)).code == 1
    assert "PIPELINE_STATUS=failed" in dotenv.read_text()


def test_junit_holds_the_jobs_of_all_pipelines_also_of_those_that_succeeded(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait, tmp_path: Path
) -> None:
    below = ScriptedPipeline(jobs=(ScriptedJob(name="deep"),))
    script = ScriptedPipeline(
        jobs=(ScriptedJob(name="test"), ScriptedJob(name="child", downstream=below))
    )
    pipeline = gitlab.add_pipeline(project, script, user=executor)
    file = tmp_path / "wait.xml"
    assert wait("--pipeline-id", pipeline.id, "--junit", str(file)).code == 0
    names = {case.get("name") for case in ET.parse(file).iter("testcase")}  # noqa: S314 - our own
    assert {"test", "deep"} <= names


ENDS = {
    "failed": (((0, "running"), (0.4, "failed")), (), "failed"),
    "canceled": (((0, "running"), (0.4, "canceled")), (), "was canceled"),
    "skipped": (((0, "skipped"),), (), "was skipped"),
    "manual": (((0, "manual"),), (), "waits for a person"),
    "timeout": (((0, "running"),), ("--timeout", "1"), "was still running after 1 s"),
}


@pytest.mark.parametrize("quiet", [(), ("-q",)], ids=["lines", "quiet"])
@pytest.mark.parametrize(("steps", "options", "verdict"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("after", [0, -100], ids=["watched", "finished before"])
def test_each_stream_has_the_url_and_the_verdict_once(
    add: Add,
    wait: Wait,
    steps: Steps,
    options: tuple[str, ...],
    verdict: str,
    quiet: tuple[str, ...],
    after: float,
) -> None:
    pipeline = add(*steps, after=after)
    ending = wait("--ref", pipeline.ref, *options, *quiet)
    url = f"/-/pipelines/{pipeline.id}"
    assert ending.code != 0
    assert (ending.stdout.count(url), ending.stderr.count(url)) == (1, 1)
    [line] = (line for line in ending.stderr.splitlines() if line.startswith("error: "))
    assert f"Pipeline {pipeline.id} of tech-lunch/service-tests {verdict}" in line
    about_it = rf"(#{pipeline.id}|pipeline:|on {pipeline.ref}:) (failed|canceled|skipped)"
    assert re.search(about_it, ending.stderr) is None


def test_the_table_and_the_result_have_the_same_word_for_success(add: Add, wait: Wait) -> None:
    ending = wait("--pipeline-id", add(*SOON).id)
    assert "test / test: success" in ending.stderr
    assert " success in " in ending.stdout
    assert "passed" not in ending.stdout + ending.stderr


def test_quiet_reports_only_failures(add: Add, wait: Wait) -> None:
    assert wait("--pipeline-id", add(*SOON).id, "-q").stderr == ""
    assert "failed: test / test" in wait("--pipeline-id", add(*FAILED).id, "-q").stderr


@pytest.mark.parametrize(
    ("options", "reads"),
    [(("--quiet",), False), ((), True), (("--quiet", "--output", "json"), True)],
    ids=["quiet", "lines", "quiet json"],
)
def test_the_report_of_a_success_is_read_where_it_is_shown(
    gitlab: Sandbox, add: Add, wait: Wait, options: tuple[str, ...], *, reads: bool
) -> None:
    assert wait("--pipeline-id", add(*SOON).id, *options).code == 0
    assert any("test_report" in request.path for request in gitlab.requests) is reads


def test_from_python_the_result_comes_back_and_a_failure_is_raised(
    gitlab: Sandbox, token: Token, add: Add, capsys: pytest.CaptureFixture[str]
) -> None:
    green, red = add(*SOON), add(*FAILED, source="schedule")
    page = f"{gitlab.url}/tech-lunch/service-tests/-/pipelines/{green.id}"
    policy = WaitPolicy(interval=0.05)
    result = wait_pipeline(
        pipeline_url=page, policy=policy, base_url=gitlab.url, api_access_token=token.secret
    )
    assert (result.id, result.status, result.web_url) == (green.id, "success", page)
    with pytest.raises(PipelineFailedError) as failure:
        wait_pipeline(
            project="tech-lunch/service-tests",
            source="schedule",
            policy=policy,
            base_url=gitlab.url,
            api_access_token=token.secret,
        )
    [held] = failure.value.results
    assert getattr(held, "id", None) == red.id
    assert failure.value.__notes__[0].startswith("why: Failed: test")
    assert failure.value.__notes__[1].startswith(" do: ")
    assert capsys.readouterr() == ("", "")


def test_from_python_several_pipelines_come_back_in_the_order_asked_for(
    gitlab: Sandbox, token: Token, add: Add, tmp_path: Path
) -> None:
    first, second = add(*SOON), add(*SOON)
    report = tmp_path / "report.xml"
    results = wait_pipeline(
        project="tech-lunch/service-tests",
        pipeline_id=[second.id, first.id],
        policy=WaitPolicy(interval=0.05, junit=report, realtime=False),
        base_url=gitlab.url,
        api_access_token=token.secret,
    )
    assert [result.id for result in results] == [second.id, first.id]
    assert len(ET.fromstring(report.read_bytes())) == 2  # noqa: S314 - our own file
    assert not any("/-/cable" in request.path for request in gitlab.requests)


def test_from_python_the_results_of_a_failure_are_all_that_ended(
    gitlab: Sandbox, token: Token, add: Add
) -> None:
    green, red = add(*SOON), add(*FAILED)
    with pytest.raises(PipelineFailedError) as failure:
        wait_pipeline(
            project="tech-lunch/service-tests",
            pipeline_id=(red.id, green.id),
            policy=WaitPolicy(interval=0.05),
            base_url=gitlab.url,
            api_access_token=token.secret,
        )
    assert [getattr(result, "id", None) for result in failure.value.results] == [red.id, green.id]


def test_from_python_all_that_runs_is_a_tuple_even_if_it_is_one(
    gitlab: Sandbox, token: Token, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)  # in a job, it would ask for the job's variables
    pipeline = add((0, "running"), (5, "success"))
    results = wait_pipeline(
        project="tech-lunch/service-tests",
        all_running=True,
        policy=WaitPolicy(interval=0.05),
        base_url=gitlab.url,
        api_access_token=token.secret,
    )
    assert [result.id for result in results] == [pipeline.id]


def test_from_python_a_dry_run_waits_for_nothing(gitlab: Sandbox, token: Token, add: Add) -> None:
    pipeline = add((0, "running"))
    result = wait_pipeline(
        project="tech-lunch/service-tests",
        pipeline_id=pipeline.id,
        dry_run=True,
        base_url=gitlab.url,
        api_access_token=token.secret,
    )
    assert (result.id, result.status) == (pipeline.id, "running")


def test_trigger_jobs_and_their_downstream_pipelines_are_reported_while_they_run(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    below = ScriptedPipeline(jobs=(ScriptedJob(name="deep"),))
    child = ScriptedJob(name="child", timeline=((0, "running"), (0.8, "success")), downstream=below)
    after = ScriptedJob(name="after", stage="later", timeline=((0, "created"), (1.2, "success")))
    script = ScriptedPipeline(jobs=(child, after))
    ending = wait("--pipeline-id", gitlab.add_pipeline(project, script, user=executor).id)
    assert ending.code == 0
    assert "test / child: running" in ending.stderr
    assert "test / child: success" in ending.stderr


def test_a_pipeline_with_only_trigger_jobs_is_read_from_them(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    below = ScriptedPipeline(jobs=(ScriptedJob(name="deep"),))
    child = ScriptedJob(name="child", timeline=((0, "running"), (1, "success")), downstream=below)
    script = ScriptedPipeline(jobs=(child,))
    pipeline = gitlab.add_pipeline(project, script, user=executor)
    assert wait("--pipeline-id", pipeline.id).code == 0
    assert not [r for r in gitlab.requests if r.path.endswith(f"/pipelines/{pipeline.id}")]


def test_the_end_of_each_job_is_reported_also_beside_a_trigger_job(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    child = ScriptedPipeline(jobs=(ScriptedJob(name="deep", timeline=((0, "success"),)),))
    jobs = (
        *(
            ScriptedJob(name=f"part-{number}", timeline=((0, "running"), (1.5, "success")))
            for number in range(3)
        ),
        ScriptedJob(name="suite", downstream=child, timeline=((0, "running"), (1.6, "success"))),
    )
    pipeline = gitlab.add_pipeline(project, ScriptedPipeline(jobs=jobs), user=executor)
    said = wait("--pipeline-id", pipeline.id).stderr.splitlines()
    for name in ("part-0", "part-1", "part-2", "suite"):
        assert sum(f"{name}: success" in line for line in said) == 1, said
    assert said[-1].endswith(f"#{pipeline.id} ended: 4 success")
    times = [line[:8] for line in said if line[2:3] == ":"]
    assert times == sorted(times)


def test_each_of_more_than_a_hundred_jobs_is_reported_and_counted(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    jobs = tuple(
        ScriptedJob(
            name=f"job-{number}",
            stage=f"stage-{number // 50}",
            timeline=((0, "running"), (2 if number == 7 else 3, "success")),
        )
        for number in range(230)
    )
    pipeline = gitlab.add_pipeline(project, ScriptedPipeline(jobs=jobs), user=executor)
    ending = wait("--pipeline-id", pipeline.id)
    assert ending.code == 0
    assert ending.stderr.count(": success after") == 230
    assert "ended: 230 success" in ending.stderr


@pytest.mark.parametrize("seconds", [4, 4.1])
def test_quiet_shows_no_wrong_duration(add: Add, wait: Wait, seconds: float) -> None:
    """Every other poll reads trigger jobs alone."""
    child = ScriptedPipeline(timeline=((0, "success"),))
    jobs = (
        ScriptedJob(name="unit", timeline=((0, "running"), (seconds, "success"))),
        ScriptedJob(name="child", timeline=((0, "running"), (1, "success")), downstream=child),
    )
    ending = wait(add(jobs=jobs).id, "-q")
    assert ending.code == 0
    assert re.search(r"success (in 4 s )?http", ending.stdout)


def test_quiet_reads_no_more_than_a_hundred_jobs_each_time(
    gitlab: Sandbox, project: Project, executor: User, wait: Wait
) -> None:
    jobs = tuple(
        ScriptedJob(name=f"job-{number}", timeline=((0, "running"), (3, "success")))
        for number in range(130)
    )
    pipeline = gitlab.add_pipeline(project, ScriptedPipeline(jobs=jobs), user=executor)
    assert wait("--pipeline-id", pipeline.id, "-q").code == 0
    assert not any("page=2" in request.path for request in gitlab.requests)


def test_a_log_that_hangs_does_not_delay_the_verdict(
    gitlab: Sandbox, add: Add, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "LOG_SECONDS", 0.2)
    fast = ScriptedJob(name="fast", timeline=((0, "running"), (1, "failed")), trace="the reason")
    slow = ScriptedJob(name="slow", timeline=((0, "running"), (1, "failed")), trace="unseen")
    pipeline = add(jobs=(fast, slow))
    number = next(job.id for job in pipeline.jobs if job.name == "slow")
    gitlab.fault(Fault(path=f"/jobs/{number}/trace", delay=3600))
    ending = wait("--pipeline-id", pipeline.id)
    assert ending.code == 1
    assert f"/jobs/{number}: The work was stopped after" in ending.stderr
    assert "failed: test / slow" in ending.stderr
