"""Pipelines as people, tokens and pushes start and steer them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from sandbox import git, permissions, scripted, versions
from sandbox.ci import PipelineRefused, create_pipeline
from sandbox.model import Access

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.model import Job, Pipeline, Project, State, User, Variable

_KEY = re.compile(r"[a-zA-Z0-9_]{1,255}")
_RATE_WINDOW = timedelta(minutes=1)
_NOT_ON_THIS_REF = (
    "You do not have sufficient permission to run a pipeline on '{ref}'. "
    "Please select a different branch or contact your administrator for assistance. "
    "<a href=https://docs.gitlab.com/ee/ci/pipelines/#pipeline-security-on-protected-branches>"
    "Learn more</a>"
)


def start(
    state: State,
    project: Project,
    *,
    ref: str,
    source: str,
    user: User,
    variables: Sequence[Variable] = (),
    payload: Variable | None = None,
    inputs: Mapping[str, object] | None = None,
    upstream: Job | None = None,
) -> Pipeline:
    """Starts a pipeline because somebody asked for it; `[skip ci]` does not matter here.

    The checks, their order and their texts are those of the steps of GitLab's
    `Ci::CreatePipelineService`.

    Args:
        state: The records.
        project: Whose pipeline.
        ref: A branch or a tag, by its short name or in full.
        source: `api`, `trigger` or `pipeline`.
        user: Who asks.
        variables: The pipeline's own variables.
        payload: The TRIGGER_PAYLOAD that GitLab adds.
        inputs: Its inputs.
        upstream: The job that asks, if one does.

    Returns:
        The new pipeline.

    Raises:
        PipelineRefused: Why it does not come to be.
    """
    counts = payload is not None and state.version.has(versions.PAYLOAD_IS_A_USERS_VARIABLE)
    role = permissions.access(project, user)
    if (variables or counts) and role < project.pipeline_variables_role:
        raise PipelineRefused(["Insufficient permissions to set pipeline variables"])
    _check_keys(variables)
    if payload:
        variables = [*variables, payload]
    tag, name, sha = _permitted_ref(project, ref, user)
    if _too_many(state, project, user, sha):
        raise PipelineRefused(["Too many pipelines created in the last minute. Try again later."])
    if project.script:
        pipeline = scripted.create(
            state,
            project.script,
            project,
            ref=name,
            sha=sha,
            tag=tag,
            source=source,
            user=user,
            created_at=state.clock.now(),
            variables=variables,
        )
        return _lagging(state, pipeline)
    created = create_pipeline(
        state,
        project,
        ref=name,
        sha=sha,
        tag=tag,
        source=source,
        user=user,
        variables=variables,
        inputs=inputs,
        upstream=upstream,
    )
    if created is None:
        raise TypeError("only a push may end without a pipeline")
    return _lagging(state, created)


def _lagging(state: State, pipeline: Pipeline) -> Pipeline:
    """The pipeline, which read replicas have some time later."""
    if state.slow.replica:
        pipeline.readable_from = state.clock.now() + timedelta(seconds=state.slow.replica)
    return pipeline


def _check_keys(variables: Sequence[Variable]) -> None:
    """Refuse variables as `Chain::Build::Associations` and `Ci::HasVariable` do."""
    keys = [variable.key for variable in variables]
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if twice:
        name = "name" if len(twice) == 1 else "names"
        raise PipelineRefused([f"Duplicate variable {name}: {', '.join(twice)}"])
    if not all(_KEY.fullmatch(key) for key in keys):
        raise PipelineRefused(["can contain only letters, digits and '_'."], field="variables.key")


def _permitted_ref(project: Project, ref: str, user: User) -> tuple[bool, str, str]:
    """The one ref that a name means, on which the user may run pipelines.

    Raises:
        PipelineRefused: There is none, or there are two, or the user may not.
    """
    role = permissions.access(project, user)
    if not project.ci_enabled:
        raise PipelineRefused(["Pipelines are disabled!"])
    if role < Access.DEVELOPER:
        raise PipelineRefused(["Insufficient permissions to create a new pipeline"])
    found = _find_refs(project, ref)
    if not found:
        raise PipelineRefused(["Reference not found"])
    tag, name, _ = found[0]
    rules = project.protected_tags if tag else project.protected_branches
    if not permissions.may_update(rules, name, role):
        raise PipelineRefused([_NOT_ON_THIS_REF.format(ref=ref)])
    if len(found) > 1:
        raise PipelineRefused(["Ref is ambiguous"])
    return found[0]


def _find_refs(project: Project, ref: str) -> list[tuple[bool, str, str]]:
    """Whether it is a tag, its short name and its commit, of each ref that a name may mean."""
    named = [(False, "refs/heads/"), (True, "refs/tags/")]
    full = [prefix for _, prefix in named if ref.startswith(prefix)]
    return [
        (tag, name, sha)
        for tag, prefix in named
        if full in ([], [prefix])
        and (name := ref.removeprefix(prefix))
        and (sha := git.resolve(project.repository, prefix + name))
    ]


def _too_many(state: State, project: Project, user: User, sha: str) -> bool:
    since = state.clock.now() - _RATE_WINDOW
    recent = [
        pipeline
        for pipeline in state.pipelines.values()
        if (pipeline.project, pipeline.user, pipeline.sha) == (project, user, sha)
        and pipeline.created_at > since
    ]
    limit = state.pipelines_per_minute
    return limit is not None and len(recent) >= limit
