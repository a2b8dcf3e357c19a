"""`cmd-tag-project` against the sandbox: releases."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from cmd_tag_project import tag_project
from cmd_tag_project.cli import cli
from sandbox import Fault, Sandbox
from sandbox.testing import serving
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.model import Project, Token, User
    from tests.functional.conftest import Ending, Invoke


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


def test_a_lost_response_to_a_release_leaves_one_release(
    writes: Callable[[], list[str]], tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    gitlab.fault(Fault(path=r"/releases$", method="POST", nth=1, reset="after"))

    assert tag("--tag-name", "v1", "--release").code == 0
    assert list(project.releases) == ["v1"]
    assert len(writes()) == 1


def test_a_release_that_was_not_created_before_the_connection_was_lost_is_sent_again(
    writes: Callable[[], list[str]], tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    tag("--tag-name", "v1")
    before = len(writes())
    gitlab.fault(Fault(path=r"/releases$", method="POST", nth=1, reset="before"))

    ending = tag("--tag-name", "v1", "--release")

    assert ending.code == 0, ending.stderr
    assert "release created" in ending.stdout
    assert list(project.releases) == ["v1"]
    assert len(writes()) == before + 2


def test_a_release_is_of_the_commit_that_was_read_although_the_branch_moves(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    sha = gitlab.sha(project)

    def move() -> None:
        gitlab.commit(project, {"more": "work"})

    gitlab.fault(Fault(path=r"/releases$", method="POST", nth=1, meanwhile=move))

    assert tag("--tag-name", "v1", "--release", "--ref", "main").code == 0
    assert gitlab.tags(project) == {"v1": sha}
    assert gitlab.sha(project) != sha


def test_with_a_job_token_a_tag_in_other_letters_is_another_tag(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    executor: User,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """GitLab's search ignores case."""
    tag("--tag-name", "V1")
    sha = gitlab.commit(project, {"more": "work"})
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")
    monkeypatch.setenv("CI_JOB_TOKEN", gitlab.add_running_job(project, executor).token)

    ending = tag("--tag-name", "v1", "--release", "--ref", "main")

    assert ending.code == 0, ending.stderr
    assert gitlab.tags(project)["v1"] == sha


@every_server
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


