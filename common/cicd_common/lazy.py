"""Imports names of a package when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def lazily(package: str, **modules: str) -> Callable[[str], Any]:
    """Returns a `__getattr__` for a package (PEP 562) that imports names at their first use.

    Args:
        package: The package's name.
        modules: For each name, the module that defines it.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    return find
