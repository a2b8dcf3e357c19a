"""The console script: options in, one call, result out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from cicd_common.cli import main as process
from cicd_common.cli.options import (
    Command,
    option,
    project_option,
    ref_option,
    shared_options,
    text_file,
)
from cicd_common.waiting.options import optional_wait_options

if TYPE_CHECKING:
    from cicd_common.cli.settings import Settings
    from cmd_tag_project.request import Next

TAG_VARIABLES = 4
JOB_TAG_NAME = ("CI_PROJECT_PATH_SLUG", "CI_COMMIT_SHA", "CI_JOB_ID")

EXAMPLES = {
    "Tag a project, which starts its tag pipeline": (
        "cmd-tag-project --base-url https://gitlab.example.com "
        "--project group/name --tag-name v1.2.3"
    ),
    "Count the version up, with a message": (
        "cmd-tag-project --project group/name --next minor --message 'The spring release'"
    ),
    "In a GitLab job: several projects, named after this job": (
        "cmd-tag-project --project group/one --project group/two"
    ),
    "And wait for the tag's pipeline, and end as it does": (
        "cmd-tag-project --project group/name --tag-name v1.2.3 --wait"
    ),
}


def asset(text: str) -> tuple[str, str]:
    """Reads `NAME=URL`; a type for `click.option`."""
    name, _, url = text.partition("=")
    return name, url


@click.command("cmd-tag-project", cls=Command, examples=EXAMPLES)
@project_option(
    multiple=True, required=True, help="Project to tag: path, id or URL. Can be repeated."
)
@option(
    "--tag-name",
    metavar="NAME",
    help="Name of the tag. Required outside a GitLab job, unless --next is given.",
)
@option(
    "--next",
    type=click.Choice(["major", "minor", "patch", "auto"]),
    help="Name the tag after the next version; auto reads the commits since the highest one.",
)
@option(
    "--prefix",
    metavar="TEXT",
    help="Text before the version in a tag's name. Default: as in the project, else v.",
)
@option(
    "--within",
    metavar="LINE",
    help="With --next, count only versions of this line, such as 1 or 1.4.",
)
@ref_option(help="Branch, tag or SHA to tag. Default: the default branch.")
@option("--message", metavar="TEXT", default="", help="Make an annotated tag with this message.")
@option("--release", is_flag=True, help="Also create a release of the tag.")
@option(
    "--release-notes",
    metavar="FILE",
    type=text_file,
    help="File with the description of the release in Markdown; - for stdin. Implies --release.",
)
@option(
    "--asset",
    "assets",
    metavar="NAME=URL",
    type=asset,
    multiple=True,
    help="Add a link to the release, to a file at URL. Implies --release. Can be repeated.",
)
@optional_wait_options
@shared_options
def cli(
    *,
    settings: Settings,
    project: tuple[str, ...],
    tag_name: str | None,
    next: Next | None,  # noqa: A002 - the option's name
    **options: Any,
) -> int:
    """Create a tag in another project, which starts that project's tag pipeline.

    If the tag exists at the same commit, that is success too. In a GitLab job the default name
    is ${CI_PROJECT_PATH_SLUG}_${CI_COMMIT_SHA}_${CI_JOB_ID}.
    """
    # Imported here: what sends requests is slow to import, and --help does not need it.
    from cicd_common.cli.output import PIPELINE_VARIABLES  # noqa: PLC0415
    from cmd_tag_project.request import TagRequest  # noqa: PLC0415
    from cmd_tag_project.run import run as tag  # noqa: PLC0415

    request = TagRequest(
        projects=project,
        tag_name=tag_name if next else tag_name or _job_tag_name(),
        next=next,
        dry_run=settings.dry_run,
        **options,
    )
    settings.output.expect(
        len(project), TAG_VARIABLES + (PIPELINE_VARIABLES if request.wait else 0)
    )
    shown = None
    if request.wait:
        from cicd_common.waiting.show.presenter import presenter  # noqa: PLC0415

        shown = presenter(quiet=settings.quiet, as_json=settings.output.format == "json")
    tags = tag(request, settings.connection, shown)
    return settings.output.finish(tags, asked=project)


def _job_tag_name() -> str | None:
    """Returns the default tag name of this GitLab job; None outside a job."""
    parts = [os.environ.get(name, "") for name in JOB_TAG_NAME]
    return "_".join(parts) if all(parts) else None


def main() -> None:
    """Runs the console script."""
    process.run(cli)
