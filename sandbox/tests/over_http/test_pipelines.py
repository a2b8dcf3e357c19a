"""The sandbox's pipelines, triggers and jobs: statuses, bodies and texts are GitLab's."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import Access, Sandbox, ScriptedJob, ScriptedPipeline
from sandbox.testing import Api, outcome

if TYPE_CHECKING:
    import requests

    from sandbox.model import Project, User

PROJECT = "/projects/tech-lunch%2Fservice-tests"
TAGS = f"{PROJECT}/repository/tags"
CONFIG = {".gitlab-ci.yml": "test:\n  script: [echo]\n"}
ONLY_TAGS = {".gitlab-ci.yml": "test:\n  script: [echo]\n  only: [tags]\n"}
NO_JOBS = (
    "Pipeline will not run for the selected trigger. The rules configuration prevented any jobs "
    "from being added to the pipeline."
)
WRONG = {".gitlab-ci.yml": "test:\n  script: {}\n"}


def test_a_tag_starts_its_pipeline_after_the_response(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    sha = gitlab.commit(project, ONLY_TAGS)
    api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
    gitlab.wait_until(lambda: bool(gitlab.pipelines(project)))
    [found] = api.get(f"{PROJECT}/pipelines", params={"ref": "v1", "sha": sha}).json()
    assert found["source"] == "push"
    assert "tag" not in found
    assert api.get(f"{PROJECT}/pipelines/{found['id']}").json()["tag"] is True


def test_skip_ci_in_the_tagged_commit_makes_a_skipped_pipeline(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    gitlab.commit(project, CONFIG, message="Change [skip ci]", start_pipeline=False)
    api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
    gitlab.wait_until(lambda: bool(gitlab.pipelines(project)))
    assert [pipeline.status for pipeline in gitlab.pipelines(project)] == ["skipped"]
    assert api.post(f"{PROJECT}/pipeline", json={"ref": "main"}).json()["status"] == "created"


@pytest.mark.parametrize(
    ("settings", "body", "message"),
    [
        ({}, {"ref": "nope"}, "Reference not found"),
        ({"ci_enabled": False}, {"ref": "main"}, "Pipelines are disabled!"),
        (
            {"pipeline_variables_role": Access.OWNER},
            {"ref": "main", "variables": [{"key": "A", "value": "b"}]},
            "Insufficient permissions to set pipeline variables",
        ),
        (
            {},
            {"ref": "main"},
            NO_JOBS,
        ),
    ],
)
def test_a_refused_pipeline_gets_gitlabs_error_message(
    gitlab: Sandbox,
    project: Project,
    api: Api,
    settings: dict[str, object],
    body: dict[str, object],
    message: str,
) -> None:
    gitlab.commit(project, ONLY_TAGS)
    for name, value in settings.items():
        setattr(project, name, value)
    answer = api.post(f"{PROJECT}/pipeline", json=body)
    assert outcome(answer) == (400, {"message": {"base": [message]}})
    assert gitlab.pipelines(project) == []


def test_a_developer_cannot_run_a_pipeline_on_a_protected_branch(
    gitlab: Sandbox, project: Project, executor: User, api: Api
) -> None:
    gitlab.commit(project, CONFIG, start_pipeline=False)
    project.members[executor.id] = Access.DEVELOPER
    answer = api.post(f"{PROJECT}/pipeline", json={"ref": "main"})
    [text] = answer.json()["message"]["base"]
    assert text.startswith("You do not have sufficient permission to run a pipeline on 'main'.")


def test_too_many_pipelines_in_a_minute_are_refused(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    gitlab.commit(project, CONFIG, start_pipeline=False)
    gitlab.state.pipelines_per_minute = 1
    assert api.post(f"{PROJECT}/pipeline", json={"ref": "main"}).status_code == 201
    assert outcome(api.post(f"{PROJECT}/pipeline", json={"ref": "main"})) == (
        400,
        {"message": {"base": ["Too many pipelines created in the last minute. Try again later."]}},
    )


def test_variables_reach_the_pipeline(gitlab: Sandbox, project: Project, api: Api) -> None:
    gitlab.commit(project, CONFIG, start_pipeline=False)
    variables = [
        {"key": "LEVEL", "value": "full"},
        {"key": "SETTINGS", "value": "{}", "variable_type": "file"},
    ]
    made = api.post(f"{PROJECT}/pipeline", json={"ref": "main", "variables": variables}).json()
    found = api.get(f"{PROJECT}/pipelines/{made['id']}/variables").json()
    assert [(item["key"], item["value"], item["variable_type"]) for item in found] == [
        ("LEVEL", "full", "env_var"),
        ("SETTINGS", "{}", "file"),
    ]


def test_the_latest_pipeline_of_a_project_without_pipelines_is_forbidden(
    project: Project, api: Api
) -> None:
    assert outcome(api.get(f"/projects/{project.id}/pipelines/latest")) == (
        403,
        {"message": "403 Forbidden"},
    )


def test_pipelines_are_filtered(
    gitlab: Sandbox, project: Project, executor: User, api: Api
) -> None:
    gitlab.tag(project, "v1")
    failed = ScriptedPipeline(timeline=((0, "failed"),))
    running = ScriptedPipeline(timeline=((0, "running"),), name="Nightly")
    child = ScriptedJob(name="child", downstream=ScriptedPipeline(timeline=((0, "success"),)))
    parent = ScriptedPipeline(timeline=((0, "success"),), jobs=(child,))
    made = {
        "old": gitlab.add_pipeline(project, failed, user=executor, after=-3600),
        "tag": gitlab.add_pipeline(project, running, user=executor, ref="v1", source="api"),
        "parent": gitlab.add_pipeline(project, parent, user=executor),
    }
    names = {pipeline.id: name for name, pipeline in made.items()}
    soon = (gitlab.state.clock.now() - timedelta(minutes=5)).isoformat()
    cases: dict[str, list[str]] = {
        "": ["parent", "tag", "old"],
        "sort=asc": ["old", "tag", "parent"],
        "ref=v1": ["tag"],
        f"sha={gitlab.sha(project)}&status=failed": ["old"],
        "source=api": ["tag"],
        "name=Nightly": ["tag"],
        "scope=running": ["tag"],
        "scope=finished": ["parent", "old"],
        "scope=tags": ["tag"],
        "scope=branches": ["parent"],
        "username=nobody": [],
        "source=parent_pipeline": ["child"],
        f"updated_after={soon.replace('+', '%2B')}": ["parent", "tag"],
        f"created_before={soon.replace('+', '%2B')}": ["old"],
    }
    answers = {
        query: [
            names.get(item["id"], "child")
            for item in api.get(f"{PROJECT}/pipelines?{query}").json()
        ]
        for query in cases
    }
    assert answers == cases
    assert outcome(api.get(f"{PROJECT}/pipelines?status=green")) == (
        400,
        {"error": "status does not have a valid value"},
    )


def trigger(api: Api, **body: object) -> tuple[int, Any]:
    return outcome(api.post(f"{PROJECT}/trigger/pipeline", json=body))


def test_a_trigger_token_starts_a_pipeline_as_its_owner(
    gitlab: Sandbox, project: Project, executor: User
) -> None:
    gitlab.commit(project, CONFIG, start_pipeline=False)
    secret = gitlab.add_trigger_token(project, executor).secret
    with Api(gitlab) as anonymous:
        status, made = trigger(anonymous, token=secret, ref="main", variables={"LEVEL": "full"})
    assert (status, made["source"], made["user"]["id"]) == (201, "trigger", executor.id)


def test_a_job_token_starts_a_pipeline_of_source_pipeline(
    gitlab: Sandbox, project: Project, executor: User
) -> None:
    gitlab.commit(project, CONFIG, start_pipeline=False)
    job = gitlab.add_running_job(project, executor)
    with Api(gitlab) as anonymous:
        status, made = trigger(anonymous, token=job.token, ref="main")
    assert (status, made["source"]) == (201, "pipeline")


def test_a_refused_trigger_gets_gitlabs_error_message(
    gitlab: Sandbox, project: Project, executor: User
) -> None:
    other = gitlab.add_project("tech-lunch/other", {}, members={executor: Access.MAINTAINER})
    secret = gitlab.add_trigger_token(project, executor).secret
    stray = gitlab.add_trigger_token(other, executor).secret
    unlisted = gitlab.add_running_job(other, executor).token
    not_found = (404, {"message": "404 Not Found"})
    with Api(gitlab) as api:
        assert trigger(api, token="wrong", ref="main") == not_found
        assert trigger(api, token=stray, ref="main") == not_found
        assert trigger(api, token=unlisted, ref="main") == not_found
        assert trigger(api, ref="main") == (400, {"error": "token is missing"})
        assert trigger(api, token=secret, ref="") == (400, {"error": "ref is empty"})
        assert trigger(api, token=secret, ref="nope") == (
            400,
            {"message": {"base": ["Reference not found"]}},
        )
        assert trigger(api, token=secret, ref="main", variables={"A": 1}) == (
            400,
            {"message": "variables needs to be a map of key-valued strings"},
        )


def test_a_trigger_with_an_invalid_configuration_saves_a_failed_pipeline_and_fails(
    gitlab: Sandbox, project: Project, executor: User, api: Api
) -> None:
    gitlab.commit(project, WRONG, start_pipeline=False)
    secret = gitlab.add_trigger_token(project, executor).secret
    assert trigger(api, token=secret, ref="main")[0] == 422
    assert [pipeline.status for pipeline in gitlab.pipelines(project)] == ["failed"]
    assert api.post(f"{PROJECT}/pipeline", json={"ref": "main"}).status_code == 400
    assert len(gitlab.pipelines(project)) == 1


@pytest.fixture
def scripted(gitlab: Sandbox, project: Project, executor: User) -> str:
    """The path of a pipeline with a job of each kind."""
    bridge = ScriptedPipeline(timeline=((0, "running"),))
    script = ScriptedPipeline(
        jobs=(
            ScriptedJob(name="test", timeline=((0, "running"), (0, "failed")), trace="one\ntwo\n"),
            ScriptedJob(name="deploy", when="manual"),
            ScriptedJob(name="trigger", timeline=((0, "running"),), downstream=bridge),
        )
    )
    return f"{PROJECT}/pipelines/{gitlab.add_pipeline(project, script, user=executor).id}"


def by_name(answer: requests.Response) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in answer.json()}


def test_jobs_and_trigger_jobs_have_separate_lists(api: Api, scripted: str) -> None:
    assert set(by_name(api.get(f"{scripted}/jobs"))) == {"test", "deploy"}
    assert set(by_name(api.get(f"{scripted}/jobs?scope[]=failed"))) == {"test"}
    for path in ("bridges", "trigger_jobs"):
        [bridge] = api.get(f"{scripted}/{path}").json()
        assert bridge["downstream_pipeline"]["status"] == "running"


def test_a_job_log_is_plain_text_and_supports_ranges(api: Api, scripted: str) -> None:
    jobs = by_name(api.get(f"{scripted}/jobs"))
    trace = f"{PROJECT}/jobs/{jobs['test']['id']}/trace"
    whole = api.get(trace)
    assert (whole.text, whole.headers["Content-Type"]) == ("one\ntwo\n", "text/plain")
    assert api.get(f"{trace}?byte_offset=4&byte_limit=3").text == "two"
    assert api.get(f"{PROJECT}/jobs/{jobs['deploy']['id']}/trace").text == ""


def test_a_pipeline_is_canceled_and_retried(api: Api, scripted: str) -> None:
    assert api.post(f"{scripted}/cancel").status_code == 200
    assert by_name(api.get(f"{scripted}/jobs"))["deploy"]["status"] == "canceled"
    assert api.get(scripted).json()["status"] == "failed"  # as one of its jobs has
    retried = api.post(f"{scripted}/retry")
    assert (retried.status_code, retried.json()["status"]) == (201, "running")
    assert len(api.get(f"{scripted}/jobs").json()) == 2
    assert len(api.get(f"{scripted}/jobs?include_retried=true").json()) == 4


def test_a_manual_job_can_be_played_only_once(api: Api, scripted: str) -> None:
    job = by_name(api.get(f"{scripted}/jobs"))["deploy"]
    play = f"{PROJECT}/jobs/{job['id']}/play"
    played = api.post(play)
    assert (played.status_code, played.json()["status"]) == (200, "running")
    assert outcome(api.post(play)) == (400, {"message": "400 Bad request - Unplayable Job"})


def test_a_failed_job_can_be_retried_only_once(api: Api, scripted: str) -> None:
    job = by_name(api.get(f"{scripted}/jobs"))["test"]
    assert job["failure_reason"] == "script_failure"
    retry = f"{PROJECT}/jobs/{job['id']}/retry"
    assert api.post(retry).status_code == 201
    assert outcome(api.post(retry)) == (
        403,
        {"message": "403 Forbidden - Job is not retryable"},
    )


def test_a_pipeline_and_a_job_of_another_project_are_not_found(
    gitlab: Sandbox, executor: User, api: Api, scripted: str
) -> None:
    gitlab.add_project("tech-lunch/other", {}, members={executor: Access.MAINTAINER})
    elsewhere = scripted.replace("service-tests", "other")
    assert outcome(api.get(elsewhere)) == (404, {"message": "404 Not found"})
    assert outcome(api.get("/projects/tech-lunch%2Fother/jobs/1")) == (
        404,
        {"message": "404 Not found"},
    )
