"""The report of a pipeline that did not simply pass: what failed, where, why, and its log's end.

It is the same on a terminal and in a job log, and `-q` does not silence it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cicd_common import console
from cicd_common.waiting.model import FailedJob, failed_jobs
from cicd_common.waiting.show.words import look_of, reason_in_words, safe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cicd_common.waiting.model import Pipeline


def failure_report(pipeline: Pipeline) -> Iterator[str]:
    """The lines that tell what failed in a pipeline and downstream of it.

    Args:
        pipeline: With its jobs, those downstream, and the ends of their logs.

    Returns:
        The lines, coloured if stderr is; none if nothing failed. Failures that are allowed come
        first, so that what matters stands last, nearest to where a person reads on.
    """
    failed = list(failed_jobs(pipeline))
    if not failed and not pipeline.yaml_errors:
        return
    look = look_of(pipeline.status)
    status = "passed with warnings" if pipeline.status == "success" else look.word
    yield ""
    yield console.styled(f"{safe(pipeline.project)} #{pipeline.id} {status}", look.color)
    yield f"  {safe(pipeline.web_url)}"
    for job in sorted(failed, key=lambda job: not job.allow_failure):
        yield from _lines_of(job, pipeline)
    if pipeline.yaml_errors:
        yield f"{console.styled('wrong configuration:', 'red')} {safe(pipeline.yaml_errors)}"
    yield ""


def _lines_of(job: FailedJob, pipeline: Pipeline) -> Iterator[str]:
    label = (
        console.styled("failed, which is allowed:", "yellow")
        if job.allow_failure
        else console.styled("failed:", "red")
    )
    elsewhere = (
        "" if job.pipeline_id == pipeline.id else f", in {safe(job.project)} #{job.pipeline_id}"
    )
    what = f"{safe(job.stage)} / {safe(job.name)}"
    yield f"{label} {what}: {reason_in_words(job.failure_reason)}{elsewhere}"
    yield f"  {safe(job.web_url)}"
    for line in job.log.splitlines():
        yield f"  | {safe(line)}"
