"""References with a part that something else fills in later: `registry/web:${TAG}`."""

from __future__ import annotations

import re

from cmd_bump_image_tag.references import ImageReference

# Shells, Compose and GitLab (`$X`, `${X:-1}`), make-like `$(X)`, GitLab's and GitHub's
# `$[[ inputs.x ]]` and `${{ x }}`, Helm and Jinja (`{{ .Values.x }}`).
_INTERPOLATION = re.compile(
    r"\$\{\{.*?\}\}|\$\[\[.*?\]\]|\$\{(?:[^{}]|\{[^{}]*\})*\}|\$\([^()]*\)|\$\w+|\{\{.*?\}\}"
)
# Takes their place; a name has it only where nobody can know what stands there in the end.
_FILLED = "0filled0in0later0"


def is_interpolated(text: str) -> bool:
    """Return whether a part of the text is filled in later."""
    return "$" in text or "{{" in text


def outline(text: str) -> ImageReference | None:
    """Return what is known of an interpolated reference, or None where that is nothing."""
    filled = _INTERPOLATION.sub(_FILLED, text).replace(f"@{_FILLED}", "")
    reference = ImageReference.parse(filled)
    return None if reference is None or _FILLED in reference.last_component else reference


def may_be(name: ImageReference, other: ImageReference) -> bool:
    """Return whether a name that is filled in later may come to be another's."""
    return _FILLED in name.repository and name.last_component == other.last_component
