"""What a bump came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cicd_common.projects import Project
    from cmd_bump_image_tag.landing import Landing
    from cmd_bump_image_tag.planning import Change
    from cmd_bump_image_tag.request import BumpRequest


@dataclass(frozen=True)
class BumpResult:
    """What a bump changed, or would change but for the dry run.

    Attributes:
        changed: Whether anything was written by this call.
        files: What changed: path, line, old and new text, image.
        commit: The commit's SHA; None where there is none.
        web_url: The commit's page on GitLab.
        merge_request: The merge request's page.
        would_change: Whether a dry run found something to change.
    """

    changed: bool
    files: tuple[Change, ...] = ()
    commit: str | None = None
    web_url: str | None = None
    merge_request: str | None = None
    would_change: bool = False

    def text(self) -> str:
        """One short line for a person."""
        if not self.files:
            line = "up to date"
        else:
            paths = len({change.path for change in self.files})
            places = _counted(len(self.files), "change")
            verb = "would make" if self.would_change else "made"
            line = f"{verb} {places} in {_counted(paths, 'file')}"
        where = self.merge_request or (self.commit and f"commit {self.commit[:8]}")
        return f"{line}: {where}" if where else line

    def dotenv(self) -> dict[str, str]:
        """The variables that later jobs get."""
        return {
            "BUMP_CHANGED": str(self.changed).lower(),
            "BUMP_COMMIT_SHA": self.commit or "",
            "BUMP_URL": self.merge_request or self.web_url or "",
        }


def result_of(
    landing: Landing,
    request: BumpRequest,
    *,
    changed: bool = False,
    project: Project | None = None,
) -> BumpResult:
    """The result that a landing is.

    Args:
        landing: What landed, or would.
        request: What was asked for.
        changed: Whether anything was written.
        project: Where on GitLab, if it was there.
    """
    page = f"{project.web_url}/-/commit/{landing.commit}" if project and landing.commit else None
    return BumpResult(
        changed=changed,
        files=landing.changes,
        commit=landing.commit,
        web_url=page,
        would_change=request.dry_run and bool(landing.changes),
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
