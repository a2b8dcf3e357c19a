"""What a trigger reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar
from urllib.parse import urlsplit

from cicd_common.cli.output import pipeline_variables
from cicd_common.errors import CommandError
from cicd_common.gitlab import fields
from cicd_common.waiting.targets import ById

if TYPE_CHECKING:
    from cicd_common.gitlab.fields import JsonObject
    from cicd_common.waiting.pipelines import WaitResult


@dataclass(frozen=True)
class PipelineResult:
    """A pipeline that was started, or would be but for the dry run.

    Attributes:
        project: The project's path, or its id where nothing told the path.
        id: The pipeline's id; None in a dry run.
        iid: Its number within the project; None in a dry run.
        status: Its status when it was started; None in a dry run.
        ref: The branch or tag.
        sha: The commit; None if a dry run could not read it.
        created_at: When GitLab created it, in GitLab's words; None in a dry run.
        web_url: Its page; of a dry run the project's.
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
        """One short line for a person."""
        if self.id is None:
            where = f" at {self.sha[:8]}" if self.sha else ""
            return f"{self.project}: a pipeline would be started on {self.ref}{where}"
        return f"{self.project}: pipeline {self.id} {self.status} {self.web_url}"

    def target(self) -> ById:
        """What to wait for.

        Raises:
            ValueError: There is nothing, because of the dry run.
        """
        if self.id is None:
            raise ValueError("a dry run starts no pipeline")
        return ById(self.project, self.id, ours=self.ours)

    def ended(self, end: WaitResult | CommandError) -> WaitResult | CommandError:
        """How it ended; an error that holds no pipeline holds this one."""
        if isinstance(end, CommandError) and not end.results:
            end.results = (self,)
        return end

    def dotenv(self) -> dict[str, str]:
        """The variables that later jobs get; none of a dry run."""
        if self.id is None:
            return {}
        return pipeline_variables(
            self.id, self.project, self.web_url, str(self.status), str(self.sha)
        )


class FoundPipeline(PipelineResult):
    """A pipeline whose answer was lost and that was found: it is never canceled."""

    ours = False


P = TypeVar("P", bound=PipelineResult)


def read_pipeline(answer: JsonObject, base_url: str, kind: type[P]) -> P:
    """Takes a pipeline out of GitLab's answer.

    Args:
        answer: One pipeline, in a list or by itself.
        base_url: The server.
        kind: `PipelineResult`, or the kind of one that was found.

    Raises:
        UnavailableError: It is not a pipeline.
    """
    web_url = fields.url(answer, "web_url")
    # The page names the project as GitLab does, whatever the user named it by.
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
