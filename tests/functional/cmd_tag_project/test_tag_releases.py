"""`cmd-tag-project` against the sandbox: releases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from sandbox.model import Project, User
    from tests.functional.conftest import Ending


def test_a_release_comes_with_its_tag_in_one_write(
    writes: Callable[[], list[str]],
    tag: Callable[..., Ending],
    project: Project,
    tmp_path: Path,
) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("# Better\n")

    first = tag("--tag-name", "v1", "--release-notes", str(notes), "--message", "annotated")
    second = tag("--tag-name", "v1", "--release")

    assert (first.code, second.code) == (0, 0)
    assert "release created" in first.stdout
    assert "release exists" in second.stdout
    assert project.releases["v1"].description == "# Better\n"
    assert len(writes()) == 1


def test_a_tag_that_is_there_gets_its_release(tag: Callable[..., Ending], project: Project) -> None:
    tag("--tag-name", "v1")

    ending = tag("--tag-name", "v1", "--release")

    assert ending.code == 0
    assert "already exists" in ending.stdout
    assert "release created" in ending.stdout
    assert "v1" in project.releases


def test_a_lost_answer_to_a_release_leaves_one_release(
    writes: Callable[[], list[str]], tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    gitlab.fault(Fault(path=r"/releases$", method="POST", nth=1, reset="after"))

    assert tag("--tag-name", "v1", "--release").code == 0
    assert list(project.releases) == ["v1"]
    assert len(writes()) == 1


def test_with_a_job_token_a_release_is_the_one_way(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    executor: User,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = gitlab.add_running_job(project, executor)
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")
    monkeypatch.setenv("CI_JOB_TOKEN", job.token)

    refused = tag("--tag-name", "v1")
    assert refused.code == 3
    assert "--release" in refused.stderr
    assert len(gitlab.requests) == 0

    done = tag("--tag-name", "v1", "--release", "-v")
    assert done.code == 0, done.stderr
    assert "CI job token from CI_JOB_TOKEN" in done.stderr
    assert job.token not in done.stderr
    assert list(gitlab.tags(project)) == ["v1"]
