"""Defines each option that commands share in one place.

`@shared_options` adds the options, and `settings.py` reads them: the command gets one `Settings`.
Each command imports this module for `--help`, so what is slow to import is imported in functions.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from typing import TYPE_CHECKING, Any

import click

from cicd_common import DEFAULT_REQUEST_TIMEOUT, DEFAULT_RETRY_FOR, __version__
from cicd_common.cli import console
from cicd_common.errors import ALL_ERRORS, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from click.types import OptionHelpExtra


CONNECTION = "Connection"
OUTPUT = "Output"
FIRST_COLUMN = 29  # characters of the help, for the names of the options


# `90s`, `5m`, `1h30m`: kubectl, docker and flux accept the same forms.
_NUMBER = r"\d+(?:\.\d+)?"
_DURATION = re.compile(
    rf"(?P<plain>{_NUMBER})"
    rf"|(?:(?P<hours>{_NUMBER})h)?(?:(?P<minutes>{_NUMBER})m)?(?:(?P<seconds>{_NUMBER})s)?"
)
# The system's timers do not support longer durations; no GitLab job runs that long.
LONGEST_DURATION = 20 * 24 * 3600


def seconds(given: str | float) -> float:
    """Reads a duration, `90`, `1.5`, `90s`, `5m` or `1h30m`; a type for `click.option`."""
    text = str(given).strip()
    found = _DURATION.fullmatch(text) if text.isascii() else None
    if found is None or not any(found.groupdict().values()):
        raise click.BadParameter(f"{text!r} is not a duration such as 90, 90s, 5m or 1h30m.")
    units = {"plain": 1, "hours": 3600, "minutes": 60, "seconds": 1}
    value = sum(float(found[unit] or 0) * length for unit, length in units.items())
    if value > LONGEST_DURATION:
        raise click.BadParameter(f"{text!r} is more than 20 days.")
    return value


def positive_seconds(given: str | float) -> float:
    """Reads a duration that is more than 0; a type for `click.option`."""
    value = seconds(given)
    if value == 0:
        raise click.BadParameter("It must be more than 0 seconds.")
    return value


class FilePath(click.Path):
    """Converts a value to a `pathlib.Path`, which is slow to import; a type for `click.option`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Returns the path, after the checks of `click.Path`."""
        from pathlib import Path  # noqa: PLC0415

        return Path(os.fsdecode(super().convert(value, param, ctx)))


def text_file(path: str) -> str:
    """Reads a UTF-8 text file, or stdin for `-`; a type for `click.option`."""
    from pathlib import Path  # noqa: PLC0415

    from cicd_common.files import UnreadableError, read_text  # noqa: PLC0415

    try:
        return read_text(Path(path))
    except UnreadableError as error:
        raise click.BadParameter(f"{path!r} cannot be read: {error}.") from error


class Option(click.Option):
    """Adds to a click option its environment variables and its group in the help.

    Args:
        group: The heading above it in the help.
        settings: The arguments of `click.Option`.
    """

    def __init__(self, *args: Any, group: str = "Options", **settings: Any) -> None:
        super().__init__(*args, **({"show_envvar": True} | settings))
        self.group = group

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Returns what the help shows in brackets: without the range, and 30 instead of 30.0."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if "default" in extra and isinstance(self.default, float):
            extra["default"] = f"{self.default:g}"
        return extra


# Existing pipelines use this name for --project.
_OTHER_NAMES = {"project-group-and-name": "project"}
_SHELLS = {"sh", "bash", "/bin/sh", "/bin/bash"}


def _normalized(name: str) -> str:
    """Returns an option's declared name, because existing pipelines use --base_url."""
    dashes = name.replace("_", "-")
    return _OTHER_NAMES.get(dashes, dashes)


class Command(click.Command):
    """Defines a command that accepts underscores in option names and groups options in its help.

    Args:
        examples: Command lines for the end of the help, by what each one does.
        settings: The arguments of `click.Command`. Without arguments the command shows a short
            help, unless `no_args_is_help` is False.
    """

    def __init__(self, *args: Any, examples: Mapping[str, str], **settings: Any) -> None:
        settings["context_settings"] = {
            "help_option_names": ["-h", "--help"],
            "token_normalize_func": _normalized,
            "max_content_width": 100,
        }
        super().__init__(*args, **({"no_args_is_help": True} | settings))
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the arguments, or shows a short help if there are none."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            console.say(self._short_help(ctx))
            ctx.exit(UsageError.exit_code)
        if args[:1] and args[0] in _SHELLS:
            raise UsageError(
                f"{self.name} was started with a shell's arguments: {' '.join(args[:2])}.",
                why="GitLab Runner starts a shell in an image, and this image starts the command.",
                hint='In the job, write image: {name: IMAGE, entrypoint: [""]}.',
            )
        return super().parse_args(ctx, args)

    def _short_help(self, ctx: click.Context) -> str:
        formatter = ctx.make_formatter()
        self.format_usage(ctx, formatter)
        summary, _, _ = (self.help or "").partition("\n")
        formatter.write(f"\n{summary}\n")
        self._write_examples(formatter, most=2)
        formatter.write(f"\nSee {self.name} --help for all options.")
        return formatter.getvalue()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the command's own options, then the shared options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                groups.setdefault(getattr(param, "group", OUTPUT), []).append(record)
        shared = (CONNECTION, OUTPUT)
        for title, records in sorted(groups.items(), key=lambda group: group[0] in shared):
            with formatter.section(title):
                # All sections get the same width; the formatter would choose one for each.
                padded = [(first.ljust(FIRST_COLUMN), text) for first, text in records]
                formatter.write_dl(padded, col_max=FIRST_COLUMN)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes how to give durations, the examples, the exit codes, and where to read more."""
        del ctx
        formatter.write("\nSECONDS can also be written as 90s, 5m or 1h30m.\n")
        self._write_examples(formatter, most=len(self.examples))
        with formatter.section("Exit codes"):
            formatter.write_dl(
                [
                    ("0", "Done, or already so."),
                    *((str(kind.exit_code), kind.meaning) for kind in ALL_ERRORS),
                    ("130, 143", "Ended by SIGINT, SIGTERM."),
                ]
            )
        formatter.write(f"\nDocumentation: {_page(str(self.name))}\n")

    def _write_examples(self, formatter: click.HelpFormatter, *, most: int) -> None:
        with formatter.section("Examples"):
            shown = list(self.examples.items())[:most]
            formatter.write(
                "\n".join(
                    f"  # {what}\n  {_broken(line, formatter.width)}\n" for what, line in shown
                )
            )


def _page(command: str) -> str:
    """Returns the address of a command's page: its URL from the wheel, or its path."""
    name = f"{command.removeprefix('cicd-')}.md"
    # importlib.metadata and pathlib take longer to import than the help takes to show.
    package = __file__.removesuffix("cicd_common/cli/options.py")
    metadata = f"{package}ci_cd_commands-{__version__}.dist-info/METADATA"
    with contextlib.suppress(OSError), open(metadata, encoding="utf-8") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith(_DOCUMENTATION):
                return f"{line.removeprefix(_DOCUMENTATION).rpartition('/')[0]}/{name}"
    return f"docs/{name} in the repository of ci-cd-commands"


