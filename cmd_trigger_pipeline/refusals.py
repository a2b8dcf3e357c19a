"""Why GitLab would not create a pipeline, and what to do about each reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError, ForbiddenError, NotFoundError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cicd_common.gitlab.projects import Project
    from cmd_trigger_pipeline.endpoint import Way
    from cmd_trigger_pipeline.result import PipelineResult


class RefNotFoundError(NotFoundError):
    """The project has no such branch or tag."""


@dataclass(frozen=True)
class _Refusal:
    """What one of GitLab's texts means.

    Attributes:
        pattern: What the text holds.
        kind: The error that it is.
        why: Why; `{source}` is the pipeline's source.
        hint: What to do.
    """

    pattern: str
    kind: type[CommandError]
    why: str
    hint: str


# The texts are those of the steps of GitLab's `Ci::CreatePipelineService`, all with status 400.
_REFUSALS = (
    _Refusal(
        r"Reference not found",
        RefNotFoundError,
        "The project has no branch or tag of this name; a commit alone will not do.",
        "Check --ref.",
    ),
    _Refusal(
        r"Ref is ambiguous",
        RefusedError,
        "A branch and a tag have this name.",
        "Write --ref refs/heads/NAME or refs/tags/NAME.",
    ),
    _Refusal(
        r"Insufficient permissions to set pipeline variables",
        ForbiddenError,
        "The project lets nobody, or only higher roles, set variables of a pipeline.",
        "There, under Settings > CI/CD > Variables, change 'Minimum role to use pipeline "
        "variables'; or declare spec:inputs in its configuration and use --input instead.",
    ),
    _Refusal(
        r"Insufficient permissions to create a new pipeline",
        ForbiddenError,
        "The role in the project is below Developer.",
        "Give the user that the token belongs to (of a job token: who started the job) "
        "at least the Developer role there.",
    ),
    _Refusal(
        r"do not have sufficient permission to run a pipeline on",
        ForbiddenError,
        "The branch or tag is protected from this role.",
        "There, under Settings > Repository > Protected branches or Protected tags, "
        "allow the token's user to push, merge or create.",
    ),
    _Refusal(
        r"Pipelines are disabled",
        ForbiddenError,
        "CI/CD is switched off in the project.",
        "There, under Settings > General > Visibility, project features, permissions, "
        "switch CI/CD on.",
    ),
    _Refusal(
        r"rules configuration prevented|filtered out by workflow rules|No stages / jobs",
        RefusedError,
        "The rules of its jobs, or of its workflow, leave out a pipeline of source '{source}'.",
        'Have a rule take it: if: $CI_PIPELINE_SOURCE == "{source}"; or check its variables.',
    ),
    _Refusal(
        r"Missing CI config file",
        RefusedError,
        "There is no .gitlab-ci.yml at this ref.",
        "Add one, or give another --ref.",
    ),
    _Refusal(
        r"\binputs?\b",
        RefusedError,
        "The inputs are not those that spec:inputs of the configuration declares.",
        "Compare --input with spec:inputs at this ref; a value is JSON where it can be, "
        "so that a string of digits is --input 'KEY=\"1\"'.",
    ),
    _Refusal(
        r"",
        RefusedError,
        "The project's CI/CD configuration is not valid at this ref.",
        "Mend its .gitlab-ci.yml; the project's pipeline editor shows what is wrong.",
    ),
)
# GitLab puts a link to its documentation into one of its texts.
_LINK = re.compile(r"\s*<a [^>]*>.*?</a>")


def explain(refusal: RefusedError, way: Way, saved: Sequence[PipelineResult]) -> CommandError:
    """The error that a pipeline which GitLab would not create means.

    Args:
        refusal: What GitLab said.
        way: How it was asked.
        saved: The pipeline, where GitLab kept one that failed at once.
    """
    message = _LINK.sub("", refusal.message)
    if refusal.answer is None or refusal.answer.server_error:
        return refusal  # explained already, or not about the pipeline but about the request
    row = next(row for row in _REFUSALS if re.search(row.pattern, message))
    return row.kind(
        message,
        why=row.why.format(source=way.source),
        hint=row.hint.format(source=way.source),
        answer=refusal.answer,
        results=saved,
    )


def explain_not_found(error: NotFoundError, way: Way, project: Project) -> NotFoundError:
    """What a 404 to the request means: GitLab hides what a credential may not see."""
    if way.source == "trigger":
        why = f"{project.path} does not exist, or the trigger token is not one of its own."
        hint = "Check the path, and Settings > CI/CD > Pipeline trigger tokens of the project."
    elif way.source == "pipeline":
        why = (
            f"{project.path} does not exist, or does not allow this project's job token, "
            "or the person who started this job cannot see it."
        )
        hint = (
            "Check the path; there, under Settings > CI/CD > Job token permissions, "
            "add this project."
        )
    else:
        return error
    return NotFoundError(error.message, why=why, hint=hint, answer=error.answer)
