"""The console script: options in, one call, result out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cicd_common.cli import main as process
from cicd_common.cli.options import (
    Command,
    option,
    project_option,
    ref_option,
    shared_options,
)
from cicd_common.waiting.options import wait_options

if TYPE_CHECKING:
    from cicd_common.cli.settings import Settings

MOST_DIGITS = 18  # the highest id: GitLab's database stores it in 8 bytes

EXAMPLES = {
    "Wait for a pipeline by the URL of its page": (
        "cmd-wait-pipeline https://gitlab.example.com/group/name/-/pipelines/123"
    ),
    "Wait for the pipeline of a tag, which can appear later": (
        "cmd-wait-pipeline --project group/name --tag v1.2.3 --timeout 1800"
    ),
    "In a GitLab job: wait until nothing that came before runs on this branch": (
        'cmd-wait-pipeline --all-running --ref "$CI_COMMIT_REF_NAME"'
    ),
}


def number(given: str | int) -> int:
    """Reads an id or a number, as GitLab shows it; a type for `click.option`."""
    text = str(given)
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
        raise click.BadParameter(f"{text!r} is not an id.")
    return int(text)


def pipeline(text: str) -> int | str:
    """Reads a pipeline's id or URL; a type for `click.argument`."""
    return text if "/" in text else number(text)


@click.command("cmd-wait-pipeline", cls=Command, examples=EXAMPLES)
@click.argument("pipelines", metavar="[ID|URL]...", nargs=-1, type=pipeline)
@project_option(
    envvar="CI_PROJECT_PATH",
    help="Project of the pipelines: path, id or URL. Not needed with --pipeline-url.",
)
@option(
    "--pipeline-id",
    "pipeline_ids",
    metavar="ID",
    type=number,
    multiple=True,
    help="Pipeline by its id. Can be repeated.",
)
@option(
    "--pipeline-url",
    "pipeline_urls",
    metavar="URL",
    multiple=True,
    help="Pipeline of any project by the URL of its page. Can be repeated.",
)
@ref_option(help="The newest pipeline of this branch; with --all-running, all of them.")
@option("--tag", metavar="TAG", help="The newest pipeline of this tag.")
@option("--sha", metavar="SHA", help="The newest pipeline of this commit.")
@option(
    "--source",
    metavar="SOURCE",
    help="The newest pipeline with this source, such as push or schedule.",
)
@option(
    "--merge-request",
    metavar="IID",
    type=number,
    help="The newest pipeline of this merge request, by its number in the project.",
)
@option(
    "--newer-than",
    metavar="ID",
    type=number,
    default=0,
    help="With --ref and the like: only a pipeline with a higher id than this one.",
)
@option(
    "--all-running",
    is_flag=True,
    help="Wait until nothing else runs in the project, or on the branch of --ref.",
)
@wait_options
@shared_options
def cli(
    *,
    settings: Settings,
    pipelines: tuple[int | str, ...],
    pipeline_ids: tuple[int, ...],
    pipeline_urls: tuple[str, ...],
    **options: Any,
) -> int:
    """Wait for pipelines to end, and say how they ended.

    Name them by id or URL, or as the newest of a branch, a tag, a commit, a source or a merge
    request. A pipeline that does not exist yet is waited for; once it is found, the command keeps
    to its id. The exit code is 0 only if all of them succeed.
    """
    # Imported here: what sends requests is slow to import, and --help does not need it.
    from cicd_common.cli.output import PIPELINE_VARIABLES  # noqa: PLC0415
    from cicd_common.waiting.show.presenter import presenter  # noqa: PLC0415
    from cmd_wait_pipeline.request import WaitRequest  # noqa: PLC0415
    from cmd_wait_pipeline.run import run as wait  # noqa: PLC0415

    request = WaitRequest(
        pipelines=(*pipelines, *pipeline_ids, *pipeline_urls), dry_run=settings.dry_run, **options
    )
    settings.output.expect(len(request.pipelines), PIPELINE_VARIABLES)
    shown = presenter(quiet=settings.quiet, as_json=settings.output.format == "json")
    outcomes = wait(request, settings.connection, shown)
    return settings.output.finish(
        outcomes,
        asked=request.asked(settings.connection.base_url, len(outcomes)),
        several=request.all_running or len(outcomes) > 1,
    )


def main() -> None:
    """Runs the console script."""
    process.run(cli)
