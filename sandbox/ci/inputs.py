"""`spec:inputs` and `$[[ inputs.x ]]`: a configuration file with parameters.

The rules are those of GitLab's documentation, `ci/inputs`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sandbox.ci import keywords
from sandbox.ci.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_BLOCK = re.compile(r"\$\[\[\s*(.*?)\s*\]\]")
_NAME = re.compile(r"inputs\.([\w-]+)")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "boolean": bool,
    "array": list,
}
_KEYS = ("default", "description", "options", "regex", "type")


def resolve(header: object, given: Mapping[str, object], name: str) -> dict[str, object]:
    """What each declared input comes to.

    Args:
        header: The document before the `---`, None where there is none.
        given: The inputs that were passed.
        name: The file, for messages.

    Raises:
        ConfigError: One is missing, unknown or of another type.
    """
    fields = keywords.known(header or {}, f"{name}: header", ("spec",))
    spec = keywords.known(fields.get("spec") or {}, f"{name}: header:spec", ("inputs",))
    declared = keywords.mapping(spec.get("inputs") or {}, f"{name}: header:spec:inputs")
    unknown = [key for key in given if key not in declared]
    if unknown:
        raise ConfigError(f"{name}: unknown input arguments: {', '.join(unknown)}")
    return {
        key: _value(key, declaration, given, f"{name}: `{key}` input")
        for key, declaration in declared.items()
    }


def interpolate(value: object, inputs: Mapping[str, object], name: str) -> object:
    """A configuration with every `$[[ inputs.x ]]` replaced.

    A value that is nothing but one input takes over the input's type.
    """
    if isinstance(value, dict):
        return {
            interpolate(key, inputs, name): interpolate(item, inputs, name)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [interpolate(item, inputs, name) for item in value]
    if not isinstance(value, str):
        return value
    whole = _BLOCK.fullmatch(value)
    if whole:
        return _lookup(whole[1], inputs, name)

    def inserted(match: re.Match[str]) -> str:
        return keywords.text(_lookup(match[1], inputs, name), f"{name}: {match[1]}")

    return _BLOCK.sub(inserted, value)


def _lookup(access: str, inputs: Mapping[str, object], name: str) -> object:
    match = _NAME.fullmatch(access)
    if not match or match[1] not in inputs:
        raise ConfigError(f"{name}: unknown interpolation key: `{access}`")
    return inputs[match[1]]


def _value(key: str, declaration: object, given: Mapping[str, object], where: str) -> object:
    fields = keywords.known(declaration or {}, where, _KEYS)
    if key in given:
        value = given[key]
    elif "default" in fields:
        value = fields["default"]
    else:
        raise ConfigError(f"{where}: required value has not been provided")
    kind = keywords.one_of(fields.get("type", "string"), f"{where}:type", _TYPES)
    if not _is(value, kind):
        raise ConfigError(f"{where}: provided value is not a {kind}")
    options = fields.get("options")
    if isinstance(options, list) and value not in options:
        allowed = ", ".join(str(option) for option in options)
        raise ConfigError(
            f"{where}: `{value}` cannot be used because it is not in the list of "
            f"allowed options: {allowed}"
        )
    pattern = fields.get("regex")
    if isinstance(pattern, str) and not re.search(pattern, str(value)):
        raise ConfigError(f"{where}: provided value does not match required RegEx pattern")
    return value


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])
