"""`cmd-trigger-pipeline`: start a pipeline in another GitLab project.

From Python:

    from cmd_trigger_pipeline import trigger_pipeline

    result = trigger_pipeline(
        project="group/name", variables={"DEPLOY_TO": "staging"},
        base_url="https://gitlab.example.com", api_access_token=token,
    )
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from cicd_common.gitlab.connection import ConnectionOptions
    from cicd_common.waiting.pipelines import WaitResult
    from cicd_common.waiting.policy import WaitPolicy
    from cmd_trigger_pipeline.result import PipelineResult

__all__ = ["trigger_pipeline"]


def trigger_pipeline(
    *,
    project: str,
    ref: str | tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
    file_variables: Mapping[str, str] | None = None,
    inputs: Mapping[str, object] | None = None,
    trigger_token: str | None = None,
    wait: WaitPolicy | None = None,
    dry_run: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> PipelineResult | WaitResult:
    """Starts a pipeline in a project, exactly once, and may wait for its end; prints nothing.

    Args:
        project: Its path (`group/sub/name`), numeric id, or the URL of its page.
        ref: The branch or tag, or several, of which the first that exists is used; default: the
            project's default branch.
        variables: The pipeline's variables, by key.
        file_variables: Its variables of type file: the files' contents, by key.
        inputs: Its inputs, by name; values as JSON has them.
        trigger_token: A pipeline trigger token of the project. Without one, the connection's
            token starts the pipeline; beside one, it only reads.
        wait: How to wait for the pipeline's end; None not to wait.
        dry_run: Whether to change nothing.
        connection: `base_url`; `api_access_token` or `job_token`; `ca_file`; `request_timeout`
            and `retry_for`, in seconds.

    Returns:
        The pipeline, as it was started or, after a wait, as it ended.

    Raises:
        cicd_common.errors.CommandError: There is none, or it did not end well; the subclass says
            why, and its `results` hold the pipeline, if there is one.
    """
    # Imported here, so that the console script can show its help without python-gitlab.
    from cicd_common.errors import CommandError  # noqa: PLC0415
    from cicd_common.gitlab.client import GitLab  # noqa: PLC0415
    from cicd_common.gitlab.connection import connection_from  # noqa: PLC0415
    from cicd_common.gitlab.tokens import TokenKind, token_of  # noqa: PLC0415
    from cicd_common.waiting.wait import wait_for  # noqa: PLC0415
    from cmd_trigger_pipeline.endpoint import way_of  # noqa: PLC0415
    from cmd_trigger_pipeline.request import TriggerRequest  # noqa: PLC0415
    from cmd_trigger_pipeline.run import trigger  # noqa: PLC0415
    from cmd_trigger_pipeline.variables import Variable, merged  # noqa: PLC0415

    request = TriggerRequest(
        refs=(ref,) if isinstance(ref, str) else ref,
        variables=merged(
            [
                *(Variable(key, value, "file") for key, value in (file_variables or {}).items()),
                *(Variable(key, value) for key, value in (variables or {}).items()),
            ]
        ),
        inputs=inputs or {},
        dry_run=dry_run,
    )
    token = token_of(TokenKind.TRIGGER, trigger_token, "trigger_token") if trigger_token else None
    settings = connection_from(connection)
    request.check(settings.token, token, wait)
    gitlab = GitLab(settings)
    started = trigger(way_of(gitlab, token), project, request)
    if wait is None or dry_run:
        return started
    [outcome] = wait_for(gitlab, [started.target()], wait)
    end = started.ended(outcome)
    if isinstance(end, CommandError):
        raise end
    return end
