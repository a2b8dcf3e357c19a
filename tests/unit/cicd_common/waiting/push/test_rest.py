"""How long a wait rests that listens, and how many looks it then takes to see everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cicd_common.gitlab.client import GitLab
from cicd_common.waiting import poll
from cicd_common.waiting.pipelines import CHILD, Estimate, Pipeline, read_pipeline
from cicd_common.waiting.poll import ProjectPoller
from sandbox import ScriptedJob, ScriptedPipeline

TEN_MINUTES = Estimate(600.0, 20.0)


@pytest.mark.parametrize(
    ("age", "estimate", "expected"),
    [
        (0, None, 55.0),
        (3600, None, 55.0),
        (0, TEN_MINUTES, 55.0),
        (500, TEN_MINUTES, 40.0),
        (590, TEN_MINUTES, 25.0),
        (640, TEN_MINUTES, 25.0),
        (900, TEN_MINUTES, 55.0),
    ],
)
def test_the_pause_is_long_and_shorter_near_the_expected_end(
    age: float, estimate: Estimate | None, expected: float
) -> None:
    assert poll.next_interval(age, estimate, None, pushed=True) == pytest.approx(expected)


def test_a_fixed_interval_is_kept() -> None:
    assert poll.next_interval(300, TEN_MINUTES, 5.0, pushed=True) == 5.0


def test_a_pause_with_jitter_is_about_a_minute_at_most() -> None:
    longest = poll.LONGEST_PUSHED * (1 + poll.JITTER)
    assert longest == pytest.approx(60, abs=1)


def test_one_poll_shows_one_pipeline_or_many(world: Any) -> None:
    poller = ProjectPoller(GitLab(world.server()), str(world.project.id))
    one, two = world.record(world.add()), world.record(world.add())
    assert poller.turns([one]) == 2  # a list does not show whether it has trigger jobs
    assert poller.turns([one, two]) == 1
    assert poller.turns([one, replace(two, source=CHILD)]) == 2


def test_trigger_jobs_need_their_own_poll(world: Any) -> None:
    jobs = (
        ScriptedJob(name="test", timeline=((0, "running"),)),
        ScriptedJob(name="bridge", timeline=((0, "running"),), downstream=ScriptedPipeline()),
    )
    added = world.gitlab.add_pipeline(world.project, ScriptedPipeline(jobs=jobs), user=world.user)
    client = GitLab(world.server())
    poller = ProjectPoller(client, str(world.project.id))
    pipeline = read_pipeline(client, str(world.project.id), added.id)
    assert poller.turns([pipeline]) == 2
    seen = [poller.poll([pipeline], 0)[pipeline.id] for _ in range(2)]
    assert [len(each.jobs) for each in seen if isinstance(each, Pipeline)] == [2, 2]


def test_a_poll_that_shows_nothing_is_followed_by_another(world: Any) -> None:
    poller = ProjectPoller(GitLab(world.server()), str(world.project.id))
    pipeline = world.record(world.add())  # it has no jobs
    for _ in ("trigger jobs", "jobs"):
        assert poller.poll([pipeline], 0) == {}
        assert poller.is_behind
    assert [*poller.poll([pipeline], 0)] == [pipeline.id]
    assert not poller.is_behind
