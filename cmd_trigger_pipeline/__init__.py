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

from cicd_common import errors
from cicd_common.errors import *  # noqa: F403 - every exception, for those who catch it
from cicd_common.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Unpack

    from cicd_common.gitlab.connection import ConnectionOptions
    from cicd_common.waiting.pipelines import WaitResult
    from cicd_common.waiting.policy import WaitPolicy
    from cmd_trigger_pipeline.result import PipelineResult

__all__ = ["PipelineResult", "WaitPolicy", "WaitResult", "trigger_pipeline"]
__all__ += errors.__all__

# What sends requests is slow to import, and the console script's --help does not need it.
__getattr__ = lazily(
    __name__,
    PipelineResult="cmd_trigger_pipeline.result",
    WaitPolicy="cicd_common.waiting.policy",
    WaitResult="cicd_common.waiting.pipelines",
)


def trigger_pipeline(
    *,
    project: str,
    ref: str | Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    file_variables: Mapping[str, str] | None = None,
    variables_from: Path | Sequence[Path] = (),
    inputs: Mapping[str, object] | None = None,
    trigger_token: str | None = None,
    wait: bool | WaitPolicy = False,
    reuse: bool = False,
    retry_failed: bool = False,
    dry_run: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> PipelineResult | WaitResult:
    """Starts a pipeline in a project exactly once, and can wait for its end; prints nothing.

    Args:
        project: Its path (`group/sub/name`), numeric id, or the URL of its page.
        ref: The branch or tag; if there are several, the first that exists is used; default: the
            project's default branch.
        variables: The pipeline's variables, by key.
        file_variables: Its variables of type file: the files' contents, by key.
        variables_from: A `.env`, JSON or YAML file of variables, or several; the other arguments
            take precedence.
        inputs: Its inputs, by name; values of any JSON type.
        trigger_token: A pipeline trigger token of the project. Without one, the connection's
            token starts the pipeline; in addition to one, it only reads.
        wait: True or a policy to wait for the pipeline's end.
        reuse: In a retried GitLab job, whether to use the pipeline that an earlier run of the job
            started with the same refs, variables and inputs, instead of starting another.
        retry_failed: Whether to retry the failed jobs of the pipeline that `reuse` finds.
        dry_run: True to return what would happen, and to change nothing.
        connection: `base_url`; `api_access_token` or `job_token`; `ca_file`; `request_timeout`
            and `retry_for`, in seconds.

    Returns:
        The pipeline, as it was started or, after a wait, as it ended.

    Raises:
        CommandError: It was not started, or did not succeed; the subclass says why, and its
            `results` hold the pipeline, if there is one.
    """
    from pathlib import Path  # noqa: PLC0415

    from cicd_common.gitlab.connection import connection_from  # noqa: PLC0415
    from cicd_common.gitlab.tokens import TokenKind, token_of  # noqa: PLC0415
    from cicd_common.parallel import results_of  # noqa: PLC0415
    from cicd_common.waiting.policy import policy_of  # noqa: PLC0415
    from cmd_trigger_pipeline.request import TriggerRequest  # noqa: PLC0415
    from cmd_trigger_pipeline.run import run  # noqa: PLC0415
    from cmd_trigger_pipeline.variable_files import collect_variables  # noqa: PLC0415
    from cmd_trigger_pipeline.variables import Variable  # noqa: PLC0415

    request = TriggerRequest(
        projects=(project,),
        refs=(ref,) if isinstance(ref, str) else tuple(ref),
        variables=collect_variables(
            (variables_from,) if isinstance(variables_from, Path) else variables_from,
            [Variable(key, value, "file") for key, value in (file_variables or {}).items()],
            [Variable(key, value) for key, value in (variables or {}).items()],
        ),
        inputs=inputs or {},
        trigger_token=token_of(TokenKind.TRIGGER, trigger_token, "trigger_token")
        if trigger_token
        else None,
        wait=policy_of(wait),
        reuse=reuse,
        retry_failed=retry_failed,
        dry_run=dry_run,
    )
    pipelines: list[PipelineResult | WaitResult]
    pipelines = results_of(run(request, connection_from(connection)))
    return pipelines[0]
