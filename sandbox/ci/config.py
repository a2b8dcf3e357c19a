"""Reads a configuration's plain data into a plan, and refuses what the sandbox does not do.

Texts of errors are GitLab's where GitLab has one for the case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.ci import entries, keywords
from sandbox.ci.errors import ConfigError
from sandbox.ci.plan import JobPlan, Plan
from sandbox.ci.variables import merge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.ci.entries import Reader
    from sandbox.model import Variable

_STAGES = ("build", "test", "deploy")
_GLOBAL_KEYS = ("stages", "variables", "workflow", "default")
# What jobs take over from `default`, or from the older spelling at the top level.
_INHERITED = (
    "after_script",
    "artifacts",
    "before_script",
    "cache",
    "image",
    "interruptible",
    "retry",
    "services",
    "tags",
    "timeout",
)
_INHERITED_AT_TOP = ("after_script", "before_script", "cache", "image", "services")

# Keywords whose value is a field of `JobPlan` of the same name.
_FIELDS: dict[str, Reader] = {
    "stage": keywords.text,
    "after_script": keywords.texts,
    "variables": keywords.variables,
    "when": entries.when,
    "start_in": keywords.duration,
    "rules": entries.rules,
    "only": entries.policy,
    "needs": entries.needs,
    "dependencies": keywords.texts,
    "image": entries.image,
    "artifacts": entries.artifacts,
    "retry": entries.retry,
    "timeout": keywords.duration,
    "environment": entries.environment,
    "resource_group": keywords.text,
    "release": entries.release,
    "trigger": entries.trigger,
    "interruptible": keywords.boolean,
}
_OTHER_KEYS = ("before_script", "script", "except", "allow_failure", "parallel", "inherit")
# Read past, and said so in the job's log.
_IGNORED = ("cache", "services", "tags")
# Read past in silence: nothing that a job does depends on them.
_HARMLESS = ("coverage",)
_BRIDGE_KEYS = frozenset(
    {
        "trigger",
        "stage",
        "variables",
        "when",
        "start_in",
        "rules",
        "only",
        "except",
        "needs",
        "allow_failure",
        "environment",
        "resource_group",
        "parallel",
        "inherit",
        "interruptible",
    }
)


def read_plan(config: Mapping[str, object]) -> Plan:
    """Reads a configuration whose includes, `extends` and references are done.

    Raises:
        ConfigError: It is wrong, or uses what the sandbox does not support.
    """
    top = {key: config[key] for key in _INHERITED_AT_TOP if key in config}
    default = keywords.known(config.get("default", {}), "default", _INHERITED)
    variables = keywords.variables(config.get("variables", {}), "variables")
    stages = (".pre", *keywords.texts(config.get("stages", list(_STAGES)), "stages"), ".post")
    workflow = keywords.known(config.get("workflow", {}), "workflow", ("rules", "name"))
    jobs = tuple(
        job
        for name, content in config.items()
        if name not in (*_GLOBAL_KEYS, *_INHERITED_AT_TOP) and not name.startswith(".")
        for job in _read_job(name, content, {**top, **default}, variables)
    )
    if not jobs:
        raise ConfigError("jobs config should contain at least one visible job")
    plan = Plan(
        stages=stages,
        jobs=jobs,
        variables=variables,
        workflow=entries.rules(workflow["rules"], "workflow:rules")
        if "rules" in workflow
        else None,
        name=keywords.text(workflow["name"], "workflow:name") if "name" in workflow else None,
    )
    _check(plan)
    return plan


def _read_job(
    name: str, content: object, default: Mapping[str, object], variables: tuple[Variable, ...]
) -> list[JobPlan]:
    """A job, or the several that `parallel` makes of it."""
    where = f"jobs:{name}"
    own = keywords.known(content, where, (*_FIELDS, *_OTHER_KEYS, *_IGNORED, *_HARMLESS))
    if ("script" in own) == ("trigger" in own):
        raise ConfigError(f"{where} config should implement the script: or trigger: keyword")
    inherit = keywords.known(own.get("inherit", {}), f"{where}:inherit", ("default", "variables"))
    if "trigger" in own:
        keywords.known(own, where, _BRIDGE_KEYS)
        fields = own
    else:
        wanted = _chosen(inherit.get("default", True), f"{where}:inherit:default", list(default))
        fields = {**{key: default[key] for key in wanted}, **own}
    shared = _chosen(
        inherit.get("variables", True), f"{where}:inherit:variables", [v.key for v in variables]
    )
    read = {
        key: reader(fields[key], f"{where}:{key}")
        for key, reader in _FIELDS.items()
        if key in fields
    }
    plan: dict[str, Any] = {**read, **_read_others(fields, where)}
    inherited = [variable for variable in variables if variable.key in shared]
    instances = entries.parallel(own["parallel"], where) if "parallel" in own else [("", ())]
    return [
        JobPlan(
            name=name + suffix,
            base=name,
            **{**plan, "variables": tuple(merge(inherited, plan.get("variables", ()), chosen))},
        )
        for suffix, chosen in instances
    ]


def _read_others(fields: Mapping[str, object], where: str) -> dict[str, object]:
    """The fields of a plan that are not simply a keyword's value."""
    commands = [
        command
        for key in ("before_script", "script")
        if key in fields
        for command in keywords.texts(fields[key], f"{where}:{key}")
    ]
    plan: dict[str, object] = {
        "script": tuple(commands),
        "ignored": tuple(key for key in _IGNORED if key in fields),
    }
    if "except" in fields:
        plan["exclude"] = entries.policy(fields["except"], f"{where}:except")
    if "allow_failure" in fields:
        plan |= entries.allow_failure(fields["allow_failure"], f"{where}:allow_failure")
    return plan


