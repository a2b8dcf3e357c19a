"""Prints the notes of a release: what CHANGELOG.md says of its version.

    python3 .ci/release_notes.py vX.Y.Z

Ends with 1 if that is not the code's version, or CHANGELOG.md says nothing of it. Needs nothing
but Python, so that the job that runs it has nothing to install.
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


def main(tag: str) -> str:
    """The notes of a tag's release.

    Raises:
        ValueError: There are none, or the tag is not that of the code's version.
    """
    code = (ROOT / "common/cicd_common/__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', code, re.MULTILINE)
    if tag != f"v{version}":
        raise ValueError(f"The tag is {tag}, the code's __version__ {version}.")
    return notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)


if __name__ == "__main__":
    try:
        sys.stdout.write(main(sys.argv[1]) + "\n")
    except ValueError as error:
        sys.exit(f"error: {error}")
