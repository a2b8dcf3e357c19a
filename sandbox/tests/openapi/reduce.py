"""Reduce GitLab's OpenAPI file to the routes that the sandbox serves, and print it.

GitLab's file is `doc/api/openapi/openapi_v2.yaml` of the project `gitlab-org/gitlab`:

    python -m sandbox.tests.openapi.reduce openapi_v2.yaml > sandbox/tests/openapi/gitlab.yaml

Names and types are kept. Descriptions, defaults and examples are not.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from sandbox.api import ROUTER

_HEADER = """\
# Names and types of the parameters and answers of GitLab's REST API, for the routes of the sandbox.
# Extracted by sandbox/tests/openapi/reduce.py from doc/api/openapi/openapi_v2.yaml of
# https://gitlab.com/gitlab-org/gitlab, (c) GitLab Inc., CC BY-SA 4.0.
"""
_API = "/api/v4"
_KEPT = ("$ref", "enum", "in", "items", "name", "properties", "required", "schema", "type")


def reduce(description: dict[str, Any]) -> dict[str, Any]:
    """The part of the description that is about the sandbox's routes.

    Args:
        description: GitLab's whole file.

    Returns:
        A description of the same form.
    """
    served = {(shape(route.template), route.method.lower()) for route in ROUTER.routes}
    paths: dict[str, Any] = {}
    for path, methods in sorted(description["paths"].items()):
        for method, operation in sorted(methods.items()):
            if (shape(path.removeprefix(_API)), method) in served:
                paths.setdefault(path, {})[method] = _operation(operation)
    definitions: dict[str, Any] = {}
    waiting = _references(paths)
    while waiting:
        name = waiting.pop()
        if name not in definitions:
            definitions[name] = _bare(description["definitions"][name])
            waiting |= _references(definitions[name])
    return {"paths": paths, "definitions": dict(sorted(definitions.items()))}


def shape(path: str) -> str:
    """A path without the names of its parameters and without its format."""
    return re.sub(r":\w+|\{\w+\}", "*", path.removesuffix("(.{format})"))


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    answers = {
        status: _bare(answer)
        for status, answer in operation["responses"].items()
        if "schema" in answer
    }
    return {
        "parameters": [_bare(parameter) for parameter in operation.get("parameters", [])],
        "responses": answers,
    }


def _bare(value: Any, *, named: bool = False) -> Any:
    """A schema without its texts; the keys of one that is `named` are names of fields."""
    if isinstance(value, list):
        return [_bare(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _bare(item, named=key == "properties" and not named)
        for key, item in value.items()
        if named or (key in _KEPT and item is not False)
    }


def _references(value: Any) -> set[str]:
    if isinstance(value, list):
        return {name for item in value for name in _references(item)}
    if not isinstance(value, dict):
        return set()
    found = {name for item in value.values() for name in _references(item)}
    reference = value.get("$ref")
    return found | {reference.rpartition("/")[2]} if isinstance(reference, str) else found


def main() -> None:
    """Read the file that is named, and print what is left of it."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    description = yaml.load(Path(sys.argv[1]).read_text(), loader)  # noqa: S506 - a safe one
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(
        reduce(description), Dumper=dumper, default_flow_style=None, sort_keys=False, width=100
    )
    sys.stdout.write(_HEADER + text)


if __name__ == "__main__":
    main()
