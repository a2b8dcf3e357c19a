"""Defines the options of waiting once, for every command that waits."""

from __future__ import annotations

import functools
from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from cicd_common.cli.options import FilePath, option, positive_seconds, seconds, with_options
from cicd_common.errors import UsageError
from cicd_common.waiting.policy import (
    DEFAULT_APPEAR_TIMEOUT,
    DEFAULT_LOG_TAIL,
    CancelOn,
    OnFailed,
    OnManual,
    OnSkipped,
    WaitPolicy,
    is_within_artifacts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

WAITING = "Waiting"


def cancel_causes(text: str) -> frozenset[CancelOn]:
    """Reads `timeout`, `signal` or both, separated by a comma; a type for `click.option`."""
    causes = {cause.strip() for cause in text.split(",")} - {""}
    if not causes <= set(get_args(CancelOn)):
        raise click.BadParameter(f"{text!r} is not one of {', '.join(get_args(CancelOn))}.")
    return frozenset(cause for cause in get_args(CancelOn) if cause in causes)


def artifacts_of(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """Parses each `JOB[=DIR]`; a callback for `click.option`."""
    from pathlib import Path  # noqa: PLC0415 - slow to import, and --help does not need it

    del ctx, param
    folders = _of_jobs(values, "JOB or JOB=DIR", default=".")
    return {job: Path(folder) for job, folder in folders.items()}


def dotenv_files_of(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Parses each `JOB=FILE`; a callback for `click.option`."""
    from pathlib import PurePosixPath  # noqa: PLC0415 - as above

    del ctx, param
    files = _of_jobs(values, "JOB=FILE")
    for file in files.values():
        if not is_within_artifacts(file):
            raise click.BadParameter(f"{file!r} is not a path within the artifacts.")
    return {job: str(PurePosixPath(file)) for job, file in files.items()}


def _of_jobs(values: Sequence[str], form: str, default: str = "") -> dict[str, str]:
    """Splits each value at its last `=`: a job's name can contain one."""
    found: dict[str, str] = {}
    for text in values:
        job, _, rest = text.rpartition("=") if "=" in text else (text, "", default)
        if not job or not rest:
            raise click.BadParameter(f"{text!r} is not {form}.")
        if job in found:
            raise click.BadParameter(f"Job {job!r} is named twice.")
        found[job] = rest
    return found


_option = functools.partial(option, group=WAITING)

_OPTIONS = (
    _option(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        help="How long to wait. Default: in a job, its remaining time minus 60; else 3600.",
    ),
    _option(
        "--appear-timeout",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_APPEAR_TIMEOUT,
        show_default=True,
        help="How long to wait for a pipeline to appear.",
    ),
    _option(
        "--interval",
        metavar="SECONDS",
        type=positive_seconds,
        help="Poll at this fixed interval. Default: an adaptive one.",
    ),
    _option(
        "--no-realtime",
        is_flag=True,
        help="Only poll; do not listen for the changes that GitLab pushes.",
    ),
    _option(
        "--job",
        "jobs",
        metavar="NAME",
        multiple=True,
        help="Wait for this job of the pipeline instead of all jobs, and end as it does. "
        "Can be repeated.",
    ),
    _option(
        "--artifacts",
        metavar="JOB[=DIR]",
        multiple=True,
        callback=artifacts_of,
        help="After success, unpack the artifacts of this job into DIR, default the working "
        "directory. Can be repeated.",
    ),
    _option(
        "--dotenv-from",
        metavar="JOB=FILE",
        multiple=True,
        callback=dotenv_files_of,
        help="After success, add the variables in this file of the job's artifacts to --dotenv. "
        "Can be repeated.",
    ),
    _option(
        "--on-manual",
        type=click.Choice(get_args(OnManual)),
        default="fail",
        show_default=True,
        help="What to do if a pipeline is blocked by a manual job; play starts these jobs once.",
    ),
    _option(
        "--on-skipped",
        type=click.Choice(get_args(OnSkipped)),
        default="fail",
        show_default=True,
        help="What to do if a pipeline was skipped.",
    ),
    _option(
        "--settle",
        metavar="SECONDS",
        type=seconds,
        default=0.0,
        show_default=True,
        help="A failure counts only if it remains for this long, so that a job can be retried.",
    ),
    _option(
        "--log-tail",
        metavar="LINES",
        type=click.IntRange(min=0),
        default=DEFAULT_LOG_TAIL,
        show_default=True,
        help="Number of lines to show of each failed job's log; 0 for none.",
    ),
    _option(
        "--junit",
        metavar="FILE",
        type=FilePath(),
        help="Write a JUnit report of the jobs, those of downstream pipelines included.",
    ),
)
# For the command that only waits: a lock depends on what others started.
_WAITER_OPTIONS = (
    *_OPTIONS,
    _option(
        "--on-failed",
        type=click.Choice(get_args(OnFailed)),
        default="pass",
        show_default=True,
        help="What --all-running does if a pipeline failed that it waited for.",
    ),
)
# For the commands that start pipelines and can wait for them.
_STARTER_OPTIONS = (
    _option(
        "--wait",
        is_flag=True,
        help="Wait for the pipelines to end; the exit code says how they ended.",
    ),
    *_OPTIONS,
    _option(
        "--cancel-on",
        metavar="timeout,signal",
        type=cancel_causes,
        default="",
        help="When to cancel the pipelines that this call started.",
    ),
)


def wait_options(command: Callable[..., int]) -> Callable[..., int]:
    """Adds the options of waiting, and passes their values to the command as one `policy`."""

    @functools.wraps(command)
    def with_policy(**options: Any) -> int:
        return command(policy=_take(options), **options)

    return with_options(_WAITER_OPTIONS, with_policy)


def optional_wait_options(command: Callable[..., int]) -> Callable[..., int]:
    """Adds `--wait` and its options; the command gets a policy as `wait`, or None without it."""

    @functools.wraps(command)
    def with_policy(*, wait: bool, **options: Any) -> int:
        if not wait:
            _refuse_without_wait(click.get_current_context())
        policy = _take(options)
        return command(wait=policy if wait else None, **options)

    return with_options(_STARTER_OPTIONS, with_policy)


def _take(options: dict[str, Any]) -> WaitPolicy:
    """Removes the options of waiting from all options, and returns them as a policy."""
    if options["junit"] is not None:
        _clear_report(options["junit"], click.get_current_context().params.get("dotenv"))
    realtime = not options.pop("no_realtime")
    named = [field.name for field in fields(WaitPolicy) if field.name in options]
    return WaitPolicy(realtime=realtime, **{name: options.pop(name) for name in named})


def _clear_report(junit: Path, dotenv: Path | None) -> None:
    """Deletes an old report before anything is sent, so that nothing takes it for this run's."""
    from cicd_common.cli.output import check_writable  # noqa: PLC0415 - as above

    if dotenv is not None and junit.resolve() == dotenv.resolve():
        raise UsageError(
            "--junit and --dotenv name the same file.", hint="Give each a file of its own."
        )
    check_writable(junit, "--junit")
    if junit.is_file() and not junit.is_symlink():
        junit.unlink()


def _refuse_without_wait(ctx: click.Context) -> None:
    """Refuses options that do nothing without `--wait`: often `--wait` was forgotten."""
    for param in ctx.command.params:
        if (
            getattr(param, "group", None) == WAITING
            and ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
        ):
            raise UsageError(
                f"{param.opts[0]} has no effect without --wait.",
                hint="Add --wait, or leave it out.",
            )
