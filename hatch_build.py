"""Gives the wheel's metadata the addresses that only the server that builds it knows.

A GitLab job has its project's address in CI_PROJECT_URL. Built elsewhere, the wheel names none. A
wheel without a version's tag links to HEAD, so that the same files make the same wheel.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# A link or a picture whose target is a file of the repository.
RELATIVE = re.compile(r"(?P<picture>!?)(?P<text>\[[^\]]*\])\((?!https?:|#)(?P<path>[^)]+)\)")


class Addresses(MetadataHookInterface):
    """Sets the project's URLs, and makes the README's links absolute, for package indexes."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Sets the fields that pyproject.toml names as dynamic."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        project = os.environ.get("CI_PROJECT_URL")
        ref = os.environ.get("CI_COMMIT_TAG") or "HEAD"
        metadata["urls"] = {}
        if project:
            metadata["urls"] = {
                "Homepage": project,
                "Documentation": f"{project}/-/blob/{ref}/docs/README.md",
                "Changelog": f"{project}/-/blob/{ref}/CHANGELOG.md",
                "Issues": f"{project}/-/issues",
            }
            text = absolute(text, project, ref)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, project: str, ref: str) -> str:
    """A document with absolute links.

    Args:
        text: The document, in Markdown.
        project: The project's web address.
        ref: The tag or commit of the files that it links to.
    """

    def link(found: re.Match[str]) -> str:
        kind = "raw" if found["picture"] else "blob"
        target = f"{project}/-/{kind}/{ref}/{found['path']}"
        return f"{found['picture']}{found['text']}({target})"

    return RELATIVE.sub(link, text)
