"""Pipeline inputs: `KEY=VALUE`, where the value is JSON if it can be."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from cmd_trigger_pipeline.variables import split_pair

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def parse_inputs(texts: Iterable[str]) -> dict[str, Any]:
    """Reads inputs; of several with one name the last one counts.

    Args:
        texts: `KEY=VALUE` each. A value that is JSON has its type: `3`, `true`, `["a"]`, `"3"`;
            any other is a string. https://docs.gitlab.com/ci/inputs/

    Raises:
        UsageError: One is nothing of the kind.
    """
    pairs = (split_pair(text, "--input", "KEY=VALUE") for text in texts)
    return {key: _typed(value) for key, value in pairs}


def _typed(text: str) -> Any:
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return text


def _finite(text: str) -> float:
    """A number that JSON can hold, unlike those that Python reads and writes beside them."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
