"""A slow server: what background workers and read replicas do some seconds later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sandbox import ManualClock, ScriptedJob, ScriptedPipeline, Slow
from sandbox.testing import outcome, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.testing import World

PROJECT = "/projects/tech-lunch%2Fservice-tests"
REQUEST = f"{PROJECT}/merge_requests/1"
SLOW = Slow(pipeline=3, replica=2, preparing=4, checking=1, merging=2)
RUNNING = ScriptedPipeline(timeline=((0, "running"),))
PASSING = ScriptedPipeline(
    jobs=(ScriptedJob(name="test", timeline=((0, "running"), (9, "success"))),)
)
FAILING = ScriptedPipeline(
    jobs=(ScriptedJob(name="test", timeline=((0, "running"), (9, "failed"))),)
)
SKIPPED = ScriptedPipeline(timeline=((0, "running"), (9, "skipped")))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def world(clock: ManualClock) -> Iterator[World]:
    with serving(clock=clock, slow=SLOW) as running:
        running.project.script = RUNNING
        yield running


def sources(world: World) -> list[str]:
    return [each["source"] for each in world.api.get(f"{PROJECT}/pipelines").json()]


def tag(world: World) -> None:
    world.api.post(f"{PROJECT}/repository/tags", json={"tag_name": "v1", "ref": "main"})


def commit(world: World) -> None:
    action = {"action": "create", "file_path": "f", "content": "1"}
    body = {"branch": "main", "commit_message": "Add f", "actions": [action]}
    world.api.post(f"{PROJECT}/repository/commits", json=body)


@pytest.mark.parametrize("change", [tag, commit])
def test_the_pipeline_of_a_tag_or_a_commit_appears_later(
    world: World, clock: ManualClock, change: Callable[[World], None]
) -> None:
    change(world)
    clock.advance(2.9)
    assert sources(world) == []
    clock.advance(0.1)
    assert sources(world) == ["push"]


def test_a_new_pipeline_is_not_yet_visible_to_reads(world: World, clock: ManualClock) -> None:
    created = world.api.post(f"{PROJECT}/pipeline", json={"ref": "main"})
    assert created.status_code == 201
    place = f"{PROJECT}/pipelines/{created.json()['id']}"
    for path in (place, f"{place}/jobs"):
        assert outcome(world.api.get(path)) == (404, {"message": "404 Not found"})
    assert sources(world) == []
    assert world.api.post(f"{place}/cancel").status_code == 200
    clock.advance(2)
    assert world.api.get(place).status_code == 200
    assert sources(world) == ["api"]


def open_request(world: World) -> dict[str, Any]:
    world.gitlab.commit(world.project, {"f": "1"}, branch="feature")
    body = {"source_branch": "feature", "target_branch": "main", "title": "Feature"}
    opened: dict[str, Any] = world.api.post(f"{PROJECT}/merge_requests", json=body).json()
    return opened


def read(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.api.get(REQUEST).json()
    return found


def merge(world: World, **more: object) -> tuple[int, Any]:
    return outcome(world.api.put(f"{REQUEST}/merge", json={"auto_merge": True, **more}))


def test_a_merge_request_is_prepared_and_checked_and_then_has_its_pipelines(
    world: World, clock: ManualClock
) -> None:
    world.project.merge_request_script = RUNNING
    assert open_request(world)["detailed_merge_status"] == "preparing"
    seen = []
    for _ in range(8):
        found = read(world)
        pipeline = found["head_pipeline"] and found["head_pipeline"]["ref"]
        seen.append((found["detailed_merge_status"], pipeline))
        clock.advance(1)
    assert seen == [
        *[("preparing", None)] * 3,
        ("preparing", "feature"),
        ("checking", "feature"),
        *[("mergeable", "feature")] * 2,
        ("mergeable", "refs/merge-requests/1/head"),
    ]
    pipelines = world.api.get(f"{REQUEST}/pipelines").json()
    assert [each["source"] for each in pipelines] == ["merge_request_event", "push"]


@pytest.mark.parametrize(
    ("version", "status"), [("17.11", 405), ("18.2", 405), ("18.9", 405), ("19.4", 422)]
)
def test_auto_merge_is_refused_while_the_merge_request_is_prepared(
    version: str, status: int
) -> None:
    with serving(version=version, clock=ManualClock(), slow=SLOW) as world:
        open_request(world)
        text = "Branch cannot be merged" if status == 422 else "405 Method Not Allowed"
        assert merge(world) == (status, {"message": text})


def test_the_sha_is_checked_before_the_status_since_18_9() -> None:
    for version, status in (("18.2", 405), ("18.9", 409)):
        with serving(version=version, clock=ManualClock(), slow=SLOW) as world:
            open_request(world)
            assert merge(world, sha="0" * 40)[0] == status


def test_before_its_pipeline_exists_a_merge_request_is_mergeable_and_merges_at_once(
    world: World, clock: ManualClock
) -> None:
    world.project.script = None
    open_request(world)
    clock.advance(5)
    assert read(world)["detailed_merge_status"] == "mergeable"
    status, answer = merge(world)
    assert (status, answer["state"]) == (200, "merged")


@pytest.mark.parametrize(
    ("script", "state"), [(PASSING, "merged"), (FAILING, "opened"), (SKIPPED, "opened")]
)
def test_auto_merge_merges_only_after_a_successful_pipeline(
    world: World, clock: ManualClock, script: ScriptedPipeline, state: str
) -> None:
    world.project.script = script
    open_request(world)
    clock.advance(5)
    status, answer = merge(world)
    assert (status, answer["merge_when_pipeline_succeeds"]) == (200, True)
    clock.advance(8.9)
    assert read(world)["state"] == "opened"
    clock.advance(3)
    read(world)
    clock.advance(3)
    assert read(world)["state"] == state


def test_auto_merge_set_during_the_check_never_merges_without_a_pipeline(
    clock: ManualClock,
) -> None:
    with serving(clock=clock, slow=Slow(checking=5)) as world:
        open_request(world)
        assert merge(world)[0] == 200
        clock.advance(3600)
        found = read(world)
        assert (found["state"], found["detailed_merge_status"]) == ("opened", "mergeable")


@pytest.mark.parametrize(("strict", "status"), [(True, "ci_must_pass"), (False, "mergeable")])
def test_a_failed_pipeline_blocks_a_merge_only_if_pipelines_must_succeed(
    world: World, clock: ManualClock, *, strict: bool, status: str
) -> None:
    world.project.script = FAILING
    world.project.pipelines_must_succeed = strict
    open_request(world)
    clock.advance(20)
    read(world)
    clock.advance(20)
    assert read(world)["detailed_merge_status"] == status


def test_the_merge_status_says_that_a_required_pipeline_is_running(
    world: World, clock: ManualClock
) -> None:
    world.project.pipelines_must_succeed = True
    open_request(world)
    clock.advance(6)
    assert read(world)["detailed_merge_status"] == "ci_still_running"
    assert outcome(world.api.put(f"{REQUEST}/merge", json={}))[0] == 405


def test_a_push_cancels_auto_merge(world: World, clock: ManualClock) -> None:
    open_request(world)
    clock.advance(5)
    merge(world)
    world.gitlab.commit(world.project, {"g": "1"}, branch="feature")
    assert read(world)["merge_when_pipeline_succeeds"] is False
