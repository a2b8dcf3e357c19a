"""The live table at every size: what a person sees, and what makes route first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cicd_common.waiting.events import Event, Finished, Found, Searching, Tick
from cicd_common.waiting.pipelines import Estimate, result_of
from cicd_common.waiting.show.progress import Progress
from cicd_common.waiting.show.table import Canvas, render, render_final

if TYPE_CHECKING:
    from tests.unit.cicd_common.waiting.show.conftest import Scene


def board_of(*events: Event) -> Progress:
    progress = Progress()
    for event in events:
        progress.note(event)
    return progress


def drawn(scene: Scene, progress: Progress, canvas: Canvas) -> list[str]:
    return [line.plain.rstrip() for line in render(progress, scene.now(), canvas)]


@pytest.fixture
def usual(scene: Scene) -> Progress:
    """A pipeline of eight jobs, about two thirds through."""
    scene.seconds = 80
    pipeline = scene.pipeline(
        "running",
        scene.job(1, "build/compile", "success", started=0, ended=52),
        scene.job(2, "unit", "failed", started=55, ended=77),
        scene.job(3, "integration", "running", started=55),
        scene.job(4, "spelling", "failed", started=55, ended=59, allow_failure=True),
        scene.job(5, "end-to-end: [firefox]", "pending"),
        scene.job(6, "deploy/staging", "created"),
        scene.job(7, "deploy/production", "manual", allow_failure=True),
    )
    return board_of(Found(pipeline, Estimate(120, 5)), Tick(scene.now(), 3520))


@pytest.fixture
def large(scene: Scene) -> Progress:
    """A pipeline of sixty jobs in six stages: two failed, three run."""
    scene.seconds = 100
    status = {14: "failed", 17: "failed", 18: "running", 19: "running", 20: "running"}
    jobs = [
        scene.job(
            number,
            f"stage-{number // 10}/job-{number}",
            status.get(number, "success" if number < 20 else "created"),
            started=number if number <= 20 else None,
            ended=number + 9 if number < 18 else None,
        )
        for number in range(60)
    ]
    return board_of(Found(scene.pipeline("running", *jobs)), Tick(scene.now(), 3600))


def test_with_enough_rows_every_job_has_its_line(scene: Scene, usual: Progress) -> None:
    assert drawn(scene, usual, Canvas(80, 23)) == [
        "● group/api #1234 on main: running",
        "  00:01:20  ━━━━━━━━━━━━━───────  about 40 s left  3 of 7 jobs done  1 failed",
        "  build   ✓ compile                success            00:00:52",
        "  test    ✗ unit                   failed             00:00:22  script failure",
        "          ● integration            running            00:00:25",
        "          ! spelling               failed (allowed)   00:00:04  script failure",
        "          ○ end-to-end: [firefox]  pending",
        "  deploy  · staging                created",
        "          · production             manual (optional)",
        "time limit in 58 min 40 s",
    ]


def test_without_utf_8_the_table_is_ascii(scene: Scene, usual: Progress) -> None:
    for canvas in (Canvas(80, 23, ascii=True), Canvas(62, 11, ascii=True)):
        assert "".join(drawn(scene, usual, canvas)).isascii()
    assert drawn(scene, usual, Canvas(80, 23, ascii=True))[1:4] == [
        "  00:01:20  #############-------  about 40 s left  3 of 7 jobs done  1 failed",
        "  build   + compile                success            00:00:52",
        "  test    x unit                   failed             00:00:22  script failure",
    ]


def test_an_overrun_fills_the_bar_and_shows_its_length(scene: Scene, usual: Progress) -> None:
    scene.seconds = 150
    assert drawn(scene, usual, Canvas(80, 23))[1].startswith(
        "  00:02:30  ━━━━━━━━━━━━━━━━━━━━  30 s longer than usual"
    )


def test_with_few_rows_finished_and_waiting_jobs_are_counted_by_stage(
    scene: Scene, large: Progress
) -> None:
    assert drawn(scene, large, Canvas(80, 23)) == [
        "● group/api #1234 on main: running",
        "  00:01:40  18 of 60 jobs done  2 failed",
        "  stage-0  10 success",
        "  stage-1  ✗ job-14  failed   00:00:09  script failure",
        "           ✗ job-17  failed   00:00:09  script failure",
        "           ● job-18  running  00:01:22",
        "           ● job-19  running  00:01:21",
        "           6 success",
        "  stage-2  ● job-20  running  00:01:20",
        "           9 created",
        "  stage-3  10 created",
        "  stage-4  10 created",
        "  stage-5  10 created",
        "time limit in 1 h 0 min",
    ]


def test_with_fewer_rows_only_the_most_urgent_jobs_are_shown(scene: Scene, large: Progress) -> None:
    assert drawn(scene, large, Canvas(80, 10)) == [
        "● group/api #1234 on main: running",
        "  00:01:40  18 of 60 jobs done  2 failed",
        "  stage-1  ✗ job-14  failed   00:00:09  script failure",
        "  stage-1  ✗ job-17  failed   00:00:09  script failure",
        "  stage-1  ● job-18  running  00:01:22",
        "  stage-1  ● job-19  running  00:01:21",
        "  stage-2  ● job-20  running  00:01:20",
        "           and 16 success, 39 created",
        "time limit in 1 h 0 min",
    ]
    both = drawn(scene, two(scene, large), Canvas(80, 14))
    assert both[5] == "           and 2 running, 16 success, 39 created"


def two(scene: Scene, progress: Progress) -> Progress:
    progress.note(Found(scene.pipeline("pending", number=2, project="group/web")))
    return progress


@pytest.mark.parametrize("canvas", [Canvas(59, 30), Canvas(80, 8)])
def test_a_small_window_gets_a_line_for_each_pipeline(
    scene: Scene, large: Progress, canvas: Canvas
) -> None:
    running, pending, limit = drawn(scene, two(scene, large), canvas)
    assert running.startswith("● running  00:01:40  2 failed  group/api #1234  3 running,")
    assert pending == "○ pending  00:01:40  group/web #2"
    assert limit == "time limit in 1 h 0 min"


def test_the_most_urgent_pipelines_are_shown_if_there_are_too_few_rows(scene: Scene) -> None:
    progress = Progress()
    for number in range(20):
        status = {18: "failed", 19: "running"}.get(number, "success")
        progress.note(Found(scene.pipeline(status, number=number)))
    for height in (4, 12):
        assert drawn(scene, progress, Canvas(80, height)) == [
            "✗ failed  00:00:00  group/api #18",
            "● running  00:00:00  group/api #19",
            *(f"✓ success  00:00:00  group/api #{number}" for number in range(height - 3)),
            f"and {21 - height} success",
        ]


def test_a_downstream_pipeline_is_shown_below_its_trigger_job(scene: Scene) -> None:
    scene.seconds = 160
    progress = board_of(Found(scene.failed_downstream()))
    lines = drawn(scene, progress, Canvas(120, 30))[5:]
    assert [line[:52].rstrip() for line in lines] == [
        "  deploy       ✗ deploy > group/deploy #1300",
        "    plan         ✓ plan",
        "                 ✗ clusters > group/clusters #1400",
        "      rollout      ✗ canary",
    ]
    assert lines[-1].endswith("  failed              stuck, or over its time limit")


def test_wide_characters_keep_the_columns(scene: Scene) -> None:
    jobs = (scene.job(1, "構建/編譯", "pending"), scene.job(2, "構建/unit", "pending"))
    lines = drawn(scene, board_of(Found(scene.pipeline("pending", *jobs))), Canvas(80, 20))
    assert lines[2:] == ["  構建  ○ 編譯  pending", "        ○ unit  pending"]


def test_a_pipeline_that_does_not_exist_yet_is_named(scene: Scene) -> None:
    progress = board_of(Searching("the pipeline of tag v1 in group/api", 60))
    assert drawn(scene, progress, Canvas(80, 20)) == [
        "waiting for the pipeline of tag v1 in group/api to appear"
    ]


def test_at_the_end_one_pipeline_has_its_table_and_several_have_one_line_each(
    scene: Scene, large: Progress
) -> None:
    canvas = Canvas(80, 5)
    assert len(render_final(large, scene.now(), canvas)) == 13
    passed = scene.pipeline("success", updated=90)
    large.note(Finished(result_of(passed), passed))
    final = render_final(two(scene, large), scene.now(), canvas)
    assert [line.plain for line in final] == [
        "✓ success  00:01:30  group/api #1234",
        "○ pending  00:01:40  group/web #2",
    ]
