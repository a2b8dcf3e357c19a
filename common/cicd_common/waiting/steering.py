"""What a wait may do to a pipeline: start its manual jobs, cancel it; each at most once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cicd_common.client import GitLab, field
from cicd_common.errors import RefusedError
from cicd_common.waiting.reading import parse_jobs, read_alone
from cicd_common.waiting.statuses import has_ended

if TYPE_CHECKING:
    from collections.abc import Collection

    from cicd_common.waiting.model import Job, Pipeline


def play_blocking_jobs(
    gitlab: GitLab, pipeline: Pipeline, played: Collection[int]
) -> tuple[Job, ...]:
    """Starts the manual jobs that a pipeline waits for; optional ones it does not wait for.

    Args:
        gitlab: The client.
        pipeline: The pipeline.
        played: The ids of jobs that were started before, and are not started again.

    Returns:
        The jobs started now.

    Raises:
        CommandError: One of them could not be started.
    """
    jobs = tuple(
        job
        for job in _manual_jobs(gitlab, pipeline)
        if not job.allow_failure and job.id not in played
    )
    for job in jobs:
        _play(gitlab, pipeline, job)
    return jobs


def _manual_jobs(gitlab: GitLab, pipeline: Pipeline) -> tuple[Job, ...]:
    path = f"projects/{pipeline.project_id}/pipelines/{pipeline.id}"
    answers: list[Any] = []
    for kind in ("jobs", "bridges"):
        answers += gitlab.get_all(f"{path}/{kind}", **{"scope[]": "manual"})
    return parse_jobs(answers)


def _play(gitlab: GitLab, pipeline: Pipeline, job: Job) -> None:
    def look() -> str | None:
        still = any(manual.id == job.id for manual in _manual_jobs(gitlab, pipeline))
        return None if still else "started"

    try:
        gitlab.write(
            "POST",
            f"projects/{pipeline.project_id}/jobs/{job.id}/play",
            {},
            read=lambda answer: str(field(answer, "status")),
            look=look,
            check=job.web_url,
        )
    except RefusedError:
        if look() is None:
            raise  # else somebody else was faster


def cancel_pipeline(gitlab: GitLab, pipeline: Pipeline) -> str:
    """Cancels a pipeline; to GitLab that is a success even if nothing can be canceled.

    Args:
        gitlab: The client.
        pipeline: The pipeline.

    Returns:
        Its status afterwards, which may be `canceling` for a while.

    Raises:
        CommandError: GitLab refused, or nobody knows.
    """

    def look() -> str | None:
        status = read_alone(gitlab, pipeline.project_id, pipeline.id).status
        return status if status == "canceling" or has_ended(status) else None

    return gitlab.write(
        "POST",
        f"projects/{pipeline.project_id}/pipelines/{pipeline.id}/cancel",
        {},
        read=lambda answer: str(field(answer, "status")),
        look=look,
        check=pipeline.web_url,
    )
