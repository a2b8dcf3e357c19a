"""The options of waiting: each has its one name here, for every command that waits."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from click.core import ParameterSource

from cicd_common.cli import console
from cicd_common.cli.options import option, positive_seconds, seconds, with_options
from cicd_common.cli.output import check_writable
from cicd_common.errors import UsageError
from cicd_common.waiting.policy import (
    DEFAULT_APPEAR_TIMEOUT,
    DEFAULT_LOG_TAIL,
    CancelOn,
    OnManual,
    OnSkipped,
    WaitPolicy,
    default_timeout,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cicd_common.cli.options import Settings
    from cicd_common.gitlab.client import GitLab
    from cicd_common.waiting.state import Outcome
    from cicd_common.waiting.targets import Target

R = TypeVar("R")
WAITING = "Waiting"


@dataclass(frozen=True)
class Waiting:
    """What the options of waiting say.

    Attributes:
        policy: How to wait.
        junit: A file for a JUnit report, if one is wanted.
    """

    policy: WaitPolicy
    junit: Path | None = None

    def wait(self, gitlab: GitLab, targets: Sequence[Target]) -> list[Outcome]:
        """Waits, and shows on stderr what happens.

        Args:
            gitlab: The client.
            targets: Which pipelines.

        Returns:
            For each pipeline, in the order of the targets, its result or the error that it is.
        """
        from cicd_common.waiting.show.presenter import presenter  # noqa: PLC0415 - the same
        from cicd_common.waiting.targets import own_job  # noqa: PLC0415 - slow; --help need not wait
        from cicd_common.waiting.wait import wait_for  # noqa: PLC0415 - the same

        return wait_for(
            gitlab,
            targets,
            self.policy,
            presenter=presenter(quiet=console.is_quiet(), junit=self.junit),
            own=own_job(os.environ),
        )

    def for_each(
        self,
        settings: Settings,
        gitlab: GitLab,
        projects: Sequence[str],
        start: Callable[[str], R],
        *,
        target_of: Callable[[R], Target],
        joined: Callable[[R, Outcome], Any],
    ) -> int:
        """Starts something in every project, side by side, waits, and writes what came of it.

        Args:
            settings: What the shared options say.
            gitlab: The client.
            projects: As a person named them.
            start: Starts it in one.
            target_of: The pipeline to wait for.
            joined: What was started and how it ended, as one outcome.

        Returns:
            The exit code.

        Raises:
            UsageError: One of them is no project of this server; nothing was sent.
        """
        # All that the wait needs is imported and made before anything is started: a signal finds
        # no gap between the start and the wait that cancels on it.
        from cicd_common.gitlab.projects import parse_project  # noqa: PLC0415 - slow; as above
        from cicd_common.waiting.show.presenter import presenter  # noqa: PLC0415 - the same
        from cicd_common.waiting.targets import own_job  # noqa: PLC0415 - the same
        from cicd_common.waiting.wait import start_and_wait  # noqa: PLC0415 - the same

        names = [parse_project(project, gitlab.base_url) for project in projects]
        ends = start_and_wait(
            gitlab,
            names,
            start,
            self.policy,
            target_of=target_of,
            joined=joined,
            presenter=presenter(quiet=console.is_quiet(), junit=self.junit),
            own=own_job(os.environ),
        )
        return settings.output.finish(ends, asked=names)


def cancel_causes(text: str) -> frozenset[CancelOn]:
    """Reads `timeout,signal`, either or both; a type for `click.option`."""
    causes = {cause.strip() for cause in text.split(",")} - {""}
    if not causes <= set(get_args(CancelOn)):
        raise click.BadParameter(f"{text!r} is none of {', '.join(get_args(CancelOn))}.")
    return frozenset(cause for cause in get_args(CancelOn) if cause in causes)


_option = functools.partial(option, group=WAITING)

_OPTIONS = (
    _option(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        help="How long to wait. Default: what is left of the job less a minute; elsewhere 3600.",
    ),
    _option(
        "--appear-timeout",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_APPEAR_TIMEOUT,
        show_default=True,
        help="How long a pipeline may take to appear.",
    ),
    _option(
        "--interval",
        metavar="SECONDS",
        type=positive_seconds,
        help="A fixed pause between looks. Default: adaptive.",
    ),
    _option(
        "--no-realtime",
        is_flag=True,
        help="Do not listen for GitLab's push; look by the clock alone.",
    ),
    _option(
        "--on-manual",
        type=click.Choice(get_args(OnManual)),
        default="fail",
        show_default=True,
        help="If a pipeline waits for a person; play starts the blocking manual jobs once.",
    ),
    _option(
        "--on-skipped",
        type=click.Choice(get_args(OnSkipped)),
        default="fail",
        show_default=True,
        help="If a pipeline was skipped.",
    ),
    _option(
        "--settle",
        metavar="SECONDS",
        type=seconds,
        default=0.0,
        show_default=True,
        help="A failure counts only if it still stands after this long.",
    ),
    _option(
        "--log-tail",
        metavar="LINES",
        type=click.IntRange(min=0),
        default=DEFAULT_LOG_TAIL,
        show_default=True,
        help="How much of each failed job's log to show; 0 for none.",
    ),
    _option(
        "--junit",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Write the jobs as a JUnit report, downstream pipelines included.",
    ),
)
# Of the commands that start pipelines, and may wait for them.
_STARTER_OPTIONS = (
    _option("--wait", is_flag=True, help="Wait for the pipelines to end, and end as they did."),
    *_OPTIONS,
    _option(
        "--cancel-on",
        metavar="timeout,signal",
        type=cancel_causes,
        default="",
        help="When to cancel the pipelines that this very call started.",
    ),
)


def wait_options(command: Callable[..., int]) -> Callable[..., int]:
    """Adds the options of waiting, and hands them on as one `waiting`."""

    @functools.wraps(command)
    def with_waiting(**options: Any) -> int:
        return command(waiting=_take(options), **options)

    return with_options(_OPTIONS, with_waiting)


def optional_wait_options(command: Callable[..., int]) -> Callable[..., int]:
    """Adds `--wait` and the options of waiting; `waiting` is None unless it is given."""

    @functools.wraps(command)
    def with_waiting(*, wait: bool, cancel_on: frozenset[CancelOn], **options: Any) -> int:
        if not wait:
            _refuse_without_wait(click.get_current_context())
        waiting = _take(options, cancel_on)
        return command(waiting=waiting if wait else None, **options)

    return with_options(_STARTER_OPTIONS, with_waiting)


def _take(options: dict[str, Any], cancel_on: frozenset[CancelOn] = frozenset()) -> Waiting:
    """Takes the options of waiting out of all that were given."""
    timeout, junit = options.pop("timeout"), options.pop("junit")
    if junit is not None:
        check_writable(junit, "--junit")
    policy = WaitPolicy(
        timeout=default_timeout(os.environ) if timeout is None else timeout,
        appear_timeout=options.pop("appear_timeout"),
        interval=options.pop("interval"),
        on_manual=options.pop("on_manual"),
        on_skipped=options.pop("on_skipped"),
        settle=options.pop("settle"),
        cancel_on=cancel_on,
        log_tail=options.pop("log_tail"),
        all_downstream=junit is not None,
        realtime=not options.pop("no_realtime"),
    )
    return Waiting(policy, junit)


def _refuse_without_wait(ctx: click.Context) -> None:
    """An option that would do nothing is a mistake, and often `--wait` was forgotten."""
    for param in ctx.command.params:
        if (
            getattr(param, "group", None) == WAITING
            and ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
        ):
            raise UsageError(
                f"{param.opts[0]} has no effect without --wait.",
                hint="Add --wait, or leave it out.",
            )
