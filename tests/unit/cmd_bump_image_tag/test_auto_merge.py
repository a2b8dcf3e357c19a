"""When a merge request is merged, by what GitLab answers: real HTTP is in the functional tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests_mock as requests_mock_module
from requests.exceptions import ReadTimeout

from cicd_common.errors import CommandError, ConflictError, NotFoundError, TimeLimitError
from cicd_common.gitlab import retry
from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.connection import Connection
from cicd_common.gitlab.projects import Project
from cicd_common.gitlab.tokens import Token, TokenKind
from cmd_bump_image_tag.auto_merge import merge_when_ready, wait_until_merged
from cmd_bump_image_tag.merge_requests import MergeRequest, MergeRequests, Proposal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests_mock import Mocker

URL = "https://gitlab.example.com"
API = f"{URL}/api/v4/projects/7"
SHA, OTHER = "a" * 40, "b" * 40


@pytest.fixture
def server() -> Iterator[Mocker]:
    with requests_mock_module.Mocker() as mocker:
        yield mocker


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> MergeRequests:
    """The merge requests of a project, with a clock that only sleeping moves."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        assert seconds > 0, "a loop that never ends"
        now[0] += seconds

    monkeypatch.setattr(retry, "CLOCK", retry.Clock(lambda: now[0], sleep))
    token = Token(TokenKind.ACCESS, "a test", "glpat-0123456789")
    gitlab = GitLab(Connection(base_url=URL, token=token, retry_for=20))
    return MergeRequests(gitlab, Project("7", "a/b", f"{URL}/a/b", "main"), "main")


def request(**changed: Any) -> dict[str, Any]:
    """A merge request as GitLab shows it."""
    return {
        "iid": 1,
        "web_url": f"{URL}/a/b/-/merge_requests/1",
        "sha": SHA,
        "state": "opened",
        "detailed_merge_status": "mergeable",
        "merge_when_pipeline_succeeds": False,
        "head_pipeline": None,
    } | changed


def pipeline(status: str, sha: str = SHA, ref: str = "bump") -> dict[str, Any]:
    page = f"{URL}/a/b/-/pipelines/5"
    return {"id": 5, "sha": sha, "ref": ref, "status": status, "web_url": page}


def show(server: Mocker, *answers: dict[str, Any]) -> None:
    """What the merge request is at each look; the last stays."""
    server.get(f"{API}/merge_requests/1", [{"json": answer} for answer in answers])


def with_ci(server: Mocker, **settings: Any) -> None:
    server.get(API, json={"id": 7, "builds_access_level": "enabled", **settings})
    server.get(f"{API}/repository/files/.gitlab-ci.yml/raw", text="test: {script: [x]}")
    server.get(f"{API}/ci/lint", json={"valid": True, "errors": []})


MERGED_RESULT = "refs/merge-requests/1/merge"


@pytest.mark.parametrize(
    ("head", "auto_merge"),
    [
        (pipeline("success"), None),
        (pipeline("running"), True),
        (pipeline("created"), True),
        (pipeline("waiting_for_callback"), True),
        (pipeline("success", OTHER, MERGED_RESULT), None),
        (pipeline("running", OTHER, MERGED_RESULT), True),
    ],
    ids=["success", "running", "created", "unknown", "merged result", "merged result runs"],
)
def test_a_successful_pipeline_merges_now_and_an_active_one_merges_later(
    server: Mocker, requests: MergeRequests, head: dict[str, Any], *, auto_merge: bool | None
) -> None:
    show(server, request(head_pipeline=head))
    server.get(f"{API}/repository/commits/{OTHER}", json={"id": OTHER, "parent_ids": ["c", SHA]})
    merge = server.put(f"{API}/merge_requests/1/merge", json=request(state="merged"))

    assert merge_when_ready(requests, 1, SHA).state == "merged"
    assert merge.call_count == 1
    body = merge.request_history[-1].json()
    assert (body["sha"], body.get("auto_merge")) == (SHA, auto_merge)


