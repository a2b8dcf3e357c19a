"""Semantic versions: reading, ordering, and the one that follows."""

import re
from dataclasses import dataclass, field
from functools import total_ordering
from typing import Literal

Part = Literal["major", "minor", "patch"]

# https://semver.org/spec/v2.0.0.html, the grammar at its end. Identifiers that are all digits
# have no leading zero, so each alternative decides by its first characters: linear time.
_NUMBER = r"0|[1-9][0-9]*"
_IDENTIFIER = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<prerelease>{_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)

# As npm's semver does (MAX_LENGTH): Python refuses to read numbers of thousands of digits.
_MAX_LENGTH = 256


@total_ordering
@dataclass(frozen=True)
class SemVer:
    """A version by SemVer 2.0.0; builds of one version are equal (§10)."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()
    build: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, text: str) -> "SemVer | None":
        """Read a version, without any prefix such as `v`.

        Args:
            text: At most 256 characters, npm's limit too.

        Returns:
            The version, or None where the text is none.
        """
        found = _VERSION.fullmatch(text) if len(text) <= _MAX_LENGTH else None
        if found is None:
            return None
        return cls(
            int(found["major"]),
            int(found["minor"]),
            int(found["patch"]),
            tuple(found["prerelease"].split(".")) if found["prerelease"] else (),
            tuple(found["build"].split(".")) if found["build"] else (),
        )

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        if self.prerelease:
            text += "-" + ".".join(self.prerelease)
        if self.build:
            text += "+" + ".".join(self.build)
        return text

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, SemVer):
            return NotImplemented
        return self._precedence() < other._precedence()

    def _precedence(self) -> tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]:
        """A key that sorts by §11: a pre-release before its release, numbers before words."""
        identifiers = tuple(
            (False, int(identifier), "") if identifier.isdigit() else (True, 0, identifier)
            for identifier in self.prerelease
        )
        return self.major, self.minor, self.patch, not self.prerelease, identifiers

    def next(self, part: Part) -> "SemVer":
        """Return the next version, as `npm version` counts (node-semver, `SemVer.inc`).

        A pre-release leads to its own release where that is the next: 2.0.0-rc.1 is followed
        by 2.0.0 for each part, 1.2.3-rc.1 by 1.2.3 for `patch` and by 1.3.0 for `minor`.

        Args:
            part: `major`, `minor` or `patch`.
        """
        pending = bool(self.prerelease)
        match part:
            case "major":
                reached = pending and self.minor == 0 and self.patch == 0
                return SemVer(self.major if reached else self.major + 1, 0, 0)
            case "minor":
                reached = pending and self.patch == 0
                return SemVer(self.major, self.minor if reached else self.minor + 1, 0)
            case "patch":
                return SemVer(self.major, self.minor, self.patch if pending else self.patch + 1)
