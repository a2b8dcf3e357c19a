"""Merge requests: what opens, changes, lists, rebases and merges them; GitLab's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sandbox import Access, ScriptedJob, ScriptedPipeline
from sandbox.testing import Api, outcome, serving

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Project, User

PROJECT = "/projects/tech-lunch%2Fservice-tests"
REPOSITORY = f"{PROJECT}/repository"
REQUEST = f"{PROJECT}/merge_requests/1"
CONFIG = """\
branch: {script: [echo], rules: [{if: $CI_COMMIT_BRANCH}]}
request: {script: [echo], only: [merge_requests]}
docs: {script: [echo], rules: [{if: $CI_MERGE_REQUEST_IID, changes: [docs/*]}]}
code: {script: [echo], rules: [{if: $CI_MERGE_REQUEST_IID, changes: [src/*]}]}
"""


@pytest.fixture
def feature(gitlab: Sandbox, project: Project) -> str:
    return gitlab.commit(project, {"f": "1"}, branch="feature")


def open_request(api: Api) -> dict[str, Any]:
    request = {"source_branch": "feature", "target_branch": "main", "title": "Feature"}
    opened: dict[str, Any] = api.post(f"{PROJECT}/merge_requests", json=request).json()
    return opened


def test_two_branches_have_only_one_open_merge_request_at_a_time(api: Api, feature: str) -> None:
    opened = open_request(api)
    assert (opened["iid"], opened["state"], opened["sha"]) == (1, "opened", feature)
    again = {"source_branch": "feature", "target_branch": "main", "title": "Again"}
    message = "Another open merge request already exists for this source branch: !1"
    assert outcome(api.post(f"{PROJECT}/merge_requests", json=again)) == (
        409,
        {"message": [message]},
    )
    for query, count in (("source_branch=feature&state=opened", 1), ("source_branch=main", 0)):
        assert len(api.get(f"{PROJECT}/merge_requests?{query}").json()) == count


def test_a_merge_checks_the_sha_of_the_source_branch(
    gitlab: Sandbox, project: Project, api: Api, feature: str
) -> None:
    open_request(api)
    merge = f"{PROJECT}/merge_requests/1/merge"
    message = f"SHA does not match HEAD of source branch: {feature}"
    assert outcome(api.put(merge, json={"sha": "0" * 40})) == (409, {"message": message})
    assert api.put(merge, json={"sha": feature}).json()["state"] == "merged"
    assert api.get(f"{REPOSITORY}/files/f/raw").text == "1"
    assert gitlab.sha(project, "main^2") == feature


@pytest.mark.parametrize(("version", "status"), [("18.2", 405), ("19.4", 200)])
def test_old_versions_refuse_auto_merge_without_an_active_pipeline(
    version: str, status: int
) -> None:
    with serving(version=version) as world:
        sha = world.gitlab.commit(world.project, {"f": "1"}, branch="feature")
        open_request(world.api)
        answer = world.api.put(f"{REQUEST}/merge", json={"auto_merge": True, "sha": sha})
        assert answer.status_code == status


def test_auto_merge_waits_for_a_running_pipeline(
    gitlab: Sandbox, project: Project, executor: User, api: Api, feature: str
) -> None:
    script = ScriptedPipeline(jobs=(ScriptedJob(name="test", timeline=((0, "running"),)),))
    gitlab.add_pipeline(project, script, user=executor, ref="feature")
    open_request(api)
    merge = {"auto_merge": True, "sha": feature}
    answer = api.put(f"{PROJECT}/merge_requests/1/merge", json=merge).json()
    assert (answer["state"], answer["merge_when_pipeline_succeeds"]) == ("opened", True)


@pytest.mark.usefixtures("feature")
def test_a_merge_request_is_checked_before_it_can_be_merged(project: Project, api: Api) -> None:
    project.merge_checks = 1
    open_request(api)
    merge = f"{PROJECT}/merge_requests/1/merge"
    assert api.put(merge, json={}).status_code == 405
    assert api.get(f"{PROJECT}/merge_requests/1").json()["detailed_merge_status"] == "checking"
    assert api.put(merge, json={}).json()["state"] == "merged"


@pytest.mark.usefixtures("feature")
def test_a_user_who_cannot_push_to_the_target_cannot_merge(
    project: Project, executor: User, api: Api
) -> None:
    open_request(api)
    project.members[executor.id] = Access.DEVELOPER
    answer = api.put(f"{PROJECT}/merge_requests/1/merge", json={})
    assert outcome(answer) == (401, {"message": "401 Unauthorized"})


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ("absent", "main", 'Source branch "absent" does not exist'),
        ("feature", "absent", 'Target branch "absent" does not exist'),
        ("main", "main", "You can't use same project/branch for source and target"),
    ],
)
@pytest.mark.usefixtures("feature")
def test_invalid_branches_are_refused(api: Api, source: str, target: str, text: str) -> None:
    body = {"source_branch": source, "target_branch": target, "title": "T"}
    answer = api.post(f"{PROJECT}/merge_requests", json=body)
    assert outcome(answer) == (422, {"message": [text]})


def test_a_merge_request_can_be_updated(
    gitlab: Sandbox, api: Api, executor: User, feature: str
) -> None:
    other = gitlab.add_user("Reviewer")
    assert api.get("/users?username=reviewer").json()[0]["id"] == other.id
    open_request(api)
    change = {
        "title": "Better",
        "description": "Why",
        "labels": "bump,image",
        "assignee_ids": [executor.id],
        "reviewer_ids": [other.id, executor.id],
    }
    changed = api.put(REQUEST, json=change).json()
    assert (changed["title"], changed["description"]) == ("Better", "Why")
    assert changed["labels"] == ["bump", "image"]
    people = [[user["username"] for user in changed[kind]] for kind in ("assignees", "reviewers")]
    assert people == [["ci-cd-executor"], ["Reviewer"]]
    more = {"add_labels": "x", "remove_labels": "image", "state_event": "close"}
    changed = api.put(REQUEST, json=more).json()
    assert (changed["labels"], changed["state"], changed["sha"]) == (
        ["bump", "x"],
        "closed",
        feature,
    )
    assert api.put(REQUEST, json={}).status_code == 400


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 2),
        ("iids[]=2", 1),
        ("iids[]=9", 0),
        ("labels=x", 1),
        ("labels=x,y", 0),
        ("search=other", 1),
        ("author_username=nobody", 0),
        ("scope=created_by_me", 2),
        ("scope=assigned_to_me", 0),
        ("state=closed", 1),
        ("order_by=title&sort=asc", 2),
    ],
)
def test_lists_are_filtered(
    gitlab: Sandbox, project: Project, api: Api, feature: str, query: str, count: int
) -> None:
    gitlab.commit(project, {"g": "1"}, branch="other")
    open_request(api)
    body = {"source_branch": "other", "target_branch": "main", "title": "Other", "labels": "x"}
    api.post(f"{PROJECT}/merge_requests", json=body)
    api.put(REQUEST, json={"state_event": "close"})
    assert len(api.get(f"{PROJECT}/merge_requests?{query}").json()) == count
    assert gitlab.sha(project, "refs/merge-requests/1/head") == feature


def test_a_merge_request_has_its_own_pipeline_if_jobs_run_for_merge_requests(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    gitlab.commit(project, {".gitlab-ci.yml": CONFIG}, start_pipeline=False)
    gitlab.commit(project, {"docs/a": "1"}, branch="feature", start_pipeline=False)
    gitlab.commit(project, {"b": "1"}, branch="feature")
    open_request(api)
    own, branch = api.get(f"{REQUEST}/pipelines").json()
    assert (own["source"], own["ref"]) == ("merge_request_event", "refs/merge-requests/1/head")
    jobs = api.get(f"{PROJECT}/pipelines/{own['id']}/jobs").json()
    assert sorted(job["name"] for job in jobs) == ["docs", "request"]
    jobs = api.get(f"{PROJECT}/pipelines/{branch['id']}/jobs").json()
    assert [job["name"] for job in jobs] == ["branch"]
    variables = gitlab.job_variables(gitlab.state.pipelines[own["id"]].jobs[0])
    assert variables["CI_COMMIT_REF_NAME"] == "feature"
    assert variables["CI_MERGE_REQUEST_REF_PATH"] == "refs/merge-requests/1/head"
    assert "CI_COMMIT_BRANCH" not in variables
    assert api.get(REQUEST).json()["head_pipeline"]["id"] == own["id"]


def test_a_push_gives_the_merge_request_a_new_head_and_new_pipelines(
    gitlab: Sandbox, project: Project, api: Api, feature: str
) -> None:
    gitlab.commit(project, {".gitlab-ci.yml": CONFIG}, branch="feature")
    open_request(api)
    sha = gitlab.commit(project, {"more": "1"}, branch="feature")
    assert api.get(REQUEST).json()["sha"] == sha != feature
    pipelines = api.get(f"{REQUEST}/pipelines").json()
    assert [each["sha"] == sha for each in pipelines] == [True, True, False, False]


def test_the_rebase_happens_after_the_response(
    gitlab: Sandbox, project: Project, api: Api, feature: str
) -> None:
    open_request(api)
    main = gitlab.commit(project, {"README.md": "other"})
    assert outcome(api.put(f"{REQUEST}/rebase")) == (202, {"rebase_in_progress": True})
    found = api.get(f"{REQUEST}?include_rebase_in_progress=true").json()
    assert (found["rebase_in_progress"], found["merge_error"]) == (False, None)
    assert gitlab.sha(project, "feature~1") == main
    assert gitlab.sha(project, "feature") == found["sha"] != feature
    assert api.get(f"{REPOSITORY}/files/f/raw?ref=feature").text == "1"


def test_a_failed_rebase_sets_the_merge_error(gitlab: Sandbox, project: Project, api: Api) -> None:
    gitlab.commit(project, {"README.md": "mine"}, branch="feature")
    open_request(api)
    gitlab.commit(project, {"README.md": "theirs"})
    api.put(f"{REQUEST}/rebase")
    found = api.get(REQUEST).json()
    assert found["merge_error"].startswith("Rebase failed: Rebase locally")
    assert (found["detailed_merge_status"], found["has_conflicts"]) == ("conflict", True)


def test_a_draft_is_not_merged(api: Api, feature: str) -> None:
    body = {"source_branch": "feature", "target_branch": "main", "title": "Draft: x"}
    assert api.post(f"{PROJECT}/merge_requests", json=body).json()["draft"] is True
    assert api.put(f"{REQUEST}/merge", json={"sha": feature}).status_code == 405


def test_the_merge_requests_of_a_commit_are_listed_before_and_after_the_merge(
    gitlab: Sandbox, project: Project, api: Api, feature: str
) -> None:
    open_request(api)
    main = gitlab.sha(project)

    def of(sha: str) -> list[int]:
        listed = api.get(f"{REPOSITORY}/commits/{sha}/merge_requests").json()
        return [request["iid"] for request in listed]

    assert (of(feature), of(main)) == ([1], [])
    merged = api.put(f"{REQUEST}/merge", json={"sha": feature}).json()["merge_commit_sha"]
    assert (of(feature), of(merged), of(main)) == ([1], [1], [])
    assert api.get(f"{REPOSITORY}/commits/{'0' * 40}/merge_requests").status_code == 404


@pytest.mark.usefixtures("feature")
def test_a_merge_request_takes_comments_and_closes_no_issue(project: Project, api: Api) -> None:
    open_request(api)
    assert outcome(api.get(f"{REQUEST}/closes_issues")) == (200, [])
    assert api.post(f"{REQUEST}/notes", json={"body": "Released."}).status_code == 201
    assert api.post(f"{REQUEST}/notes", json={}).status_code == 400
    assert project.merge_requests[0].notes == ["Released."]


def test_it_says_whether_the_rules_start_a_pipeline(
    gitlab: Sandbox, project: Project, api: Api, feature: str
) -> None:
    filtered = "The rules configuration prevented any jobs from being added to the pipeline."
    lint = f"{PROJECT}/ci/lint?dry_run=true&content_ref={feature}&dry_run_ref=feature"
    open_request(api)
    for words, config in ((filtered, "a: {script: [x], only: [main]}\n"), ("", CONFIG)):
        sha = gitlab.commit(project, {".gitlab-ci.yml": config}, branch="feature")
        checked = api.get(lint.replace(feature, sha)).json()
        assert checked["valid"] == (not words)
        assert words in "".join(checked["errors"])
        started = api.post(f"{REQUEST}/pipelines")
        assert started.status_code == (400 if words else 200)
        assert words in started.text
    assert started.json()["source"] == "merge_request_event"
    assert api.get(lint.replace(feature, "0" * 40)).status_code == 404
    assert api.get(f"{PROJECT}/ci/lint").status_code == 400