@pytest.mark.parametrize("approval", ["not_approved", "discussions_not_resolved", "ci_must_pass"])
def test_a_request_that_waits_for_approvals_is_set_to_auto_merge(
    server: Mocker, requests: MergeRequests, approval: str
) -> None:
    head = pipeline("success")
    show(server, request(head_pipeline=head, detailed_merge_status=approval))
    merge = server.put(
        f"{API}/merge_requests/1/merge", json=request(merge_when_pipeline_succeeds=True)
    )

    assert merge_when_ready(requests, 1, SHA).outcome == "set to auto-merge"
    assert merge.request_history[-1].json()["auto_merge"] is True


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([request(head_pipeline=pipeline("failed"))], 1),
        ([request(head_pipeline=pipeline("canceled"))], 9),
        ([request(head_pipeline=pipeline("canceling"))], 9),
        ([request(head_pipeline=pipeline("skipped"))], 10),
        # What someone else has set does not make it pass.
        ([request(head_pipeline=pipeline("skipped"), merge_when_pipeline_succeeds=True)], 10),
        ([request(state="closed")], 9),
        ([request(detailed_merge_status="conflict")], 12),
        ([request(detailed_merge_status="need_rebase")], 12),
        # Of another commit, or not there: it may still come, but it did not.
        ([request(head_pipeline=pipeline("success", OTHER))], 4),
        ([request(head_pipeline=pipeline("success", OTHER, "refs/merge-requests/1/merge"))], 4),
        ([request()], 4),
        ([request(sha=OTHER, head_pipeline=pipeline("success", OTHER))], 5),
        ([request(detailed_merge_status="preparing")], 7),
        ([request(detailed_merge_status="checking", head_pipeline=pipeline("running"))], 7),
    ],
)
def test_other_merge_requests_are_not_merged(
    server: Mocker, requests: MergeRequests, answers: list[dict[str, Any]], code: int
) -> None:
    show(server, *answers)
    with_ci(server)
    server.get(f"{API}/repository/commits/{OTHER}", json={"id": OTHER, "parent_ids": ["c", "d"]})

    with pytest.raises(CommandError) as raised:
        merge_when_ready(requests, 1, SHA)
    assert raised.value.exit_code == code
    assert all(sent.method == "GET" for sent in server.request_history)


@pytest.mark.parametrize(
    ("settings", "has_file", "merges"),
    [
        ({}, False, True),
        ({"builds_access_level": "disabled"}, True, True),
        ({"jobs_enabled": False}, True, True),
        ({"auto_devops_enabled": True}, False, False),
        ({"ci_config_path": "ci/main.yml"}, False, True),
        ({"ci_config_path": ".gitlab-ci.yml@group/templates"}, False, False),
        ({"ci_config_path": "https://example.com/ci.yml"}, False, False),
        ({"ci_config_path": ""}, True, False),
        ({"ci_config_path": None}, True, False),
    ],
)
def test_a_project_without_ci_is_recognized_by_its_settings(
    server: Mocker,
    requests: MergeRequests,
    settings: dict[str, Any],
    *,
    has_file: bool,
    merges: bool,
) -> None:
    show(server, request())
    with_ci(server, **settings)
    if not has_file:
        for name in (".gitlab-ci.yml", "ci%2Fmain.yml"):
            path = f"{API}/repository/files/{name}/raw"
            server.get(path, status_code=404, json={"message": "404 File Not Found"})
    merge = server.put(f"{API}/merge_requests/1/merge", json=request(state="merged"))

    if merges:
        assert merge_when_ready(requests, 1, SHA).state == "merged"
    else:
        with pytest.raises(CommandError, match="No pipeline of commit"):
            merge_when_ready(requests, 1, SHA)
        assert not merge.called


NONE = (
    "Pipeline will not run for the selected trigger. "
    "The rules configuration prevented any jobs from being added to the pipeline."
)
REFUSED: dict[str, Any] = {"status_code": 400, "json": {"message": {"base": [NONE]}}}


