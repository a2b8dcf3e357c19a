"""Names of a package that are imported when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def lazily(package: str, **modules: str) -> Callable[[str], Any]:
    """Makes the `__getattr__` of a package (PEP 562).

    Args:
        package: The package's name.
        modules: For each name, the module that has it.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    return find
