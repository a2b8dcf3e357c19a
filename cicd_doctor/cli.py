"""The console script `cicd-doctor`: reads the options, and prints the table of findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cicd_common.cli.main import run
from cicd_common.cli.options import (
    Command,
    insecure_registry_option,
    option,
    project_option,
    ref_option,
    shared_options,
)
from cicd_common.errors import ALL_ERRORS

if TYPE_CHECKING:
    from cicd_common.cli.settings import Settings
    from cicd_common.errors import CommandError
    from cicd_doctor.findings import Finding

EXAMPLES = {
    "The server and the token": "cicd-doctor --base-url https://gitlab.example.com",
    "Before a pipeline tags or bumps a project": (
        "cicd-doctor --project group/name --tag-name v1.2.3 --ref main"
    ),
    "Whether a project allows another project's job tokens": (
        "cicd-doctor --project group/k8s-repo --source-project group/code-repo"
    ),
}
# The doctor reports what is wrong now, so it sends each request once.
RETRY_FOR = 0.0
# Options without a meaning here; they are accepted, because pipelines give them to all commands.
MEANINGLESS = frozenset({"dotenv", "dotenv_prefix", "dry_run"})


@click.command("cicd-doctor", cls=Command, examples=EXAMPLES, no_args_is_help=False)
@project_option(multiple=True, help="A project that the commands work on; can be repeated.")
@option("--tag-name", metavar="NAME", help="A tag to create: do protected tags allow it?")
@ref_option(help="A branch to push to: do protected branches allow it?")
@option(
    "--source-project",
    metavar="PROJECT",
    help="A project whose job tokens need access: does the allowlist have it?",
)
@option(
    "--registry",
    metavar="HOST",
    envvar="CI_REGISTRY",
    help="A container registry, host[:port]: does it accept the login?",
)
@insecure_registry_option(help="Ask this registry over plain HTTP; may be repeated.")
@shared_options
def cli(
    *,
    settings: Settings,
    project: tuple[str, ...],
    tag_name: str | None,
    ref: str | None,
    source_project: str | None,
    registry: str | None,
    insecure_registry: tuple[str, ...],
) -> int:
    """Check the server, the token and the projects, and say what to do: a line for each check.

    Changes nothing. The exit code is that of the first check that failed.
    """
    # Imported here: python-gitlab is slow to import; --help and a wrong option do not need it.
    from dataclasses import replace  # noqa: PLC0415

    from cicd_common.cli.output import print_lines  # noqa: PLC0415
    from cicd_doctor.checks import run_checks  # noqa: PLC0415
    from cicd_doctor.findings import Questions, Verdict  # noqa: PLC0415
    from cicd_doctor.table import table  # noqa: PLC0415

    questions = Questions(project, tag_name, ref, source_project, registry, insecure_registry)
    connection = settings.connection
    if not connection.retry_for_given:
        connection = replace(connection, retry_for=RETRY_FOR)
    findings = run_checks(connection, questions)
    failures = [each for each in findings if each.verdict is Verdict.FAILED]
    if settings.output.format == "text":
        print_lines(table(findings))
        return failures[0].exit_code if failures else 0
    errors = [_error_of(each) for each in failures]
    if errors:
        errors[0].results = tuple(findings)
    return settings.output.finish(errors or findings, several=True)


def _error_of(finding: Finding) -> CommandError:
    kind = next(kind for kind in ALL_ERRORS if kind.exit_code == finding.exit_code)
    return kind(finding.message, why=finding.why, hint=finding.hint)


def _adapt_shared_options() -> None:
    for param in cli.params:
        if param.name == "retry_for":
            param.default = RETRY_FOR
        if isinstance(param, click.Option) and param.name in MEANINGLESS:
            param.hidden = True


_adapt_shared_options()


def main() -> None:
    """Runs the console script."""
    run(cli)
