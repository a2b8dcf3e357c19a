"""Makes a pipeline from the configuration of a commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.ci import rules
from sandbox.ci.config import read_plan
from sandbox.ci.document import CONFIG_FILE, Library, compose
from sandbox.ci.errors import ConfigError, PipelineRefused
from sandbox.ci.plan import Include, JobPlan
from sandbox.ci.predefined import Request
from sandbox.ci.redundant import cancel_redundant
from sandbox.ci.rules import Circumstances
from sandbox.ci.variables import expand
from sandbox.model import NO_COMMIT, Job, Pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.model import MergeRequest, Project, State, User, Variable

NO_CONFIG = "Missing CI config file"
DISABLED = "Pipelines are disabled!"
NO_WORKFLOW = "Pipeline filtered out by workflow rules."
NO_JOBS = (
    "Pipeline will not run for the selected trigger. "
    "The rules configuration prevented any jobs from being added to the pipeline."
)
# Sources whose pipelines GitLab saves even where the configuration is wrong.
_SAVED = frozenset({"push", "merge_request_event", "trigger", "pipeline", "parent_pipeline"})


class _Filtered(Exception):  # noqa: N818 - an outcome, not a fault
    """The pipeline is not to be; the text says why."""


def create_pipeline(
    state: State,
    project: Project,
    *,
    ref: str,
    sha: str,
    tag: bool,
    source: str,
    user: User,
    variables: Sequence[Variable] = (),
    inputs: Mapping[str, object] | None = None,
    upstream: Job | None = None,
    skip_ci: bool = False,
    before: str = NO_COMMIT,
    merge_request: MergeRequest | None = None,
) -> Pipeline | None:
    """Makes the pipeline of a commit and registers it; its jobs are `created` and do not run yet.

    Args:
        state: The records.
        project: Whose pipeline.
        ref: The name of the branch or tag.
        sha: The full SHA of its commit.
        tag: Whether the ref is a tag.
        source: GitLab's word for what caused it, such as `push`, `api` or `trigger`.
        user: Who did.
        variables: The pipeline's own variables.
        inputs: For the configuration's `spec:inputs`.
        upstream: The bridge that starts it, for `pipeline` and `parent_pipeline`.
        skip_ci: Whether the commit or the push said so: the pipeline is `skipped`, without jobs.
        before: The commit that the branch had before the push.
        merge_request: What a pipeline of source `merge_request_event` is about.

    Returns:
        The pipeline. Of a push or a merge request None if there is nothing to run, and one that
        failed, with `yaml_errors`, if the configuration is wrong.

    Raises:
        PipelineRefused: Of any other source there is nothing to run, or the configuration is wrong.
    """
    request = Request(project, ref, sha, tag, source, user, before, merge_request)
    unasked = source in ("push", "merge_request_event")
    try:
        name, jobs = _read(Circumstances(state, request, variables), upstream, inputs or {})
    except _Filtered as reason:
        if unasked:
            return None
        raise PipelineRefused([str(reason)]) from reason
    except ConfigError as error:
        saved = None
        if source in _SAVED:
            saved = _pipeline(state, request, variables, upstream)
            saved.yaml_errors = str(error)
            saved.status, saved.finished_at = "failed", saved.created_at
            _register(state, saved)
        if skip_ci and saved:
            saved.yaml_errors, saved.finished_at, saved.status = None, None, "skipped"
        if unasked:
            return saved
        raise PipelineRefused([str(error)], saved) from error
    pipeline = _pipeline(state, request, variables, upstream)
    pipeline.name = name
    if skip_ci:
        pipeline.status = "skipped"
    else:
        pipeline.stages = list(dict.fromkeys(plan.stage for plan in jobs))
        pipeline.jobs = [new_job(state, pipeline, plan, user) for plan in jobs]
    _register(state, pipeline)
    cancel_redundant(state, pipeline)
    return pipeline


def reasons_against(
    state: State,
    project: Project,
    user: User,
    *,
    ref: str,
    sha: str,
    merge_request: MergeRequest | None = None,
) -> list[str]:
    """Why a commit would have no pipeline, in GitLab's words; empty if it would have one.

    Args:
        state: The records.
        project: Whose pipeline.
        user: Who would start it.
        ref: The name of the branch, or a merge request's ref.
        sha: The full SHA of its commit.
        merge_request: What the pipeline would be about; None for a push.
    """
    source = "merge_request_event" if merge_request else "push"
    request = Request(project, ref, sha, False, source, user, NO_COMMIT, merge_request)
    try:
        _read(Circumstances(state, request, ()), None, {})
    except (_Filtered, ConfigError) as reason:
        return [str(reason)]
    return []


def new_job(state: State, pipeline: Pipeline, plan: JobPlan, user: User) -> Job:
    """A job as its plan says, not yet registered."""
    return Job(
        id=next(state.ids),
        name=plan.name,
        stage=plan.stage,
        pipeline=pipeline,
        allow_failure=bool(plan.allow_failure),
        when=plan.when,
        bridge=plan.trigger is not None,
        created_at=state.clock.now(),
        user=user,
        spec=plan,
    )


def _read(
    circumstances: Circumstances, upstream: Job | None, inputs: Mapping[str, object]
) -> tuple[str | None, list[JobPlan]]:
    """The pipeline's name and its jobs.

    Raises:
        ConfigError: The configuration is wrong.
        _Filtered: There is nothing to run.
    """
    request = circumstances.request
    if not request.project.ci_enabled:
        raise _Filtered(DISABLED)
    values = circumstances.values()
    library = Library(circumstances.state, request.project, request.sha, request.user, values)
    entries: Sequence[Include] = (Include(local=CONFIG_FILE),)
    if request.source == "parent_pipeline" and upstream and isinstance(upstream.spec, JobPlan):
        trigger = upstream.spec.trigger
        entries = trigger.include if trigger else entries
    elif library.read(CONFIG_FILE) is None:
        raise _Filtered(NO_CONFIG)
    plan = rules.workflow(read_plan(compose(library, entries, inputs)), circumstances)
    if plan is None:
        raise _Filtered(NO_WORKFLOW)
    jobs = rules.select(plan, circumstances)
    if not jobs:
        raise _Filtered(NO_JOBS)
    name = expand(plan.name, circumstances.values(plan.variables)) if plan.name else None
    return name, jobs


def _pipeline(
    state: State, request: Request, variables: Sequence[Variable], upstream: Job | None
) -> Pipeline:
    now = state.clock.now()
    return Pipeline(
        id=next(state.ids),
        iid=next(request.project.pipeline_iids),
        project=request.project,
        ref=request.ref,
        sha=request.sha,
        source=request.source,
        user=request.user,
        created_at=now,
        updated_at=now,
        tag=request.tag,
        before_sha=request.before,
        merge_request=request.merge_request,
        variables=list(variables),
        upstream=upstream,
    )


def _register(state: State, pipeline: Pipeline) -> None:
    with state.lock:
        state.pipelines[pipeline.id] = pipeline
        state.jobs.update({job.id: job for job in pipeline.jobs})
        if pipeline.upstream and pipeline.upstream.bridge:
            pipeline.upstream.downstream = pipeline
        state.changed.notify_all()
