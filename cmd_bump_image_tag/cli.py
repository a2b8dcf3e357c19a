"""The console script: options in, one call, result out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from cicd_common.cli.main import run
from cicd_common.cli.options import (
    Command,
    insecure_registry_option,
    option,
    positive_seconds,
    project_option,
    shared_options,
)
from cicd_common.errors import UsageError
from cmd_bump_image_tag import DEFAULT_TEMPLATE

if TYPE_CHECKING:
    from cicd_common.cli.settings import Settings

EXAMPLES = {
    "In the working directory": "cmd-bump-image-tag --image registry.example.com/web --tag v1.2.3",
    "In another project, by its API": (
        "cmd-bump-image-tag --base-url https://gitlab.example.com --project group/deployment "
        "--image registry.example.com/web --tag v1.2.3"
    ),
    "Several images in one merge request, merged once its pipeline has passed": (
        "cmd-bump-image-tag --project group/deployment --image example.com/web=v1.2.3 "
        "--image example.com/api=v4.5.6 --auto-merge"
    ),
    "In a job, with its own token, by git": (
        "cmd-bump-image-tag --via git --image example.com/web --tag v1.2.3"
    ),
}


@click.command("cmd-bump-image-tag", cls=Command, examples=EXAMPLES)
@option(
    "--image",
    metavar="NAME[=TAG[@DIGEST]]",
    multiple=True,
    help="The image to bump, with variables as the files have them ('$CI_REGISTRY/shop/web'); "
    "may be repeated, each with a tag of its own. Not needed with --path.",
)
@option("--tag", metavar="TAG", envvar="IMAGE_TAG", help="The tag to set.")
@option("--digest", metavar="DIGEST", help="The digest to set: sha256:…")
@option(
    "--file",
    metavar="PATTERN",
    multiple=True,
    help="File, folder or glob to edit; may be repeated. Default: all *.yaml, *.yml, *.json.",
)
@option(
    "--exclude",
    metavar="PATTERN",
    multiple=True,
    help="File, folder or glob to leave out; may be repeated.",
)
@option(
    "--path",
    metavar="PATH",
    multiple=True,
    help="Edit this key as well (spec.values.image.tag); without --image, set its value. "
    "May be repeated.",
)
@option(
    "--via",
    type=click.Choice(["files", "api", "git"]),
    help="Where the edit goes. Default: api with --project, git with --repository, else files.",
)
@project_option(
    help="The project to bump in. In a GitLab job, --via api and git default to its own."
)
@option("--repository", metavar="URL", help="A repository for git, also by SSH.")
@option("--branch", metavar="NAME", help="The branch to write to. Default: the default branch.")
@option("--merge-request", is_flag=True, help="Write to a branch of its own; open a merge request.")
@option(
    "--auto-merge",
    is_flag=True,
    help="Open a merge request, and have it merged once the pipeline of its commit has passed.",
)
@option(
    "--title",
    metavar="TEMPLATE",
    help="The merge request's title. Default: the subject of the commit message.",
)
@option(
    "--label", metavar="NAME", multiple=True, help="Label of the merge request; may be repeated."
)
@option(
    "--assignee",
    metavar="USER",
    multiple=True,
    help="User name of an assignee of the merge request; may be repeated.",
)
@option(
    "--reviewer",
    metavar="USER",
    multiple=True,
    help="User name of a reviewer of the merge request; may be repeated.",
)
@option(
    "--wait",
    is_flag=True,
    help="Wait until the merge request is merged; without one, for the commit's pipeline.",
)
@option(
    "--timeout",
    metavar="SECONDS",
    type=positive_seconds,
    help="How long --wait waits. Default: in a job, its remaining time minus 60; else 3600.",
)
@option(
    "--commit-message",
    metavar="TEMPLATE",
    default=DEFAULT_TEMPLATE,
    show_default=True,
    help="The commit's message, with {image}, {old}, {tag}, {digest}, {files}, {upstream}.",
)
@option(
    "--skip-ci/--no-skip-ci",
    default=None,
    help="Whether the subject ends with [skip ci]. Default: yes, but not in a merge request.",
)
@option("--verify-image", is_flag=True, help="Refuse a tag that its registry does not have.")
@option(
    "--pin-digest",
    is_flag=True,
    help="Verify the image as --verify-image does, and pin the tag to its digest.",
)
@insecure_registry_option(
    help="Ask this registry over plain HTTP when an image is verified; may be repeated."
)
@option("--allow-downgrade", is_flag=True, help="Let a lower version replace a higher one.")
@option(
    "--allow-older-pipeline",
    is_flag=True,
    help="Let an older pipeline overwrite the bump of a newer one.",
)
@option(
    "--strict",
    is_flag=True,
    help="Write nothing if a mention of the old reference would be left behind.",
)
@shared_options
def cli(*, settings: Settings, wait: bool, timeout: float | None, **options: Any) -> int:
    """Set an image's tag in the YAML files of a repository: only those bytes change.

    Knows Kubernetes, Kustomize, Helm, Compose, .gitlab-ci.yml and Flux's markers. If someone else
    writes at the same time, both edits land. Nothing to change is success too.
    """
    # Imported here: python-gitlab and YAML are slow to import, and --help does not need them.
    from cicd_common.waiting.policy import WaitPolicy  # noqa: PLC0415
    from cicd_common.waiting.show.presenter import presenter  # noqa: PLC0415
    from cmd_bump_image_tag.request import BumpRequest  # noqa: PLC0415
    from cmd_bump_image_tag.run import bump  # noqa: PLC0415

    if options["via"] in {"api", "git"} and options["repository"] is None:
        options["project"] = options["project"] or os.environ.get("CI_PROJECT_PATH")
    if timeout is not None and not wait:
        raise UsageError("--timeout has no effect without --wait.", hint="Add --wait.")
    request = BumpRequest(
        **options,
        wait=WaitPolicy(timeout=timeout) if wait else None,
        upstream=os.environ.get("CI_PIPELINE_URL", ""),
        dry_run=settings.dry_run,
    )
    shown = presenter(quiet=settings.quiet)
    return settings.output.finish([bump(request, settings.connection, shown)])


def main() -> None:
    """Runs the console script."""
    run(cli)
