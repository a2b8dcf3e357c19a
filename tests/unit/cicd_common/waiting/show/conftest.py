"""Pipelines at a fixed time, and what a presenter makes of them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cicd_common.waiting.pipelines import Job, Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
SERVER = "https://gitlab.example.com"


class Scene:
    """Makes pipelines and jobs, and tells the time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.at(self.seconds)

    def at(self, seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    def job(
        self,
        number: int,
        name: str,
        status: str,
        *,
        started: float | None = None,
        ended: float | None = None,
        **more: Any,
    ) -> Job:
        stage, _, name = name.rpartition("/")
        if status == "failed" and not more.get("bridge"):
            more = {"failure_reason": "script_failure"} | more
        return Job(
            number,
            name,
            stage or "test",
            status,
            f"{SERVER}/group/api/-/jobs/{number}",
            started_at=None if started is None else self.at(started),
            finished_at=None if ended is None else self.at(ended),
            **more,
        )

    def pipeline(
        self, status: str, *jobs: Job, number: int = 1234, updated: float = 0.0, **more: Any
    ) -> Pipeline:
        project = more.pop("project", "group/api")
        return Pipeline(
            **{
                "project": project,
                "project_id": "1",
                "id": number,
                "status": status,
                "ref": "main",
                "sha": "a" * 40,
                "source": "push",
                "web_url": f"{SERVER}/{project}/-/pipelines/{number}",
                "created_at": START,
                "updated_at": self.at(updated),
                **more,
            }
        ).with_jobs(jobs)

    def failed_downstream(self) -> Pipeline:
        """A pipeline that failed in a pipeline below the one that it started."""
        canary = self.job(
            900,
            "rollout/canary",
            "failed",
            failure_reason="stuck_or_timeout_failure",
            log=("Waiting for a runner",),
        )
        clusters = self.pipeline("failed", canary, number=1400, project="group/clusters")
        deploy = self.pipeline(
            "failed",
            self.job(800, "plan/plan", "success", started=50, ended=55),
            self.job(801, "plan/clusters", "failed", bridge=True, downstream=clusters),
            number=1300,
            project="group/deploy",
        )
        return self.pipeline(
            "failed",
            self.job(1, "build/compile", "success", started=5, ended=57),
            self.job(2, "unit", "failed", started=60, ended=103, log=("assert 3 == 4", "exit 1")),
            self.job(3, "lint", "failed", started=60, ended=63, allow_failure=True),
            self.job(4, "deploy/deploy", "failed", bridge=True, downstream=deploy),
            updated=160,
        )


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown does not depend on where the tests run, nor on what ran before."""
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    logger = logging.getLogger("cicd_common")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", logger.propagate)
    monkeypatch.setattr(logger, "level", logger.level)


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """The lines on stderr since this was last called."""

    def lines() -> list[str]:
        return capsys.readouterr().err.splitlines()

    return lines
