"""One request a look, and nothing passed over, however much happens in a project."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cicd_common.waiting.pipelines import parse_pipeline
from cicd_common.waiting.poll import CHILD, ProjectPoller

if TYPE_CHECKING:
    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.pipelines import Pipeline

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)


class BusyGitLab:
    """A project in which a pipeline changes every second.

    Attributes:
        queries: How its list was asked for.
    """

    base_url = "https://gitlab.example.com"

    def __init__(self) -> None:
        self.pipelines: list[dict[str, Any]] = []
        self.queries: list[dict[str, Any]] = []

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

    def change(self, pipeline: Pipeline, status: str, seconds: float) -> None:
        moment = (NOW + timedelta(seconds=seconds)).isoformat()
        self.pipelines[pipeline.id - 1] |= {"status": status, "updated_at": moment}

    def get_list(self, path: str, **query: Any) -> list[dict[str, Any]]:
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


def test_more_changes_than_a_page_holds_are_caught_up_with_one_page_a_look() -> None:
    gitlab = BusyGitLab()
    watched = [gitlab.add("running", 0), gitlab.add("running", 0)]
    for second in range(250):
        gitlab.add("success", second)
    gitlab.change(watched[1], "failed", 251)
    poller = ProjectPoller(as_client(gitlab), "1")
    seen: list[tuple[int, str]] = []
    behind = []
    for _ in range(3):
        seen += [(each.id, each.status) for each in poller.poll(watched, 0)]
        behind.append(poller.is_behind)
    assert (2, "failed") in seen
    assert behind == [True, True, False]
    assert len(gitlab.queries) == 3


def test_a_change_dated_before_the_last_look_is_still_seen() -> None:
    gitlab = BusyGitLab()
    watched = [gitlab.add("running", 0), gitlab.add("running", 100)]
    poller = ProjectPoller(as_client(gitlab), "1")
    poller.poll(watched, 0)
    gitlab.change(watched[0], "success", 70)  # committed late
    assert (1, "success") in [(each.id, each.status) for each in poller.poll(watched, 0)]


def test_what_changed_since_a_pipeline_was_last_read_is_seen_however_long_ago_that_was() -> None:
    gitlab = BusyGitLab()
    watched = [gitlab.add("running", 0), gitlab.add("running", 1000)]
    gitlab.change(watched[0], "success", 200)
    poller = ProjectPoller(as_client(gitlab), "1")
    seen = poller.poll(watched, unseen_for=900)
    assert (1, "success") in [(each.id, each.status) for each in seen]


def test_child_pipelines_and_others_take_turns() -> None:
    gitlab = BusyGitLab()
    watched = [gitlab.add("running", 0), gitlab.add("running", 0, source=CHILD)]
    poller = ProjectPoller(as_client(gitlab), "1")
    seen = [[each.id for each in poller.poll(watched, 0)] for _ in range(4)]
    assert sorted(seen[:2]) == sorted(seen[2:]) == [[1], [2]]
