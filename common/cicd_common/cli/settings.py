"""Reads the values of the shared options into one `Settings`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from click.core import ParameterSource

from cicd_common.cli.output import Output
from cicd_common.cli.verbosity import set_verbosity
from cicd_common.errors import UsageError
from cicd_common.gitlab.connection import Connection, connection_of
from cicd_common.gitlab.tokens import Token, TokenKind, read_token_file, token_of

if TYPE_CHECKING:
    import click


@dataclass(frozen=True)
class Settings:
    """Holds the values of the shared options.

    Attributes:
        connection: The server, the token and the time limits; its base URL is empty if no server
            was given, because some commands need none.
        output: Writes the results.
        dry_run: Whether to change nothing and only show what would be done.
        quiet: Whether to show only warnings and errors.
    """

    connection: Connection
    output: Output
    dry_run: bool
    quiet: bool = False


def read_settings(ctx: click.Context) -> Settings:
    """Reads the shared options, sets the verbosity, and prepares the output.

    Args:
        ctx: The context of the command, whose options are parsed.

    Raises:
        UsageError: An option's value is wrong, or contradicts another one.
    """
    given = ctx.params
    set_verbosity(-1 if given["quiet"] else given["verbose"])
    output = Output(
        given["output_format"], given["dotenv"], given["dotenv_prefix"], given["dry_run"]
    )
    output.prepare()
    if isinstance(ctx.obj, list):  # the list of cli/main.py
        ctx.obj.append(output)
    return Settings(_connection(ctx), output, given["dry_run"], given["quiet"])


def _connection(ctx: click.Context) -> Connection:
    """Chooses one server and at most one token.

    Options take precedence over environment variables, and these over the configuration file;
    an access token takes precedence over a job token.
    """
    by_default = ctx.get_parameter_source("retry_for") is ParameterSource.DEFAULT
    return connection_of(
        base_url=ctx.params["base_url"] or "",
        token=_given_token(ctx),
        section=ctx.params["config_section"],
        ca_file=ctx.params["ca_file"],
        request_timeout=ctx.params["request_timeout"],
        retry_for=None if by_default else ctx.params["retry_for"],
    )


def _given_token(ctx: click.Context) -> Token | None:
    """Returns the token that an option or a variable gives: options and access tokens first."""
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
    # An access token from an option takes precedence over one from a variable.
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
    """Returns the option or the variable that a parameter's value came from, for messages."""
    param = next(param for param in ctx.command.params if param.name == name)
    if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        return max(param.opts, key=len)
    variables = [param.envvar] if isinstance(param.envvar, str) else param.envvar or ()
    return next(variable for variable in variables if os.environ.get(variable))
