from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from sandbox import git
from sandbox.ci import predefined
from sandbox.ci.environment import variables_of
from sandbox.ci.predefined import Request
from sandbox.ci.variables import as_values, expand_all

if TYPE_CHECKING:
    from sandbox.tests.ci.conftest import World


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tech-lunch/ci-cd-commands/cmd", "tech-lunch-ci-cd-commands-cmd"),
        ("Feature/ÄÖ_1", "feature----1"),
        ("/edge/", "edge"),
        ("x" * 70, "x" * 63),
    ],
)
def test_a_slug_has_only_characters_of_a_host_name(text: str, expected: str) -> None:
    assert predefined.slug(text) == expected


def request(world: World, *, tag: bool = False, source: str = "push") -> Request:
    project = world.project("top/group/name", "job: {script: a}")
    sha = git.resolve(project.repository, "main")
    assert sha
    return Request(project, "v1" if tag else "main", sha, tag, source, world.user)


def test_a_branch_and_a_tag_set_different_variables(still: World) -> None:
    branch = as_values(predefined.for_request(still.state, request(still)))
    tag = as_values(predefined.for_request(still.state, request(still, tag=True)))
    assert (branch["CI_COMMIT_BRANCH"], "CI_COMMIT_TAG" in branch) == ("main", False)
    assert (tag["CI_COMMIT_TAG"], "CI_COMMIT_BRANCH" in tag) == ("v1", False)


def test_the_server_and_the_project_are_described(still: World) -> None:
    found = as_values(predefined.for_request(still.state, request(still)))
    expected = {
        "CI_SERVER_URL": "http://gitlab.example:8080",
        "CI_SERVER_HOST": "gitlab.example",
        "CI_SERVER_PORT": "8080",
        "CI_SERVER_FQDN": "gitlab.example:8080",
        "CI_API_V4_URL": "http://gitlab.example:8080/api/v4",
        "CI_PROJECT_PATH": "top/group/name",
        "CI_PROJECT_NAME": "name",
        "CI_PROJECT_NAMESPACE": "top/group",
        "CI_PROJECT_ROOT_NAMESPACE": "top",
        "CI_PROJECT_URL": "http://gitlab.example:8080/top/group/name",
        "CI_COMMIT_MESSAGE": "Change something\n",
        "CI_COMMIT_TITLE": "Change something",
        "CI_COMMIT_BEFORE_SHA": "0" * 40,
        "GITLAB_USER_LOGIN": "dev",
    }
    assert {key: found[key] for key in expected} == expected
    assert "CI_REGISTRY" not in found


def test_registry_variables_are_set_only_with_a_registry(still: World) -> None:
    still.state.registry = "localhost:5000"
    found = as_values(predefined.for_request(still.state, request(still)))
    assert found["CI_REGISTRY_IMAGE"] == "localhost:5000/top/group/name"


def test_a_trigger_sets_its_variables(still: World) -> None:
    found = as_values(predefined.for_request(still.state, request(still, source="trigger")))
    assert (found["CI_PIPELINE_SOURCE"], found["CI_PIPELINE_TRIGGERED"]) == ("trigger", "true")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            "{name: review/$CI_COMMIT_REF_NAME, url: 'https://$CI_ENVIRONMENT_SLUG.example.com'}",
            {
                "CI_ENVIRONMENT_NAME": "review/main",
                "CI_ENVIRONMENT_TIER": "development",
                "CI_ENVIRONMENT_ACTION": "start",
            },
        ),
        (
            "{name: production, action: verify}",
            {
                "CI_ENVIRONMENT_SLUG": "production",
                "CI_ENVIRONMENT_TIER": "production",
                "CI_ENVIRONMENT_ACTION": "verify",
            },
        ),
        ("{name: x, deployment_tier: staging}", {"CI_ENVIRONMENT_TIER": "staging"}),
    ],
)
def test_an_environment_sets_its_variables(
    still: World, environment: str, expected: dict[str, str]
) -> None:
    project = still.project("group/name", f"a: {{script: a, environment: {environment}}}")
    [job] = still.start(project).jobs
    found = as_values(expand_all(variables_of(still.state, job)))
    assert {key: found[key] for key in expected} == expected
    if "review" in environment:
        assert re.fullmatch(r"review-main-[0-9a-z]{6}", found["CI_ENVIRONMENT_SLUG"])
        slug = found["CI_ENVIRONMENT_SLUG"]
        assert found["CI_ENVIRONMENT_URL"] == f"https://{slug}.example.com"
