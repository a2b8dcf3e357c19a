"""Which jobs a pipeline has: `rules`, `only`, `except` and `needs`, as GitLab evaluates them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from sandbox import git
from sandbox.ci import predefined
from sandbox.ci.errors import ConfigError
from sandbox.ci.expressions import pattern
from sandbox.ci.globs import glob
from sandbox.ci.plan import Policy
from sandbox.ci.variables import as_values, expand, expand_all, merge, settings
from sandbox.model import NO_COMMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandbox.ci.plan import JobPlan, Plan, Rule
    from sandbox.ci.predefined import Request
    from sandbox.model import State, Variable

# What a job without rules, only and except runs for.
_DEFAULT_ONLY = Policy(refs=("branches", "tags"))
_EDGES = {".pre", ".post"}


@dataclass(frozen=True)
class Circumstances:
    """What rules can ask about.

    Args:
        state: The records.
        request: What the pipeline was asked to run on.
        given: The pipeline's own variables.
    """

    state: State
    request: Request
    given: Sequence[Variable]

    def values(self, configured: Iterable[Variable] = ()) -> dict[str, str]:
        """The variables by key, over those that the configuration sets."""
        request = self.request
        layers = (
            predefined.for_request(self.state, request),
            configured,
            settings(self.state, request.project, request.ref, tag=request.tag),
            self.given,
        )
        return as_values(expand_all(merge(*layers)))

    @cached_property
    def files(self) -> list[str]:
        """The paths in the commit."""
        return _lines(self.request, "ls-tree", "-r", "--name-only", "-z", self.request.sha)

    @cached_property
    def changed(self) -> list[str] | None:
        """The paths that a push or a merge request changed; None where all count as changed.

        So they do for a new branch, a tag, and whatever else starts a pipeline; source:
        `modified_paths` of `Ci::Pipeline` in GitLab's source.
        """
        request = self.request
        of_request = request.merge_request
        if of_request:
            target = f"refs/heads/{of_request.target_branch}"
            return _lines(request, "diff", "--name-only", "-z", f"{target}...{request.sha}")
        if request.source != "push" or request.tag or request.before == NO_COMMIT:
            return None
        return _lines(request, "diff", "--name-only", "-z", request.before, request.sha)


def workflow(plan: Plan, circumstances: Circumstances) -> Plan | None:
    """The plan with what the workflow's rules add to its jobs, None if they say no."""
    if plan.workflow is None:
        return plan
    rule = _first_match(plan.workflow, circumstances, circumstances.values(plan.variables))
    if rule is None or rule.when == "never":
        return None
    if not rule.variables:
        return plan

    def joined(job: JobPlan) -> JobPlan:
        # They replace global ones, which jobs hold as the very same records, and no others.
        own = [variable for variable in job.variables if variable not in plan.variables]
        return replace(job, variables=tuple(merge(job.variables, rule.variables, own)))

    return replace(
        plan,
        variables=tuple(merge(plan.variables, rule.variables)),
        jobs=tuple(joined(job) for job in plan.jobs),
    )


def select(plan: Plan, circumstances: Circumstances) -> list[JobPlan]:
    """The jobs that the pipeline has, in the order of stages, what their rules set applied.

    Raises:
        ConfigError: A job needs one that is not among them.
    """
    applied = [_applied(job, circumstances) for job in plan.jobs]
    chosen = [job for job in applied if job is not None]
    if all(job.stage in _EDGES for job in chosen):
        return []
    names = {job.base for job in chosen}
    for job in chosen:
        for need in job.needs or ():
            if need.job not in names and not need.optional:
                raise ConfigError(
                    f"'{job.name}' job needs '{need.job}' job, but '{need.job}' does not exist in "
                    "the pipeline. This might be because of the only, except, or rules keywords. "
                    "To need a job that sometimes does not exist in the pipeline, use "
                    "needs:optional."
                )
    return sorted(chosen, key=lambda job: plan.stages.index(job.stage))


