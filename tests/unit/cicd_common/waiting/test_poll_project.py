"""One request a look, and nothing passed over, however much happens in a project."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cicd_common.errors import NotFoundError
from cicd_common.waiting.pipelines import CHILD, Pipeline, parse_pipeline
from cicd_common.waiting.poll import ProjectPoller

if TYPE_CHECKING:
    from cicd_common.gitlab.client import GitLab

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)


class BusyGitLab:
    """A project in which a pipeline changes every second.

    Attributes:
        queries: How its list was asked for.
        upstream: The pipelines that have a trigger job.
    """

    base_url = "https://gitlab.example.com"

    def __init__(self) -> None:
        self.pipelines: list[dict[str, Any]] = []
        self.queries: list[dict[str, Any]] = []
        self.upstream: set[int] = set()

    def add(self, status: str, seconds: float, source: str = "push") -> Pipeline:
        number = len(self.pipelines) + 1
        self.pipelines.append(
            {
                "id": number,
                "project_id": 1,
                "status": status,
                "ref": "main",
                "sha": "0" * 40,
                "source": source,
                "web_url": f"{self.base_url}/group/name/-/pipelines/{number}",
                "created_at": NOW.isoformat(),
                "updated_at": (NOW + timedelta(seconds=seconds)).isoformat(),
            }
        )
        return parse_pipeline(as_client(self), self.pipelines[-1])

    def delete(self, pipeline: Pipeline) -> None:
        self.pipelines.remove(next(each for each in self.pipelines if each["id"] == pipeline.id))

    def jobs(self, number: int) -> list[dict[str, Any]]:
        for each in self.pipelines:
            if each["id"] == number:
                url = f"{self.base_url}/group/name/-/jobs/1"
                job = {"id": 1, "name": "a", "stage": "b", "status": "running", "web_url": url}
                return [{**job, "pipeline": each}]
        raise NotFoundError("404 Not found")

    def change(self, pipeline: Pipeline, status: str, seconds: float) -> None:
        moment = (NOW + timedelta(seconds=seconds)).isoformat()
        self.pipelines[pipeline.id - 1] |= {"status": status, "updated_at": moment}

    def get_list(self, path: str, **query: Any) -> list[dict[str, Any]]:
        if path.endswith("/jobs"):
            return self.jobs(int(path.split("/")[3]))
        if path.endswith("/bridges"):
            number = int(path.split("/")[3])
            return self.jobs(number) if number in self.upstream else self.jobs(number)[:0]
        assert path == "projects/1/pipelines"
        self.queries.append(query)
        found = [
            each
            for each in self.pipelines
            if each["updated_at"] >= query["updated_after"]
            and (each["source"] == CHILD) == (query.get("source") == CHILD)
        ]
        return sorted(found, key=lambda each: str(each["updated_at"]))[: query["per_page"]]


def as_client(gitlab: BusyGitLab) -> GitLab:
    client: GitLab = gitlab  # type: ignore[assignment] # what a watch needs of it
    return client


def polled(poller: ProjectPoller, watched: list[Pipeline], unseen: float = 0) -> dict[int, str]:
    return {
        number: each.status if isinstance(each, Pipeline) else "gone"
        for number, each in poller.poll(watched, unseen).items()
    }


def test_more_changes_than_one_page_are_read_one_page_per_poll() -> None:
    gitlab = BusyGitLab()
    watched = [gitlab.add("running", 0), gitlab.add("running", 0)]
    for second in range(250):
        gitlab.add("success", second)
    gitlab.change(watched[1], "failed", 251)
    poller = ProjectPoller(as_client(gitlab), "1")
    seen: list[tuple[int, str]] = []
    behind = []
    for _ in range(3):
        seen += polled(poller, watched).items()
        behind.append(poller.is_behind)
    assert (2, "failed") in seen
    assert behind == [True, True, False]
    assert len(gitlab.queries) == 3


def test_a_change_dated_before_the_last_poll_is_found() -> None:
    gitlab = BusyGitLab()
    watched = [gitlab.add("running", 0), gitlab.add("running", 100)]
    poller = ProjectPoller(as_client(gitlab), "1")
    poller.poll(watched, 0)
    gitlab.change(watched[0], "success", 70)  # committed late
    assert polled(poller, watched)[1] == "success"


def test_a_change_since_the_last_read_of_a_pipeline_is_found_after_any_time() -> None:
    gitlab = BusyGitLab()
    watched = [gitlab.add("running", 0), gitlab.add("running", 1000)]
    gitlab.change(watched[0], "success", 200)
    poller = ProjectPoller(as_client(gitlab), "1")
    assert polled(poller, watched, unseen=900)[1] == "success"


def test_child_pipelines_and_other_pipelines_are_polled_in_turn() -> None:
    gitlab = BusyGitLab()
    watched = [gitlab.add("running", 0), gitlab.add("running", 0, source=CHILD)]
    poller = ProjectPoller(as_client(gitlab), "1")
    seen = [[*polled(poller, watched)] for _ in range(4)]
    assert sorted(seen[:2]) == sorted(seen[2:]) == [[1], [2]]


def test_a_deleted_pipeline_is_reported_within_two_polls_and_the_others_are_not() -> None:
    gitlab = BusyGitLab()
    watched = [gitlab.add("running", second) for second in range(4)]
    gitlab.delete(watched[0])
    gitlab.delete(watched[2])
    poller = ProjectPoller(as_client(gitlab), "1")
    assert polled(poller, watched) == {2: "running", 4: "running"}
    assert poller.is_behind
    assert [polled(poller, watched) for _ in range(2)] == [{1: "gone"}, {3: "gone"}]


def test_a_pipeline_missing_from_an_outdated_list_is_not_reported_as_deleted() -> None:
    gitlab = BusyGitLab()
    watched = [gitlab.add("running", second) for second in range(2)]
    poller = ProjectPoller(as_client(gitlab), "1")
    listed = gitlab.pipelines[:]
    gitlab.pipelines[:] = listed[:1]
    assert polled(poller, watched) == {1: "running"}
    gitlab.pipelines[:] = listed
    assert polled(poller, watched) == {2: "running"}


def test_reading_trigger_jobs_delays_no_change_of_another_pipeline() -> None:
    gitlab = BusyGitLab()
    watched = [gitlab.add("running", second) for second in range(3)]
    poller = ProjectPoller(as_client(gitlab), "1")
    for _ in range(20):
        assert len(polled(poller, watched)) == 3 or poller.is_behind


@pytest.mark.parametrize("upstream", [set(), {1}])
def test_in_a_busy_project_a_deleted_pipeline_is_reported_after_some_polls(
    upstream: set[int],
) -> None:
    gitlab = BusyGitLab()
    gitlab.upstream = upstream
    watched = [gitlab.add("running", 0), gitlab.add("running", 0)]
    for second in range(250):
        gitlab.add("success", second)
    poller = ProjectPoller(as_client(gitlab), "1")
    for _ in range(10):  # after these it is known which one has trigger jobs
        poller.poll(watched, 0)
    gitlab.delete(watched[1])
    seen = [polled(poller, watched) for _ in range(15)]
    assert {2: "gone"} in seen
    assert {1: "gone"} not in seen
