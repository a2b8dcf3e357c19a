"""The kinds of values that keywords take: each function reads one from YAML's plain data.

`where` names the keyword as GitLab's messages do (`jobs:build:script`). Every function raises
`ConfigError` for a value of the wrong kind.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from sandbox.ci.errors import ConfigError
from sandbox.model import Variable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_NESTING = 10  # GitLab's limit of lists within lists
_UNITS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
    "w": 604800,
    "week": 604800,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")


def wrong(where: str, expected: str) -> ConfigError:
    """The error for a value that should have been something else."""
    return ConfigError(f"{where} config should be {expected}")


def text(value: object, where: str) -> str:
    """A string; a number or a boolean is taken by the way YAML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise wrong(where, "a string")


def boolean(value: object, where: str) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    raise wrong(where, "a boolean value")


def number(value: object, where: str) -> int:
    """A whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise wrong(where, "an integer")


def mapping(value: object, where: str) -> dict[str, object]:
    """A mapping with keys that are text."""
    if isinstance(value, dict):
        return {text(key, where): item for key, item in value.items()}
    raise wrong(where, "a hash")


def known(value: object, where: str, keys: Collection[str]) -> dict[str, object]:
    """A mapping with no other keys than these."""
    found = mapping(value, where)
    unknown = [key for key in found if key not in keys]
    if unknown:
        raise ConfigError(
            f"{where} config contains unknown keys, or keys that the sandbox does not support: "
            + ", ".join(unknown)
        )
    return found


def flat(value: object, where: str, depth: int = 0) -> Iterator[object]:
    """The items of a list, those of lists within it included; a single value is a list of one."""
    if not isinstance(value, list):
        yield value
        return
    if depth > _NESTING:
        raise wrong(where, f"a nested array up to {_NESTING} levels deep")
    for item in value:
        yield from flat(item, where, depth + 1)


def texts(value: object, where: str) -> tuple[str, ...]:
    """A string, or a list of strings that may hold further lists."""
    items = tuple(flat(value, where))
    if not all(isinstance(item, str) for item in items):
        raise wrong(where, f"a string or a nested array of strings up to {_NESTING} levels deep")
    return cast("tuple[str, ...]", items)


def one_of(value: object, where: str, choices: Collection[str]) -> str:
    """One of some words."""
    if isinstance(value, str) and value in choices:
        return value
    raise wrong(where, "one of: " + ", ".join(choices))


def exit_codes(value: object, where: str) -> frozenset[int]:
    """A number or a list of numbers."""
    return frozenset(number(item, where) for item in flat(value, where))


def duration(value: object, where: str) -> float:
    """Seconds, from a text like `1h 30m`, `2 hours` or `90 seconds`; a bare number is seconds."""
    written = text(value, where).strip().lower().replace(" and ", " ")
    if re.fullmatch(r"\d+(\.\d+)?", written):
        return float(written)
    parts = _DURATION.findall(written)
    units = [_UNITS.get(unit) or _UNITS.get(unit.removesuffix("s")) for _, unit in parts]
    if not parts or None in units or _DURATION.sub("", written).strip(" ,"):
        raise wrong(where, "a duration")
    return sum(float(count) * (unit or 0) for (count, _), unit in zip(parts, units, strict=True))


def variables(value: object, where: str) -> tuple[Variable, ...]:
    """A mapping of variables; each is a value, or a mapping with `value` and `expand`."""
    return tuple(
        _variable(key, item, f"{where}:{key}") for key, item in mapping(value, where).items()
    )


def _variable(key: str, value: object, where: str) -> Variable:
    if value is None:
        return Variable(key, "")
    if not isinstance(value, dict):
        return Variable(key, text(value, where))
    fields = known(value, where, ("value", "description", "options", "expand"))
    raw = not boolean(fields.get("expand", True), where)
    return Variable(key, text(fields.get("value", ""), where), raw=raw)
