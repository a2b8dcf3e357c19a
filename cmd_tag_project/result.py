"""The result of the tag command."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, replace
from typing import TYPE_CHECKING, cast

from cicd_common.errors import CommandError

if TYPE_CHECKING:
    from cicd_common.waiting.pipelines import WaitResult
    from cicd_common.waiting.targets import Newest


@dataclass(frozen=True)
class TagResult:
    """A tag that exists now, or that a dry run would have created.

    Attributes:
        project: The project's path.
        tag: The tag's name.
        commit: The full SHA of its commit.
        created: Whether this call created it.
        web_url: The URL of its page.
        release: The state of its release: `created`, `exists`, `updated`, or `would be` and one
            of these; None if no release was requested.
        would_create: Whether a dry run found that the tag would be created.
        pipeline: The tag's pipeline as it ended, if the command waited for it.

    Args:
        awaited: The pipeline to wait for; None if there is none.
    """

    project: str
    tag: str
    commit: str
    created: bool
    web_url: str
    release: str | None = None
    would_create: bool = False
    pipeline: WaitResult | None = None
    awaited: InitVar[Newest | None] = None

    def __post_init__(self, awaited: Newest | None) -> None:
        object.__setattr__(self, "_awaited", awaited)  # not a field: not in the JSON

    def text(self) -> str:
        """Returns one short line for the user."""
        if not self.tag:
            return f"{self.project}: there is no version, and no commit asks for one"
        state = "would be created" if self.would_create else "already exists"
        line = f"{self.project}: tag {self.tag} {'created' if self.created else state}"
        release = f", release {self.release}" if self.release else ""
        ended = f"; {self.pipeline.text().partition(': ')[2]}" if self.pipeline else ""
        return f"{line} at {self.commit[:8]}{release}{ended}"

    def dotenv(self) -> dict[str, str]:
        """Returns the dotenv variables for later jobs."""
        tag = {
            "TAG_NAME": self.tag,
            "TAG_COMMIT_SHA": self.commit,
            "TAG_PROJECT": self.project,
            "TAG_CREATED": str(self.created).lower(),
        }
        return tag | (self.pipeline.dotenv() if self.pipeline else {})

    def target(self) -> Newest | None:
        """Returns the pipeline to wait for, which GitLab creates shortly after the tag."""
        return cast("Newest | None", getattr(self, "_awaited", None))

    def ended(self, end: WaitResult | CommandError) -> TagResult | CommandError:
        """Returns the tag with its pipeline as it ended.

        Args:
            end: How the wait ended; an error's `results` hold the pipeline, if it was found.
        """
        from cicd_common.waiting.pipelines import WaitResult  # noqa: PLC0415 - only --wait needs it

        if isinstance(end, CommandError):
            pipelines = [result for result in end.results if isinstance(result, WaitResult)]
            end.results = (replace(self, pipeline=pipelines[0] if pipelines else None),)
            return end
        return replace(self, pipeline=end)
