"""A bump by merge request: one branch and one merge request for each bump."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from cmd_bump_image_tag import bump_image_tag
from sandbox import Access, Fault, ScriptedJob, ScriptedPipeline
from tests.functional.cmd_bump_image_tag.conftest import BUMPED, DEPLOYMENT, WEB, Run, log, text

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import MergeRequest, Project, Token, User

BUMP = ("--image", WEB, "--tag", "v1.1.0", "--project", "tech-lunch/k8s", "--merge-request")
WAYS = pytest.mark.parametrize("via", ["api", "git"])
REQUESTS = r"/merge_requests$"


def only(project: Project) -> MergeRequest:
    [request] = project.merge_requests
    return request


@WAYS
def test_it_goes_to_a_branch_of_its_own(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    ending = run(*BUMP, "--via", via, "--output", "json", "--dotenv", "bump.env")

    assert ending.code == 0, ending.stderr
    request = only(project)
    page = f"{gitlab.url}/tech-lunch/k8s/-/merge_requests/1"
    assert (request.title, request.target_branch) == ("Update image tag to v1.1.0", "main")
    assert request.source_branch.startswith("bump-image-tag/web-v1.1.0-")
    assert "`apps/web.yaml:4`" in request.description
    assert text(gitlab, project, "apps/web.yaml") == DEPLOYMENT
    assert text(gitlab, project, "apps/web.yaml", request.source_branch) == BUMPED
    result = json.loads(ending.stdout)
    assert (result["changed"], result["merge_request"]) == (True, page)
    assert result["commit"] == gitlab.sha(project, request.source_branch)


@WAYS
def test_the_open_one_is_reused(run: Run, gitlab: Sandbox, project: Project, via: str) -> None:
    run(*BUMP, "--via", via)
    gitlab.commit(project, {"more": "1"})
    sha = gitlab.sha(project, only(project).source_branch)

    ending = run(*BUMP, "--via", via)

    assert ending.code == 0, ending.stderr
    assert ending.stdout == f"up to date: {gitlab.url}/tech-lunch/k8s/-/merge_requests/1\n"
    assert gitlab.sha(project, only(project).source_branch) == sha


@WAYS
def test_a_branch_without_a_merge_request_is_taken_over(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    """As where a run ended between the two."""
    gitlab.fault(Fault(path=REQUESTS, method="POST", nth=1, status=403, body={"message": "403"}))
    assert run(*BUMP, "--via", via).code == 6

    assert run(*BUMP, "--via", via).code == 0
    assert log(project, only(project).source_branch)[0] == "Update image tag to v1.1.0 [skip ci]"
    assert not only(project).source_branch.endswith("-2")


def test_a_branch_that_is_left_over_is_left_alone(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    run(*BUMP)
    left_over = only(project)
    left_over.state = "closed"
    sha = gitlab.sha(project, left_over.source_branch)

    assert run(*BUMP).code == 0
    fresh = project.merge_requests[-1]
    assert fresh.source_branch == f"{left_over.source_branch}-2"
    assert gitlab.sha(project, left_over.source_branch) == sha


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, True),
        ({"tag": "v1.2.0"}, False),
        ({"file": "apps"}, False),
        ({"branch": "staging"}, False),
    ],
    ids=["same", "tag", "files", "branch"],
)
def test_the_branch_depends_on_the_bump_alone(
    gitlab: Sandbox, project: Project, token: Token, other: dict[str, Any], *, same: bool
) -> None:
    gitlab.commit(project, {"more": "1"}, branch="staging")
    bump: dict[str, Any] = {"tag": "v1.1.0", "project": project.path, "merge_request": True}
    for changed in ({}, other):
        bump_image_tag(
            image=WEB, base_url=gitlab.url, api_access_token=token.secret, **(bump | changed)
        )
    branches = {request.source_branch for request in project.merge_requests}
    assert len(branches) == (1 if same else 2)


def test_nothing_is_proposed_where_all_is_up_to_date(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    gitlab.commit(project, {"apps/web.yaml": BUMPED})

    ending = run(*BUMP)

    assert (ending.code, ending.stdout) == (0, "up to date\n")
    assert project.merge_requests == []


def test_a_dry_run_proposes_nothing(run: Run, project: Project) -> None:
    ending = run(*BUMP, "--dry-run")

    assert (ending.code, ending.stdout) == (0, "would make 1 change in 1 file\n")
    assert project.merge_requests == []


def test_a_lost_answer_leaves_one_merge_request(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    gitlab.fault(Fault(path=REQUESTS, method="POST", nth=1, reset="after"))

    assert run(*BUMP).code == 0
    assert len(project.merge_requests) == 1


def test_the_same_bump_many_times_at_once_is_one_commit_and_one_merge_request(
    gitlab: Sandbox, project: Project, token: Token
) -> None:
    pages: list[str | None] = []

    def work() -> None:
        result = bump_image_tag(
            image=WEB, tag="v1.1.0", project=project.path, merge_request=True,
            base_url=gitlab.url, api_access_token=token.secret,
        )  # fmt: skip
        pages.append(result.merge_request)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pages == [f"{gitlab.url}/tech-lunch/k8s/-/merge_requests/1"] * 6
    assert len(log(project, only(project).source_branch)) == 2


# Merging


@pytest.mark.parametrize("checks", [0, 2])
def test_with_nothing_to_wait_for_it_is_merged_at_once(
    run: Run, gitlab: Sandbox, project: Project, checks: int
) -> None:
    project.merge_checks = checks

    ending = run(*BUMP, "--auto-merge")

    assert ending.code == 0, ending.stderr
    assert only(project).state == "merged"
    assert text(gitlab, project, "apps/web.yaml") == BUMPED


def test_a_running_pipeline_is_waited_for_by_gitlab(
    run: Run, gitlab: Sandbox, project: Project, executor: User
) -> None:
    run(*BUMP)
    script = ScriptedPipeline(jobs=(ScriptedJob(name="test", timeline=((0, "running"),)),))
    gitlab.add_pipeline(project, script, user=executor, ref=only(project).source_branch)

    ending = run(*BUMP, "--auto-merge")

    assert ending.code == 0, ending.stderr
    assert (only(project).state, only(project).auto_merge) == ("opened", True)


def test_6_who_may_not_merge_is_told_and_the_merge_request_stays(
    run: Run, gitlab: Sandbox, project: Project, executor: User
) -> None:
    project.members[executor.id] = Access.DEVELOPER

    ending = run(*BUMP, "--auto-merge", "--output", "json")

    assert ending.code == 6
    document = json.loads(ending.stdout)
    page = f"{gitlab.url}/tech-lunch/k8s/-/merge_requests/1"
    assert document["results"][0]["merge_request"] == page


def test_12_a_branch_that_contradicts_the_target_is_not_merged(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    run(*BUMP)
    gitlab.commit(project, {"apps/web.yaml": DEPLOYMENT.replace("v1.0.0", "v1.0.1")})

    ending = run(*BUMP, "--auto-merge", "--retry-for", "0.5")

    assert ending.code == 12
    assert "conflict" in ending.stderr


def test_5_a_branch_with_more_than_the_bump_is_not_merged_unseen(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    gitlab.fault(
        Fault(
            path=r"/merge$",
            method="PUT",
            status=409,
            body={"message": "SHA does not match HEAD of source branch: 0123"},
        )
    )

    ending = run(*BUMP, "--auto-merge", "--retry-for", "0.5")

    assert ending.code == 5
    assert only(project).state == "opened"
    assert gitlab.sha(project, "main~0")


def test_3_a_job_token_cannot_open_one(
    run: Run, gitlab: Sandbox, project: Project, executor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")
    monkeypatch.setenv("CI_JOB_TOKEN", gitlab.add_running_job(project, executor).token)

    assert run(*BUMP, "--via", "git").code == 3
    assert run(*BUMP).code == 3
