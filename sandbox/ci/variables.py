"""CI/CD variables: which one wins, and how one's value refers to others.

Order and expansion are those of GitLab's documentation (`ci/variables`, "CI/CD variable
precedence" and "Where variables can be used").
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from sandbox.permissions import protection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandbox.model import Project, State, Variable

_REFERENCE = re.compile(r"\$(?:(\$)|([a-zA-Z_]\w*)|\{([a-zA-Z_]\w*)\})")


def expand(text: str, values: Mapping[str, str]) -> str:
    """A text with `$NAME` and `${NAME}` replaced; `$$` is a dollar, an unknown name is empty."""

    def value_of(match: re.Match[str]) -> str:
        return "$" if match[1] else values.get(match[2] or match[3], "")

    return _REFERENCE.sub(value_of, text)


def merge(*layers: Iterable[Variable]) -> list[Variable]:
    """One variable per key; a later layer overrides an earlier one."""
    return list({variable.key: variable for layer in layers for variable in layer}.values())


def expand_all(variables: Iterable[Variable]) -> list[Variable]:
    """The variables with their references to each other resolved, however deeply nested.

    The values of raw and of file variables stay as they are, and so do those of variables that
    refer to themselves, directly or through others.
    """
    by_key = {variable.key: variable for variable in variables}
    links = {key: _references(variable) & by_key.keys() for key, variable in by_key.items()}
    fixed = {key for key in by_key if key in _reachable(key, links)}
    done: dict[str, str] = {}

    def value_of(key: str) -> str:
        if key not in done:
            variable = by_key[key]
            needed = () if key in fixed else links[key]
            values = {name: value_of(name) for name in needed}
            verbatim = key in fixed or variable.raw or variable.kind == "file"
            done[key] = variable.value if verbatim else expand(variable.value, values)
        return done[key]

    return [replace(variable, value=value_of(key)) for key, variable in by_key.items()]


def as_values(variables: Iterable[Variable]) -> dict[str, str]:
    """The values by key."""
    return {variable.key: variable.value for variable in variables}


def settings(state: State, project: Project, ref: str, *, tag: bool) -> list[Variable]:
    """The variables from the settings of instance, groups and project, as a ref may see them."""
    names = project.path.split("/")[:-1]
    groups = ["/".join(names[: depth + 1]) for depth in range(len(names))]
    layers = [
        state.instance_variables,
        *(state.group_variables.get(group, []) for group in groups),
        project.variables,
    ]
    protected = is_protected(project, ref, tag=tag)
    return merge(*([v for v in layer if protected or not v.protected] for layer in layers))


def is_protected(project: Project, ref: str, *, tag: bool) -> bool:
    """Whether a branch or tag is protected, so that protected variables reach its jobs."""
    rules = project.protected_tags if tag else project.protected_branches
    return protection(rules, ref) is not None


def _references(variable: Variable) -> set[str]:
    if variable.raw or variable.kind == "file":
        return set()
    return {match[2] or match[3] for match in _REFERENCE.finditer(variable.value)} - {None}


def _reachable(start: str, links: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(links[start])
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting.extend(links[key])
    return found