def _applied(job: JobPlan, circumstances: Circumstances) -> JobPlan | None:
    """A job as its rules, or its only and except, have it; None if it does not run."""
    values = circumstances.values(job.variables)
    if job.rules is None:
        only = job.only or _DEFAULT_ONLY
        if not only.refs:
            only = replace(only, refs=_DEFAULT_ONLY.refs)
        excluded = job.exclude is not None and _excludes(job.exclude, circumstances, values)
        if job.when == "never" or excluded or not _includes(only, circumstances, values):
            return None
        return replace(job, allow_failure=_may_fail(job))
    rule = _first_match(job.rules, circumstances, values)
    if rule is None:
        return None
    when = rule.when or job.when
    if when == "never":
        return None
    return replace(
        job,
        when=when,
        start_in=job.start_in if rule.start_in is None else rule.start_in,
        allow_failure=_may_fail(job) if rule.allow_failure is None else rule.allow_failure,
        variables=tuple(merge(job.variables, rule.variables)),
    )


def _may_fail(job: JobPlan) -> bool:
    """A manual job is optional unless the configuration says otherwise."""
    return job.when == "manual" if job.allow_failure is None else job.allow_failure


def _first_match(
    rules: Iterable[Rule], circumstances: Circumstances, values: Mapping[str, str]
) -> Rule | None:
    return next((rule for rule in rules if _matches(rule, circumstances, values)), None)


def _matches(rule: Rule, circumstances: Circumstances, values: Mapping[str, str]) -> bool:
    return (
        (rule.condition is None or rule.condition.holds(values))
        and (rule.changes is None or _any_changed(rule.changes, circumstances, values))
        and (rule.exists is None or _any_path(rule.exists, circumstances.files, values))
    )


def _includes(policy: Policy, circumstances: Circumstances, values: Mapping[str, str]) -> bool:
    """Whether everything that an `only` names holds."""
    return (
        any(_is_ref(ref, circumstances.request) for ref in policy.refs)
        and (not policy.variables or any(c.holds(values) for c in policy.variables))
        and (not policy.changes or _any_changed(policy.changes, circumstances, values))
    )


def _excludes(policy: Policy, circumstances: Circumstances, values: Mapping[str, str]) -> bool:
    """Whether anything that an `except` names holds."""
    return (
        any(_is_ref(ref, circumstances.request) for ref in policy.refs)
        or any(condition.holds(values) for condition in policy.variables)
        or (bool(policy.changes) and _any_changed(policy.changes, circumstances, values))
    )


def _is_ref(named: str, request: Request) -> bool:
    """Whether a pipeline is of the kind or of the ref that a policy names."""
    name, at, path = named.partition("@")
    if at and path != request.project.path:
        return False
    if name in _kinds(request):
        return True
    try:
        expression = pattern(name)
    except ValueError as error:
        raise ConfigError(f"only or except: {error}") from error
    return bool(expression.search(request.ref)) if expression else name == request.ref


def _kinds(request: Request) -> tuple[str, ...]:
    """The words for pipelines of this kind."""
    if request.merge_request:
        return ("merge_requests",)
    plural = request.source + ("es" if request.source.endswith("sh") else "s")
    return (("tags" if request.tag else "branches"), request.source, plural)


def _any_changed(
    globs: Iterable[str], circumstances: Circumstances, values: Mapping[str, str]
) -> bool:
    return circumstances.changed is None or _any_path(globs, circumstances.changed, values)


def _any_path(globs: Iterable[str], paths: list[str], values: Mapping[str, str]) -> bool:
    expressions = [glob(expand(each, values).removeprefix("/")) for each in globs]
    return any(expression.fullmatch(path) for expression in expressions for path in paths)


def _lines(request: Request, *arguments: str) -> list[str]:
    return git.run(request.project.repository, *arguments).decode().split("\0")[:-1]
