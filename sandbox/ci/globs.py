"""The globs of a configuration: of `changes`, `exists` and `include: local`."""

from __future__ import annotations

import re

_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|\{[^{}]*\}|\[[^\]]*\]|.", re.DOTALL)
_PARTS = {"**/": "(?:.*/)?", "**": "[^/]*", "*": "[^/]*", "?": "[^/]"}


def glob(text: str) -> re.Pattern[str]:
    """Read a glob as Ruby's `File.fnmatch` does with FNM_PATHNAME, FNM_DOTMATCH, FNM_EXTGLOB."""
    return re.compile("".join(_part(part) for part in _GLOB.findall(text)))


def _part(part: str) -> str:
    if part in _PARTS:
        return _PARTS[part]
    if len(part) > 1 and part.startswith("{"):
        return "(?:" + "|".join(glob(choice).pattern for choice in part[1:-1].split(",")) + ")"
    if len(part) > 1:
        return part.replace("[!", "[^")
    return re.escape(part)
