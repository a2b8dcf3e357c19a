"""Git over HTTP against the sandbox, with the real git command."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from sandbox import Access
from sandbox.git import ENVIRONMENT
from sandbox.model import ProtectedRef
from sandbox.testing import serving

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox import Sandbox
    from sandbox.model import Project, Token, User

CONFIG = {".gitlab-ci.yml": "test:\n  script: [echo]\n"}
PROTECTED = "GitLab: You are not allowed to push code to protected branches on this project."


@dataclass(frozen=True)
class Clone:
    """A working copy, and how its git reaches the sandbox."""

    path: Path

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
        return subprocess.run(
            ["git", *who, *arguments],
            cwd=self.path,
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
            check=False,
        )

    def commit(self, message: str = "Change") -> str:
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD").stdout.strip()


def address(gitlab: Sandbox, project: Project, user: str, password: str) -> str:
    return f"{gitlab.url}/{project.path}.git".replace("://", f"://{user}:{password}@")


@pytest.fixture
def clone(gitlab: Sandbox, project: Project, token: Token, tmp_path: Path) -> Clone:
    home = Clone(tmp_path)
    cloned = home.git("clone", address(gitlab, project, "oauth2", token.secret), "clone")
    assert cloned.returncode == 0, cloned.stderr
    return Clone(tmp_path / "clone")


def test_a_push_updates_the_branch_and_starts_a_pipeline(
    gitlab: Sandbox, project: Project, clone: Clone
) -> None:
    gitlab.commit(project, CONFIG, start_pipeline=False)
    clone.git("pull", "--quiet")
    sha = clone.commit()
    assert clone.git("push").returncode == 0
    assert gitlab.sha(project) == sha
    gitlab.wait_until(lambda: bool(gitlab.pipelines(project)))
    [pipeline] = gitlab.pipelines(project)
    assert (pipeline.ref, pipeline.sha, pipeline.source, pipeline.tag) == (
        "main",
        sha,
        "push",
        False,
    )


@pytest.mark.parametrize(
    ("message", "options"),
    [("Change [skip ci]", []), ("Change", ["--push-option=ci.skip"])],
)
def test_a_push_can_skip_its_pipeline(
    gitlab: Sandbox, project: Project, clone: Clone, message: str, options: list[str]
) -> None:
    gitlab.commit(project, CONFIG, start_pipeline=False)
    clone.git("pull", "--quiet")
    clone.commit(message)
    assert clone.git("push", *options).returncode == 0
    gitlab.wait_until(lambda: bool(gitlab.pipelines(project)))
    assert [pipeline.status for pipeline in gitlab.pipelines(project)] == ["skipped"]


def test_a_shallow_clone_pushes(
    gitlab: Sandbox, project: Project, clone: Clone, tmp_path: Path
) -> None:
    gitlab.commit(project, {"f": "1"}, start_pipeline=False)
    remote = clone.git("remote", "get-url", "origin").stdout.strip()
    clone.git("clone", "--quiet", "--depth=1", remote, str(tmp_path / "shallow"))
    sha = Clone(tmp_path / "shallow").commit()
    assert Clone(tmp_path / "shallow").git("push").returncode == 0
    assert gitlab.sha(project) == sha


def test_an_annotated_tag_can_be_pushed(gitlab: Sandbox, project: Project, clone: Clone) -> None:
    clone.git("tag", "--annotate", "--message", "One", "v1")
    assert clone.git("push", "origin", "v1").returncode == 0
    assert gitlab.tags(project) == {"v1": gitlab.sha(project)}


def test_a_large_push_is_sent_in_chunks(gitlab: Sandbox, project: Project, clone: Clone) -> None:
    (clone.path / "large").write_bytes(os.urandom(2_000_000))
    clone.git("add", "large")
    sha = clone.commit()
    assert clone.git("push").returncode == 0
    assert gitlab.sha(project) == sha


def test_a_developer_cannot_push_to_a_protected_branch(
    gitlab: Sandbox, project: Project, executor: User, clone: Clone
) -> None:
    before = gitlab.sha(project)
    project.members[executor.id] = Access.DEVELOPER
    clone.commit()
    refused = clone.git("push", "origin", "HEAD:main")
    assert refused.returncode == 1
    assert f"remote: {PROTECTED}" in refused.stderr
    assert "[remote rejected] HEAD -> main (pre-receive hook declined)" in refused.stderr
    assert gitlab.sha(project) == before
    assert clone.git("push", "origin", "HEAD:feature").returncode == 0


def test_no_one_can_force_push_to_a_protected_branch(
    gitlab: Sandbox, project: Project, clone: Clone
) -> None:
    before = gitlab.sha(project)
    clone.git("commit", "--amend", "--message", "Other")
    refused = clone.git("push", "--force")
    assert "You are not allowed to force push code to a protected branch" in refused.stderr
    assert gitlab.sha(project) == before


@pytest.mark.parametrize(
    ("refspec", "text"),
    [
        ("HEAD:refs/tags/main", "You cannot use default branch name to create a tag"),
        ("HEAD:refs/tags/locked", "You are not allowed to create this tag as it is protected."),
        (":main", "The default branch of a project cannot be deleted."),
    ],
)
def test_an_invalid_push_gets_gitlabs_error_message(
    project: Project, clone: Clone, refspec: str, text: str
) -> None:
    project.protected_tags.append(ProtectedRef("lock*", Access.OWNER))
    refused = clone.git("push", "origin", refspec)
    assert refused.returncode == 1
    assert f"remote: GitLab: {text}" in refused.stderr


@pytest.mark.parametrize("words", ["", "Not on a Friday"])
def test_a_hook_refuses_a_push_with_its_own_message(
    project: Project, clone: Clone, words: str
) -> None:
    project.hook_message = words
    refused = clone.git("push", "origin", "HEAD:feature")
    assert "(pre-receive hook declined)" in refused.stderr
    assert ("remote: GitLab: " in refused.stderr) == bool(words)


def test_the_second_of_two_pushes_must_fetch_first(
    gitlab: Sandbox, project: Project, clone: Clone
) -> None:
    gitlab.commit(project, {"f": "1"}, start_pipeline=False)
    clone.commit()
    late = clone.git("push")
    assert "fetch first" in late.stderr


def test_a_push_of_a_reporter_is_refused_before_any_object_is_sent(
    project: Project, executor: User, clone: Clone
) -> None:
    project.members[executor.id] = Access.REPORTER
    refused = clone.git("push", "origin", "HEAD:feature")
    assert "remote: You are not allowed to push code to this project." in refused.stderr
    assert "error: 403" in refused.stderr


def test_a_job_token_fetches_and_pushes_only_where_the_project_allows_it(
    gitlab: Sandbox, project: Project, executor: User, clone: Clone
) -> None:
    gitlab.commit(project, CONFIG, start_pipeline=False)
    job = gitlab.add_running_job(project, executor)
    remote = address(gitlab, project, "gitlab-ci-token", job.token)
    assert clone.git("ls-remote", remote).returncode == 0
    refused = clone.git("push", remote, "HEAD:feature")
    assert "remote: You are not allowed to upload code." in refused.stderr
    project.job_token_push = True
    assert clone.git("push", remote, "HEAD:feature").returncode == 0
    assert gitlab.pipelines(project) == [job.pipeline]  # such a push starts none
    gitlab.finish(job)
    assert "Authentication failed" in clone.git("ls-remote", remote).stderr


def test_an_access_token_is_accepted_with_the_user_name_of_job_tokens(
    gitlab: Sandbox, project: Project, token: Token, clone: Clone
) -> None:
    remote = address(gitlab, project, "gitlab-ci-token", token.secret)
    assert clone.git("push", remote, "HEAD:feature").returncode == 0


def test_an_anonymous_client_clones_only_public_projects(
    gitlab: Sandbox, project: Project, tmp_path: Path
) -> None:
    nobody = Clone(tmp_path)
    remote = f"{gitlab.url}/{project.path}.git"
    assert "could not read Username" in nobody.git("ls-remote", remote).stderr
    project.visibility = "public"
    assert nobody.git("ls-remote", remote).returncode == 0


def test_a_project_that_the_user_cannot_see_is_not_found(gitlab: Sandbox, clone: Clone) -> None:
    other = gitlab.add_token(gitlab.add_user("other"))
    hidden = gitlab.add_project("secret/project", {})
    refused = clone.git("ls-remote", address(gitlab, hidden, "other", other.secret))
    assert "could not be found or you don't have permission to view it" in refused.stderr
    assert clone.git("ls-remote", address(gitlab, hidden, "other", "wrong")).returncode != 0


# Push options


def push_feature(clone: Clone, *options: str) -> subprocess.CompletedProcess[str]:
    clone.commit("Add a feature")
    given = [part for option in options for part in ("-o", option)]
    return clone.git("push", *given, "origin", "HEAD:feature")


def test_push_options_set_variables(gitlab: Sandbox, project: Project, clone: Clone) -> None:
    gitlab.commit(project, CONFIG, start_pipeline=False)
    clone.git("pull", "--quiet")
    pushed = push_feature(clone, "ci.variable=A=1=2", "ci.variable=B=")
    assert pushed.returncode == 0, pushed.stderr
    [pipeline] = gitlab.pipelines(project)
    assert [(each.key, each.value) for each in pipeline.variables] == [("A", "1=2"), ("B", "")]


def test_push_options_open_a_merge_request(project: Project, clone: Clone) -> None:
    title = "merge_request.title=Better"
    push_feature(clone, "merge_request.create", title, "merge_request.label=x")
    [request] = project.merge_requests
    assert (request.source_branch, request.target_branch) == ("feature", "main")
    assert (request.title, request.labels) == ("Better", ["x"])
    push_feature(clone, "merge_request.create", "merge_request.description=Why")
    assert [request.description for request in project.merge_requests] == ["Why"]


def test_an_unsupported_push_option_is_refused(
    gitlab: Sandbox, project: Project, clone: Clone
) -> None:
    pushed = push_feature(clone, "merge_request.milestone=1")
    problem = "The sandbox does not read the push option merge_request.milestone=1"
    assert f"GitLab: {problem}" in pushed.stderr
    assert gitlab.state.problems == [problem]
    gitlab.state.problems.clear()
    assert gitlab.pipelines(project) == []


# Reading


def test_an_address_without_git_suffix_redirects_to_the_one_with_it(
    gitlab: Sandbox, project: Project, token: Token, tmp_path: Path
) -> None:
    short = address(gitlab, project, "oauth2", token.secret).removesuffix(".git")
    cloned = Clone(tmp_path).git("clone", short, "clone")
    assert cloned.returncode == 0, cloned.stderr
    assert "redirecting to" in cloned.stderr


def test_a_partial_clone_works(
    gitlab: Sandbox, project: Project, token: Token, tmp_path: Path
) -> None:
    url = address(gitlab, project, "oauth2", token.secret)
    cloned = Clone(tmp_path).git("clone", "--filter=blob:none", "--no-checkout", url, "clone")
    assert (cloned.returncode, "not recognized" in cloned.stderr) == (0, False), cloned.stderr


@pytest.mark.parametrize(("version", "status"), [("18.2", 128), ("18.4", 0)])
def test_a_job_token_can_push_since_18_4(version: str, status: int, tmp_path: Path) -> None:
    with serving(version=version) as world:
        world.project.job_token_push = True
        job = world.gitlab.add_running_job(world.project, world.executor)
        url = address(world.gitlab, world.project, "gitlab-ci-token", job.token)
        home = Clone(tmp_path)
        assert home.git("clone", url, "clone").returncode == 0
        clone = Clone(tmp_path / "clone")
        clone.commit()
        before = len(world.gitlab.pipelines(world.project))
        assert clone.git("push", "origin", "HEAD:feature").returncode == status
        assert len(world.gitlab.pipelines(world.project)) == before
