"""A bump by merge request: one branch and one merge request for each bump."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from cmd_bump_image_tag import bump_image_tag
from sandbox import Fault, git
from tests.functional.cmd_bump_image_tag.conftest import (
    BUMPED,
    DEPLOYMENT,
    WEB,
    Run,
    each_way,
    log,
    text,
)
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import MergeRequest, Project, Token, User

BUMP = ("--image", WEB, "--tag", "v1.1.0", "--project", "tech-lunch/k8s", "--merge-request")
REQUESTS = r"/merge_requests$"


def only(project: Project) -> MergeRequest:
    [request] = project.merge_requests
    return request


@each_way
def test_it_goes_to_a_branch_of_its_own(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    ending = run(*BUMP, "--via", via, "--output", "json", "--dotenv", "bump.env")

    assert ending.code == 0, ending.stderr
    request = only(project)
    page = f"{gitlab.url}/tech-lunch/k8s/-/merge_requests/1"
    assert (request.title, request.target_branch) == ("Update image tag to v1.1.0", "main")
    assert request.source_branch.startswith("bump-image-tag/web-")
    assert "`apps/web.yaml:4`" in request.description
    assert text(gitlab, project, "apps/web.yaml") == DEPLOYMENT
    assert text(gitlab, project, "apps/web.yaml", request.source_branch) == BUMPED
    result = json.loads(ending.stdout)
    assert (result["changed"], result["merge_request"]) == (True, page)
    assert result["commit"] == gitlab.sha(project, request.source_branch)
    assert result["merge_request_state"] == "open"
    assert log(project, request.source_branch)[0] == "Update image tag to v1.1.0"


@each_way
def test_the_open_one_is_reused(run: Run, gitlab: Sandbox, project: Project, via: str) -> None:
    run(*BUMP, "--via", via)
    sha = gitlab.sha(project, only(project).source_branch)

    ending = run(*BUMP, "--via", via)

    assert ending.code == 0, ending.stderr
    assert ending.stdout == f"up to date: {gitlab.url}/tech-lunch/k8s/-/merge_requests/1\n"
    assert gitlab.sha(project, only(project).source_branch) == sha


@each_way
def test_a_newer_tag_updates_the_open_one(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    run(*BUMP, "--via", via)

    ending = run(*newer("v1.2.0"), "--via", via)

    assert ending.code == 0, ending.stderr
    request = only(project)
    assert request.title == "Update image tag to v1.2.0"
    assert "`v1.2.0`" in request.description.replace(f"{WEB}:", "")
    assert "v1.1.0" not in request.description
    assert f"{WEB}:v1.2.0" in text(gitlab, project, "apps/web.yaml", request.source_branch)


def newer(tag: str) -> tuple[str, ...]:
    return tuple(tag if word == "v1.1.0" else word for word in BUMP)


@every_server
def test_an_older_tag_does_not_replace_the_newer_one_of_the_open_request(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    run(*newer("v1.2.0"))

    assert run(*BUMP).code == 12
    request = only(project)
    assert request.title == "Update image tag to v1.2.0"
    assert f"{WEB}:v1.2.0" in text(gitlab, project, "apps/web.yaml", request.source_branch)


@every_server
def test_a_request_that_someone_made_a_draft_stays_one(run: Run, project: Project) -> None:
    run(*BUMP)
    only(project).title = "Draft: my words"

    assert run(*newer("v1.2.0")).code == 0
    assert only(project).title == "Draft: Update image tag to v1.2.0"


@each_way
def test_new_files_of_the_target_branch_are_updated_too(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    run(*BUMP, "--via", via)
    main = gitlab.commit(project, {"apps/b.yaml": DEPLOYMENT})

    ending = run(*BUMP, "--via", via)

    assert ending.code == 0, ending.stderr
    request = only(project)
    assert text(gitlab, project, "apps/b.yaml", request.source_branch) == BUMPED
    assert text(gitlab, project, "apps/web.yaml", request.source_branch) == BUMPED
    assert "apps/b.yaml" in request.description
    assert main in history(project, request.source_branch)


@every_server
def test_commits_of_others_on_the_branch_are_kept_when_it_is_brought_up_to_date(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    run(*BUMP)
    gitlab.commit(project, {"theirs": "1"}, branch=only(project).source_branch)
    gitlab.commit(project, {"apps/b.yaml": DEPLOYMENT})

    assert run(*BUMP).code == 0
    assert text(gitlab, project, "theirs", only(project).source_branch) == "1"
    assert text(gitlab, project, "apps/b.yaml", only(project).source_branch) == BUMPED


@each_way
def test_a_merge_request_that_conflicts_with_its_target_is_replaced(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    run(*BUMP, "--via", via)
    gitlab.commit(project, {"apps/web.yaml": DEPLOYMENT.replace("v1.0.0", "v1.0.1")})

    ending = run(*BUMP, "--via", via)

    assert ending.code == 0, ending.stderr
    old, new = project.merge_requests
    assert (old.state, new.state) == ("closed", "opened")
    assert "merge_requests/1 conflicts with main" in ending.stderr
    assert text(gitlab, project, "apps/web.yaml", new.source_branch) == BUMPED
    assert run(*BUMP, "--via", via, "--auto-merge").code == 0
    assert text(gitlab, project, "apps/web.yaml") == BUMPED


@every_server
def test_5_a_conflicting_merge_request_with_commits_of_others_stays_open(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    run(*BUMP)
    branch = only(project).source_branch
    theirs = gitlab.commit(project, {"theirs": "1"}, branch=branch)
    gitlab.commit(project, {"apps/web.yaml": DEPLOYMENT.replace("v1.0.0", "v1.0.1")})

    ending = run(*BUMP)

    assert ending.code == 5
    assert "merge_requests/1 lacks commits of main" in ending.stderr
    assert only(project).state == "opened"
    assert gitlab.sha(project, branch) == theirs


def history(project: Project, branch: str) -> str:
    listed = subprocess.run(
        ["git", "--git-dir", str(project.repository), "log", "--format=%H", branch],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return listed.stdout


@each_way
def test_a_branch_without_a_merge_request_is_taken_over(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    """As where a run ended between the two."""
    gitlab.fault(Fault(path=REQUESTS, method="POST", nth=1, status=403, body={"message": "403"}))
    assert run(*BUMP, "--via", via).code == 6

    assert run(*BUMP, "--via", via).code == 0
    assert log(project, only(project).source_branch)[0] == "Update image tag to v1.1.0"
    assert not only(project).source_branch.endswith("-2")


@every_server
def test_a_left_over_branch_is_not_changed(run: Run, gitlab: Sandbox, project: Project) -> None:
    run(*BUMP)
    left_over = only(project)
    left_over.state = "closed"
    sha = gitlab.sha(project, left_over.source_branch)

    assert run(*BUMP).code == 0
    fresh = project.merge_requests[-1]
    assert fresh.source_branch == f"{left_over.source_branch}-2"
    assert gitlab.sha(project, left_over.source_branch) == sha


@every_server
@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, True),
        ({"tag": "v1.2.0"}, True),
        ({"image": [f"{WEB}=v1.1.0", "redis=8"]}, False),
        ({"file": "apps"}, False),
        ({"branch": "staging"}, False),
    ],
    ids=["same", "tag", "images", "files", "branch"],
)
def test_the_name_of_the_branch_depends_only_on_the_update(
    gitlab: Sandbox, project: Project, token: Token, other: dict[str, Any], *, same: bool
) -> None:
    gitlab.commit(project, {"more": "1"}, branch="staging")
    bump: dict[str, Any] = {
        "image": WEB,
        "tag": "v1.1.0",
        "project": project.path,
        "merge_request": True,
    }
    for changed in ({}, other):
        bump_image_tag(base_url=gitlab.url, api_access_token=token.secret, **(bump | changed))
    branches = {request.source_branch for request in project.merge_requests}
    assert len(branches) == (1 if same else 2)


@every_server
def test_nothing_is_proposed_where_all_is_up_to_date(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    gitlab.commit(project, {"apps/web.yaml": BUMPED})

    ending = run(*BUMP)

    assert (ending.code, ending.stdout) == (0, "up to date\n")
    assert project.merge_requests == []


@every_server
def test_a_dry_run_proposes_nothing(run: Run, project: Project) -> None:
    ending = run(*BUMP, "--dry-run")

    assert (ending.code, ending.stdout) == (0, "would make 1 change in 1 file\n")
    assert project.merge_requests == []


@every_server
def test_6_the_commit_is_named_if_no_merge_request_can_be_opened(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    gitlab.fault(Fault(path=REQUESTS, method="POST", status=403, body={"message": "403"}))

    ending = run(*BUMP, "--output", "json")

    assert ending.code == 6
    [result] = json.loads(ending.stdout)["results"]
    branches = git_refs(project, "refs/heads/bump-image-tag/")
    assert result["commit"] in branches


def git_refs(project: Project, prefix: str) -> str:
    listed = subprocess.run(
        ["git", "--git-dir", str(project.repository), "for-each-ref", prefix],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return listed.stdout


@every_server
def test_a_merge_request_of_a_fork_is_not_updated(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    run(*BUMP)
    fork = {
        "iid": 9, "web_url": f"{gitlab.url}/fork/-/merge_requests/9", "state": "opened",
        "source_project_id": 99999, "target_project_id": project.id,
    }  # fmt: skip
    only(project).state = "closed"
    gitlab.fault(Fault(path=rf"{REQUESTS[:-1]}\?.*state=opened", first=1, status=200, body=[fork]))

    assert run(*BUMP).code == 0
    assert [request.iid for request in project.merge_requests] == [1, 2]


# What it says, and to whom


@every_server
def test_title_labels_assignees_and_reviewers_are_set(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    ann, bob = gitlab.add_user("ann"), gitlab.add_user("bob")

    ending = run(
        *(*BUMP, "--title", "Web {tag}", "--label", "bot", "--label", "deploy"),
        *("--assignee", "@ann", "--reviewer", "Bob"),
    )

    assert ending.code == 0, ending.stderr
    request = only(project)
    assert request.title == "Web v1.1.0"
    assert request.labels == ["bot", "deploy"]
    assert (request.assignees, request.reviewers) == ([ann], [bob])


@every_server
def test_an_open_merge_request_keeps_its_users_and_gets_missing_labels(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    ann = gitlab.add_user("ann")
    gitlab.add_user("bob")
    run(*BUMP, "--assignee", "ann", "--label", "one")

    ending = run(*BUMP, "--assignee", "bob", "--reviewer", "bob", "--label", "two")

    assert ending.code == 0, ending.stderr
    assert only(project).assignees == [ann]
    assert [user.username for user in only(project).reviewers] == ["bob"]
    assert only(project).labels == ["one", "two"]


@every_server
def test_4_an_unknown_user_is_refused_before_anything_is_written(
    run: Run, project: Project
) -> None:
    ending = run(*BUMP, "--assignee", "nobody-here")

    assert ending.code == 4
    assert "nobody-here" in ending.stderr
    assert git_refs(project, "refs/heads/bump-image-tag/") == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--title", "x"), ("--label", "x"), ("--assignee", "x"), ("--reviewer", "x"),
        ("--merge-request", "--label", "a,b"), ("--merge-request", "--title", " "),
        ("--merge-request", "--title", "{nothing}"), ("--merge-request", "--timeout", "5"),
        ("--wait",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_2_options_that_make_no_sense_are_refused_before_anything_is_sent(
    run: Run, gitlab: Sandbox, arguments: tuple[str, ...]
) -> None:
    ending = run(*BUMP[:-1], *arguments)

    assert ending.code == 2, ending.stderr
    assert not gitlab.requests


@every_server
def test_a_lost_response_leaves_one_merge_request(
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


@every_server
def test_3_a_job_token_cannot_open_one(
    run: Run, gitlab: Sandbox, project: Project, executor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")
    monkeypatch.setenv("CI_JOB_TOKEN", gitlab.add_running_job(project, executor).token)

    by_git, by_api = run(*BUMP, "--via", "git"), run(*BUMP)

    assert (by_git.code, by_api.code) == (3, 3)
    assert "A CI job token cannot open a merge request." in by_git.stderr
    assert list(git.refs(project.repository, "refs/heads/")) == ["refs/heads/main"]
