"""The examples as they stand, on the sandbox; docker is its stand-in, which runs the commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import requests

from sandbox import Access, Sandbox, git
from sandbox.model import ENDED, ProtectedRef
from sandbox.scenarios import (
    DOCKER_STAND_IN,
    EXAMPLES,
    argo,
    job,
    newest_pipeline,
    push,
    set_up,
    tech_lunch,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.model import Pipeline
    from sandbox.scenarios import Scene

IMAGES = {
    name: f"registry.example.com/tech-lunch/ci-cd-commands/{name}:1.0.0"
    for name in (
        "cmd-tag-project",
        "cmd-trigger-pipeline",
        "cmd-wait-pipeline",
        "cmd-bump-image-tag",
    )
}
# What stands in for sudo where there is none, for the superuser; the job's log shows it.
SUDO = '#!/bin/sh\necho "sudo (a stand-in, for the superuser): $*" >&2\nexec "$@"\n'


@pytest.fixture
def gitlab() -> Iterator[Sandbox]:
    with Sandbox(job_path=DOCKER_STAND_IN, shell_runner=True) as running:
        yield running


def log(pipeline: Pipeline) -> str:
    return "".join(each.trace.decode() for each in pipeline.jobs).replace("\r", "")


def sudo(tmp_path: Path) -> Path | None:
    """A folder with a stand-in for sudo, None where there is sudo; skips for lack of rights."""
    if shutil.which("rsync") is None:
        pytest.skip("there is no rsync on PATH")
    if shutil.which("sudo"):
        may = subprocess.run(
            ["sudo", "-n", "rsync", "--version"], capture_output=True, check=False
        ).returncode
        if may != 0:
            pytest.skip("this user may not run `sudo rsync` without a password")
        return None
    if os.geteuid() != 0:
        pytest.skip("rsync --chown=root:root needs the superuser, and there is no sudo")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sudo").write_text(SUDO)
    (folder / "sudo").chmod(0o755)
    return folder


def test_auto_fetch_brings_the_folder_up_to_date_with_every_push(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with Sandbox(job_path=sudo(tmp_path), shell_runner=True) as gitlab:
        scene = set_up(gitlab, "site", ["auto-fetch"], variables={"TARGET_DIR": str(target)})
        sha = push(scene, "auto-fetch")
        pipeline = newest_pipeline(scene, "auto-fetch")
        assert pipeline.status == "success", log(pipeline)
        assert f"latest commit = {sha}" in log(pipeline)
        page = target / "public/index.html"
        assert page.read_bytes() == (EXAMPLES / "auto-fetch/public/index.html").read_bytes()
        assert {path.name for path in target.iterdir()} == {".gitlab-ci.yml", "README.md", "public"}
        assert all(path.stat().st_uid == path.stat().st_gid == 0 for path in target.rglob("*"))

        # What is newer in the folder is kept, which is what -u is for; the rest is replaced.
        (target / "README.md").write_text("changed by hand\n")
        later = page.stat().st_mtime + 3600
        os.utime(target / "README.md", (later, later))
        gitlab.commit(scene.projects["auto-fetch"], {"public/index.html": "Good-bye\n"})
        gitlab.wait_until(lambda: len(gitlab.pipelines(scene.projects["auto-fetch"])) > 1)
        assert newest_pipeline(scene, "auto-fetch").status == "success"
        assert page.read_text() == "Good-bye\n"
        assert (target / "README.md").read_text() == "changed by hand\n"


def test_hello_docker_runs_a_container(gitlab: Sandbox) -> None:
    scene = tech_lunch(gitlab, "hello-docker", images=IMAGES)
    push(scene, "hello-docker")
    pipeline = newest_pipeline(scene, "hello-docker")
    assert pipeline.status == "success", log(pipeline)
    assert "Hello from Docker!" in log(pipeline)


def test_tag_project_tags_itself(gitlab: Sandbox) -> None:
    scene = tech_lunch(gitlab, "tag-project", images=IMAGES)
    sha = push(scene, "tag-project")
    pipeline = newest_pipeline(scene, "tag-project")
    assert pipeline.status == "success", log(pipeline)
    tag = f"tech-lunch-tag-project_{sha}_{job(pipeline, 'tag-project').id}"
    assert gitlab.tags(scene.projects["tag-project"]) == {tag: sha}
    assert scene.token.secret not in log(pipeline)


@pytest.mark.parametrize("example", ["image-build", "image-build-dind"])
def test_an_image_is_built_and_pushed(gitlab: Sandbox, example: str) -> None:
    scene = tech_lunch(gitlab, example, images=IMAGES)
    push(scene, example)
    pipeline = newest_pipeline(scene, example)
    assert pipeline.status == "success", log(pipeline)
    assert re.findall(r"'docker (\w+)' is pretended", log(pipeline))[-1] in {"push", "logout"}


def test_trigger_and_wait_hands_the_pipeline_on_from_job_to_job(gitlab: Sandbox) -> None:
    scene = tech_lunch(gitlab, "trigger-and-wait", images=IMAGES)
    push(scene, "trigger-and-wait")
    upstream = newest_pipeline(scene, "trigger-and-wait")
    assert upstream.status == "success", log(upstream)
    (downstream,) = gitlab.pipelines(scene.projects["service-tests"])
    assert (downstream.status, downstream.source) == ("success", "api")
    waited = job(upstream, "wait-for-service-tests").trace.decode()
    assert f"tech-lunch/service-tests: pipeline {downstream.id}" in waited
    assert scene.token.secret not in log(upstream)


@pytest.mark.parametrize("upstream", ["code-repo", "code-repo-by-command"])
@pytest.mark.parametrize("downstream", ["k8s-repo", "k8s-repo-by-api"])
def test_an_image_is_built_and_its_tag_bumped_downstream_once(
    gitlab: Sandbox, upstream: str, downstream: str
) -> None:
    scene = argo(gitlab, downstream=downstream, images=IMAGES)
    k8s_repo = scene.projects["k8s-repo"]
    before = gitlab.sha(k8s_repo)

    push(scene, "code-repo", upstream)
    built = newest_pipeline(scene, "code-repo")
    assert built.status == "success", log(built)
    gitlab.wait_until(lambda: gitlab.pipelines(k8s_repo)[0].status in ENDED)
    bumped = gitlab.pipelines(k8s_repo)[0]
    assert bumped.status == "success", log(bumped)
    assert bumped.source == "pipeline"

    changed = git.run(k8s_repo.repository, "diff", "--unified=0", before, "main").decode()
    assert re.findall(r"^[-+] .*", changed, re.MULTILINE) == [
        "-      image: registry.gitlab.com/test-ci6881616/argo/code-repo/code-repo:v0.0.2",
        "+      image: registry.gitlab.com/test-ci6881616/argo/code-repo/code-repo:v0.0.3",
    ]
    (commit,) = git.commits(k8s_repo.repository, [gitlab.sha(k8s_repo)]).values()
    assert commit.parents == (before,)
    assert commit.title == "Update image tag to v0.0.3 [skip ci]"
    # The bump starts nothing: with a job token no pipeline, else one that is skipped.
    assert [each.status for each in gitlab.pipelines(k8s_repo)[1:]] in ([], ["skipped"])
    assert scene.token.secret not in log(built) + log(bumped)


@pytest.mark.parametrize(
    ("upstream", "setting", "said"),
    [
        ("code-repo", "variables", "Insufficient permissions to set pipeline variables"),
        ("code-repo-by-command", "variables", "Minimum role to use pipeline variables"),
        ("code-repo-by-command", "allowlist", "Job token permissions"),
    ],
)
def test_a_setting_that_is_missing_downstream_is_named_upstream(
    gitlab: Sandbox, upstream: str, setting: str, said: str
) -> None:
    scene = argo(gitlab, images=IMAGES)
    k8s_repo = scene.projects["k8s-repo"]
    if setting == "variables":
        k8s_repo.pipeline_variables_role = Access.OWNER + 1
    else:
        k8s_repo.job_token_allowlist = set()
    push(scene, "code-repo", upstream)
    built = newest_pipeline(scene, "code-repo")
    assert built.status == "failed"
    assert said in log(built)
    assert gitlab.pipelines(k8s_repo) == []


def test_what_one_project_builds_another_deploys_and_a_retry_builds_nothing(
    gitlab: Sandbox,
) -> None:
    scene = tech_lunch(gitlab, "app-build", "app-deploy", images=IMAGES)
    built = scene.projects["app-build"]
    sha = push(scene, "app-build")
    push(scene, "app-deploy")
    pipeline = newest_pipeline(scene, "app-deploy")
    assert pipeline.status == "success", log(pipeline)
    deployed = job(pipeline, "deploy").trace.decode().replace("\r", "")
    [building] = gitlab.pipelines(built)
    version = f"1.0.{building.iid}"
    assert f"deploying version {version}:\nthe application, built from {sha}" in deployed

    getting = job(pipeline, "get-app")
    post(scene, f"{pipeline.project.id}/jobs/{getting.id}/retry")
    gitlab.wait_until(lambda: getting.retried and pipeline.status in ENDED)
    assert pipeline.status == "success", log(pipeline)
    assert gitlab.pipelines(built) == [building]
    assert scene.token.secret not in log(pipeline)


def test_a_release_follows_from_the_commits(gitlab: Sandbox) -> None:
    scene = tech_lunch(gitlab, "release", images=IMAGES)
    project = scene.projects["release"]
    push(scene, "release")
    first = newest_pipeline(scene, "release")
    assert first.status == "success", log(first)
    assert gitlab.tags(project) == {}

    sha = gitlab.commit(project, {"a": "b"}, message="feat: say good-bye")
    gitlab.wait_until(lambda: any(each.tag for each in gitlab.pipelines(project)))
    published = newest_pipeline(scene, "release")
    assert gitlab.tags(project) == {published.ref: sha}
    assert set(project.releases) == {published.ref}
    assert f"publishing {published.ref}" in log(published)


def test_a_lock_lets_one_pipeline_after_the_other_deploy(gitlab: Sandbox) -> None:
    scene = tech_lunch(gitlab, "lock", images=IMAGES)
    project = scene.projects["lock"]
    push(scene, "lock")
    first = newest_pipeline(scene, "lock")
    assert first.status == "success", log(first)
    assert "Nothing else runs in tech-lunch/lock on main" in log(first)

    earlier = gitlab.add_running_job(project, scene.executor)
    gitlab.commit(project, {"a": "b"})
    gitlab.wait_until(lambda: f"#{earlier.pipeline.id} " in log(gitlab.pipelines(project)[-1]))
    later = gitlab.pipelines(project)[-1]
    assert job(later, "deploy").status == "created"
    gitlab.finish(earlier)
    gitlab.wait_until(lambda: later.status in ENDED)
    assert later.status == "success", log(later)


def test_a_deployment_by_a_merge_request_ends_when_it_is_merged(gitlab: Sandbox) -> None:
    names = ("deployment", "deploy-by-merge-request")
    scene = tech_lunch(gitlab, *names, images=IMAGES)
    deployment, project = (scene.projects[name] for name in names)
    for name in names:
        push(scene, name)
    project.protected_tags.append(ProtectedRef("*", Access.MAINTAINER))
    post(scene, f"{project.id}/repository/tags", tag_name="1.1.0", ref="main")
    pipeline = newest_pipeline(scene, "deploy-by-merge-request")
    assert pipeline.status == "success", log(pipeline)
    [request] = deployment.merge_requests
    assert request.state == "merged"
    assert [each.status for each in gitlab.pipelines(deployment)] == ["success"]
    compose = git.run(deployment.repository, "show", "main:compose.yaml").decode()
    assert "image: registry.example.com/tech-lunch/deploy-by-merge-request:1.1.0\n" in compose
    assert scene.token.secret not in log(pipeline)


def post(scene: Scene, path: str, **body: str) -> None:
    """Does by the API what a person does on GitLab's pages, below `/projects`."""
    url = f"{scene.gitlab.url}/api/v4/projects/{path}"
    headers = {"PRIVATE-TOKEN": scene.token.secret}
    requests.post(url, json=body, headers=headers, timeout=10).raise_for_status()
