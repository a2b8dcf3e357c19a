"""Reads semantic versions with the `semver` package."""

from __future__ import annotations

from semver import Version

# The same limit as npm's semver (MAX_LENGTH): Python cannot read numbers of thousands of digits.
MAX_LENGTH = 256


def parse_version(text: str) -> Version | None:
    """Reads a version that follows SemVer 2.0.0, without a prefix such as `v`.

    Args:
        text: At most 256 characters.

    Returns:
        The version; None if the text is not one.
    """
    if len(text) > MAX_LENGTH:
        return None
    try:
        return Version.parse(text)
    except ValueError:
        return None