@pytest.mark.parametrize(
    ("lint", "start", "merges"),
    [
        ({"json": {"valid": False, "errors": [NONE]}}, REFUSED, True),
        (
            {"json": {"valid": False, "errors": ["Pipeline filtered out by workflow rules."]}},
            {"status_code": 400, "json": {"message": {"base": ["No stages / jobs for this."]}}},
            True,
        ),
        ({"json": {"valid": False, "errors": ["jobs:a config is wrong"]}}, REFUSED, False),
        ({"json": {"valid": True, "errors": []}}, REFUSED, False),
        ({"status_code": 403, "json": {"message": "403 Forbidden"}}, REFUSED, False),
        ({"status_code": 404, "json": {"message": "404 Not Found"}}, REFUSED, False),
        (
            {"json": {"valid": False, "errors": [NONE]}},
            {"status_code": 400, "json": {"message": {"base": ["Reference not found"]}}},
            False,
        ),
        (
            {"json": {"valid": False, "errors": [NONE]}},
            {"status_code": 403, "json": {"message": "403 Forbidden"}},
            False,
        ),
        (
            {"json": {"valid": False, "errors": [NONE]}},
            {"status_code": 404, "json": {"message": "404 Not Found"}},
            False,
        ),
        ({"json": {"valid": False, "errors": [NONE]}}, {"json": pipeline("created")}, False),
    ],
)
def test_without_a_pipeline_it_is_merged_only_if_gitlab_says_that_none_will_come(
    server: Mocker,
    requests: MergeRequests,
    lint: dict[str, Any],
    start: dict[str, Any],
    *,
    merges: bool,
) -> None:
    show(server, request(source_branch="bump"))
    with_ci(server)
    server.get(f"{URL}/api/v4/personal_access_tokens/self", status_code=404)
    checked = server.get(f"{API}/ci/lint", **lint)
    started = server.post(f"{API}/merge_requests/1/pipelines", **start)
    merge = server.put(f"{API}/merge_requests/1/merge", json=request(state="merged"))

    if merges:
        assert merge_when_ready(requests, 1, SHA).state == "merged"
    else:
        with pytest.raises(NotFoundError, match="No pipeline of commit"):
            merge_when_ready(requests, 1, SHA)
    assert merge.called == merges
    query = {"content_ref": [SHA], "dry_run": ["true"], "dry_run_ref": ["bump"]}
    assert checked.request_history[0].qs == query
    assert checked.call_count == 1
    assert started.call_count <= 1


def test_after_a_lost_response_a_pipeline_for_the_merged_result_is_not_started_again(
    server: Mocker, requests: MergeRequests
) -> None:
    head = pipeline("success", OTHER, MERGED_RESULT)
    started = server.post(f"{API}/merge_requests/1/pipelines", exc=ReadTimeout)

    def shown(*_: object) -> dict[str, Any]:
        return request(source_branch="bump", head_pipeline=head if started.called else None)

    server.get(f"{API}/merge_requests/1", json=shown)
    with_ci(server)
    server.get(f"{API}/ci/lint", json={"valid": False, "errors": [NONE]})
    server.get(f"{API}/repository/commits/{OTHER}", json={"id": OTHER, "parent_ids": ["c", SHA]})
    server.put(f"{API}/merge_requests/1/merge", json=request(state="merged"))

    assert merge_when_ready(requests, 1, SHA).state == "merged"
    assert started.call_count == 1


def test_a_pipeline_that_appears_in_time_decides_the_merge(
    server: Mocker, requests: MergeRequests
) -> None:
    show(
        server,
        request(detailed_merge_status="preparing"),
        request(),
        request(sha=OTHER),
        request(head_pipeline=pipeline("failed")),
    )
    with_ci(server)

    with pytest.raises(CommandError) as raised:
        merge_when_ready(requests, 1, SHA)
    assert raised.value.exit_code == 1


