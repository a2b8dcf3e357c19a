"""`--next auto` beside what commitizen and semantic-release choose on the same commits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox import Access
from tests.functional.cmd_tag_project.histories import HISTORIES, History, write_history

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox import Sandbox
    from sandbox.model import User
    from tests.functional.conftest import Ending

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs/cmd-tag-project.md").read_text()
NOTHING_TO_BUMP = {3, 21}  # exit codes of commitizen: no commits, and none that asks for a version
SEMANTIC_RELEASE = os.environ.get("SEMANTIC_RELEASE", "")
each = pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.name)


@pytest.fixture
def repository(history: History, gitlab: Sandbox, executor: User) -> Path:
    """The history, in tech-lunch/service-tests."""
    project = gitlab.add_project("tech-lunch/service-tests", members={executor: Access.MAINTAINER})
    write_history(project.repository, history.steps)
    return project.repository


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    """A clone of it, as the other tools need one."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", repository, clone], check=True)
    return clone


@each
def test_auto_chooses_the_version_of_the_table(
    history: History, repository: Path, tag: Callable[..., Ending]
) -> None:
    assert repository
    prefix = () if history.prefix in {"", "v"} else ("--prefix", history.prefix)

    ending = tag("--next", "auto", *prefix, "--output", "json")

    assert ending.code == 0, ending.stderr
    result = json.loads(ending.stdout)
    created = f"{history.prefix}{history.next}" if history.next else None
    assert (result["tag"] if result["created"] else None) == created


@each
def test_commitizen_chooses_the_version_of_the_table(history: History, clone: Path) -> None:
    settings = {
        "version_provider": "scm",
        "version_scheme": "semver2",
        "tag_format": f"{history.prefix}$version",
        "major_version_zero": not re.search(r"tag \D*[1-9]\d*\.\d", " ".join(history.steps)),
    }
    (clone / ".cz.json").write_text(json.dumps({"commitizen": settings}))
    # In a process of its own: when it is imported, it disables the loggers of this one.
    done = subprocess.run(
        [sys.executable, "-m", "commitizen.cli", "bump", "--get-next", "--yes"],
        cwd=clone, capture_output=True, text=True, check=False,
    )  # fmt: skip

    expected = history.next if history.commitizen is None else history.commitizen
    assert done.returncode in ({0} if expected else NOTHING_TO_BUMP), done.stderr
    assert done.stdout.strip() == expected


@pytest.mark.may_skip
@pytest.mark.skipif(not SEMANTIC_RELEASE, reason="`make semantic-release` runs this; it needs npm")
@each
def test_semantic_release_chooses_the_version_of_the_table(history: History, clone: Path) -> None:
    settings = {
        "branches": ["main"],
        "tagFormat": history.prefix + "${version}",
        "plugins": [["@semantic-release/commit-analyzer", {"preset": "conventionalcommits"}]],
    }
    (clone / ".releaserc.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [SEMANTIC_RELEASE, "--dry-run", "--no-ci"],
        cwd=clone, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"next release version is (\S+)", done.stdout)
    assert found or "no new version is released" in done.stdout, done.stdout
    expected = history.next if history.semantic_release is None else history.semantic_release
    assert (found[1] if found else "") == expected


def test_the_document_explains_each_difference() -> None:
    text = " ".join(DOCUMENT.split())
    for history in HISTORIES:
        differs = {history.commitizen, history.semantic_release} - {None, history.next}
        assert bool(differs) == bool(history.why), history.name
        assert history.why in text
