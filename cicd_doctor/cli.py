"""The console script `cicd-doctor`: options in, the table of checks, a line for each out."""

from __future__ import annotations

import click

from cicd_common.cli.main import run
from cicd_common.cli.options import (
    Command,
    Settings,
    option,
    project_option,
    ref_option,
    shared_options,
)
from cicd_common.errors import ALL_ERRORS
from cicd_doctor.model import Questions, Verdict

EXAMPLES = {
    "The server and the token": "cicd-doctor --base-url https://gitlab.example.com",
    "Before a pipeline tags or bumps a project": (
        "cicd-doctor --project group/name --tag-name v1.2.3 --ref main"
    ),
    "Whether another project's jobs may come in": (
        "cicd-doctor --project group/k8s-repo --source-project group/code-repo"
    ),
}


@click.command("cicd-doctor", cls=Command, examples=EXAMPLES, no_args_is_help=False)
@project_option(multiple=True, help="A project that the commands are to work on; may be repeated.")
@option("--tag-name", metavar="NAME", help="A tag to create: do protected tags allow it?")
@ref_option(help="A branch to push to: do protected branches allow it?")
@option(
    "--source-project",
    metavar="PROJECT",
    help="A project whose job tokens are to come in: does the allowlist have it?",
)
@option(
    "--registry",
    metavar="HOST",
    envvar="CI_REGISTRY",
    help="A container registry, host[:port]: does it take the login?",
)
@shared_options
def cli(
    *,
    settings: Settings,
    project: tuple[str, ...],
    tag_name: str | None,
    ref: str | None,
    source_project: str | None,
    registry: str | None,
) -> int:
    """Check what the commands need, and say what to do: a line for each check.

    Changes nothing. Ends with the code that a command would end with over the first failed check.
    """
    # Only now: python-gitlab is slow to import, and neither --help nor a wrong option needs it.
    from cicd_common.gitlab.client import GitLab  # noqa: PLC0415
    from cicd_doctor.examine import examine  # noqa: PLC0415

    questions = Questions(project, tag_name, ref, source_project, registry)
    findings = examine(GitLab(settings.connection), questions)
    for finding in findings:
        if finding.verdict is Verdict.FAILED:
            kind = next(kind for kind in ALL_ERRORS if kind.exit_code == finding.exit_code)
            raise kind(finding.message, why=finding.why, hint=finding.hint, results=findings)
    return settings.output.finish(findings, several=True)


def main() -> None:
    """The console script."""
    run(cli)