@pytest.mark.parametrize(("status", "code"), [(403, 6), (500, 8)])
@pytest.mark.parametrize(
    "route", ["", "/repository/files/.gitlab-ci.yml/raw", "/ci/lint", "/merge_requests/1/pipelines"]
)
def test_a_question_without_an_answer_never_leads_to_a_merge(
    server: Mocker, requests: MergeRequests, route: str, status: int, code: int
) -> None:
    """Only lint and a new pipeline can be refused: then a missing pipeline is the error."""
    show(server, request(source_branch="bump"))
    with_ci(server)
    server.get(f"{URL}/api/v4/personal_access_tokens/self", status_code=404)
    server.get(f"{API}/ci/lint", json={"valid": False, "errors": [NONE]})
    server.get(f"{API}/merge_requests/1/pipelines", json=[])
    server.post(f"{API}/merge_requests/1/pipelines", **REFUSED)
    failure: dict[str, Any] = {"status_code": status, "json": {"message": "no"}}
    server.register_uri("POST" if route.endswith("pipelines") else "GET", API + route, **failure)

    with pytest.raises(CommandError) as raised:
        merge_when_ready(requests, 1, SHA)
    is_optional = status == 403 and route.endswith(("lint", "pipelines"))
    assert raised.value.exit_code == (4 if is_optional else code)
    assert all(sent.method != "PUT" for sent in server.request_history)


@pytest.mark.parametrize(("status", "code"), [(401, 6), (403, 6), (404, 4), (500, 8)])
def test_a_merge_that_gitlab_does_not_allow_is_sent_once(
    server: Mocker, requests: MergeRequests, status: int, code: int
) -> None:
    show(server, request(head_pipeline=pipeline("success")))
    server.get(f"{URL}/api/v4/personal_access_tokens/self", status_code=404)
    merge = server.put(f"{API}/merge_requests/1/merge", status_code=status, json={"message": "no"})
    with pytest.raises(CommandError) as raised:
        merge_when_ready(requests, 1, SHA)
    assert raised.value.exit_code == code
    assert merge.call_count == 1 or status == 500


# Waiting for the merge

FOUND = MergeRequest.read(request())
SET = MergeRequest.read(request(merge_when_pipeline_succeeds=True))


