"""`cmd-wait-pipeline`: wait for pipelines of a GitLab project to end.

From Python:

    from cmd_wait_pipeline import wait_pipeline

    result = wait_pipeline(
        project="group/name", tag="v1.2.3",
        base_url="https://gitlab.example.com", api_access_token=token,
    )
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from cicd_common import errors
from cicd_common.errors import *  # noqa: F403 - every exception, for those who catch it
from cicd_common.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from cicd_common.gitlab.connection import ConnectionOptions
    from cicd_common.waiting.pipelines import WaitResult
    from cicd_common.waiting.policy import WaitPolicy

__all__ = ["WaitPolicy", "WaitResult", "wait_pipeline"]
__all__ += errors.__all__

# What sends requests is slow to import, and the console script's --help does not need it.
__getattr__ = lazily(
    __name__,
    WaitPolicy="cicd_common.waiting.policy",
    WaitResult="cicd_common.waiting.pipelines",
)


@overload
def wait_pipeline(
    *,
    project: str,
    ref: str | None = None,
    all_running: Literal[True],
    policy: WaitPolicy | None = None,
    dry_run: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> tuple[WaitResult, ...]: ...
@overload
def wait_pipeline(
    *,
    project: str | None = None,
    pipeline_id: int | None = None,
    pipeline_url: str | None = None,
    ref: str | None = None,
    tag: str | None = None,
    sha: str | None = None,
    source: str | None = None,
    merge_request: int | None = None,
    newer_than: int = 0,
    policy: WaitPolicy | None = None,
    dry_run: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> WaitResult: ...
@overload
def wait_pipeline(
    *,
    project: str | None = None,
    pipeline_id: Sequence[int] = (),
    pipeline_url: Sequence[str] = (),
    policy: WaitPolicy | None = None,
    dry_run: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> tuple[WaitResult, ...]: ...
def wait_pipeline(
    *,
    project: str | None = None,
    pipeline_id: int | Sequence[int] | None = None,
    pipeline_url: str | Sequence[str] | None = None,
    ref: str | None = None,
    tag: str | None = None,
    sha: str | None = None,
    source: str | None = None,
    merge_request: int | None = None,
    newer_than: int = 0,
    all_running: bool = False,
    policy: WaitPolicy | None = None,
    dry_run: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> WaitResult | tuple[WaitResult, ...]:
    """Waits for pipelines to end; prints nothing.

    Args:
        project: Its project's path (`group/sub/name`), numeric id, or the URL of its page.
        pipeline_id: The pipeline's id, or several.
        pipeline_url: The URL of its page, which names the project too; or several.
        ref: The newest pipeline of a branch; with `all_running`, all of the branch.
        tag: The newest pipeline of a tag.
        sha: The newest pipeline of a commit.
        source: The newest pipeline with a source, such as `push`.
        merge_request: The newest pipeline of a merge request, by its number in the project.
        newer_than: Only a newest pipeline with a higher id than this one counts.
        all_running: Every active pipeline of the project; in a GitLab job, without the job's own
            pipeline.
        policy: How to wait; default: `WaitPolicy()`.
        dry_run: Whether to return the current state of the pipelines instead of waiting.
        connection: `base_url`; `api_access_token` or `job_token`; `ca_file`; `request_timeout`
            and `retry_for`, in seconds.

    Returns:
        The pipeline, which succeeded or ended as the policy allows. A tuple of pipelines for a
        sequence of ids or URLs, and with `all_running`.

    Raises:
        CommandError: A pipeline ended otherwise; the subclass says how, and the error's `results`
            hold the pipelines.
    """
    from cicd_common.gitlab.connection import connection_from  # noqa: PLC0415
    from cicd_common.parallel import results_of  # noqa: PLC0415
    from cicd_common.waiting.policy import WaitPolicy  # noqa: PLC0415
    from cmd_wait_pipeline.request import WaitRequest  # noqa: PLC0415
    from cmd_wait_pipeline.run import run  # noqa: PLC0415

    request = WaitRequest(
        project=project,
        pipelines=(
            *([pipeline_id] if isinstance(pipeline_id, int) else pipeline_id or ()),
            *([pipeline_url] if isinstance(pipeline_url, str) else pipeline_url or ()),
        ),
        ref=ref,
        tag=tag,
        sha=sha,
        source=source,
        merge_request=merge_request,
        newer_than=newer_than,
        all_running=all_running,
        policy=policy or WaitPolicy(),
        dry_run=dry_run,
    )
    results = results_of(run(request, connection_from(connection)))
    one = isinstance(pipeline_id, int | None) and isinstance(pipeline_url, str | None)
    return results[0] if one and not all_running else tuple(results)
