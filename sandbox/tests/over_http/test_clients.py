"""Clients of others work on the sandbox: glab, semantic-release and python-gitlab."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gitlab as python_gitlab
import pytest

from sandbox import Access, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.model import Project

CONFIG = """\
test:
  script: [echo hello > out.txt, echo "said $WORD"]
  artifacts: {paths: [out.txt]}
slow: {script: [sleep 60], when: manual}
"""
PATH = "tech-lunch/web"


@dataclass(frozen=True)
class Ground:
    """A server whose jobs run, with a project and a token of its Maintainer."""

    gitlab: Sandbox
    project: Project
    token: str

    def settled(self) -> None:
        """Wait until no job runs."""
        busy = ("created", "pending", "running")
        jobs = self.gitlab.state.jobs
        self.gitlab.wait_until(lambda: not any(job.status in busy for job in jobs.values()), 60)


@pytest.fixture
def ground() -> Iterator[Ground]:
    with Sandbox(shell_runner=True) as running:
        user = running.add_user("dev")
        project = running.add_project(
            PATH, {".gitlab-ci.yml": CONFIG}, members={user: Access.MAINTAINER}
        )
        running.commit(project, {"f": "1"}, branch="feature", start_pipeline=False)
        yield Ground(running, project, running.add_token(user).secret)


@dataclass(frozen=True)
class Glab:
    """The glab command in a working copy of the project."""

    program: str
    copy: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.copy,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def glab(ground: Ground, tmp_path: Path) -> Glab:
    program = shutil.which("glab")
    if program is None:
        pytest.skip("there is no glab on PATH; Debian's package is named so since trixie")
    copy, address = tmp_path / "copy", ground.gitlab.url.removeprefix("http://")
    url = f"http://oauth2:{ground.token}@{address}/{PATH}.git"
    subprocess.run(["git", "clone", "--quiet", url, copy], check=True)
    host = address.partition(":")[0]  # glab forgets the port of a remote
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GLAB_CONFIG_DIR": str(tmp_path / "settings"),
        "GITLAB_HOST": host,
        "GITLAB_TOKEN": ground.token,
        "NO_PROMPT": "1",
    }
    run = Glab(program, copy, environment)
    run("config", "set", "--global", "check_update", "false")
    run("config", "set", "--host", host, "api_protocol", "http")
    run("config", "set", "--host", host, "api_host", address)
    return run


@pytest.mark.may_skip
def test_glab_runs_pipelines_and_reads_them(ground: Ground, glab: Glab) -> None:
    assert "Created pipeline" in glab("ci", "run", "--branch", "main", "--variables", "WORD:hi")
    ground.settled()
    [pipeline] = ground.gitlab.pipelines(ground.project)
    job = pipeline.jobs[0]
    assert f"#{pipeline.id}" in glab("ci", "list")
    assert "(success)" in glab("ci", "status", "--branch", "main")
    assert f'"id":{pipeline.id}' in glab(
        "ci", "get", "--pipeline-id", str(pipeline.id), "--output", "json"
    )
    assert "said hi" in glab("ci", "trace", str(job.id))
    glab("job", "artifact", "main", "test", "--path", "downloaded")
    assert (glab.copy / "downloaded" / "out.txt").read_text() == "hello\n"


@pytest.mark.may_skip
def test_glab_plays_cancels_and_retries_jobs(ground: Ground, glab: Glab) -> None:
    glab("ci", "run", "--branch", "main")
    ground.settled()
    [pipeline] = ground.gitlab.pipelines(ground.project)
    first, gate = pipeline.jobs
    glab("ci", "retry", str(first.id))
    ground.settled()
    assert [job.name for job in pipeline.jobs if not job.retried] == ["test", "slow"]
    assert len(pipeline.jobs) == 3
    glab("ci", "trigger", str(gate.id))
    ground.gitlab.wait_until(lambda: gate.status == "running", 60)
    glab("ci", "cancel", "pipeline", str(pipeline.id))
    ground.gitlab.wait_until(lambda: gate.status == "canceled", 60)


@pytest.mark.may_skip
def test_glab_opens_updates_and_merges_a_merge_request(ground: Ground, glab: Glab) -> None:
    text = ("--title", "Feature", "--description", "Why")
    branches = ("--source-branch", "feature", "--target-branch", "main")
    assert "/merge_requests/1" in glab("mr", "create", *branches, *text, "--yes")
    assert "!1" in glab("mr", "list")
    glab("mr", "update", "1", "--title", "Better", "--label", "x")
    assert "Better" in glab("mr", "view", "1")
    assert "Merged!" in glab("mr", "merge", "1", "--yes")
    [request] = ground.project.merge_requests
    assert (request.state, request.labels) == ("merged", ["x"])


@pytest.mark.may_skip
def test_glab_creates_and_updates_releases(ground: Ground, glab: Glab) -> None:
    links = '[{"name": "site", "url": "https://example.com/site"}]'
    glab("release", "create", "v1", "--ref", "main", "--notes", "First", "--assets-links", links)
    glab("release", "create", "v1", "--notes", "Second")
    assert "v1" in glab("release", "list")
    release = ground.project.releases["v1"]
    assert (release.description, [link.name for link in release.links]) == ("Second", ["site"])


@pytest.mark.may_skip
def test_semantic_release_tags_releases_and_comments(ground: Ground, tmp_path: Path) -> None:
    program = shutil.which("semantic-release")
    if program is None:
        pytest.skip("there is no semantic-release with @semantic-release/gitlab on PATH")
    client = python_gitlab.Gitlab(ground.gitlab.url, private_token=ground.token)
    project = client.projects.get(PATH)
    ground.gitlab.commit(
        ground.project, {"f": "2"}, branch="feature", message="feat: two", start_pipeline=False
    )
    request = project.mergerequests.create(
        {"source_branch": "feature", "target_branch": "main", "title": "Feature"}
    )
    request.merge()
    copy, repository = tmp_path / "copy", f"{ground.gitlab.url}/{PATH}.git"
    address = repository.replace("://", f"://oauth2:{ground.token}@")
    subprocess.run(["git", "clone", "--quiet", address, copy], check=True)
    changelog = ["@semantic-release/commit-analyzer", "@semantic-release/release-notes-generator"]
    publish = ["@semantic-release/gitlab", {"gitlabUrl": ground.gitlab.url}]
    options = {"branches": "main", "repositoryUrl": repository, "plugins": [*changelog, publish]}
    (copy / ".releaserc.json").write_text(json.dumps(options))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GL_TOKEN": ground.token}
    done = subprocess.run(
        [program, "--no-ci"],
        cwd=copy, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "two" in ground.project.releases["v1.0.0"].description
    [merged] = ground.project.merge_requests
    assert "1.0.0" in merged.notes[0]


def test_python_gitlab_makes_the_requests_of_the_commands(ground: Ground) -> None:
    client = python_gitlab.Gitlab(ground.gitlab.url, private_token=ground.token)
    project = client.projects.get(PATH)
    assert project.tags.create({"tag_name": "v1", "ref": "main"}).name == "v1"
    pipeline = project.pipelines.create({"ref": "main", "variables": [{"key": "W", "value": "1"}]})
    ground.settled()
    pipeline.refresh()
    assert pipeline.status == "success"
    assert [variable.key for variable in pipeline.variables.list(get_all=True)] == ["W"]
    [job, _] = sorted(pipeline.jobs.list(get_all=True), key=lambda each: each.id)
    assert b"out.txt" in project.jobs.get(job.id).artifacts()
    assert b"out.txt" in project.artifacts.download(ref_name="main", job="test")
    release = project.releases.create({"tag_name": "v1", "description": "First"})
    release.links.create({"name": "site", "url": "https://example.com/site"})
    release.description = "Second"
    release.save()
    assert project.releases.get("v1").assets["count"] == 1
    request = project.mergerequests.create(
        {"source_branch": "feature", "target_branch": "main", "title": "Feature"}
    )
    request.labels = ["x"]
    request.save()
    request.rebase()
    assert [each.iid for each in project.mergerequests.list(labels=["x"], get_all=True)] == [1]
    request.merge()
    assert project.mergerequests.get(1).state == "merged"
    assert client.users.list(username="dev")[0].username == "dev"
