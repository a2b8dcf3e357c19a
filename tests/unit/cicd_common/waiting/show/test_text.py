"""What people read: no text from elsewhere can do more than be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from cicd_common.cleaning import one_line
from cicd_common.waiting.events import Changed, Found, Searching, Tick
from cicd_common.waiting.pipelines import Estimate
from cicd_common.waiting.show.lines import (
    Column,
    change_lines,
    ended_lines,
    failure_report,
    found_lines,
    heartbeat_line,
)
from cicd_common.waiting.show.progress import Progress
from cicd_common.waiting.show.table import Canvas, render, render_final
from cicd_common.waiting.show.text import (
    STYLES,
    elapsed,
    job_style,
    remaining,
    style_of,
    tally,
    usual,
    why_failed,
)
from cicd_common.waiting.statuses import STATUSES

if TYPE_CHECKING:
    from cicd_common.waiting.pipelines import Job
    from tests.unit.cicd_common.waiting.show.conftest import Scene

# A scene is nothing but a maker of records: no example changes it for the next.
examples = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    max_examples=60,
)
statuses = st.sampled_from([*STATUSES, "waiting_for_moonrise"])
texts = st.text() | st.text("\x1b\x9b[]2J;?25lh\r\n\t\b\x07aä構\u202e\u2028\ud800", max_size=12)


@examples
@given(text=texts, status=statuses, width=st.integers(1, 150), height=st.integers(1, 50))
def test_no_control_character_is_shown_and_the_table_fits_the_window(
    scene: Scene, text: str, status: str, width: int, height: int
) -> None:
    def job(number: int, **more: Any) -> Job:
        named: Any = {"failure_reason": text, "log": (text,), **more}
        return scene.job(number, f"{text}/{text}", status, started=1, **named)

    named: Any = {"project": text, "ref": text, "yaml_errors": text}
    below = scene.pipeline("failed", *map(job, range(3)), number=2, **named)
    now = scene.pipeline(status, job(9, downstream=below), *map(job, range(10, 18)), **named)
    before = scene.pipeline("created", **named)
    progress = Progress()
    found = Found(now, Estimate(10, 1))
    for event in (found, Searching(text, 60), Tick(scene.now(), 3600)):
        progress.note(event)
    lines = [
        *found_lines(found, scene.now(), Column()),
        *change_lines(Changed(now, before), scene.now(), Column()),
        heartbeat_line(progress.pending()[0], scene.now(), Column()),
        *ended_lines(now, scene.now(), Column()),
        *failure_report(now),
    ]
    for ascii_only in (False, True):
        canvas = Canvas(width, height, ascii=ascii_only)
        drawn = [line.plain for line in render(progress, scene.now(), canvas)]
        assert len(drawn) <= height
        final = [line.plain for line in render_final(progress, scene.now(), canvas)]
        assert all(cell_len(line) <= width for line in [*drawn, *final])
        lines += [*drawn, *final]
    assert [line for line in lines if not line.isprintable()] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("unit: [3.12]", "unit: [3.12]"),
        ("de\tploy\nnow", "de ploy now"),
        ("\x1b[2Jgone", "?[2Jgone"),
        ("\x9b31mred", "?31mred"),
        ("admin\u202etxt", "admin?txt"),  # turns the direction of writing
        ("\ud800", "?"),
        ("構建 ✨", "構建 ✨"),
    ],
)
def test_control_characters_are_replaced(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_every_status_of_gitlab_has_its_own_symbol_and_text() -> None:
    assert set(STATUSES) <= set(STYLES)
    assert style_of("waiting_for_moonrise").word == "waiting for moonrise"


@pytest.mark.parametrize(
    ("status", "allow_failure", "word"),
    [
        ("failed", False, "failed"),
        ("failed", True, "failed (allowed)"),
        ("manual", False, "manual"),
        ("manual", True, "manual (optional)"),
        ("success", True, "success"),
    ],
)
def test_allowed_failures_are_shown_differently(
    scene: Scene, status: str, allow_failure: bool, word: str
) -> None:
    assert job_style(scene.job(1, "unit", status, allow_failure=allow_failure)).word == word


def test_a_trigger_job_shows_the_failure_of_its_downstream_pipeline(scene: Scene) -> None:
    deploy = scene.failed_downstream().jobs[-1]
    assert why_failed(deploy) == "the downstream pipeline failed"
    assert why_failed(scene.job(1, "deploy", "failed", bridge=True)) == "unknown failure"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "00:00:00"), (62.9, "00:01:02"), (360_000, "100:00:00")],
)
def test_a_clock_shows_hours_minutes_and_seconds(seconds: float, shown: str) -> None:
    assert elapsed(seconds) == shown


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (10, "about 1 min 50 s left"),
        (120, "about 0 s left"),
        (130, "due any moment"),
        (180, "1 min 0 s longer than usual"),
    ],
)
def test_an_estimate_shows_an_overrun(age: float, words: str) -> None:
    assert remaining(Estimate(120, 15), age) == words


def test_an_estimate_shows_its_uncertainty() -> None:
    assert usual(Estimate(120, 15)) == "usually takes 2 min 0 s, give or take 15 s"
    assert usual(Estimate(120, 0.2)) == "usually takes 2 min 0 s"


def test_job_counts_begin_with_the_most_urgent_status() -> None:
    assert tally(map(style_of, ["success", "created", "failed", "success"])) == (
        "1 failed, 2 success, 1 created"
    )
