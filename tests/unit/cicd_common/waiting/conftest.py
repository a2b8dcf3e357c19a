"""A wait without sockets or waiting: a driven clock, and a GitLab that follows a script."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cicd_common.errors import CommandError, NotFoundError
from cicd_common.gitlab.connection import Connection
from cicd_common.gitlab.tokens import TokenKind
from cicd_common.waiting.clock import Background, Clock
from cicd_common.waiting.engine import Engine
from cicd_common.waiting.policy import WaitPolicy
from cicd_common.waiting.targets import ById

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.events import Event
    from cicd_common.waiting.targets import Target

EPOCH = datetime(2026, 1, 5, 9, tzinfo=UTC)
Steps = tuple[tuple[float, str], ...]


class DrivenClock(Clock):
    """Time passes only while it sleeps; a hint may come at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0
        self.hints_to_come: list[float] = []

    def now(self) -> float:
        return self.at

    def sleep_until(self, moment: float) -> None:
        if not self._woken.is_set():
            self.at = max(self.at, min([moment, *self.hints_to_come[:1]]))
            if self.hints_to_come and self.at >= self.hints_to_come[0]:
                self.hints_to_come.pop(0)
                self.hint("1")
        self._woken.clear()


class Inline(Background):
    """Work is done at once, in the thread that starts it."""

    def start(self, work: Callable[[], Any], then: Callable[[Any], Iterator[Event]]) -> None:
        try:
            answer = work()
        except CommandError as error:
            answer = error
        self._done.put(lambda: then(answer))
        self._clock.wake()


class ScriptedGitLab:
    """Answers as GitLab would about pipelines of project 1 whose statuses are given by time.

    Attributes:
        looks: When and where looks went: neither history nor a report, which is read in pages.
        latency: Seconds that a request takes.
    """

    base_url = "https://gitlab.example.com"
    token_kind = TokenKind.ACCESS
    connection = Connection("https://gitlab.example.com", retry_for_given=True)

    def __init__(self, clock: DrivenClock, pipelines: Mapping[int, Steps]) -> None:
        self.clock = clock
        self.pipelines = pipelines
        self.jobs: dict[int, list[dict[str, Any]]] = {}
        self.requests: list[tuple[float, str]] = []
        self.polls: list[tuple[float, str]] = []
        self.latency = 0.0
        self.faults: dict[int, CommandError] = {}

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.clock.at)

    def get(self, path: str, **query: object) -> Any:
        if "status" not in query and not path.endswith(("bridges", "test_report_summary")):
            self.polls.append((self.clock.at, path))
        return self._answer(path, query)

    get_list = get

    def _answer(self, path: str, query: Mapping[str, object]) -> Any:
        self.requests.append((self.clock.at, path))
        self.clock.at += self.latency
        if fault := self.faults.pop(len(self.requests), None):
            raise fault
        match path.split("/")[2:]:
            case ["pipelines"]:
                since = datetime.fromisoformat(str(query.get("updated_after", EPOCH.isoformat())))
                if query.get("status"):
                    return []
                known = [self.pipeline(number) for number in self.pipelines]
                return [
                    each for each in known if datetime.fromisoformat(each["updated_at"]) >= since
                ]
            case ["pipelines", number]:
                return self.pipeline(int(number))
            case ["pipelines", number, "jobs"] if int(number) in self.pipelines:
                pipeline = self.pipeline(int(number))
                given = self.jobs.get(int(number), [{"id": 1, "status": pipeline["status"]}])
                return [self.job(pipeline, job) for job in given]
            case ["pipelines", _, "bridges"]:
                return []
            case _:
                raise NotFoundError(f"404 Not found ({path})")

    def get_tail(self, path: str) -> str:
        self.requests.append((self.clock.at, path))
        return ""

    def get_all(self, path: str, **query: object) -> Iterator[Any]:
        try:
            yield from self._answer(path, query)
        except NotFoundError:
            return

    def pipeline(self, number: int) -> dict[str, Any]:
        begun = [step for step in self.pipelines[number] if step[0] <= self.clock.at]
        since, status = begun[-1]
        return {
            "id": number,
            "project_id": 1,
            "status": status,
            "ref": "main",
            "sha": "0" * 40,
            "source": "push",
            "web_url": f"{self.base_url}/group/name/-/pipelines/{number}",
            "created_at": EPOCH.isoformat(),
            "updated_at": (EPOCH + timedelta(seconds=since)).isoformat(),
        }

    def job(self, pipeline: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": f"job-{given['id']}",
            "stage": "test",
            "web_url": f"{self.base_url}/group/name/-/jobs/{given['id']}",
            "tag": False,
            "pipeline": pipeline,
            **given,
        }


class Run:
    """A wait that was run to its end."""

    def __init__(
        self,
        pipelines: Mapping[int, Steps],
        policy: WaitPolicy | None = None,
        targets: Sequence[Target] | None = None,
        **options: Any,
    ) -> None:
        self.clock = DrivenClock()
        self.gitlab = ScriptedGitLab(self.clock, pipelines)
        self.policy = policy or WaitPolicy()
        self.targets = targets or [ById("1", number) for number in pipelines]
        self.options = options
        self.events: list[Event] = []

    def __call__(self) -> Run:
        stand_in: GitLab = self.gitlab  # type: ignore[assignment] # what the engine needs of it
        self.engine = Engine(
            stand_in,
            self.targets,
            self.policy,
            clock=self.clock,
            background=Inline,
            **{"jitter": lambda: 0.5, **self.options},
        )
        self.events.extend(self.engine.events())
        return self


@pytest.fixture(scope="session")
def waiting() -> type[Run]:
    return Run
