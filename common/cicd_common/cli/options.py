"""The options that commands share: each has its one name here, and its one reading.

`@shared_options` adds the options and does their work: the command gets one `Settings`.
"""

from __future__ import annotations

import functools
import math
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cicd_common import __version__
from cicd_common.cli import console
from cicd_common.cli.output import Output
from cicd_common.errors import UsageError
from cicd_common.gitlab.connection import (
    DEFAULT_REQUEST_TIMEOUT,
    DEFAULT_RETRY_FOR,
    Connection,
    connection_of,
)
from cicd_common.gitlab.tokens import Token, TokenKind, read_token_file, token_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from click.types import OptionHelpExtra


CONNECTION = "Connection"
OUTPUT = "Output"


@dataclass(frozen=True)
class Settings:
    """What the shared options say.

    Attributes:
        connection: Which server, with which credential, and how patiently; its base URL is empty
            if no server was given, which a command may do without.
        output: Where results go.
        dry_run: Whether to change nothing.
        quiet: Whether to say warnings and errors alone.
    """

    connection: Connection
    output: Output
    dry_run: bool
    quiet: bool = False


def seconds(text: str) -> float:
    """Reads a duration in seconds, whole or decimal, 0 included; a type for `click.option`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise click.BadParameter(f"{text!r} is no number of seconds.")
    return value


def positive_seconds(text: str) -> float:
    """Reads a duration in seconds that is more than 0; a type for `click.option`."""
    value = seconds(text)
    if value == 0:
        raise click.BadParameter("0 seconds are too few.")
    return value


def text_file(path: str) -> str:
    """Reads a file of UTF-8 text, `-` for stdin; a type for `click.option`."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return data.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise click.BadParameter(f"{path!r} cannot be read: {reason}.") from error


class Option(click.Option):
    """An option that shows its environment variables, and belongs to a group of the help.

    Args:
        group: The heading it stands under.
        settings: What `click.Option` takes.
    """

    def __init__(self, *args: Any, group: str = "Options", **settings: Any) -> None:
        super().__init__(*args, **({"show_envvar": True} | settings))
        self.group = group

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """What stands in brackets: no range, of which the text tells, and 30 rather than 30.0."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if "default" in extra and isinstance(self.default, float):
            extra["default"] = f"{self.default:g}"
        return extra


class Command(click.Command):
    """A command whose options may be spelled with underscores, and whose help is in groups.

    Args:
        examples: Command lines for the end of the help, by what each is for.
        settings: What `click.Command` takes.
    """

    def __init__(self, *args: Any, examples: Mapping[str, str], **settings: Any) -> None:
        settings["context_settings"] = {
            "help_option_names": ["-h", "--help"],
            # Pipelines written with --base_url and --tag_name exist.
            "token_normalize_func": lambda name: name.replace("_", "-"),
            "max_content_width": 100,
        }
        super().__init__(*args, **settings)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the command's own options, then those it shares."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                groups.setdefault(getattr(param, "group", OUTPUT), []).append(record)
        shared = (CONNECTION, OUTPUT)
        for title, records in sorted(groups.items(), key=lambda group: group[0] in shared):
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples."""
        del ctx
        with formatter.section("Examples"):
            for purpose, line in self.examples.items():
                formatter.write(f"  # {purpose}\n  {_broken(line, formatter.width)}\n\n")


def _broken(line: str, width: int) -> str:
    """A command line that can still be pasted, continued before an option where it is too wide."""
    first, *options = re.split(r" (?=--)", line)
    rows = [first]
    for each in options:
        if len(f"{rows[-1]} {each} \\") <= width:
            rows[-1] += f" {each}"
        else:
            rows.append(f"  {each}")
    return " \\\n  ".join(rows)


option = functools.partial(click.option, cls=Option)
_connection_option = functools.partial(option, group=CONNECTION)
_output_option = functools.partial(option, group=OUTPUT)

# The project to work on, under the name that all commands use and the older one.
project_option = functools.partial(
    option, "--project", "--project-group-and-name", "project", metavar="PROJECT"
)