def _chosen(value: object, where: str, names: list[str]) -> list[str]:
    """What `inherit` lets through: everything, nothing, or what it lists."""
    if isinstance(value, bool):
        return names if value else []
    listed = keywords.texts(value, where)
    return [name for name in names if name in listed]


def _check(plan: Plan) -> None:
    """Makes sure that what jobs say about stages and each other fits together."""
    bases = {job.base for job in plan.jobs}
    stages = {
        job.base: plan.stages.index(job.stage) for job in plan.jobs if job.stage in plan.stages
    }
    for job in plan.jobs:
        if job.stage not in plan.stages:
            raise ConfigError(
                f"{job.name} job: chosen stage {job.stage} does not exist; "
                f"available stages are {', '.join(plan.stages)}"
            )
        if job.rules is not None and (job.only or job.exclude):
            raise ConfigError(
                f"jobs:{job.name} config key may not be used with `rules`: "
                + ("only" if job.only else "except")
            )
        _check_alone(job, bases)
        for need in job.needs or ():
            if need.job not in bases and not need.optional:
                raise ConfigError(f"{job.name} job: undefined need: {need.job}")
            if stages.get(need.job, 0) > stages[job.base]:
                raise ConfigError(
                    f"{job.name} job: need {need.job} is not defined in current or prior stages"
                )
        for dependency in job.dependencies or ():
            if dependency not in bases:
                raise ConfigError(f"{job.name} job: undefined dependency: {dependency}")
    _check_cycles(plan)


def _check_alone(job: JobPlan, bases: set[str]) -> None:
    """Makes sure that a job's delay and environment are as they must be."""
    if job.start_in and job.when != "delayed":
        raise ConfigError(f"jobs:{job.name} start in must be blank")
    if job.when == "delayed" and not job.start_in:
        raise ConfigError(f"jobs:{job.name}:start_in config should be a duration")
    stop = job.environment.on_stop if job.environment else None
    if stop and stop not in bases:
        raise ConfigError(f"{job.name} job: on_stop job {stop} is not defined")


def _check_cycles(plan: Plan) -> None:
    needs = {job.base: [need.job for need in job.needs or ()] for job in plan.jobs}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ConfigError("The pipeline has circular dependencies: " + ", ".join(above))
        if name not in done:
            for needed in needs.get(name, ()):
                visit(needed, (*above, name))
            done.add(name)

    for name in needs:
        visit(name, ())
