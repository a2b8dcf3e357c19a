"""What differs between GitLab's versions: `sandbox/versions.py` has the table and its sources."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sandbox import Access, Sandbox, ScriptedJob, ScriptedPipeline
from sandbox.model import ProtectedRef
from sandbox.testing import Api, outcome, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.testing import World

PROJECT = "/projects/tech-lunch%2Fservice-tests"
VERSIONS = ("17.11", "18.2", "18.9", "19.4")
REFUSED = "Insufficient permissions to set pipeline variables"
WITH_INPUT = """\
spec: {inputs: {level: {default: quick}}}
---
test: {script: [echo], variables: {LEVEL: "$[[ inputs.level ]]"}}
"""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(version: str) -> Iterator[World]:
    with serving(version=version) as running:
        yield running


def test_the_server_returns_its_version(world: World, version: str) -> None:
    assert world.api.get("/version").json()["version"] == f"{version}.0"


@pytest.mark.parametrize(
    ("path", "since"),
    [
        ("repository/tags", "17.11"),
        ("repository/tags/v1", "18.9"),
        ("repository/branches", "17.11"),
        ("repository/commits/main", "17.11"),
        ("releases/v1", "17.11"),
        ("pipelines", "19.4"),
        ("pipelines/{id}", "19.4"),
        ("pipelines/{id}/bridges", "19.4"),
        ("pipelines/{id}/jobs", "18.9"),
        ("merge_requests", "18.9"),
        ("merge_requests/1", "18.9"),
    ],
)
def test_a_job_token_is_ignored_on_routes_that_took_it_later(
    world: World, version: str, path: str, since: str
) -> None:
    world.gitlab.commit(world.project, {"f": "1"}, branch="feature")
    world.api.post(f"{PROJECT}/releases", json={"tag_name": "v1", "ref": "main"})
    request = {"source_branch": "feature", "target_branch": "main", "title": "Feature"}
    world.api.post(f"{PROJECT}/merge_requests", json=request)
    with world.with_job_token() as session:
        pipeline = world.gitlab.pipelines(world.project)[-1]
        status, answer = outcome(session.get(f"{PROJECT}/{path.format(id=pipeline.id)}"))
    taken = VERSIONS.index(version) >= VERSIONS.index(since)
    assert status == (200 if taken else 404)
    assert taken or answer == {"message": "404 Project Not Found"}


def test_trigger_jobs_have_their_own_route_since_19_2(world: World, version: str) -> None:
    job = ScriptedJob(name="start", downstream=ScriptedPipeline())
    script = ScriptedPipeline(jobs=(job,))
    pipeline = world.gitlab.add_pipeline(world.project, script, user=world.executor)
    place = f"{PROJECT}/pipelines/{pipeline.id}"
    assert len(world.api.get(f"{place}/bridges").json()) == 1
    status = world.api.get(f"{place}/trigger_jobs").status_code
    assert status == (200 if version == "19.4" else 404)


def test_the_payload_of_a_trigger_is_a_file_variable(world: World) -> None:
    world.project.script = ScriptedPipeline()
    trigger = world.gitlab.add_trigger_token(world.project, world.executor)
    body = {"token": trigger.secret, "ref": "main", "variables": {"A": "1"}}
    started = world.api.post(f"{PROJECT}/trigger/pipeline", json=body).json()
    own, payload = world.api.get(f"{PROJECT}/pipelines/{started['id']}/variables").json()
    assert (own["key"], payload["key"], payload["variable_type"]) == (
        "A",
        "TRIGGER_PAYLOAD",
        "file",
    )
    assert json.loads(payload["value"])["variables"] == {"A": "1"}
    assert trigger.secret not in payload["value"]


def test_old_versions_refuse_every_trigger_if_no_one_can_set_variables(
    world: World, version: str
) -> None:
    world.project.script = ScriptedPipeline()
    world.project.pipeline_variables_role = Access.OWNER + 1
    trigger = world.gitlab.add_trigger_token(world.project, world.executor)
    body = {"token": trigger.secret, "ref": "main"}
    answer = world.api.post(f"{PROJECT}/trigger/pipeline", json=body)
    if version in ("17.11", "18.2"):
        assert outcome(answer) == (400, {"message": {"base": [REFUSED]}})
    else:
        assert answer.status_code == 201
    assert world.api.post(f"{PROJECT}/pipeline", json={"ref": "main"}).status_code == 201


def test_inputs_of_a_trigger_are_ignored_before_18_1(world: World, version: str) -> None:
    world.gitlab.commit(world.project, {".gitlab-ci.yml": WITH_INPUT}, start_pipeline=False)
    trigger = world.gitlab.add_trigger_token(world.project, world.executor)
    body = {"ref": "main", "inputs": {"level": "full"}}
    triggered = {**body, "token": trigger.secret}
    levels = []
    for path, sent in (("trigger/pipeline", triggered), ("pipeline", body)):
        started = world.api.post(f"{PROJECT}/{path}", json=sent).json()["id"]
        [job] = world.gitlab.state.pipelines[started].jobs
        levels.append(world.gitlab.job_variables(job)["LEVEL"])
    assert levels == ["quick" if version == "17.11" else "full", "full"]


def test_all_inputs_are_ignored_before_17_11() -> None:
    with serving(version="17.10") as world:
        world.gitlab.commit(world.project, {".gitlab-ci.yml": WITH_INPUT}, start_pipeline=False)
        body = {"ref": "main", "inputs": {"level": "full"}}
        started = world.api.post(f"{PROJECT}/pipeline", json=body).json()["id"]
        [job] = world.gitlab.state.pipelines[started].jobs
        assert world.gitlab.job_variables(job)["LEVEL"] == "quick"


def test_a_fine_grained_token_can_do_only_what_its_permissions_allow(
    world: World, version: str
) -> None:
    if version != "19.4":
        with pytest.raises(ValueError, match="fine-grained"):
            world.gitlab.add_token(world.executor, permissions=["read_tag"])
        return
    token = world.gitlab.add_token(world.executor, permissions=["read_tag"])
    with Api(world.gitlab, **{"PRIVATE-TOKEN": token.secret}) as session:
        assert session.get(f"{PROJECT}/repository/tags").status_code == 200
        body = {"tag_name": "v1", "ref": "main"}
        refused = session.post(f"{PROJECT}/repository/tags", json=body)
        own = session.get("/personal_access_tokens/self")
    for answer, permission in ((refused, "Tag: Create"), (own, "Personal Access Token: Read")):
        status, content = outcome(answer)
        assert (status, content["error"]) == (403, "insufficient_granular_scope")
        assert f"[{permission}]" in content["error_description"]


def test_a_fine_grained_token_has_one_scope_by_name() -> None:
    with serving() as world:
        granted = ["read_personal_access_token"]
        token = world.gitlab.add_token(world.executor, permissions=granted)
        with Api(world.gitlab, **{"PRIVATE-TOKEN": token.secret}) as session:
            assert session.get("/personal_access_tokens/self").json()["scopes"] == ["granular"]


def test_a_version_is_two_numbers() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Sandbox(version="latest")


def test_a_protection_rule_for_a_deploy_key_does_not_allow_a_token(world: World) -> None:
    world.project.protected_tags.append(ProtectedRef("v*", Access.NONE, deploy_key=True))
    [rule] = world.api.get(f"{PROJECT}/protected_tags").json()
    levels = [
        (level["access_level"], level["deploy_key_id"]) for level in rule["create_access_levels"]
    ]
    assert levels == [(0, None), (40, 1)]
    answer = world.api.post(f"{PROJECT}/repository/tags", json={"tag_name": "v1", "ref": "main"})
    assert answer.status_code == 400  # the executor is a Maintainer
