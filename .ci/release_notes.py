"""Prints the notes of a release: what CHANGELOG.md says of its version.

    python3 .ci/release_notes.py X.Y.Z

Ends with 1 if the code or a component has another version, or CHANGELOG.md says nothing of it.
Needs only Python, so that the job that runs it has nothing to install.
"""
# ruff: noqa: INP001 - a script, no part of a package

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def notes(changelog: str, version: str) -> str:
    """What a changelog says of a version.

    Args:
        changelog: A text in the form of Keep a Changelog.
        version: The version, as in its heading `## [1.2.3] - 2026-01-31`.

    Raises:
        ValueError: It says nothing.
    """
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    end = r"(?=^## |^\[[^]]+\]: |\Z)"  # the next version, the links below all, or the text's end
    section = re.search(f"{heading}(.*?){end}", changelog, re.DOTALL | re.MULTILINE)
    if section is None or not section[1].strip():
        raise ValueError(f"CHANGELOG.md has no '## [{version}] - YYYY-MM-DD' with notes below it.")
    return section[1].strip()


def versions() -> dict[str, str]:
    """The version that the code has, and that of each component's image, by file."""
    code = "common/cicd_common/__init__.py"
    places = {code: r'^__version__ = "(.+)"$'}
    for path in sorted(ROOT.glob("templates/*.yml")):
        places[f"templates/{path.name}"] = rf"default: \S+/{path.stem}:(\S+)$"
    found = {}
    for path, pattern in places.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        (found[path],) = re.findall(pattern, text, re.MULTILINE)
    return found


def main(version: str) -> str:
    """The notes of a release.

    Args:
        version: The version, which is the tag's name: one name for tag, component, image and wheel.

    Raises:
        ValueError: There are none, or the code or a component has another version.
    """
    for path, other in versions().items():
        if version != other:
            raise ValueError(f"The tag is {version}, the version in {path} {other}.")
    return notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)


if __name__ == "__main__":
    try:
        sys.stdout.write(main(sys.argv[1]) + "\n")
    except ValueError as error:
        sys.exit(f"error: {error}")
