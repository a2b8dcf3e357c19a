"""Reads the challenges in a `WWW-Authenticate` header: the ways to log in.

Source: https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1. One header can hold several
challenges, and several headers arrive as one, joined by commas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# A value that is not quoted, but should be, can hold anything up to a comma or a space.
_PARAMETER = re.compile(rf'({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"=][^\s,"]*))')
_SCHEME = re.compile(rf"({_WORD})(?=\s|,|$)")
_BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class Challenge:
    """Holds one challenge: a way to log in.

    Attributes:
        scheme: Its name in lower case, such as `bearer`.
        parameters: Its parameters, by name in lower case.
    """

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> list[Challenge]:
    """Returns the challenges of a `WWW-Authenticate` header, in their order."""
    challenges: list[Challenge] = []
    position = 0
    while position < len(header):
        position = _BETWEEN.match(header, position).end()  # type: ignore[union-attr] # matches all
        parameter = _PARAMETER.match(header, position) if challenges else None
        if parameter:
            name, quoted, bare = parameter.groups()
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
            challenges[-1].parameters[name.lower()] = value
            position = parameter.end()
        elif scheme := _SCHEME.match(header, position):
            challenges.append(Challenge(scheme[1].lower()))
            position = scheme.end()
        else:
            position += 1  # text outside a challenge is skipped
    return challenges
