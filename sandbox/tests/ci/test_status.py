from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox.ci.status import composite, may_start
from sandbox.model import Job, Pipeline, Project, User

MOMENT = datetime(2026, 1, 5, 9, tzinfo=UTC)


def jobs(*statuses: str) -> list[Job]:
    """Jobs by status; a question mark says that the job is allowed to fail."""
    project = Project(1, "group/name", Path())
    user = User(1, "dev", "Dev", "dev@example.com")
    pipeline = Pipeline(1, 1, project, "main", "0" * 40, "push", user, MOMENT, MOMENT)
    return [
        Job(1, "job", "test", pipeline, status.rstrip("?"), allow_failure=status.endswith("?"))
        for status in statuses
    ]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], None),
        (["created"], "created"),
        (["created", "created"], "created"),
        (["pending", "created"], "pending"),
        (["running", "created"], "running"),
        (["success", "created"], "running"),
        (["success", "pending"], "running"),
        (["success", "success"], "success"),
        (["success", "skipped"], "success"),
        (["skipped", "skipped"], "skipped"),
        (["success", "failed"], "failed"),
        (["failed", "skipped"], "failed"),
        (["failed?"], "success"),
        (["success", "failed?"], "success"),
        (["success", "canceled"], "canceled"),
        (["canceled?", "success"], "success"),
        (["failed", "canceled"], "failed"),
        (["failed", "running"], "running"),
        (["success", "manual"], "manual"),
        (["success", "manual", "created"], "manual"),
        (["success", "manual?"], "success"),
        (["manual?", "manual?"], "skipped"),
        (["manual?", "created"], "created"),
        (["success", "scheduled"], "scheduled"),
        (["success", "waiting_for_resource"], "waiting_for_resource"),
        (["canceling", "success"], "canceling"),
        (["canceling", "running"], "running"),
        (["canceled", "canceling"], "canceling"),
    ],
)
def test_the_jobs_determine_the_status_of_the_pipeline(
    statuses: list[str], expected: str | None
) -> None:
    assert composite(jobs(*statuses)) == expected


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["success", "success"], "success"),
        (["success", "skipped"], "skipped"),
        (["success", "manual?"], "skipped"),
        (["failed?"], "success"),
        (["failed"], "failed"),
        (["success", "running"], "running"),
    ],
)
def test_a_failed_job_skips_the_jobs_that_need_it(statuses: list[str], expected: str) -> None:
    assert composite(jobs(*statuses), needed=True) == expected


@pytest.mark.parametrize(
    ("when", "before", "needs", "starts"),
    [
        ("on_success", "success", False, True),
        ("on_success", "skipped", False, True),
        ("on_success", "skipped", True, False),
        ("on_success", "failed", False, False),
        ("on_success", "canceled", False, False),
        ("on_failure", "failed", False, True),
        ("on_failure", "success", False, False),
        ("always", "failed", False, True),
        ("always", "skipped", True, True),
        ("always", "canceled", False, False),
        ("manual", "success", False, True),
        ("manual", "failed", False, False),
        ("delayed", "success", True, True),
    ],
)
def test_a_job_starts_by_its_when(when: str, before: str, needs: bool, starts: bool) -> None:
    assert may_start(when, before, needs=needs) is starts