def test_5_a_tag_at_another_commit_gets_no_release(
    writes: Callable[[], list[str]], tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    tag("--tag-name", "v1")
    gitlab.commit(project, {"more": "work"})
    before = len(writes())

    assert tag("--tag-name", "v1", "--release", "--ref", "main").code == 5
    assert project.releases == {}
    assert len(writes()) == before


def test_without_a_ref_a_release_takes_the_commit_of_the_tag_that_exists(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    tag("--tag-name", "v1")
    old = gitlab.tags(project)["v1"]
    gitlab.commit(project, {"more": "work"})

    ending = tag("--tag-name", "v1", "--release")

    assert ending.code == 0, ending.stderr
    assert f"already exists at {old[:8]}, release created" in ending.stdout
    assert list(project.releases) == ["v1"]


def test_notes_and_assets_that_differ_are_updated(
    writes: Callable[[], list[str]], tag: Callable[..., Ending], project: Project, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("One.\n")
    asset, other = "page=https://example.com/1", "page=https://example.com/2"
    same = ("--tag-name", "v1", "--release-notes", str(notes), "--asset")
    assert "release created" in tag(*same, asset).stdout
    assert "release exists" in tag(*same, asset).stdout
    before = len(writes())

    notes.write_text("Two.\n")
    dry = tag(*same, other, "--asset", "more=https://example.com/3", "--dry-run")
    assert "release would be updated" in dry.stdout
    assert len(writes()) == before

    ending = tag(*same, other, "--asset", "more=https://example.com/3")
    assert ending.code == 0, ending.stderr
    assert "release updated" in ending.stdout
    release = project.releases["v1"]
    assert release.description == "Two.\n"
    assert {link.name: link.url for link in release.links} == {
        "page": "https://example.com/2",
        "more": "https://example.com/3",
    }
    assert len(writes()) == before + 3


def test_parts_of_a_release_that_are_not_given_stay(
    writes: Callable[[], list[str]], tag: Callable[..., Ending], project: Project, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("One.\n")
    tag("--tag-name", "v1", "--release-notes", str(notes), "--asset", "a=https://h/1")

    assert tag("--tag-name", "v1", "--asset", "b=https://h/2").code == 0
    assert tag("--tag-name", "v1", "--release").code == 0

    assert project.releases["v1"].description == "One.\n"
    assert {link.name for link in project.releases["v1"].links} == {"a", "b"}
    assert len(writes()) == 2


@pytest.mark.usefixtures("project")
def test_12_a_refused_release_of_a_tag_that_exists_is_not_a_hook(
    tag: Callable[..., Ending], gitlab: Sandbox
) -> None:
    tag("--tag-name", "v1")
    gitlab.fault(
        Fault(path=r"/releases$", method="POST", status=400, body={"message": "Something is off"})
    )

    ending = tag("--tag-name", "v1", "--release")

    assert ending.code == 12
    assert "Something is off" in ending.stderr
    assert "hook" not in ending.stderr


@pytest.mark.parametrize("is_tagged", [True, False], ids=["tag alone", "no tag"])
def test_5_no_release_is_taken_for_one_that_exists(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, *, is_tagged: bool
) -> None:
    """Another job's release was there for a moment, or it is a server of another version."""
    if is_tagged:
        tag("--tag-name", "v1")
    refusal = {"message": "Release already exists"}
    gitlab.fault(Fault(path=r"/releases$", method="POST", status=409, body=refusal))

    ending = tag("--tag-name", "v1", "--release")

    assert ending.code == 5, ending.stdout
    assert project.releases == {}


def test_the_notes_of_a_release_are_not_read_if_none_are_given(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    tag("--tag-name", "v1", "--release")
    gitlab.requests.clear()

    ending = tag("--tag-name", "v1", "--release")

    assert ending.code == 0, ending.stderr
    assert "v1" in project.releases
    assert not any("/releases" in request.path for request in gitlab.requests)


def test_a_release_lost_to_another_job_is_not_created_but_gets_our_notes(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, token: Token, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("Ours.")
    sha = gitlab.sha(project)

    def release_first() -> None:
        tag_project(
            project=project.path, tag_name="v1", ref=sha, release_notes="Theirs.",
            base_url=gitlab.url, api_access_token=token.secret,
        )  # fmt: skip

    gitlab.fault(Fault(path=r"/releases$", method="POST", first=1, meanwhile=release_first))

    ending = tag("--tag-name", "v1", "--release-notes", str(notes))

    assert ending.code == 0, ending.stderr
    assert "already exists" in ending.stdout
    assert "release updated" in ending.stdout
    assert project.releases["v1"].description == "Ours."


@pytest.mark.parametrize("version", ["17.11", "18.2", "18.9", "19.4"])
def test_a_retried_job_finds_its_own_tag_on_every_server(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    with serving(version=version) as world:
        project = world.project
        job = world.gitlab.add_running_job(project, world.executor)
        monkeypatch.setenv("CI_SERVER_URL", world.gitlab.url)
        monkeypatch.setenv("CI_JOB_TOKEN", job.token)
        arguments = ("--project", project.path, "--release", "--ref", "main", "--tag-name")

        first, second = invoke(cli, *arguments, "v1"), invoke(cli, *arguments, "v1")
        assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
        assert "tag v1 created" in first.stdout
        assert "already exists" in second.stdout
        assert "release exists" in second.stdout

        world.gitlab.commit(project, {"more": "work"})
        subprocess.run(["git", "tag", "v2", "main~1"], cwd=project.repository, check=True)
        assert invoke(cli, *arguments, "v2").code == 5
        assert list(project.releases) == ["v1"]
