"""The console script: options in, one call, result out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cicd_common.cli import main as process
from cicd_common.cli.options import (
    Command,
    FilePath,
    option,
    project_option,
    ref_option,
    shared_options,
)
from cicd_common.waiting.options import optional_wait_options

if TYPE_CHECKING:
    from pathlib import Path

    from cicd_common.cli.settings import Settings
    from cicd_common.gitlab.tokens import Token

EXAMPLES = {
    "Start a pipeline with variables": (
        "cmd-trigger-pipeline --base-url https://gitlab.example.com "
        "--project group/name --variable DEPLOY_TO=staging"
    ),
    "On the branch of this job's name, if there is one; with inputs": (
        "cmd-trigger-pipeline --project group/name "
        '--ref "$CI_COMMIT_REF_NAME" --ref main --input replicas=3'
    ),
    "And end as the pipeline does; cancel it if this job is canceled": (
        "cmd-trigger-pipeline --project group/name --wait --cancel-on timeout,signal"
    ),
    "With a trigger token, from anywhere": (
        "TRIGGER_TOKEN=… cmd-trigger-pipeline --project group/name --ref main"
    ),
}


@click.command("cmd-trigger-pipeline", cls=Command, examples=EXAMPLES)
@project_option(
    multiple=True,
    required=True,
    help="Project to start a pipeline in: path, id or URL. Can be repeated.",
)
@ref_option(
    "refs",
    multiple=True,
    help="Branch or tag; if repeated, the first that exists. Default: the default branch.",
)
@option(
    "--trigger-token",
    metavar="TOKEN",
    envvar="TRIGGER_TOKEN",
    help="Pipeline trigger token of the project; it takes precedence over other tokens.",
)
@option(
    "--variable",
    metavar="KEY=VALUE",
    multiple=True,
    help="Variable of the pipeline; takes precedence over files of variables. Can be repeated.",
)
@option(
    "--variable-file",
    metavar="KEY=PATH",
    multiple=True,
    help="Variable of type file, with the content of the file at PATH. Can be repeated.",
)
@option(
    "--variables-from",
    metavar="FILE",
    multiple=True,
    type=FilePath(),
    help="File of variables for the pipeline: .env, JSON or YAML. Can be repeated.",
)
@option(
    "--input",
    "inputs",
    metavar="KEY=VALUE",
    multiple=True,
    help="Input of the pipeline. JSON such as 3 or true keeps its type. Can be repeated.",
)
@option(
    "--reuse",
    is_flag=True,
    help="In a retried job, use the pipeline that an earlier run of this job started with the same "
    "refs, variables and inputs, instead of starting another.",
)
@option(
    "--retry-failed",
    is_flag=True,
    help="Retry the failed jobs of the pipeline that --reuse finds.",
)
@optional_wait_options
@shared_options
def cli(
    *,
    settings: Settings,
    project: tuple[str, ...],
    trigger_token: str | None,
    variable: tuple[str, ...],
    variable_file: tuple[str, ...],
    variables_from: tuple[Path, ...],
    inputs: tuple[str, ...],
    **options: Any,
) -> int:
    """Start a pipeline in another project.

    It uses the endpoint that GitLab has for the kind of token. If the response is lost, the
    command checks whether the pipeline exists, so that it never starts a second one.
    """
    # Imported here: what sends requests is slow to import, and --help does not need it.
    from cicd_common.cli.output import PIPELINE_VARIABLES  # noqa: PLC0415
    from cmd_trigger_pipeline.request import TriggerRequest  # noqa: PLC0415
    from cmd_trigger_pipeline.run import run as trigger  # noqa: PLC0415
    from cmd_trigger_pipeline.variable_files import collect_variables  # noqa: PLC0415
    from cmd_trigger_pipeline.variables import (  # noqa: PLC0415
        parse_file_variable,
        parse_inputs,
        parse_variable,
    )

    request = TriggerRequest(
        projects=project,
        variables=collect_variables(
            variables_from,
            [parse_file_variable(text) for text in variable_file],
            [parse_variable(text) for text in variable],
        ),
        inputs=parse_inputs(inputs),
        trigger_token=_trigger_token(trigger_token),
        dry_run=settings.dry_run,
        **options,
    )
    settings.output.expect(len(project), PIPELINE_VARIABLES)
    shown = None
    if request.wait:
        from cicd_common.waiting.show.presenter import presenter  # noqa: PLC0415

        shown = presenter(quiet=settings.quiet, as_json=settings.output.format == "json")
    pipelines = trigger(request, settings.connection, shown)
    return settings.output.finish(pipelines, asked=project)


def _trigger_token(secret: str | None) -> Token | None:
    from cicd_common.gitlab.tokens import TokenKind, token_of  # noqa: PLC0415 - as above

    if secret is None:
        return None
    source = click.get_current_context().get_parameter_source("trigger_token")
    by_option = source is ParameterSource.COMMANDLINE
    return token_of(TokenKind.TRIGGER, secret, "--trigger-token" if by_option else "TRIGGER_TOKEN")


def main() -> None:
    """Runs the console script."""
    process.run(cli)
