"""Trigger jobs: they start a pipeline in another project, or a child in their own.

The checks, their order and the failure reasons are those of
`app/services/ci/create_downstream_pipeline_service.rb`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import git
from sandbox.ci import progress
from sandbox.ci.create import create_pipeline
from sandbox.ci.environment import variables_of
from sandbox.ci.errors import PipelineRefused
from sandbox.ci.variables import as_values, expand, expand_all, merge
from sandbox.model import Access, Variable
from sandbox.permissions import access, find_project, may_see, may_update

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.ci.plan import JobPlan, Trigger
    from sandbox.model import Job, Pipeline, Project, State, User

_DEEPEST_CHILD = 2
_MOST_CYCLES = 2
NO_VARIABLES = "Insufficient permissions to set pipeline variables"


class _Drop(Exception):  # noqa: N818 - an outcome, not a fault
    """The bridge fails; the text is its failure reason."""


def start(state: State, bridge: Job) -> None:
    """Starts the downstream pipeline of a pending bridge; called with `State.lock` held.

    Without a strategy the bridge has succeeded once the pipeline exists; with one it runs until
    the pipeline has ended.
    """
    plan = progress.plan_of(bridge)
    progress.move(state, bridge, "running")
    try:
        downstream = _create(state, bridge, plan)
    except _Drop as reason:
        progress.move(state, bridge, "failed", reason=str(reason))
        return
    except PipelineRefused as refusal:
        bridge.trace += "\n".join(refusal.messages).encode()
        progress.move(state, bridge, "failed", reason="downstream_pipeline_creation_failed")
        return
    if plan.trigger and plan.trigger.strategy:
        progress.mirror(state, downstream)
    else:
        progress.move(state, bridge, "success")


def _create(state: State, bridge: Job, plan: JobPlan) -> Pipeline:
    trigger = plan.trigger
    if trigger is None:
        raise TypeError(f"job {bridge.id} is no bridge")
    user = bridge.user or bridge.pipeline.user
    values = as_values(expand_all(variables_of(state, bridge)))
    upstream = bridge.pipeline
    if trigger.include:
        project, ref, tag, sha = upstream.project, upstream.ref, upstream.tag, upstream.sha
        source = "parent_pipeline"
        if sum(1 for _ in _parents(upstream)) > _DEEPEST_CHILD:
            raise _Drop("reached_max_descendant_pipelines_depth")
    else:
        project = _project(state, expand(trigger.project or "", values), user, upstream)
        ref = expand(trigger.branch or "", values) or project.default_branch
        tag, sha = _resolve(project, ref)
        source = "pipeline"
        _check_rights(project, ref, tag=tag, user=user)
        _check_cycle(upstream)
    passed = _passed(plan, trigger, upstream, values)
    if passed and access(project, user) < project.pipeline_variables_role:
        raise PipelineRefused([NO_VARIABLES])
    downstream = create_pipeline(
        state,
        project,
        ref=ref,
        sha=sha,
        tag=tag,
        source=source,
        user=user,
        variables=passed,
        inputs=trigger.inputs,
        upstream=bridge,
    )
    if downstream is None:
        raise TypeError("only a push may end without a pipeline")
    return downstream


def _passed(
    plan: JobPlan, trigger: Trigger, upstream: Pipeline, values: dict[str, str]
) -> list[Variable]:
    """The variables that the downstream pipeline gets, as `trigger:forward` says."""
    own = [Variable(v.key, v.value if v.raw else expand(v.value, values)) for v in plan.variables]
    return merge(
        own if trigger.yaml_variables else (),
        upstream.variables if trigger.pipeline_variables else (),
    )


def _project(state: State, path: str, user: User, upstream: Pipeline) -> Project:
    project = find_project(state, path)
    if project is None or not may_see(project, user):
        raise _Drop("downstream_bridge_project_not_found")
    if project is upstream.project:
        raise _Drop("invalid_bridge_trigger")
    return project


def _check_rights(project: Project, ref: str, *, tag: bool, user: User) -> None:
    role = access(project, user)
    protected = project.protected_tags if tag else project.protected_branches
    if role < Access.DEVELOPER or not may_update(protected, ref, role):
        raise _Drop("insufficient_bridge_permissions")


def _check_cycle(pipeline: Pipeline) -> None:
    """One round trip is allowed, as A may start B and B start A again; a second is not."""
    chain = list(_upstreams(pipeline))
    same = [other for other in chain if _kind(other) == _kind(pipeline)]
    if len(same) > _MOST_CYCLES:
        raise _Drop("pipeline_loop_detected")


def _kind(pipeline: Pipeline) -> tuple[int, str, str]:
    return (pipeline.project.id, pipeline.ref, pipeline.source)


def _upstreams(pipeline: Pipeline | None) -> Iterator[Pipeline]:
    while pipeline:
        yield pipeline
        pipeline = pipeline.upstream.pipeline if pipeline.upstream else None


def _parents(pipeline: Pipeline) -> Iterator[Pipeline]:
    for other in _upstreams(pipeline):
        yield other
        if other.source != "parent_pipeline":
            return


def _resolve(project: Project, ref: str) -> tuple[bool, str]:
    """Whether a ref is a tag, and the SHA of its commit; a branch goes before a tag."""
    for tag, namespace in ((False, "heads"), (True, "tags")):
        sha = git.resolve(project.repository, f"refs/{namespace}/{ref}")
        if sha:
            return tag, sha
    raise PipelineRefused(["Reference not found"])
