"""The reasons for which GitLab refuses to create a pipeline, and what to do about each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError, ForbiddenError, NotFoundError, Refusal, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cicd_common.gitlab.projects import Project
    from cmd_trigger_pipeline.endpoint import Endpoint
    from cmd_trigger_pipeline.recovery import Attempt
    from cmd_trigger_pipeline.result import PipelineResult


class RefNotFoundError(NotFoundError):
    """The project has no such branch or tag."""


_VARIABLES = Refusal(
    r"Insufficient permissions to set pipeline variables",
    ForbiddenError,
    "The project allows no one, or only higher roles, to set variables of a pipeline.",
    "In the project, under Settings > CI/CD > Variables, change 'Minimum role to use pipeline "
    "variables'; or declare spec:inputs in its configuration and use --input instead.",
)
# GitLab 17.7 to about 18.4: https://gitlab.com/gitlab-org/gitlab/-/issues/557381
_PAYLOAD = _VARIABLES._replace(
    why="None was given, but this server counts its own TRIGGER_PAYLOAD as one, and the project "
    "allows no one, or only higher roles, to set variables.",
    hint="Give an access token (COMMANDS_API_TOKEN); or in the project, under Settings > CI/CD > "
    "Variables, lower 'Minimum role to use pipeline variables'.",
)
_MARK = _VARIABLES._replace(
    why="--reuse passes the pipeline a variable, and the project allows no one, or only higher "
    "roles, to set variables.",
    hint="In the project, under Settings > CI/CD > Variables, change 'Minimum role to use pipeline "
    "variables'; or leave out --reuse.",
)

# The texts are those of the steps of GitLab's `Ci::CreatePipelineService`, all with status 400.
_REFUSALS = (
    Refusal(
        r"Reference not found",
        RefNotFoundError,
        "{project} has no branch or tag {ref}. A commit SHA is not enough.",
        "Check --ref.",
    ),
    Refusal(
        r"Ref is ambiguous",
        RefusedError,
        "A branch and a tag have this name.",
        "Write --ref refs/heads/NAME or refs/tags/NAME.",
    ),
    _VARIABLES,
    Refusal(
        r"Insufficient permissions to create a new pipeline",
        ForbiddenError,
        "The role in the project is below Developer.",
        "Give the user that the token belongs to (for a job token: the user who started the job) "
        "at least the Developer role there.",
    ),
    Refusal(
        r"do not have sufficient permission to run a pipeline on",
        ForbiddenError,
        "The branch or tag is protected from this role.",
        "In the project, under Settings > Repository > Protected branches or Protected tags, "
        "allow the token's user to push, merge or create.",
    ),
    Refusal(
        r"Pipelines are disabled",
        ForbiddenError,
        "CI/CD is switched off in the project.",
        "In the project, under Settings > General > Visibility, project features, permissions, "
        "switch CI/CD on.",
    ),
    Refusal(
        r"rules configuration prevented|filtered out by workflow rules|No stages / jobs",
        RefusedError,
        "The rules of its jobs, or of its workflow, exclude a pipeline with the source '{source}'.",
        'Add a rule for it: if: $CI_PIPELINE_SOURCE == "{source}"; or check its variables.',
    ),
    Refusal(
        r"Missing CI config file",
        RefusedError,
        "The project has no .gitlab-ci.yml at this ref.",
        "Add one, or give another --ref.",
    ),
    Refusal(
        r"` input: |unknown input arguments|[Gg]iven inputs not defined",
        RefusedError,
        "The inputs are not those that spec:inputs of the configuration declares.",
        "Compare --input with spec:inputs at this ref; a value that is valid JSON has its type, "
        "so that a string of digits is --input 'KEY=\"1\"'.",
    ),
    Refusal(
        r"too many (active )?jobs",
        RefusedError,
        "The server limits the number of jobs, of a pipeline or of a project in a time.",
        "Wait, make the pipeline smaller, or ask an administrator to raise the limit.",
    ),
    Refusal(
        r"Identity verification is required",
        ForbiddenError,
        "GitLab runs no jobs for this user before the user's identity is verified.",
        "Verify the identity of the token's user in GitLab, or use the token of another user.",
    ),
    Refusal(
        r"Project is deleted",
        NotFoundError,
        "The project is being deleted.",
        "Check --project; an owner can restore a project that is marked for deletion.",
    ),
    Refusal(
        r"Commit not found",
        NotFoundError,
        "The ref has no commit in this project.",
        "Check --ref.",
    ),
    Refusal(
        r"import is complete",
        RefusedError,
        "The project is still being imported.",
        "Run this again when the import is complete.",
    ),
    Refusal(
        # Errors in the CI/CD configuration: keys, entries, includes, and those of the YAML parser.
        r"jobs:|config|\.ya?ml|while (parsing|scanning)|\bkeys?\b|[Ii]nclude|Local file|"
        r"YAML|yaml|^\(<unknown>\)|mapping values|"
        r"undefined (stage|need|dependency)|chosen stage|job .*:|extends",
        RefusedError,
        "The project's CI/CD configuration is not valid at this ref.",
        "Fix its .gitlab-ci.yml; the project's pipeline editor shows what is wrong.",
    ),
)
_UNKNOWN = Refusal(
    "",
    RefusedError,
    "GitLab gives no other reason.",
    "Start a pipeline of this ref on the project's page, and see what GitLab says there.",
)
# One of GitLab's texts contains a link to its documentation.
_LINK = re.compile(r"\s*<a [^>]*>.*?</a>")


def explain(
    refusal: RefusedError, attempt: Attempt, saved: Sequence[PipelineResult]
) -> CommandError:
    """Returns the error for a pipeline that GitLab refused to create.

    Args:
        refusal: GitLab's answer.
        attempt: The request.
        saved: The pipeline, if GitLab kept one that failed at once.
    """
    message = _LINK.sub("", refusal.message)
    if refusal.answer is None or refusal.answer.server_error:
        return refusal  # explained already, or about the request and not about the pipeline
    row = Refusal.of(message, _REFUSALS) or _UNKNOWN
    if row is _VARIABLES and attempt.request.reuse:
        row = _MARK
    elif row is _VARIABLES and not attempt.request.variables:
        row = _PAYLOAD
    names = {
        "source": attempt.endpoint.source,
        "project": attempt.project.path,
        "ref": attempt.ref,
    }
    return row.make(
        message,
        why=row.why.format(**names),
        hint=row.hint.format(**names),
        answer=refusal.answer,
        results=saved,
    )


def explain_not_found(error: NotFoundError, endpoint: Endpoint, project: Project) -> CommandError:
    """Returns the error for a 404: GitLab hides what a credential is not allowed to see."""
    if endpoint.source == "trigger":
        why = f"{project.path} does not exist, or the trigger token is not one of its own."
        hint = "Check the path, and Settings > CI/CD > Pipeline trigger tokens of the project."
    elif endpoint.source == "pipeline":
        if (forbidden := _why_unreadable(endpoint, project)) is not None:
            return forbidden
        why = (
            f"{project.path} does not exist, or does not allow this project's job token, "
            "or the user who started this job cannot see it."
        )
        hint = (
            "Check the path; in the other project, under Settings > CI/CD > Job token permissions, "
            "add this project."
        )
    elif error.why:
        return error
    else:
        why = (
            f"{project.path} does not exist, or this token cannot see it: GitLab returns 404 for "
            "both."
        )
        hint = "Check the path, and that the token's user is a member of the project."
    return NotFoundError(error.message, why=why, hint=hint, answer=error.answer)


def _why_unreadable(endpoint: Endpoint, project: Project) -> ForbiddenError | None:
    """Returns why a job token is refused, from a route that accepts one on every server.

    GitLab hides why the token cannot start a pipeline.
    """
    try:
        if endpoint.reader:
            endpoint.reader.get_list(f"projects/{project.id}/repository/tags", per_page=1)
    except ForbiddenError as forbidden:
        return forbidden
    except CommandError:
        return None
    return None
