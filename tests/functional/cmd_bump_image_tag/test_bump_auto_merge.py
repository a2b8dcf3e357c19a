"""Auto-merge: what has passed is merged, and nothing else; on a slow server of any version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cicd_common.gitlab.writes import SERVER_LIMIT
from sandbox import Access, Fault, ScriptedJob, ScriptedPipeline
from sandbox.agenda import Slow
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
    from tests.functional.conftest import SkippingClock

PROPOSE = ("--image", WEB, "--tag", "v1.1.0", "--project", "tech-lunch/k8s", "--merge-request")
MERGE = (*PROPOSE, "--auto-merge")
CONFIGURATION = ".gitlab-ci.yml"


def pipeline(*statuses: str) -> ScriptedPipeline:
    """A pipeline of one job that goes from status to status, each for 10 s."""
    timeline = tuple((10.0 * number, status) for number, status in enumerate(statuses))
    return ScriptedPipeline(jobs=(ScriptedJob(name="test", timeline=timeline),))


@pytest.fixture
def with_ci(gitlab: Sandbox, project: Project) -> Project:
    """A project with a CI configuration."""
    gitlab.commit(project, {CONFIGURATION: "test:\n  script: ['true']\n"})
    return project


def only(project: Project) -> MergeRequest:
    [request] = project.merge_requests
    return request


@every_server
def test_without_ci_it_is_merged_at_once(run: Run, gitlab: Sandbox, project: Project) -> None:
    ending = run(*MERGE, "--output", "json")

    assert ending.code == 0, ending.stderr
    assert json.loads(ending.stdout)["merge_request_state"] == "merged"
    assert only(project).state == "merged"
    assert text(gitlab, project, "apps/web.yaml") == BUMPED


@every_server
def test_a_pipeline_that_still_runs_is_waited_for_by_gitlab(run: Run, with_ci: Project) -> None:
    with_ci.script = pipeline("running")

    ending = run(*MERGE, "--output", "json")

    assert ending.code == 0, ending.stderr
    assert json.loads(ending.stdout)["merge_request_state"] == "set to auto-merge"
    assert (only(with_ci).state, only(with_ci).auto_merge) == ("opened", True)


@every_server
def test_a_pipeline_that_has_passed_is_merged_at_once(
    run: Run, gitlab: Sandbox, with_ci: Project
) -> None:
    with_ci.script = pipeline("success")

    ending = run(*MERGE)

    assert ending.code == 0, ending.stderr
    assert ending.stdout.endswith("merge_requests/1 (merged)\n")
    assert text(gitlab, with_ci, "apps/web.yaml") == BUMPED


@every_server
@pytest.mark.parametrize(("status", "code"), [("failed", 1), ("canceled", 9), ("skipped", 10)])
def test_a_pipeline_that_ended_badly_is_never_merged(
    run: Run, with_ci: Project, status: str, code: int
) -> None:
    with_ci.script = pipeline(status)

    ending = run(*MERGE, "--output", "json")

    assert ending.code == code, ending.stderr
    assert (only(with_ci).state, only(with_ci).auto_merge) == ("opened", False)
    assert "/-/pipelines/" in ending.stderr
    [result] = json.loads(ending.stdout)["results"]
    assert (result["merge_request_state"], result["changed"]) == ("open", True)


@every_server
def test_the_pipeline_of_an_older_commit_says_nothing(
    run: Run, gitlab: Sandbox, with_ci: Project
) -> None:
    with_ci.script = pipeline("success")
    run(*PROPOSE)
    with_ci.script = pipeline("failed")

    newer = ["v1.2.0" if word == "v1.1.0" else word for word in MERGE]
    assert run(*newer).code == 1
    assert only(with_ci).state == "opened"
    assert text(gitlab, with_ci, "apps/web.yaml") == DEPLOYMENT


@every_server
def test_if_the_rules_start_no_pipeline_it_is_merged(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    gitlab.commit(project, {CONFIGURATION: "test: {script: ['true'], only: [main]}\n"})

    ending = run(*MERGE)

    assert ending.code == 0, ending.stderr
    assert only(project).state == "merged"


@pytest.mark.parametrize(
    "configuration",
    [
        "test: {script: ['true'], rules: [{if: $CI_COMMIT_BRANCH == 'main'}]}\n",
        (
            "workflow: {rules: [{if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH}]}\n"
            "test: {script: ['true']}\n"
        ),
    ],
    ids=["rules", "workflow"],
)
def test_it_is_merged_whichever_rules_start_no_pipeline(
    run: Run, gitlab: Sandbox, project: Project, configuration: str
) -> None:
    gitlab.commit(project, {CONFIGURATION: configuration})

    assert run(*MERGE).code == 0
    assert only(project).state == "merged"


def test_if_pipelines_must_succeed_nothing_is_merged_without_one(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    gitlab.commit(project, {CONFIGURATION: "test: {script: ['true'], only: [main]}\n"})
    project.pipelines_must_succeed = True

    ending = run(*MERGE, "--retry-for", "5")

    assert only(project).state == "opened"
    assert (ending.code == 0) == only(project).auto_merge, ending.stderr


VERY_SLOW = pytest.mark.parametrize(
    "server_settings", [{"slow": Slow(pipeline=100)}], indirect=True
)


@VERY_SLOW
def test_4_a_pipeline_that_does_not_appear_in_time_is_not_a_success(
    run: Run, with_ci: Project
) -> None:
    ending = run(*MERGE, "--retry-for", "5")

    assert ending.code == 4, ending.stderr
    assert (only(with_ci).state, only(with_ci).auto_merge) == ("opened", False)


@VERY_SLOW
def test_a_pipeline_of_the_merge_request_that_does_not_appear_is_started_and_decides(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    gitlab.commit(project, {CONFIGURATION: "test: {script: ['true'], only: [merge_requests]}\n"})

    ending = run(*MERGE, "--retry-for", "5")

    assert ending.code == 0, ending.stderr
    assert (only(project).state, only(project).auto_merge) == ("opened", True)
    [started] = gitlab.pipelines(project)
    assert started.source == "merge_request_event"


@every_server
def test_10_skip_ci_switches_off_the_checks_that_auto_merge_needs(
    run: Run, with_ci: Project
) -> None:
    ending = run(*MERGE, "--skip-ci")

    assert ending.code == 10, ending.stderr
    assert "Leave out --skip-ci" in ending.stderr
    assert only(with_ci).state == "opened"


@every_server
def test_skip_ci_does_not_hinder_a_merge_where_there_is_no_ci(run: Run, project: Project) -> None:
    assert run(*MERGE, "--skip-ci").code == 0
    assert only(project).state == "merged"
    assert log(project, "main~0^2")[0] == "Update image tag to v1.1.0 [skip ci]"


@every_server
def test_where_ci_is_disabled_none_is_waited_for(run: Run, with_ci: Project) -> None:
    with_ci.ci_enabled = False

    assert run(*MERGE).code == 0
    assert only(with_ci).state == "merged"


@every_server
def test_a_project_whose_pipelines_must_succeed_merges_later(run: Run, with_ci: Project) -> None:
    with_ci.pipelines_must_succeed = True
    with_ci.script = pipeline("running")

    assert run(*MERGE).code == 0
    assert only(with_ci).auto_merge


@every_server
def test_11_a_pipeline_that_waits_for_a_manual_job(run: Run, with_ci: Project) -> None:
    with_ci.script = pipeline("manual")

    ending = run(*MERGE, "--retry-for", "60")

    assert ending.code == 11
    assert only(with_ci).state == "opened"


@every_server
def test_12_a_draft_is_not_merged(run: Run, project: Project) -> None:
    run(*PROPOSE)
    only(project).title = "Draft: later"

    ending = run(*MERGE)

    assert ending.code == 12
    assert "draft" in ending.stderr


@every_server
def test_6_a_missing_permission_to_merge_is_an_error_and_the_merge_request_stays(
    run: Run, gitlab: Sandbox, project: Project, executor: User
) -> None:
    project.members[executor.id] = Access.DEVELOPER

    ending = run(*MERGE, "--output", "json")

    assert ending.code == 6
    document = json.loads(ending.stdout)
    page = f"{gitlab.url}/tech-lunch/k8s/-/merge_requests/1"
    assert document["results"][0]["merge_request"] == page


@every_server
def test_3_a_token_that_is_revoked_meanwhile_is_not_reported_as_a_missing_role(
    run: Run, gitlab: Sandbox, project: Project, token: Token
) -> None:
    def revoke() -> None:
        token.revoked = True

    gitlab.fault(Fault(path=r"/merge$", method="PUT", nth=1, meanwhile=revoke))

    ending = run(*MERGE, "--output", "json")

    assert ending.code == 3, ending.stderr
    assert json.loads(ending.stdout)["results"][0]["commit"]
    assert only(project).state == "opened"


@every_server
def test_5_a_commit_that_came_meanwhile_is_not_merged_unseen(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    def push() -> None:
        gitlab.commit(project, {"theirs": "1"}, branch=only(project).source_branch)

    gitlab.fault(Fault(path=r"/merge$", method="PUT", nth=1, meanwhile=push))

    ending = run(*MERGE, "--retry-for", "60")

    assert ending.code == 5, ending.stderr
    assert only(project).state == "opened"
    assert text(gitlab, project, "apps/web.yaml") == DEPLOYMENT


@every_server
@pytest.mark.parametrize(
    "fault", [{"reset": "after"}, {"reset": "before"}, {"status": 502}], ids=str
)
def test_after_a_lost_response_the_merge_is_found(
    run: Run, gitlab: Sandbox, project: Project, fault: dict[str, Any]
) -> None:
    gitlab.fault(Fault(path=r"/merge$", method="PUT", nth=1, **fault))

    ending = run(*MERGE)

    assert ending.code == 0, ending.stderr
    assert only(project).state == "merged"


@every_server
def test_an_opening_that_was_lost_is_sent_again_only_when_the_server_cannot_be_at_it(
    run: Run, gitlab: Sandbox, project: Project, clock: SkippingClock
) -> None:
    gitlab.fault(Fault(path=r"/merge_requests$", method="POST", nth=1, reset="before"))
    before = clock.monotonic()

    assert run(*MERGE, "--retry-for", "300").code == 0
    assert clock.monotonic() - before >= SERVER_LIMIT
    assert only(project).state == "merged"


@every_server
@pytest.mark.parametrize("status", [405, 422, 409])
def test_a_merge_that_gitlab_is_not_ready_for_is_requested_again(
    run: Run, gitlab: Sandbox, project: Project, status: int
) -> None:
    gitlab.fault(
        Fault(path=r"/merge$", method="PUT", first=2, status=status, body={"message": "not yet"})
    )

    assert run(*MERGE).code == 0
    assert only(project).state == "merged"


@every_server
def test_7_a_server_that_never_finds_out_whether_it_can_be_merged(
    run: Run, project: Project
) -> None:
    project.merge_checks = 1000

    ending = run(*MERGE, "--retry-for", "5")

    assert ending.code == 7
    assert "still checking" in ending.stderr


# Waiting


@every_server
def test_wait_ends_when_it_is_merged(run: Run, gitlab: Sandbox, with_ci: Project) -> None:
    with_ci.script = pipeline("pending", "running", "success")

    ending = run(*MERGE, "--wait", "--output", "json")

    assert ending.code == 0, ending.stderr
    assert json.loads(ending.stdout)["merge_request_state"] == "merged"
    assert text(gitlab, with_ci, "apps/web.yaml") == BUMPED


@every_server
@pytest.mark.parametrize("more", [("--auto-merge",), ()], ids=["auto-merge", "by hand"])
@pytest.mark.parametrize(("status", "code"), [("failed", 1), ("canceled", 9)])
def test_wait_ends_when_its_pipeline_ends_badly(
    run: Run, with_ci: Project, status: str, code: int, more: tuple[str, ...]
) -> None:
    with_ci.script = pipeline("running", status)

    ending = run(*PROPOSE, *more, "--wait", "--output", "json")

    assert ending.code == code, ending.stderr
    assert json.loads(ending.stdout)["results"][0]["commit"]
    assert only(with_ci).state == "opened"


@every_server
def test_9_wait_ends_when_it_is_closed(run: Run, gitlab: Sandbox, project: Project) -> None:
    def close() -> None:
        only(project).state = "closed"

    gitlab.fault(Fault(path=r"/merge_requests/1\?", nth=3, meanwhile=close))

    ending = run(*PROPOSE, "--wait")

    assert ending.code == 9, ending.stderr
    assert "was closed" in ending.stderr


@every_server
def test_12_wait_ends_when_it_can_no_longer_be_merged(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    theirs = DEPLOYMENT.replace("v1.0.0", "v1.0.1")
    meanwhile = Fault(
        path=r"/merge_requests/1\?",
        nth=2,
        meanwhile=lambda: gitlab.commit(project, {"apps/web.yaml": theirs}),
    )
    gitlab.fault(meanwhile)

    ending = run(*PROPOSE, "--wait")

    assert ending.code == 12, ending.stderr
    assert "conflict" in ending.stderr


@every_server
def test_12_wait_ends_when_the_auto_merge_is_canceled(
    run: Run, gitlab: Sandbox, with_ci: Project
) -> None:
    with_ci.script = pipeline("running")

    def push() -> None:
        if only(with_ci).auto_merge:
            gitlab.commit(with_ci, {"theirs": "1"}, branch=only(with_ci).source_branch)

    gitlab.fault(Fault(path=r"/merge_requests/1\?", meanwhile=push))

    ending = run(*MERGE, "--wait", "--timeout", "300")

    assert ending.code == 12, ending.stderr
    assert "auto-merge" in ending.stderr


@every_server
def test_7_wait_has_a_limit(run: Run, project: Project) -> None:
    ending = run(*PROPOSE, "--wait", "--timeout", "60", "--output", "json")

    assert ending.code == 7
    assert only(project).state == "opened"
    assert json.loads(ending.stdout)["results"][0]["merge_request_state"] == "open"


COMMIT = (*PROPOSE[:-1], "--no-skip-ci", "--wait")


@each_way
@pytest.mark.parametrize(("status", "code"), [("success", 0), ("failed", 1)])
def test_without_a_merge_request_the_pipeline_of_the_commit_is_waited_for(
    run: Run, with_ci: Project, via: str, status: str, code: int
) -> None:
    with_ci.script = pipeline("running", status)

    ending = run(*COMMIT, "--via", via, "--output", "json")

    assert ending.code == code, ending.stderr
    document = json.loads(ending.stdout)
    result = document if code == 0 else document["results"][0]
    assert result["commit"]
    assert log(with_ci)[0] == "Update image tag to v1.1.0"


@every_server
def test_there_is_no_pipeline_to_wait_for_if_nothing_changes(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    gitlab.commit(project, {"apps/web.yaml": BUMPED})

    assert run(*COMMIT).code == 0


@every_server
def test_3_a_push_with_a_job_token_starts_no_pipeline_to_wait_for(
    run: Run, gitlab: Sandbox, project: Project, executor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")
    monkeypatch.setenv("CI_JOB_TOKEN", gitlab.add_running_job(project, executor).token)

    assert run(*COMMIT, "--via", "git").code == 3
    assert log(project) == ["Initial commit"]