def test_a_wait_polls_less_and_less_often_until_exactly_its_limit(
    server: Mocker, requests: MergeRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        assert seconds > 0
        pauses.append(seconds)

    monkeypatch.setattr(retry, "CLOCK", retry.Clock(lambda: sum(pauses), sleep))
    show(server, request())
    with pytest.raises(TimeLimitError, match="within 130 s"):
        wait_until_merged(requests, FOUND, 130)
    assert pauses[:3] == [2, 3, 4.5]
    assert pauses[-3:-1] == [30, 30]
    assert sum(pauses) == 130


@pytest.mark.parametrize(
    ("found", "now", "code"),
    [
        (FOUND, request(state="merged"), None),
        # What ended before the merge counts no more.
        (SET, request(state="merged", head_pipeline=pipeline("failed")), None),
        (FOUND, request(merge_when_pipeline_succeeds=True), 7),
        (FOUND, request(state="locked"), 7),
        (SET, request(state="locked"), 7),
        (SET, request(merge_when_pipeline_succeeds=True), 7),
        (SET, request(), 12),
        (FOUND, request(state="closed"), 9),
        (FOUND, request(detailed_merge_status="conflict"), 12),
        (FOUND, request(detailed_merge_status="checking"), 7),
        (FOUND, request(head_pipeline=pipeline("failed")), 1),
        (FOUND, request(head_pipeline=pipeline("failed", OTHER)), 7),
        (FOUND, request(head_pipeline=pipeline("skipped")), 7),
        (SET, request(head_pipeline=pipeline("skipped"), merge_when_pipeline_succeeds=True), 10),
    ],
)
def test_a_wait_ends_with_what_the_merge_request_became(
    server: Mocker,
    requests: MergeRequests,
    found: MergeRequest,
    now: dict[str, Any],
    code: int | None,
) -> None:
    show(server, now)
    if code is None:
        assert wait_until_merged(requests, found, 60).state == "merged"
        return
    with pytest.raises(CommandError) as raised:
        wait_until_merged(requests, found, 60)
    assert raised.value.exit_code == code
    assert (server.call_count > 1) == (code == 7)


# Rebasing

BEHIND = [{"json": [{"id": OTHER, "message": "theirs"}]}]
LEVEL: list[dict[str, Any]] = [{"json": []}]
BUMP = {"id": SHA, "message": "Update\n\nBumped-Image: example.com/web\n"}


def test_the_command_waits_until_a_rebase_has_finished(
    server: Mocker, requests: MergeRequests
) -> None:
    server.get(f"{API}/repository/commits", BEHIND + LEVEL)
    rebase = server.put(f"{API}/merge_requests/1/rebase", json={"rebase_in_progress": True})
    busy = request(rebase_in_progress=True)
    show(server, busy, busy, request(rebase_in_progress=False, merge_error=None))

    found = MergeRequest.read(request())
    assert requests.bring_up_to_date(found, "bump", skip_ci=False)
    assert rebase.call_count == 1
    assert rebase.request_history[-1].json() == {"skip_ci": False}


def test_an_old_merge_error_is_ignored_after_a_rebase(
    server: Mocker, requests: MergeRequests
) -> None:
    server.get(f"{API}/repository/commits", BEHIND + LEVEL)
    server.put(f"{API}/merge_requests/1/rebase", json={"rebase_in_progress": True})
    show(server, request(merge_error="of last week"))

    assert requests.bring_up_to_date(MergeRequest.read(request()), "bump", skip_ci=False)


def test_the_command_waits_for_a_rebase_that_is_already_running(
    server: Mocker, requests: MergeRequests
) -> None:
    server.get(f"{API}/repository/commits", BEHIND + BEHIND + LEVEL)
    server.put(
        f"{API}/merge_requests/1/rebase",
        [
            {"status_code": 409, "json": {"message": "Failed to enqueue the rebase operation"}},
            {"status_code": 202, "json": {"rebase_in_progress": True}},
        ],
    )
    show(server, request())

    assert requests.bring_up_to_date(MergeRequest.read(request()), "bump", skip_ci=False)


@pytest.mark.parametrize(
    ("commits", "closes"), [([BUMP], True), ([BUMP, BEHIND[0]["json"][0]], False)]
)
def test_only_a_merge_request_with_bump_commits_only_is_closed(
    server: Mocker, requests: MergeRequests, commits: list[dict[str, Any]], *, closes: bool
) -> None:
    server.get(f"{API}/repository/commits", BEHIND + BEHIND + [{"json": commits}])
    server.put(f"{API}/merge_requests/1/rebase", json={"rebase_in_progress": True})
    close = server.put(f"{API}/merge_requests/1", json=request(state="closed"))
    show(server, request(merge_error="Rebase failed"))

    if closes:
        assert not requests.bring_up_to_date(MergeRequest.read(request()), "bump", skip_ci=False)
        assert close.request_history[-1].json() == {"state_event": "close"}
    else:
        with pytest.raises(ConflictError, match="lacks commits of main"):
            requests.bring_up_to_date(MergeRequest.read(request()), "bump", skip_ci=False)
        assert not close.called


def test_a_target_branch_that_changes_repeatedly_is_a_conflict(
    server: Mocker, requests: MergeRequests
) -> None:
    server.get(f"{API}/repository/commits", BEHIND)
    server.put(f"{API}/merge_requests/1/rebase", json={"rebase_in_progress": True})
    show(server, request())

    with pytest.raises(ConflictError):
        requests.bring_up_to_date(MergeRequest.read(request()), "bump", skip_ci=True)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status_code": 409, "json": {"message": "busy"}}, 5),
        ({"status_code": 403, "json": {"message": "no"}}, 6),
        ({"status_code": 400, "json": {"message": "no"}}, 12),
    ],
)
def test_a_rebase_that_never_starts_ends_with_its_own_error(
    server: Mocker, requests: MergeRequests, answer: dict[str, Any], code: int
) -> None:
    server.get(f"{API}/repository/commits", BEHIND)
    server.get(f"{URL}/api/v4/personal_access_tokens/self", status_code=404)
    rebase = server.put(f"{API}/merge_requests/1/rebase", **answer)
    show(server, request())

    with pytest.raises(CommandError) as raised:
        requests.bring_up_to_date(FOUND, "bump", skip_ci=False)
    assert raised.value.exit_code == code
    assert (rebase.call_count > 1) == (code == 5)


def test_a_rebase_that_never_ends_is_given_up_in_time(
    server: Mocker, requests: MergeRequests
) -> None:
    server.get(f"{API}/repository/commits", BEHIND)
    server.put(f"{API}/merge_requests/1/rebase", json={"rebase_in_progress": True})
    show(server, request(rebase_in_progress=True))

    with pytest.raises(CommandError, match="still being rebased"):
        requests.bring_up_to_date(FOUND, "bump", skip_ci=False)