# In a wheel's metadata, if hatch_build.py knew it; the address ends with `/README.md`.
_DOCUMENTATION = "Project-URL: Documentation, "


def _broken(line: str, width: int) -> str:
    """Returns a command line, broken with a backslash before an option if it is too wide."""
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

# Options that several commands share.
project_option = functools.partial(option, "-p", "--project", "project", metavar="PROJECT")
ref_option = functools.partial(option, "-r", "--ref", metavar="REF")
insecure_registry_option = functools.partial(
    option, "--insecure-registry", metavar="HOST[:PORT]", multiple=True
)

_SHARED = (
    _connection_option(
        "--base-url",
        metavar="URL",
        envvar=["GITLAB_SERVER_BASE_URL", "CI_SERVER_URL"],
        help="URL of the GitLab server, such as https://gitlab.example.com. There is no default.",
    ),
    _connection_option(
        "--api-access-token",
        metavar="TOKEN",
        envvar=["COMMANDS_API_TOKEN", "GITLAB_TOKEN"],
        help="Personal, project or group access token.",
    ),
    _connection_option(
        "--api-access-token-file",
        metavar="FILE",
        envvar="COMMANDS_API_TOKEN_FILE",
        type=FilePath(),
        help="File with an access token, such as a Docker secret or a GitLab file variable.",
    ),
    _connection_option(
        "--job-token",
        metavar="TOKEN",
        envvar="CI_JOB_TOKEN",
        help="CI job token, used only if no access token is given.",
    ),
    _connection_option(
        "--gitlab",
        "config_section",
        metavar="SECTION",
        help="Section of a python-gitlab configuration file; PYTHON_GITLAB_CFG names the file.",
    ),
    _connection_option(
        "--ca-file",
        metavar="FILE",
        envvar="CI_SERVER_TLS_CA_FILE",
        type=FilePath(exists=True, dir_okay=False),
        help="Extra certificate authorities to trust, in PEM.",
    ),
    _connection_option(
        "--request-timeout",
        metavar="SECONDS",
        type=positive_seconds,
        default=DEFAULT_REQUEST_TIMEOUT,
        show_default=True,
        help="Time limit of one request; connecting can take 10 seconds of it at most.",
    ),
    _connection_option(
        "--retry-for",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_RETRY_FOR,
        show_default=True,
        help="How long temporary failures are retried, such as a lost connection or a 502.",
    ),
    _output_option(
        "-o",
        "--output",
        "output_format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Format of the result on stdout.",
    ),
    _output_option(
        "--dotenv",
        metavar="FILE",
        type=FilePath(),
        help="Also write the result to this file as KEY=value lines, for artifacts:reports:dotenv.",
    ),
    _output_option(
        "--dotenv-prefix",
        metavar="TEXT",
        default="",
        help="Prefix of the variable names in the --dotenv file, to keep two jobs apart.",
    ),
    _output_option("--dry-run", is_flag=True, help="Show what would be done, and change nothing."),
    _output_option("-q", "--quiet", is_flag=True, help="Show only warnings and errors on stderr."),
    _output_option(
        "-v",
        "--verbose",
        count=True,
        help="Show each request on stderr; -vv shows tracebacks, too.",
    ),
    click.version_option(__version__, package_name="ci-cd-commands"),
)


def with_options(
    options: Sequence[Callable[[Callable[..., int]], Callable[..., int]]],
    command: Callable[..., int],
) -> Callable[..., int]:
    """Adds options to a command; its help lists them in this order."""
    for add in reversed(options):
        command = add(command)
    return command


def shared_options(command: Callable[..., int]) -> Callable[..., int]:
    """Adds the options that every command has, and passes their values as one `settings`."""

    @functools.wraps(command)
    def with_settings(**options: Any) -> int:
        from cicd_common.cli.settings import read_settings  # noqa: PLC0415

        ctx = click.get_current_context()
        for param in ctx.command.params:
            if getattr(param, "group", None) in {CONNECTION, OUTPUT}:
                del options[str(param.name)]
        return command(settings=read_settings(ctx), **options)

    return with_options(_SHARED, with_settings)