_SHARED = (
    _connection_option(
        "--base-url",
        metavar="URL",
        envvar=["GITLAB_SERVER_BASE_URL", "CI_SERVER_URL"],
        help="The GitLab server. There is no default.",
    ),
    _connection_option(
        "--api-access-token",
        metavar="TOKEN",
        envvar=["COMMANDS_API_TOKEN", "GITLAB_TOKEN"],
        help="A personal, project or group access token.",
    ),
    _connection_option(
        "--api-access-token-file",
        metavar="FILE",
        envvar="COMMANDS_API_TOKEN_FILE",
        type=click.Path(path_type=Path),
        help="The same, read from a file.",
    ),
    _connection_option(
        "--job-token",
        metavar="TOKEN",
        envvar="CI_JOB_TOKEN",
        help="A CI job token; used only when no access token is given.",
    ),
    _connection_option(
        "--gitlab",
        "config_section",
        metavar="SECTION",
        help="A section of a python-gitlab configuration file; PYTHON_GITLAB_CFG names the file.",
    ),
    _connection_option(
        "--ca-file",
        metavar="FILE",
        envvar="CI_SERVER_TLS_CA_FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A certificate authority to trust beside the usual ones.",
    ),
    _connection_option(
        "--request-timeout",
        metavar="SECONDS",
        type=positive_seconds,
        default=DEFAULT_REQUEST_TIMEOUT,
        show_default=True,
        help="One request's limit; connecting may take 10 at most.",
    ),
    _connection_option(
        "--retry-for",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_RETRY_FOR,
        show_default=True,
        help="How long failures that may pass are ridden out.",
    ),
    _output_option(
        "-o",
        "--output",
        "output_format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="What goes to stdout.",
    ),
    _output_option(
        "--dotenv",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Also write the result as KEY=value lines, for artifacts:reports:dotenv.",
    ),
    _output_option(
        "--dotenv-prefix",
        metavar="TEXT",
        default="",
        help="What the names in the --dotenv file begin with, to keep two jobs apart.",
    ),
    _output_option("--dry-run", is_flag=True, help="Say what would be done; change nothing."),
    _output_option("-q", "--quiet", is_flag=True, help="Only warnings and errors on stderr."),
    _output_option("-v", "--verbose", count=True, help="Show each request; -vv: tracebacks too."),
    click.version_option(__version__, package_name="ci-cd-commands"),
)


def with_options(
    options: Sequence[Callable[[Callable[..., int]], Callable[..., int]]],
    command: Callable[..., int],
) -> Callable[..., int]:
    """Adds options to a command, which its help then lists in this order."""
    for add in reversed(options):
        command = add(command)
    return command


def shared_options(command: Callable[..., int]) -> Callable[..., int]:
    """Adds the options that every command has, and hands them on as one `settings`."""

    @functools.wraps(command)
    def with_settings(
        *,
        output_format: Any,
        dotenv: Path | None,
        dotenv_prefix: str,
        dry_run: bool,
        quiet: bool,
        verbose: int,
        **options: Any,
    ) -> int:
        console.set_verbosity(-1 if quiet else verbose)
        ctx = click.get_current_context()
        output = Output(output_format, dotenv, dotenv_prefix, dry_run)
        output.prepare()
        if isinstance(ctx.obj, list):  # the boundary's
            ctx.obj.append(output)
        connection = _connection(ctx)
        for param in ctx.command.params:
            if getattr(param, "group", None) == CONNECTION:
                del options[param.name]
        return command(settings=Settings(connection, output, dry_run, quiet), **options)

    return with_options(_SHARED, with_settings)


def _connection(ctx: click.Context) -> Connection:
    """Decides on one server and at most one credential.

    Options come before the environment, that before the configuration file; an access token
    comes before a job token.
    """
    return connection_of(
        base_url=ctx.params["base_url"] or "",
        token=_given_token(ctx),
        section=ctx.params["config_section"],
        ca_file=ctx.params["ca_file"],
        request_timeout=ctx.params["request_timeout"],
        retry_for=ctx.params["retry_for"],
    )


def _given_token(ctx: click.Context) -> Token | None:
    """The token that an option or a variable gives: options first, access tokens first."""
    by_option = {
        name
        for name in ("api_access_token", "api_access_token_file")
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if len(by_option) > 1:
        raise UsageError(
            "Both --api-access-token and --api-access-token-file were given.",
            hint="Give one of them.",
        )
    names = ["api_access_token", "api_access_token_file", "job_token"]
    # Of the two ways to give an access token, an option comes before a variable.
    names.sort(key=lambda name: (name == "job_token", name not in by_option))
    for name in names:
        value = ctx.params[name]
        if value is None:
            continue
        source = _source(ctx, name)
        if name == "api_access_token_file":
            return read_token_file(value, source)
        kind = TokenKind.JOB if name == "job_token" else TokenKind.ACCESS
        return token_of(kind, value, source)
    return None


def _source(ctx: click.Context, name: str) -> str:
    """Where a parameter's value came from, for people: the option or the variable."""
    param = next(param for param in ctx.command.params if param.name == name)
    if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        return max(param.opts, key=len)
    variables = [param.envvar] if isinstance(param.envvar, str) else param.envvar or ()
    return next(variable for variable in variables if os.environ.get(variable))
