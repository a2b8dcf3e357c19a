"""Holds the sandbox's answers against GitLab's own description of its REST API.

The description is weak: any field may be null, errors have no schema, `/user` and `/trigger_jobs`
are missing. So this holds the fields that the sandbox answers with, their names and JSON types.
`sandbox/tests/openapi/reduce.py` says where the description comes from.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from sandbox import Access, ScriptedJob, ScriptedPipeline
from sandbox.model import ProtectedRef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox import Sandbox
    from sandbox.model import Project
    from sandbox.testing import Api

DESCRIPTION = Path(__file__).parents[1] / "openapi" / "gitlab.yaml"
PROJECT = "/projects/{id}"
PIPELINE = f"{PROJECT}/pipelines/{{pipeline_id}}"

TYPES: dict[str, type | tuple[type, ...]] = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "object": dict,
    "string": str,
}

# Where GitLab's source and its documented examples, not its description, are right.
NOT_A_STRING = {"access_level", "ci_job_token_scope_enabled"}
# `API::Entities::Ci::PipelineBasicWithMetadata`, since 15.11.
NOT_DESCRIBED = {"answer[].name"}
A_LIST = {"create_access_levels", "evidences", "links", "sources", "test_suites"}


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content: dict[str, Any] = yaml.load(DESCRIPTION.read_text(), loader)  # noqa: S506 - a safe one
    return content


@pytest.fixture
def ids(gitlab: Sandbox, project: Project, api: Api) -> dict[str, object]:
    """A world with one of each record; their ids by the names that the paths have for them."""
    downstream = ScriptedPipeline(timeline=((0, "running"),))
    project.protected_tags.append(ProtectedRef("v*", Access.DEVELOPER))
    project.script = ScriptedPipeline(
        name="Service tests",
        jobs=(
            ScriptedJob(name="failing", timeline=((0, "running"), (0, "failed"))),
            ScriptedJob(name="waiting", when="manual", allow_failure=True),
            ScriptedJob(name="trigger", downstream=downstream),
        ),
    )
    api.post(
        f"/projects/{project.id}/releases",
        json={
            "tag_name": "v1",
            "ref": "main",
            "tag_message": "One",
            "description": "First",
            "assets": {"links": [{"name": "site", "url": "https://example.com/site"}]},
        },
    )
    gitlab.commit(project, {"f": "1"}, branch="feature")
    api.post(
        f"/projects/{project.id}/merge_requests",
        json={
            "source_branch": "feature",
            "target_branch": "main",
            "title": "Feature",
            "labels": "bump",
            "assignee_ids": [next(iter(project.members))],
        },
    )
    api.post(
        f"/projects/{project.id}/pipeline",
        json={"ref": "main", "variables": [{"key": "LEVEL", "value": "full"}]},
    )
    pipeline = next(pipeline for pipeline in gitlab.pipelines(project) if pipeline.source == "api")
    return {
        "id": project.id,
        "user_id": next(iter(project.members)),
        "pipeline_id": pipeline.id,
        "job_id": pipeline.jobs[0].id,
        "tag_name": "v1",
        "branch": "main",
        "sha": "main",
        "merge_request_iid": 1,
    }


@pytest.mark.parametrize(
    "path",
    [
        "/version",
        "/metadata",
        "/personal_access_tokens/self",
        PROJECT,
        f"{PROJECT}/repository/tags",
        f"{PROJECT}/repository/tags/{{tag_name}}",
        f"{PROJECT}/repository/branches",
        f"{PROJECT}/repository/branches/{{branch}}",
        f"{PROJECT}/repository/commits",
        f"{PROJECT}/repository/commits/{{sha}}",
        f"{PROJECT}/members/all/{{user_id}}",
        f"{PROJECT}/protected_tags",
        f"{PROJECT}/protected_branches",
        f"{PROJECT}/job_token_scope",
        f"{PROJECT}/releases",
        f"{PROJECT}/releases/{{tag_name}}",
        f"{PROJECT}/pipelines",
        f"{PROJECT}/pipelines/latest",
        PIPELINE,
        f"{PIPELINE}/jobs",
        f"{PIPELINE}/bridges",
        f"{PIPELINE}/variables",
        f"{PIPELINE}/test_report_summary",
        f"{PROJECT}/jobs/{{job_id}}",
        f"{PROJECT}/releases/{{tag_name}}/assets/links",
    ],
)
def test_a_response_has_the_fields_of_gitlabs_openapi_file(
    description: dict[str, Any], ids: dict[str, object], api: Api, path: str
) -> None:
    answer = api.get(path.format(**ids))
    schema = description["paths"][f"/api/v4{path}"]["get"]["responses"]["200"]["schema"]
    assert answer.status_code == 200
    assert list(differences(description, schema, answer.json(), "answer")) == []


@pytest.mark.parametrize("path", ["", "/{merge_request_iid}", "/{merge_request_iid}/pipelines"])
def test_merge_request_responses_use_documented_field_names(
    description: dict[str, Any], ids: dict[str, object], api: Api, path: str
) -> None:
    """The types are wrong there: numbers are described as texts, and lists as objects."""
    place = f"{PROJECT}/merge_requests{path}"
    answer = api.get(place.format(**ids)).json()
    schema = description["paths"][f"/api/v4{place}"]["get"]["responses"]["200"]["schema"]
    name = schema["$ref"].rpartition("/")[2]
    described = description["definitions"][name]["properties"]
    found = answer[0] if isinstance(answer, list) else answer
    assert set(found) - set(described) == set()


def differences(
    description: dict[str, Any], schema: dict[str, Any], value: object, where: str
) -> Iterator[str]:
    """What is not as described, if anything."""
    if "$ref" in schema:
        schema = description["definitions"][schema["$ref"].rpartition("/")[2]]
    name = where.rpartition(".")[2]
    if value is None or name in NOT_A_STRING:
        return
    if isinstance(value, list) and (schema.get("type") == "array" or name in A_LIST):
        for item in value:
            yield from differences(description, schema.get("items", {}), item, f"{where}[]")
    elif not isinstance(value, TYPES.get(schema.get("type", ""), object)):
        yield f"{where} is {value!r}, described as {schema['type']}"
    elif isinstance(value, dict) and "properties" in schema:
        for field, content in value.items():
            if f"{where}.{field}" in NOT_DESCRIBED:
                continue
            if field in schema["properties"]:
                described = schema["properties"][field]
                yield from differences(description, described, content, f"{where}.{field}")
            else:
                yield f"{where}.{field} is not described"
