"""The loop that makes a bump land: read, edit, write, and again if somebody else was faster."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.patience import Patience
from cmd_bump_image_tag.bumping import bump
from cmd_bump_image_tag.diff import unified
from cmd_bump_image_tag.message import commit_message
from cmd_bump_image_tag.upstream import check_not_older
from cmd_bump_image_tag.ways import LostRaceError

if TYPE_CHECKING:
    from cmd_bump_image_tag.bumping import Result
    from cmd_bump_image_tag.planning import Change
    from cmd_bump_image_tag.request import BumpRequest
    from cmd_bump_image_tag.ways import Snapshot, Way

log = logging.getLogger("cicd_common.bump")


@dataclass(frozen=True)
class Landing:
    """What has landed, or would.

    Attributes:
        snapshot: What was read last.
        planned: What that comes to.
        commit: The commit; None where there is none.
    """

    snapshot: Snapshot
    planned: Result
    commit: str | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """What changes; none if all was up to date."""
        return self.planned.changes


def land(way: Way, snapshot: Snapshot, request: BumpRequest, *, retry_for: float) -> Landing:
    """Bumps what was read, and writes it, unless it is a dry run.

    Args:
        way: Where to read and write.
        snapshot: What was read there.
        request: What to bump.
        retry_for: Seconds for which lost races are run again.

    Raises:
        LostRaceError: The branch kept moving until the time ran out.
        CommandError: The bump is not possible or not allowed, or could not be written.
    """
    # Each loss of a race means that somebody else's write was made: a short pause will do.
    patience = Patience(retry_for, first=0.1, longest=2.0)
    while True:
        planned = _plan(request, snapshot)
        if unsure := planned.contents.keys() - snapshot.revisions.keys():
            snapshot = way.reread(snapshot, unsure)
            continue
        if planned.changes and not request.allow_downgrade:
            check_not_older(request.upstream, planned.changes, way.messages)
        if not planned.changes or request.dry_run:
            return Landing(snapshot, planned)
        message = commit_message(
            request.commit_message,
            request.bumps,
            planned.changes,
            upstream=request.upstream,
            skip_ci=request.skip_ci,
        )
        try:
            return Landing(snapshot, planned, way.write(snapshot, planned.contents, message))
        except LostRaceError as lost:
            patience.pause(lost)
            snapshot = way.reread(snapshot, planned.contents)


def tell(landing: Landing) -> None:
    """Says on the log what changes, as a diff, and what was left alone."""
    for warning in landing.planned.warnings:
        log.warning("%s", warning)
    for path, content in sorted(landing.planned.contents.items()):
        log.info("%s", unified(path, landing.snapshot.contents[path], content).rstrip("\n"))


def _plan(request: BumpRequest, snapshot: Snapshot) -> Result:
    return bump(
        snapshot.contents,
        request.bumps,
        paths=request.paths,
        allow_downgrade=request.allow_downgrade,
        named=snapshot.named & snapshot.contents.keys(),
        chosen=bool(request.patterns),
    )