# Titles, labels and users


@pytest.mark.parametrize(
    ("found", "body"),
    [
        ({"title": "t" * 255, "description": "d"}, {}),
        ({"title": "old", "description": "d"}, {"title": "t" * 255, "description": "d"}),
        ({"title": "t" * 255, "description": "o"}, {"title": "t" * 255, "description": "d"}),
        (
            {"title": "[DRAFT] old", "description": "d"},
            {"title": "[DRAFT] " + "t" * 247, "description": "d"},
        ),
        (
            {"title": "Drafty: old", "description": "d"},
            {"title": "t" * 255, "description": "d"},
        ),
    ],
)
def test_an_open_merge_request_gets_only_what_changes(
    server: Mocker, requests: MergeRequests, found: dict[str, Any], body: dict[str, Any]
) -> None:
    put = server.put(f"{API}/merge_requests/1", json=request())
    requests.update(MergeRequest.read(request(**found)), Proposal("t" * 300, "d"))
    assert [sent.json() for sent in put.request_history] == ([body] if body else [])


@pytest.mark.parametrize("theirs", [[], [{"id": 9}]])
def test_users_and_labels_that_are_set_already_are_kept(
    server: Mocker, requests: MergeRequests, theirs: list[dict[str, int]]
) -> None:
    put = server.put(f"{API}/merge_requests/1", json=request())
    found = request(title="t", description="d", labels=["a", "x"])
    proposal = Proposal("t", "d", ("a", "b", "c"), assignees=(1,), reviewers=(2,))
    for users in ({"assignees": theirs}, {"reviewers": theirs}):
        requests.update(MergeRequest.read(found | users), proposal)
    ours = {"add_labels": "b,c", "assignee_ids": [1], "reviewer_ids": [2]}
    kept = ("assignee_ids", "reviewer_ids") if theirs else ("", "")
    assert [sent.json() for sent in put.request_history] == [
        {name: value for name, value in ours.items() if name != each} for each in kept
    ]


@pytest.mark.parametrize(
    ("proposal", "more"),
    [
        (Proposal("t" * 256, "d"), {"title": "t" * 255}),
        (Proposal("t", "d", labels=("a", "b")), {"labels": "a,b"}),
        (Proposal("t", "d", assignees=(1,), reviewers=(2, 3)),
         {"assignee_ids": [1], "reviewer_ids": [2, 3]}),
    ],
)  # fmt: skip
def test_a_new_merge_request_has_what_was_asked_for_and_nothing_else(
    server: Mocker, requests: MergeRequests, proposal: Proposal, more: dict[str, Any]
) -> None:
    post = server.post(f"{API}/merge_requests", status_code=201, json=request())
    requests.open("bump", proposal, is_merged=False)
    always = {
        "source_branch": "bump",
        "target_branch": "main",
        "title": "t",
        "description": "d",
        "remove_source_branch": True,
    }
    assert post.request_history[-1].json() == always | more


def test_a_merge_request_from_a_fork_is_not_ours(server: Mocker, requests: MergeRequests) -> None:
    theirs = request(source_project_id=8, target_project_id=7)
    ours = request(iid=2, source_project_id=7, target_project_id=7)
    server.get(f"{API}/repository/branches/bump", json={"commit": {"id": SHA}})
    server.get(f"{API}/merge_requests", json=[theirs, ours])
    found = requests.find_source("bump").merge_request
    assert found is not None
    assert found.iid == 2


@pytest.mark.parametrize(("status", "code"), [(403, 6), (500, 8)])
def test_a_branch_that_cannot_be_looked_up_is_not_free(
    server: Mocker, requests: MergeRequests, status: int, code: int
) -> None:
    server.get(f"{URL}/api/v4/personal_access_tokens/self", status_code=404)
    server.get(f"{API}/merge_requests", json=[])
    server.get(f"{API}/repository/branches/bump", status_code=status, json={"message": "no"})
    with pytest.raises(CommandError) as raised:
        requests.find_source("bump")
    assert raised.value.exit_code == code
