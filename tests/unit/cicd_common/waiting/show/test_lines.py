"""A wait in a job log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cicd_common.cli.verbosity import set_verbosity
from cicd_common.errors import NotFoundError, PipelineFailedError
from cicd_common.waiting.events import Changed, Finished, Found, Note, Searching, Tick
from cicd_common.waiting.pipelines import Estimate, ReportedTests, result_of
from cicd_common.waiting.show.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from cicd_common.waiting.pipelines import Pipeline
    from tests.unit.cicd_common.waiting.show.conftest import Scene

    Stderr = Callable[[], list[str]]


@pytest.fixture
def lines(scene: Scene) -> Lines:
    return Lines(now=scene.now)


def test_a_pipeline_that_does_not_exist_yet_is_reported_once(lines: Lines, stderr: Stderr) -> None:
    for left in (60, 55):
        lines.show(Searching("the pipeline of tag v1 in group/api", left))
    assert stderr() == ["Waiting up to 1 min 0 s for the pipeline of tag v1 in group/api to appear"]


def test_a_found_pipeline_is_reported_with_its_address_and_usual_duration(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    scene.seconds = 4
    lines.show(Found(scene.pipeline("pending", tag=True, ref="v1"), Estimate(250, 12)))
    assert stderr() == [
        "00:00:04  #1234 group/api on tag v1: pending, usually takes 4 min 10 s, give or take 12 s",
        "          https://gitlab.example.com/group/api/-/pipelines/1234",
        "          The first column is the time since that pipeline was created.",
    ]


def test_jobs_of_a_found_pipeline_are_reported_if_they_have_started(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    scene.seconds = 4
    jobs = (
        scene.job(1, "build/compile", "success", started=5, ended=57),
        scene.job(2, "unit", "running", started=60),
        scene.job(3, "deploy/later", "created"),
        scene.job(4, "deploy/perhaps", "manual", allow_failure=True),
    )
    lines.show(Found(scene.pipeline("running", *jobs)))
    assert stderr()[3:] == [
        "00:00:57  #1234 build / compile: success after 52 s",
        "00:01:00  #1234 test / unit: running",
    ]


def test_each_change_is_a_line_at_the_time_when_it_happened(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    before = scene.pipeline(
        "running",
        scene.job(1, "unit", "running", started=60),
        scene.job(2, "lint", "running", started=60),
        scene.job(3, "deploy/gate", "created"),
        scene.job(4, "deploy/other", "created"),
    )
    after = scene.pipeline(
        "manual",
        scene.job(1, "unit", "failed", started=60, ended=103),
        scene.job(2, "lint", "failed", started=60, ended=63, allow_failure=True),
        scene.job(3, "deploy/gate", "manual"),
        scene.job(4, "deploy/other", "created"),
        updated=104,
    )
    scene.seconds = 110
    lines.show(Changed(after, before))
    assert stderr() == [
        "00:01:03  #1234 test / lint: failed (allowed) after 3 s, script failure",
        "00:01:43  #1234 test / unit: failed after 43 s, script failure",
        "00:01:50  #1234 deploy / gate: manual",
        "00:01:50  #1234 pipeline: manual",
    ]


def test_a_retried_job_is_reported(scene: Scene, lines: Lines, stderr: Stderr) -> None:
    before = scene.pipeline("failed", scene.job(1, "unit", "failed", started=1, ended=2))
    after = scene.pipeline("running", scene.job(9, "unit", "running", started=30), updated=29)
    lines.show(Changed(after, before))
    assert stderr() == [
        "00:00:30  #1234 test / unit: running",
        "00:00:30  #1234 pipeline: running",
    ]


def test_a_downstream_pipeline_is_reported_when_it_exists(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    below = scene.pipeline("running", number=7, project="group/deploy")
    before = scene.pipeline("running", scene.job(1, "deploy", "running", started=3, bridge=True))
    now = scene.pipeline(
        "running", scene.job(1, "deploy", "running", started=3, bridge=True, downstream=below)
    )
    lines.show(Changed(now, before))
    assert stderr() == [f"00:00:03  #1234 test / deploy: running, group/deploy #7 {below.web_url}"]


def test_a_heartbeat_comes_after_a_minute_without_a_line(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    jobs = [scene.job(n, f"part-{n}", "running", started=10) for n in range(1, 6)]
    jobs.append(scene.job(6, "deploy/later", "created"))
    lines.show(Found(scene.pipeline("running", *jobs), Estimate(120, 3)))
    stderr()
    beats = {}
    for second in range(5, 200, 5):
        scene.seconds = second
        lines.show(Tick(scene.now(), left=3600 - second))
        beats[second] = stderr()
    assert {second for second, said in beats.items() if said} == {60, 120, 180}
    assert beats[60] == [
        (
            "00:01:00  #1234 still running: test / part-1 running for 50 s, "
            "test / part-2 running for 50 s, test / part-3 running for 50 s, 2 more; "
            "about 1 min 0 s left"
        ),
        "          time limit in 59 min 0 s",
    ]
    assert beats[120][0].endswith("; about 0 s left")
    assert beats[180][0].endswith("; 1 min 0 s longer than usual")


def test_a_heartbeat_names_a_few_of_many_pipelines(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    for number in range(1, 7):
        lines.show(Found(scene.pipeline("running", number=number)))
    passed = scene.pipeline("success", number=1)
    lines.show(Finished(result_of(passed), passed))
    stderr()
    scene.seconds = 75
    lines.show(Tick(scene.now(), left=100))
    assert stderr() == [
        "00:01:15  #2 still running",
        "00:01:15  #3 still running",
        "00:01:15  #4 still running",
        "          and 2 more",
        "          time limit in 1 min 40 s",
    ]


def test_a_heartbeat_names_the_pipelines_that_are_still_missing(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    lines.show(Searching("the pipeline of tag v1 in group/api", 600))
    scene.seconds = 60
    lines.show(Tick(scene.now(), left=3600))
    assert stderr()[1:] == ["Still waiting for the pipeline of tag v1 in group/api to appear"]
    lines.show(Finished(NotFoundError("none")))
    scene.seconds = 120
    lines.show(Tick(scene.now(), left=3600))
    assert stderr() == []


def test_the_end_counts_jobs_and_tests_and_a_failure_names_each_failed_job(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    pipeline = scene.failed_downstream()
    tests = ReportedTests(total=120, success=117, failed=2, skipped=1, error=0)
    pipeline = scene.pipeline("failed", *pipeline.jobs, updated=160, tests=tests)
    lines.show(Finished(PipelineFailedError("failed"), pipeline))
    assert stderr() == [
        (
            "00:02:40  #1234 ended: 2 failed, 1 failed (allowed), 1 success; "
            "117 of 120 tests passed, 2 failed, 1 skipped"
        ),
        "",
        "group/api #1234",
        "failed, which is allowed: test / lint: script failure",
        "  https://gitlab.example.com/group/api/-/jobs/3",
        "failed: test / unit: script failure",
        "  https://gitlab.example.com/group/api/-/jobs/2",
        "  | assert 3 == 4",
        "  | exit 1",
        "failed: rollout / canary: stuck, or over its time limit, in group/clusters #1400",
        "  https://gitlab.example.com/group/api/-/jobs/900",
        "  | Waiting for a runner",
        "",
    ]


def test_a_wait_that_ends_early_shows_the_status_of_the_pipeline(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    pipeline = scene.pipeline("running", scene.job(1, "unit", "running", started=1))
    scene.seconds = 30
    lines.show(Finished(result_of(pipeline), pipeline))
    assert stderr() == ["00:00:30  #1234 no longer waited for: 1 running"]


def test_a_success_with_warnings_names_them(scene: Scene, lines: Lines, stderr: Stderr) -> None:
    pipeline = scene.pipeline(
        "success", scene.job(3, "lint", "failed", started=1, ended=2, allow_failure=True)
    )
    lines.show(Finished(result_of(pipeline), pipeline))
    assert stderr()[1:4] == [
        "",
        "group/api #1234",
        "failed, which is allowed: test / lint: script failure",
    ]


def test_an_invalid_configuration_is_reported(scene: Scene, lines: Lines, stderr: Stderr) -> None:
    pipeline = scene.pipeline("failed", yaml_errors="jobs config should contain a visible job")
    lines.show(Finished(PipelineFailedError("failed"), pipeline))
    assert "wrong configuration: jobs config should contain a visible job" in stderr()


def test_quiet_reports_only_warnings_and_failures(scene: Scene, stderr: Stderr) -> None:
    set_verbosity(0)
    lines = Lines(quiet=True, now=scene.now)
    pipeline = scene.failed_downstream()
    lines.show(Searching("the pipeline of tag v1 in group/api", 60))
    lines.show(Found(scene.pipeline("running")))
    lines.show(Changed(pipeline, scene.pipeline("running")))
    lines.show(Note("no news"))
    assert lines.every is None
    assert stderr() == []
    lines.show(Note("the log cannot be read", warning=True))
    lines.show(Finished(PipelineFailedError("failed"), pipeline))
    told = stderr()
    assert told[0] == "warning: the log cannot be read"
    assert told[2] == "group/api #1234"


def test_the_colour_setting_is_respected(
    scene: Scene, lines: Lines, stderr: Stderr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines.show(Found(scene.pipeline("running")))
    assert "\x1b[36m\x1b[1mrunning\x1b[0m" in stderr()[0]
    monkeypatch.setenv("NO_COLOR", "1")
    lines.show(Found(scene.pipeline("running")))
    assert "\x1b" not in stderr()[0]


def test_times_in_the_first_column_never_decrease(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    running = [scene.job(n, f"part-{n}", "running", started=1) for n in (1, 2)]
    scene.seconds = 10
    lines.show(Found(scene.pipeline("running", *running)))
    late = scene.pipeline("running", number=99, created_at=scene.at(8))
    lines.show(Found(late))
    scene.seconds = 60
    lines.show(Changed(scene.pipeline("success", *running, updated=40), scene.pipeline("running")))
    ended = [scene.job(n, f"part-{n}", "success", started=1, ended=20 * n) for n in (2, 1)]
    done = scene.pipeline("success", *ended, updated=40)
    lines.show(Changed(done, scene.pipeline("success", *running)))
    lines.show(Finished(result_of(done), done))
    told = [line[:8] for line in stderr() if line[:2] == "00"]
    assert told == sorted(told)
    assert len(told) >= 8


def test_a_child_pipeline_that_waits_for_a_manual_job_is_reported(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    def parent(status: str) -> Pipeline:
        child = scene.pipeline(status, number=7, project="group/api")
        job = scene.job(1, "suite", "running", started=3, bridge=True, downstream=child)
        return scene.pipeline("running", job)

    lines.show(Changed(parent("manual"), parent("running")))
    [line] = stderr()
    assert "group/api #7, which waits for a person: https://" in line
    lines.show(Found(parent("manual")))
    stderr()
    scene.seconds = 90
    lines.show(Tick(scene.now(), left=100))
    assert "(#7 waits for a person)" in stderr()[0]


def test_the_total_size_of_logs_is_limited_and_the_result_follows(
    scene: Scene, lines: Lines, stderr: Stderr
) -> None:
    log = tuple(f"{number} {'x' * 60_000}" for number in range(10))
    jobs = [scene.job(n, f"job-{n}", "failed", started=1, ended=2, log=log) for n in range(1, 6)]
    pipeline = scene.pipeline("failed", *jobs)
    lines.show(Finished(PipelineFailedError("failed"), pipeline))
    told = stderr()
    assert sum(len(line) for line in told) < 2**20 + 10_000
    assert [line for line in told if "earlier line" in line] != []
    assert sum(line.startswith("failed: test / job-") for line in told) == 5
