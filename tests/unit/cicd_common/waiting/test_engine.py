"""When the engine looks, and what it makes of it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import (
    Answer,
    AuthError,
    CommandError,
    ForbiddenError,
    TimeLimitError,
    UnavailableError,
)
from cicd_common.gitlab.connection import Connection
from cicd_common.waiting.events import Changed, Finished, Found, Note, Presenter, Searching, Tick
from cicd_common.waiting.pipelines import Pipeline, WaitResult
from cicd_common.waiting.policy import WaitPolicy
from cicd_common.waiting.poll import SHORTEST
from cicd_common.waiting.statuses import STATUSES
from cicd_common.waiting.targets import ById, Newest
from tests.unit.cicd_common.waiting.conftest import EPOCH

if TYPE_CHECKING:
    from tests.unit.cicd_common.waiting.conftest import Run, Steps


class Ticking(Presenter):
    every = 5.0


def codes(run: Run) -> list[int]:
    return [
        outcome.exit_code if isinstance(outcome, CommandError) else 0
        for outcome in run.engine.outcomes
    ]


timelines = st.lists(
    st.tuples(st.floats(0.1, 300), st.sampled_from([*STATUSES, "waiting_for_moonrise"])), max_size=6
).map(lambda steps: ((0.0, "created"), *sorted(steps)))


@given(
    pipelines=st.lists(timelines, min_size=1, max_size=4),
    timeout=st.floats(0.5, 400),
    interval=st.none() | st.floats(0.2, 90),
    settle=st.sampled_from([0.0, 20.0]),
    hints=st.lists(st.floats(0, 400), max_size=20),
    latency=st.sampled_from([0.0, 0.3, 7.0]),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_polls_keep_the_minimum_interval_and_stop_at_the_deadline(
    waiting: type[Run],
    pipelines: list[Steps],
    timeout: float,
    interval: float | None,
    settle: float,
    hints: list[float],
    latency: float,
    jitter: float,
) -> None:
    policy = WaitPolicy(timeout=timeout, interval=interval, settle=settle, on_manual="wait")
    run = waiting(dict(enumerate(pipelines, 1)), policy, jitter=lambda: jitter)
    run.clock.hints_to_come = sorted(hints)
    run.gitlab.latency = latency
    run()
    found, *looks = [at for at, _ in run.gitlab.polls]
    floor = min(SHORTEST, interval or SHORTEST)
    assert all(later - earlier >= floor - 1e-6 for earlier, later in pairwise([found, *looks]))
    assert all(at <= timeout for at in looks)
    assert len(codes(run)) == len(pipelines)
    assert sum(isinstance(event, Finished) for event in run.events) == len(pipelines)
    for outcome, steps in zip(run.engine.outcomes, pipelines, strict=True):
        if isinstance(outcome, WaitResult):
            assert outcome.status == "success"
            assert "success" in [status for _, status in steps]


@pytest.mark.parametrize(
    ("status", "code"),
    [("success", 0), ("failed", 1), ("canceled", 9), ("skipped", 10), ("manual", 11)],
)
def test_a_finished_pipeline_ends_the_wait(waiting: type[Run], status: str, code: int) -> None:
    run = waiting({7: ((0, "running"), (100, status))})()
    assert codes(run) == [code]
    assert 100 <= run.clock.at <= 112


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
        "waiting_for_moonrise",
    ],
)
def test_an_active_pipeline_is_polled_until_the_timeout(waiting: type[Run], status: str) -> None:
    run = waiting({7: ((0, status),)}, WaitPolicy(timeout=60))()
    assert codes(run) == [7]
    assert run.clock.at == 60
    warnings = [event for event in run.events if isinstance(event, Note) and event.warning]
    assert len(warnings) == (status == "waiting_for_moonrise")


def test_events_are_reported_in_order(waiting: type[Run]) -> None:
    run = waiting({7: ((0, "pending"), (5, "running"), (20, "success"))})()
    told = [
        event.pipeline.status if isinstance(event, Found | Changed) else type(event).__name__
        for event in run.events
    ]
    assert told == ["pending", "running", "success", "Finished"]


def test_ticks_have_the_requested_interval(waiting: type[Run]) -> None:
    run = waiting({7: ((0, "running"),)}, WaitPolicy(timeout=60), presenter=Ticking())()
    ticks = [event for event in run.events if isinstance(event, Tick)]
    assert [round(tick.left) for tick in ticks] == [*range(55, -1, -5)]


def test_a_hint_causes_one_poll_and_keeps_the_minimum_interval(waiting: type[Run]) -> None:
    run = waiting({7: ((0, "running"), (30, "success"))}, WaitPolicy(interval=60.0))
    run.clock.hints_to_come = [10.0, 10.1, 10.2, 30.5]
    run()
    assert codes(run) == [0]
    assert [at for at, _ in run.gitlab.polls] == [0, 10, 11, 30.5]


def test_a_failure_that_is_retried_during_the_settle_time_does_not_count(
    waiting: type[Run],
) -> None:
    steps = ((0, "running"), (10, "failed"), (20, "running"), (40, "success"))
    assert codes(waiting({7: steps}, WaitPolicy(settle=15, interval=1))()) == [0]
    assert codes(waiting({7: steps}, WaitPolicy(settle=5, interval=1))()) == [1]


def test_a_failure_counts_after_the_settle_time(waiting: type[Run]) -> None:
    run = waiting({7: ((0, "running"), (10, "failed"))}, WaitPolicy(settle=30, interval=4))()
    assert codes(run) == [1]
    assert 40 <= run.clock.at <= 44


def test_a_failure_that_is_still_settling_at_the_deadline_is_a_failure(
    waiting: type[Run],
) -> None:
    run = waiting({7: ((0, "failed"),)}, WaitPolicy(settle=300, timeout=60))()
    assert codes(run) == [1]


def test_a_pipeline_that_never_appears_is_not_found(waiting: type[Run]) -> None:
    run = waiting({}, targets=[Newest("1", source="schedule")])()
    assert codes(run) == [4]
    assert run.clock.at == pytest.approx(60)
    assert isinstance(run.events[0], Searching)


def test_a_timeout_before_the_pipeline_can_appear_is_a_timeout(waiting: type[Run]) -> None:
    run = waiting({}, WaitPolicy(timeout=20), [Newest("1", source="schedule")])()
    assert codes(run) == [7]


def test_a_failed_poll_ends_the_wait_with_the_last_known_state(waiting: type[Run]) -> None:
    run = waiting({7: ((0, "running"),)})
    run.gitlab.faults |= {5: UnavailableError("502"), 6: UnavailableError("502 Bad Gateway")}
    run()
    [outcome] = run.engine.outcomes
    assert isinstance(outcome, UnavailableError)
    [result] = outcome.results
    assert isinstance(result, WaitResult)
    assert result.status == "running"


def test_the_wait_continues_after_the_first_of_several_pipelines_finishes(
    waiting: type[Run],
) -> None:
    slow, fast = ((0, "running"), (50, "success")), ((0, "running"), (5, "failed"))
    run = waiting({1: slow, 2: fast, 3: slow})()
    assert codes(run) == [0, 1, 0]


def test_several_pipelines_of_a_project_need_one_request_per_poll(waiting: type[Run]) -> None:
    run = waiting(dict.fromkeys(range(1, 21), ((0, "running"), (300, "success"))))()
    assert codes(run) == [0] * 20
    looks = run.gitlab.polls
    assert [at for at, _ in looks].count(0) == 1
    assert len(looks) > 5
    assert {path for _, path in looks} == {"projects/1/pipelines"}
    times = [at for at, _ in run.gitlab.requests if 0 < at < 300]
    assert len({*times}) == len(times)


def test_pipelines_are_polled_in_turn_if_the_list_is_refused(waiting: type[Run]) -> None:
    steps = ((0, "running"), (20, "success"))
    run = waiting({1: steps, 2: steps}, WaitPolicy(interval=2.0))
    run.gitlab.faults[2] = ForbiddenError("403 Forbidden")  # the first poll
    run()
    assert codes(run) == [0, 0]
    looks = [path.split("/")[3] for at, path in run.gitlab.polls[2:] if at < 20]
    assert len(looks) > 5
    assert {len({*pair}) for pair in pairwise(looks)} == {2}


def test_a_pipeline_without_jobs_is_polled_with_its_own_request(waiting: type[Run]) -> None:
    run = waiting({7: ((0, "running"), (10, "success"))})
    run.gitlab.jobs[7] = []
    run()
    assert codes(run) == [0]


def test_the_same_pipeline_is_found_by_path_and_by_id_in_one_poll(waiting: type[Run]) -> None:
    steps = ((0, "running"), (30, "success"))
    run = waiting(
        {1: steps, 2: steps}, WaitPolicy(interval=5), [ById("group/name", 1), ById("1", 2)]
    )()
    assert codes(run) == [0, 0]
    assert len([at for at, _ in run.gitlab.polls if 4 < at < 6]) == 1


class OnTerminal(Presenter):
    shows_jobs = True
    max_age = 10.0


class Healthy:
    """A push that says it covers everything, and never hints."""

    def listen(self, pipeline: Pipeline) -> None:
        pass

    def covers(self, pipeline_id: int) -> bool:
        return pipeline_id > 0


@pytest.mark.parametrize("pushed", [True, False])
@pytest.mark.parametrize("jitter", [0.0, 0.999])
def test_on_a_terminal_the_interval_is_at_most_ten_seconds(
    waiting: type[Run], pushed: bool, jitter: float
) -> None:
    run = waiting(
        {7: ((0, "running"), (2000, "success"))},
        presenter=OnTerminal(),
        push=Healthy() if pushed else None,
        jitter=lambda: jitter,
    )
    run.gitlab.latency = 1.0
    run()
    polls = [at for at, path in run.gitlab.requests if path.endswith("/jobs")]
    assert len(polls) > 100
    assert max(later - earlier for earlier, later in pairwise(polls)) <= 10


def test_a_fixed_interval_is_kept_on_a_terminal_too(waiting: type[Run]) -> None:
    run = waiting(
        {7: ((0, "running"), (200, "success"))}, WaitPolicy(interval=50), presenter=OnTerminal()
    )()
    polls = [round(at) for at, path in run.gitlab.requests if path.endswith("/jobs")]
    assert polls == [0, 50, 100, 150, 200]


def test_the_last_search_is_at_the_end_of_the_appear_timeout(waiting: type[Run]) -> None:
    policy = WaitPolicy(appear_timeout=3)
    run = waiting({}, policy, [Newest("1", source="schedule")])()
    assert codes(run) == [4]
    searches = [at for at, path in run.gitlab.polls if path == "projects/1/pipelines"]
    assert searches[-1] == pytest.approx(3)


def test_a_temporary_failure_is_retried_and_reported_once(waiting: type[Run]) -> None:
    run = waiting({7: ((0, "running"), (400, "success"))})
    run.gitlab.connection = Connection("https://gitlab.example.com")
    run.gitlab.faults |= {
        number: UnavailableError("502 Bad Gateway", retryable=True) for number in range(5, 25)
    }
    run()
    assert codes(run) == [0]
    told = [event for event in run.events if isinstance(event, Note) and "502" in event.text]
    assert len(told) == 1


def test_a_permanent_failure_ends_the_wait_at_once(waiting: type[Run]) -> None:
    run = waiting({7: ((0, "running"), (400, "success"))})
    run.gitlab.connection = Connection("https://gitlab.example.com")
    run.gitlab.faults[5] = AuthError("401 Unauthorized")
    run()
    assert codes(run) == [3]
    assert run.clock.at < 10


def test_no_poll_is_sent_while_gitlab_throttles(waiting: type[Run]) -> None:
    run = waiting({7: ((0, "running"), (400, "success"))})
    run.gitlab.connection = Connection("https://gitlab.example.com")
    answer = Answer(429, "Retry later", retry_after=120)
    run.gitlab.faults[5] = TimeLimitError("Retry later", retryable=True, answer=answer)
    run()
    at = [moment for moment, _ in run.gitlab.polls]
    assert max(later - earlier for earlier, later in pairwise(at)) >= 120


def test_the_time_limit_of_a_job_uses_the_servers_clock(
    waiting: type[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_JOB_STARTED_AT", EPOCH.isoformat())
    monkeypatch.setenv("CI_JOB_TIMEOUT", "300")
    run = waiting({7: ((0, "running"),)})()
    assert codes(run) == [7]
    assert run.clock.at == pytest.approx(240)
    assert not [event for event in run.events if isinstance(event, Note)]


def test_a_time_limit_under_a_minute_causes_a_warning(
    waiting: type[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_JOB_STARTED_AT", EPOCH.isoformat())
    monkeypatch.setenv("CI_JOB_TIMEOUT", "80")
    run = waiting({7: ((0, "running"),)})()
    assert run.clock.at == pytest.approx(20)
    [warning] = [event for event in run.events if isinstance(event, Note)]
    assert "The time limit is 20 s" in warning.text


def test_a_second_failure_starts_the_settle_time_again(waiting: type[Run]) -> None:
    steps = ((0, "running"), (10, "failed"), (15, "running"), (30, "failed"))
    run = waiting({7: steps}, WaitPolicy(settle=10, interval=1))()
    assert codes(run) == [1]
    assert 40 <= run.clock.at <= 42


def test_a_failure_settles_by_the_clock_while_another_pipeline_is_active(
    waiting: type[Run],
) -> None:
    quiet, other = ((0, "running"), (5, "failed")), ((0, "running"), (500, "success"))
    run = waiting({1: quiet, 2: other}, WaitPolicy(settle=10))()
    assert codes(run) == [1, 0]
    [ended] = [
        event for event in run.events
        if isinstance(event, Finished) and event.pipeline and event.pipeline.id == 1
    ]  # fmt: skip
    assert run.events.index(ended) < len(run.events) - 2


def test_every_error_of_a_failed_poll_contains_its_own_pipeline(waiting: type[Run]) -> None:
    steps = ((0, "running"), (500, "success"))
    run = waiting({1: steps, 2: steps})
    run.gitlab.faults[6] = UnavailableError("502 Bad Gateway")
    run()
    held = [
        [result.id for result in outcome.results if isinstance(result, WaitResult)]
        for outcome in run.engine.outcomes
        if isinstance(outcome, CommandError)
    ]
    assert held == [[1], [2]]


def test_a_hint_during_a_poll_starts_no_second_poll(waiting: type[Run]) -> None:
    run = waiting({7: ((0, "running"), (30, "success"))}, WaitPolicy(interval=5.0))
    polled = run.gitlab.get_list

    def hinting(path: str, **query: object) -> Any:
        run.clock.hint("1")
        return polled(path, **query)

    run.gitlab.get_list = hinting  # type: ignore[method-assign]
    run()
    assert codes(run) == [0]
    at = [moment for moment, _ in run.gitlab.polls]
    assert min(later - earlier for earlier, later in pairwise(at)) >= 1
