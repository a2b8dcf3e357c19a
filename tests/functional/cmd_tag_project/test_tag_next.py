"""`cmd-tag-project` against the sandbox: the next version."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from cmd_tag_project import tag_project
from sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.model import Project, Token
    from tests.functional.conftest import Ending

TAGS = r"/repository/tags$"


@pytest.mark.parametrize(
    ("before", "options", "after"),
    [
        ([], ["--next", "minor"], "v0.1.0"),
        (["v1.2.3", "v1.10.0", "v1.9.9"], ["--next", "patch"], "v1.10.1"),
        (["v1.2.3", "nightly", "v2024"], ["--next", "major"], "v2.0.0"),
        (["v2.0.0-rc.1", "v1.4.0"], ["--next", "major"], "v2.0.0"),
        (["v9.9.9", "api-1.0.0"], ["--next", "minor", "--prefix", "api-"], "api-1.1.0"),
        (["1.0.0"], ["--next", "patch", "--prefix", ""], "1.0.1"),
    ],
)
def test_next_counts_from_the_highest_version(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    before: list[str],
    options: list[str],
    after: str,
) -> None:
    for name in before:
        assert tag("--tag-name", name).code == 0
    gitlab.commit(project, {"more": "work"})

    assert tag(*options).code == 0
    assert set(gitlab.tags(project)) == {*before, after}


def test_the_highest_of_more_tags_than_fit_on_a_page_is_found(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    sha = gitlab.commit(project, {"next": "commit"})
    names = "".join(f"create refs/tags/v1.0.{n} {sha}\n" for n in range(230))
    subprocess.run(
        ["git", "update-ref", "--stdin"], cwd=project.repository, input=names.encode(), check=True
    )

    assert tag("--next", "patch").code == 0
    assert "v1.0.230" in gitlab.tags(project)


def test_racing_commands_get_versions_of_their_own(
    gitlab: Sandbox, token: Token, project: Project
) -> None:
    shas = [gitlab.commit(project, {"n": str(n)}, branch=f"b{n}") for n in range(6)]
    results: list[str] = []

    def race(sha: str) -> None:
        done = tag_project(
            project=project.path,
            next="patch",
            ref=sha,
            base_url=gitlab.url,
            api_access_token=token.secret,
        )
        assert done.commit == sha
        results.append(done.tag)

    threads = [threading.Thread(target=race, args=(sha,)) for sha in shas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == [f"v0.0.{n}" for n in range(1, 7)]
    assert sorted(gitlab.tags(project).values()) == sorted(shas)


def test_a_version_lost_to_somebody_at_the_same_commit_is_theirs(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    """The list was read before the other one's tag was there; the write then finds it."""
    sha = gitlab.commit(project, {"next": "commit"})
    subprocess.run(["git", "tag", "v0.0.1", sha], cwd=project.repository, check=True)
    gitlab.fault(
        Fault(
            path=TAGS.replace("$", r"\?"),
            method="GET",
            first=1,
            status=200,
            body="[]",
            headers={"Content-Type": "application/json"},
        )
    )

    ending = tag("--next", "patch")

    assert ending.code == 0
    assert "v0.0.1 already exists" in ending.stdout
    assert gitlab.tags(project) == {"v0.0.1": sha}
