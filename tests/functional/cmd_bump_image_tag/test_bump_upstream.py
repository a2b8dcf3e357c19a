"""Which pipeline a bump comes from: an older one never overwrites a newer one's bump."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Protocol

import pytest

from cmd_bump_image_tag.targets.git import HISTORY
from tests.functional.cmd_bump_image_tag.conftest import WEB, Run, text

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Project

WAYS = pytest.mark.parametrize("via", ["api", "git"])


class FromPipeline(Protocol):
    """Bumps as a job of the pipeline of this number would; returns the exit code."""

    def __call__(self, number: int, image: str, via: str, *more: str, of: str = "web") -> int: ...


@pytest.fixture
def from_pipeline(run: Run, monkeypatch: pytest.MonkeyPatch, project: Project) -> FromPipeline:
    def bump(number: int, image: str, via: str, *more: str, of: str = "web") -> int:
        url = f"https://gitlab.example.com/group/{of}/-/pipelines/{number}"
        monkeypatch.setenv("CI_PIPELINE_URL", url)
        arguments = ("--image", image, "--project", project.path, "--via", via, *more)
        return run(*arguments).code

    return bump


@WAYS
def test_a_commit_names_the_pipeline_and_the_images(
    from_pipeline: FromPipeline, project: Project, via: str
) -> None:
    from_pipeline(41, f"{WEB}=v1.1.0", via, "--commit-message", "From {upstream}")

    shown = subprocess.run(
        ["git", "--git-dir", str(project.repository), "log", "-1", "--format=%B", "main"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    url = "https://gitlab.example.com/group/web/-/pipelines/41"
    assert shown.strip() == (
        f"From {url} [skip ci]\n\nUpstream-Pipeline: {url}\nBumped-Image: {WEB}"
    )
    trailers = subprocess.run(
        ["git", "interpret-trailers", "--parse"], input=shown,
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert trailers == f"Upstream-Pipeline: {url}\nBumped-Image: {WEB}\n"


@WAYS
@pytest.mark.parametrize(
    ("second", "code"),
    [
        ((41, f"{WEB}=build-41"), 12),  # older, of the same project
        ((43, f"{WEB}=build-43"), 0),  # newer
        ((42, f"{WEB}=build-42-again"), 0),  # the same, as a job that is retried
        ((41, "redis=build-41"), 0),  # another image
        ((41, f"{WEB}=build-41", "--allow-older-pipeline"), 0),
    ],
    ids=["older", "newer", "same", "other image", "allowed"],
)
def test_12_an_older_pipeline_does_not_bring_back_its_image(
    from_pipeline: FromPipeline,
    gitlab: Sandbox,
    project: Project,
    via: str,
    second: tuple[int, str, *tuple[str, ...]],
    code: int,
) -> None:
    number, image, *more = second
    assert from_pipeline(42, f"{WEB}=build-42", via) == 0
    gitlab.commit(project, {"unrelated": "1"})

    assert from_pipeline(number, image, via, *more) == code
    stands = "build-42'" in text(gitlab, project, "apps/web.yaml")
    assert stands == (code == 12 or image == "redis=build-41")


@WAYS
def test_pipelines_of_different_projects_are_not_compared(
    from_pipeline: FromPipeline, gitlab: Sandbox, project: Project, via: str
) -> None:
    assert from_pipeline(42, f"{WEB}=build-42", via) == 0
    assert from_pipeline(7, f"{WEB}=build-7", via, of="another") == 0
    assert "build-7" in text(gitlab, project, "apps/web.yaml")


@WAYS
def test_the_last_commit_that_is_read_counts_only_for_the_files_that_it_changed(
    from_pipeline: FromPipeline, gitlab: Sandbox, project: Project, via: str
) -> None:
    """git shows the last commit of a shallow history as one that touched every file."""
    newer = (
        "Other\n\nUpstream-Pipeline: https://gitlab.example.com/group/web/-/pipelines/99\n"
        f"Bumped-Image: {WEB}\n"
    )
    gitlab.commit(project, {"unrelated": "0"}, message=newer)
    for number in range(1, HISTORY):
        gitlab.commit(project, {"unrelated": str(number)})

    assert from_pipeline(41, f"{WEB}=build-41", via) == 0
    assert "build-41" in text(gitlab, project, "apps/web.yaml")


@pytest.mark.parametrize(("later", "code"), [(48, 12), (49, 0)])
def test_git_reads_the_last_50_commits_and_no_more(
    from_pipeline: FromPipeline, gitlab: Sandbox, project: Project, later: int, code: int
) -> None:
    newer = (
        "Other\n\nUpstream-Pipeline: https://gitlab.example.com/group/web/-/pipelines/99\n"
        f"Bumped-Image: {WEB}\n"
    )
    changed = text(gitlab, project, "apps/web.yaml") + " # a comment"
    gitlab.commit(project, {"apps/web.yaml": changed}, message=newer)
    for number in range(later):
        gitlab.commit(project, {"unrelated": str(number)})

    assert from_pipeline(41, f"{WEB}=build-41", "git") == code


@WAYS
def test_12_an_older_pipeline_does_not_change_the_open_merge_request_of_a_newer(
    from_pipeline: FromPipeline, gitlab: Sandbox, project: Project, via: str
) -> None:
    assert from_pipeline(42, f"{WEB}=build-42", via, "--merge-request") == 0
    [request] = project.merge_requests

    assert from_pipeline(41, f"{WEB}=build-41", via, "--merge-request") == 12
    assert project.merge_requests == [request]
    assert "build-42" in request.title
    assert "build-42" in text(gitlab, project, "apps/web.yaml", request.source_branch)
    assert from_pipeline(43, f"{WEB}=build-43", via, "--merge-request") == 0
    assert "build-43" in request.title
