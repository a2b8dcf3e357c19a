"""The keywords that are more than one value: rules, needs, trigger and their like.

Every function reads one keyword from YAML's plain data; `where` and the errors are as in
`sandbox.ci.keywords`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast, get_args

from sandbox.ci import expressions, keywords
from sandbox.ci.document import includes
from sandbox.ci.plan import (
    Artifacts,
    Environment,
    Image,
    Need,
    Policy,
    ReleasePlan,
    Retry,
    Rule,
    Trigger,
    When,
)
from sandbox.model import Variable

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[object, str], Any]

WHEN: tuple[str, ...] = get_args(When)
_ARTIFACTS_WHEN = ("on_success", "on_failure", "always")
_ACCESS = ("all", "developer", "none")
_ACTIONS = ("start", "stop", "prepare", "verify", "access")
_TIERS = ("production", "staging", "testing", "development", "other")
_STRATEGIES = ("depend", "mirror")
_MOST_RETRIES = 2
_ALONE: tuple[Variable, ...] = ()  # an instance without variables of its own


def _read(fields: dict[str, object], where: str, readers: dict[str, Reader]) -> dict[str, Any]:
    """The fields that are given, each by its reader."""
    return {
        key: read(fields[key], f"{where}:{key}") for key, read in readers.items() if key in fields
    }


def when(value: object, where: str) -> When:
    """When a job runs."""
    return cast("When", keywords.one_of(value, where, WHEN))


def rules(value: object, where: str) -> tuple[Rule, ...]:
    """A list of rules, those of referenced lists included."""
    return tuple(_rule(item, f"{where}:rule") for item in keywords.flat(value, where))


def _rule(value: object, where: str) -> Rule:
    readers: dict[str, Reader] = {
        "changes": _changes,
        "exists": keywords.texts,
        "when": when,
        "start_in": keywords.duration,
        "allow_failure": keywords.boolean,
        "variables": keywords.variables,
    }
    fields = keywords.known(value, where, ("if", *readers))
    condition = _condition(fields["if"], where) if "if" in fields else None
    return Rule(condition=condition, **_read(fields, where, readers))


def _condition(value: object, where: str) -> expressions.Condition:
    return expressions.parse(keywords.text(value, f"{where}:if"))


def _changes(value: object, where: str) -> tuple[str, ...]:
    if isinstance(value, dict):
        return keywords.texts(keywords.known(value, where, ("paths",)).get("paths", []), where)
    return keywords.texts(value, where)


def policy(value: object, where: str) -> Policy:
    """An `only` or an `except`, in its short form or its long one."""
    if not isinstance(value, dict):
        return Policy(refs=keywords.texts(value, where))
    fields = keywords.known(value, where, ("refs", "variables", "changes"))
    conditions = keywords.texts(fields.get("variables", []), f"{where}:variables")
    return Policy(
        refs=keywords.texts(fields.get("refs", []), f"{where}:refs"),
        variables=tuple(expressions.parse(condition) for condition in conditions),
        changes=keywords.texts(fields.get("changes", []), f"{where}:changes"),
    )


def needs(value: object, where: str) -> tuple[Need, ...]:
    """The jobs of the same pipeline that a job needs."""
    return tuple(_need(item, f"{where}:need") for item in keywords.flat(value, where))


def _need(value: object, where: str) -> Need:
    if isinstance(value, str):
        return Need(value)
    fields = keywords.known(value, where, ("job", "artifacts", "optional"))
    job = keywords.text(fields.get("job"), f"{where}:job")
    flags: dict[str, Reader] = {"artifacts": keywords.boolean, "optional": keywords.boolean}
    return Need(job, **_read(fields, where, flags))


def image(value: object, where: str) -> Image:
    """A container image by name, or with its entrypoint overridden."""
    if isinstance(value, str):
        return Image(value)
    fields = keywords.known(value, where, ("name", "entrypoint", "pull_policy"))
    name = keywords.text(fields.get("name"), f"{where}:name")
    return Image(name, **_read(fields, where, {"entrypoint": keywords.texts}))


def release(value: object, where: str) -> ReleasePlan:
    """The release of a tag that is there already."""
    fields = keywords.known(value, where, ("tag_name", "description", "name"))
    required = ("tag_name", "description")
    texts = {key: keywords.text(fields.get(key), f"{where}:{key}") for key in required}
    return ReleasePlan(**texts, **_read(fields, where, {"name": keywords.text}))


def artifacts(value: object, where: str) -> Artifacts:
    """What a job leaves; of the reports those that the sandbox reads."""
    ignored = ("name", "expose_as")
    keys = ("paths", "when", "reports", "expire_in", "public", "access", *ignored)
    fields = keywords.known(value, where, keys)
    public = keywords.boolean(fields.get("public", True), f"{where}:public")
    access = "all" if public else "developer"
    readers: dict[str, Reader] = {"expire_in": _expiry}
    reports = keywords.known(fields.get("reports", {}), f"{where}:reports", ("dotenv", "junit"))
    choice = keywords.one_of(fields.get("when", "on_success"), f"{where}:when", _ARTIFACTS_WHEN)
    return Artifacts(
        paths=keywords.texts(fields.get("paths", []), f"{where}:paths"),
        when=cast("Any", choice),
        access=cast(
            "Any", keywords.one_of(fields.get("access", access), f"{where}:access", _ACCESS)
        ),
        **_read(fields, where, readers),
        **_read(reports, f"{where}:reports", {"dotenv": keywords.texts, "junit": keywords.texts}),
    )


def _expiry(value: object, where: str) -> float | None:
    return None if value == "never" else keywords.duration(value, where)


def retry(value: object, where: str) -> Retry:
    """How often, or also after which failures."""
    readers: dict[str, Reader] = {
        "max": keywords.number,
        "when": keywords.texts,
        "exit_codes": keywords.exit_codes,
    }
    given = value if isinstance(value, dict) else {"max": value}
    found = Retry(**_read(keywords.known(given, where, readers), where, readers))
    if not 0 <= found.max <= _MOST_RETRIES:
        raise keywords.wrong(f"{where}:max", f"between 0 and {_MOST_RETRIES}")
    return found


def trigger(value: object, where: str) -> Trigger:
    """The downstream pipeline of a bridge."""
    if isinstance(value, str):
        return Trigger(project=value)
    readers: dict[str, Reader] = {
        "project": keywords.text,
        "branch": keywords.text,
        "include": includes,
        "strategy": lambda item, at: keywords.one_of(item, at, _STRATEGIES),
        "inputs": keywords.mapping,
    }
    fields = keywords.known(value, where, (*readers, "forward"))
    if ("project" in fields) == ("include" in fields):
        raise keywords.wrong(where, "a project or an include")
    forwarded: dict[str, Reader] = {
        "yaml_variables": keywords.boolean,
        "pipeline_variables": keywords.boolean,
    }
    forward = keywords.known(fields.get("forward", {}), f"{where}:forward", forwarded)
    return Trigger(**_read(fields, where, readers), **_read(forward, where, forwarded))


def allow_failure(value: object, where: str) -> dict[str, object]:
    """The fields of a job plan that an `allow_failure` sets."""
    if isinstance(value, bool):
        return {"allow_failure": value}
    codes = keywords.known(value, where, ("exit_codes",)).get("exit_codes")
    return {
        "allow_failure": False,
        "allowed_exit_codes": keywords.exit_codes(codes, f"{where}:exit_codes"),
    }


def environment(value: object, where: str) -> Environment:
    """An environment; the sandbox keeps no record of it, so that nothing stops it in time."""
    if isinstance(value, str):
        return Environment(value)
    readers: dict[str, Reader] = {
        "url": keywords.text,
        "action": lambda item, at: keywords.one_of(item, at, _ACTIONS),
        "on_stop": keywords.text,
        "tier": lambda item, at: keywords.one_of(item, at, _TIERS),
    }
    keys = ("name", "url", "action", "on_stop", "auto_stop_in", "deployment_tier")
    fields = keywords.known(value, where, keys)
    if "auto_stop_in" in fields:
        keywords.duration(fields["auto_stop_in"], f"{where}:auto_stop_in")
    if "deployment_tier" in fields:
        fields["tier"] = fields["deployment_tier"]
    name = keywords.text(fields.get("name"), f"{where}:name")
    return Environment(name, **_read(fields, where, readers))


def parallel(value: object, where: str) -> list[tuple[str, tuple[Variable, ...]]]:
    """What `parallel` makes of a job: what follows each one's name, and its variables."""
    if isinstance(value, int):
        instances = [(f" {index}/{value}", _ALONE) for index in range(1, value + 1)]
    else:
        matrix = keywords.known(value, where, ("matrix",)).get("matrix")
        instances = [
            (f": [{', '.join(variable.value for variable in chosen)}]", chosen)
            for row in keywords.flat(matrix, where)
            for chosen in _combinations(row, f"{where}:matrix")
        ]
    if not instances:
        raise keywords.wrong(where, "at least one job")
    total = Variable("CI_NODE_TOTAL", str(len(instances)))
    return [
        (suffix, (*chosen, Variable("CI_NODE_INDEX", str(index)), total))
        for index, (suffix, chosen) in enumerate(instances, start=1)
    ]


def _combinations(row: object, where: str) -> list[tuple[Variable, ...]]:
    columns = [
        [
            Variable(key, keywords.text(item, f"{where}:{key}"))
            for item in keywords.flat(value, where)
        ]
        for key, value in keywords.mapping(row, where).items()
    ]
    return list(itertools.product(*columns))
