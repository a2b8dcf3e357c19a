"""The console script: options in, one call, result out."""

from __future__ import annotations

from typing import Any

import click

from cicd_common.cli import main as process
from cicd_common.cli.options import Command, Settings, option, project_option, shared_options
from cicd_common.waiting.options import wait_options

EXAMPLES = {
    "Wait for a pipeline by the address of its page": (
        "cmd-wait-pipeline --base-url https://gitlab.example.com "
        "--pipeline-url https://gitlab.example.com/group/name/-/pipelines/123"
    ),
    "Wait for the pipeline of a tag, which may be yet to come": (
        "cmd-wait-pipeline --project group/name --tag v1.2.3 --timeout 1800"
    ),
    "In a GitLab job: wait until nothing that came before runs on this branch": (
        'cmd-wait-pipeline --all-running --ref "$CI_COMMIT_REF_NAME"'
    ),
}


@click.command("cmd-wait-pipeline", cls=Command, examples=EXAMPLES)
@project_option(envvar="CI_PROJECT_PATH", help="The project of the pipelines.")
@option(
    "--pipeline-id",
    "pipeline_ids",
    metavar="ID",
    type=click.IntRange(min=1),
    multiple=True,
    help="A pipeline; may be repeated.",
)
@option(
    "--pipeline-url",
    "pipeline_urls",
    metavar="URL",
    multiple=True,
    help="A pipeline of any project, by the address of its page; may be repeated.",
)
@option("--ref", metavar="REF", help="The newest pipeline of this branch.")
@option("--tag", metavar="TAG", help="The newest pipeline of this tag.")
@option("--sha", metavar="SHA", help="The newest pipeline of this commit.")
@option(
    "--source",
    metavar="SOURCE",
    help="The newest pipeline with this source, such as push or schedule.",
)
@option(
    "--all-running",
    is_flag=True,
    help="Every unfinished pipeline; in a job of the project, every one before the job's own.",
)
@wait_options
@shared_options
def cli(*, settings: Settings, **options: Any) -> int:
    """Wait for pipelines to end, and say how they ended.

    A pipeline that does not exist yet is waited for; once it is found, it is known by its id.
    The exit code is 0 only if all of them end with success: 1 is failed, 9 canceled, 10 skipped,
    11 waiting for a person, 7 out of time.
    """
    # Only now: what sends requests is slow to import, and --help does not need it.
    from cicd_common.waiting.show.presenter import presenter  # noqa: PLC0415
    from cmd_wait_pipeline.request import WaitRequest  # noqa: PLC0415
    from cmd_wait_pipeline.run import run as wait  # noqa: PLC0415

    request = WaitRequest(dry_run=settings.dry_run, **options)
    outcomes = wait(request, settings.connection, presenter(quiet=settings.quiet))
    return settings.output.finish(outcomes, several=request.several)


def main() -> None:
    """The console script."""
    process.run(cli)
