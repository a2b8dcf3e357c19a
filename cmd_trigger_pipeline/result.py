"""The result of the trigger command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar
from urllib.parse import urlsplit

from cicd_common.cli.output import pipeline_variables
from cicd_common.errors import CommandError
from cicd_common.gitlab import fields

if TYPE_CHECKING:
    from cicd_common.gitlab.fields import JsonObject
    from cicd_common.waiting.pipelines import WaitResult
    from cicd_common.waiting.targets import ById


@dataclass(frozen=True)
class PipelineResult:
    """A pipeline that was started, or that a dry run would have started.

    Attributes:
        project: The project's path, or its id if the path is not known.
        id: The pipeline's id; None in a dry run.
        iid: Its number within the project; None in a dry run.
        status: Its status when it was started; None in a dry run.
        ref: The branch or tag.
        sha: The commit; None if a dry run could not read it.
        created_at: When GitLab created it, as GitLab writes it; None in a dry run.
        web_url: The URL of its page; in a dry run, that of the project.
    """

    project: str
    id: int | None
    iid: int | None
    status: str | None
    ref: str
    sha: str | None
    created_at: str | None
    web_url: str
    ours: ClassVar[bool] = True

    def text(self) -> str:
        """Returns one short line for the user."""
        if self.id is None:
            where = f" at {self.sha[:8]}" if self.sha else ""
            return f"{self.project}: a pipeline would be started on {self.ref}{where}"
        return f"{self.project}: pipeline {self.id} {self.status} {self.web_url}"

    def target(self) -> ById:
        """Returns the pipeline to wait for.

        Raises:
            ValueError: It is the result of a dry run, which has no pipeline.
        """
        if self.id is None:
            raise ValueError("a dry run starts no pipeline")
        from cicd_common.waiting.targets import ById  # noqa: PLC0415 - only --wait needs it

        return ById(self.project, self.id, ours=self.ours)

    def ended(self, end: WaitResult | CommandError) -> WaitResult | CommandError:
        """Returns how the pipeline ended; adds it to an error that has no pipeline."""
        if isinstance(end, CommandError) and not end.results:
            end.results = (self,)
        return end

    def dotenv(self) -> dict[str, str]:
        """Returns the dotenv variables for later jobs; none in a dry run."""
        if self.id is None:
            return {}
        return pipeline_variables(
            self.id, self.project, self.web_url, str(self.status), str(self.sha)
        )


class FoundPipeline(PipelineResult):
    """A pipeline that was found, not created by a response to this call; it is never canceled."""

    ours = False


P = TypeVar("P", bound=PipelineResult)


def read_pipeline(answer: JsonObject, base_url: str, kind: type[P]) -> P:
    """Reads a pipeline from GitLab's answer.

    Args:
        answer: GitLab's record of one pipeline.
        base_url: The server.
        kind: The class of the result: `PipelineResult` or `FoundPipeline`.

    Raises:
        UnavailableError: It is not a pipeline.
    """
    web_url = fields.url(answer, "web_url")
    # The page's URL has the project's path, even if the user gave an id.
    path = urlsplit(web_url).path.partition("/-/pipelines/")[0]
    return kind(
        project=path.removeprefix(urlsplit(base_url).path).strip("/"),
        id=fields.number(answer, "id"),
        iid=fields.number(answer, "iid"),
        status=fields.word(answer, "status"),
        ref=fields.word(answer, "ref"),
        sha=fields.word(answer, "sha"),
        created_at=fields.text(answer, "created_at"),
        web_url=web_url,
    )
