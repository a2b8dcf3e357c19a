"""`cmd-wait-pipeline`: wait for a pipeline of a GitLab project to end.

From Python:

    from cmd_wait_pipeline import wait_pipeline

    result = wait_pipeline(
        project="group/name", tag="v1.2.3",
        base_url="https://gitlab.example.com", api_access_token=token,
    )
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Unpack

    from cicd_common.gitlab.connection import ConnectionOptions
    from cicd_common.waiting.pipelines import WaitResult
    from cicd_common.waiting.policy import OnManual, OnSkipped

__all__ = ["wait_pipeline"]


def wait_pipeline(
    *,
    project: str | None = None,
    pipeline_id: int | None = None,
    pipeline_url: str | None = None,
    ref: str | None = None,
    tag: str | None = None,
    sha: str | None = None,
    source: str | None = None,
    timeout: float = 3600.0,
    appear_timeout: float = 60.0,
    interval: float | None = None,
    on_manual: OnManual = "fail",
    on_skipped: OnSkipped = "fail",
    settle: float = 0.0,
    log_tail: int = 20,
    **connection: Unpack[ConnectionOptions],
) -> WaitResult:
    """Waits for one pipeline to end; prints nothing.

    Args:
        project: Its project's path (`group/sub/name`), numeric id, or the URL of its page.
        pipeline_id: The pipeline; or
        pipeline_url: the address of its page, which names the project too; or else
        ref: the newest pipeline of a branch,
        tag: of a tag,
        sha: of a commit,
        source: or with a source, such as `push`; it may be yet to come.
        timeout: Seconds until the wait ends, whatever the pipeline does.
        appear_timeout: Seconds that the pipeline may take to appear.
        interval: Seconds between looks; None lets the pause follow what is known.
        on_manual: `fail`, `wait`, `pass` or `play`: what it means that it waits for a person.
        on_skipped: `fail` or `pass`: what it means that it was skipped.
        settle: Seconds after which a failure must still stand to count.
        log_tail: How many lines of each failed job's log to read; 0 for none.
        connection: `base_url`; `api_access_token` or `job_token`; `ca_file`; `request_timeout`
            and `retry_for`, in seconds.

    Returns:
        The pipeline, which ended with success, or as the arguments allow.

    Raises:
        cicd_common.errors.CommandError: It did not; the subclass says how it ended, and the
            error's `results` hold the pipeline.
    """
    # Imported here, so that the console script can show its help without python-gitlab.
    from cicd_common.errors import CommandError  # noqa: PLC0415
    from cicd_common.gitlab.client import GitLab  # noqa: PLC0415
    from cicd_common.gitlab.connection import connection_from  # noqa: PLC0415
    from cicd_common.waiting.policy import WaitPolicy  # noqa: PLC0415
    from cicd_common.waiting.targets import OwnJob  # noqa: PLC0415
    from cicd_common.waiting.wait import wait_for  # noqa: PLC0415
    from cmd_wait_pipeline.request import Selection  # noqa: PLC0415

    gitlab = GitLab(connection_from(connection))
    selection = Selection(
        project=project,
        pipeline_ids=() if pipeline_id is None else (pipeline_id,),
        pipeline_urls=() if pipeline_url is None else (pipeline_url,),
        ref=ref,
        tag=tag,
        sha=sha,
        source=source,
    )
    policy = WaitPolicy(
        timeout=timeout,
        appear_timeout=appear_timeout,
        interval=interval,
        on_manual=on_manual,
        on_skipped=on_skipped,
        settle=settle,
        log_tail=log_tail,
    )
    [outcome] = wait_for(gitlab, selection.targets(gitlab.base_url, OwnJob()), policy)
    if isinstance(outcome, CommandError):
        raise outcome
    return outcome
