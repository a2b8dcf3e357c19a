"""Tokens of the sandbox: what each opens, and what is said where it opens nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import Access, Sandbox
from sandbox.testing import Api, outcome

if TYPE_CHECKING:
    from sandbox.model import Project, Token, User

PROJECT = "/projects/tech-lunch%2Fservice-tests"
TAGS = f"{PROJECT}/repository/tags"


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        ({}, 401, {"message": "401 Unauthorized"}),
        ({"PRIVATE-TOKEN": "glpat-unknown"}, 401, {"message": "401 Unauthorized"}),
        ({"Authorization": "Bearer unknown"}, 401, {"message": "401 Unauthorized"}),
    ],
)
def test_an_anonymous_request_gets_401(
    gitlab: Sandbox, headers: dict[str, str], status: int, body: object
) -> None:
    with Api(gitlab, **headers) as api:
        assert outcome(api.get("/user")) == (status, body)


def test_a_token_works_in_the_bearer_and_in_the_private_token_header(
    gitlab: Sandbox, token: Token
) -> None:
    with Api(gitlab, Authorization=f"Bearer {token.secret}") as api:
        assert api.get("/user").json()["username"] == "ci-cd-executor"


@pytest.mark.parametrize(
    ("settings", "description"),
    [
        (
            {"expired": True},
            "Token is expired. You can either do re-authorization or token refresh.",
        ),
        ({"revoked": True}, "Token was revoked. You have to re-authorize from the user."),
    ],
)
def test_the_error_of_an_expired_or_revoked_token_says_so(
    gitlab: Sandbox, executor: User, settings: dict[str, bool], description: str
) -> None:
    yesterday = gitlab.state.clock.now() - timedelta(days=1)
    token = gitlab.add_token(
        executor,
        expires_at=yesterday if settings.get("expired") else None,
        revoked=settings.get("revoked", False),
    )
    with Api(gitlab, **{"PRIVATE-TOKEN": token.secret}) as api:
        assert outcome(api.get("/user")) == (
            401,
            {"error": "invalid_token", "error_description": description},
        )


def test_the_scope_read_api_allows_reads_and_no_writes(
    gitlab: Sandbox, project: Project, executor: User
) -> None:
    token = gitlab.add_token(executor, scopes=["read_api"])
    with Api(gitlab, **{"PRIVATE-TOKEN": token.secret}) as api:
        assert api.get(TAGS).status_code == 200
        answer = api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
    assert answer.status_code == 403
    assert answer.json()["error"] == "insufficient_scope"
    assert gitlab.tags(project) == {}


def test_a_token_of_any_scope_can_read_its_own_details(gitlab: Sandbox, executor: User) -> None:
    token = gitlab.add_token(executor, scopes=["read_registry"], name="puller")
    with Api(gitlab, **{"PRIVATE-TOKEN": token.secret}) as api:
        assert api.get("/user").status_code == 403
        assert api.get("/personal_access_tokens/self").json()["name"] == "puller"


@pytest.mark.parametrize(
    ("method", "path", "visibility", "status", "message"),
    [
        ("GET", "/repository/tags", "private", 200, None),
        ("GET", "", "private", 404, "404 Project Not Found"),
        ("POST", "/repository/tags", "private", 404, "404 Project Not Found"),
        ("POST", "/repository/tags", "public", 403, "403 Forbidden"),
        ("POST", "/pipeline", "private", 401, "401 Unauthorized"),
        ("GET", "/jobs/1/trace", "private", 401, "401 Unauthorized"),
        ("GET", "/pipelines", "private", 200, None),
        ("GET", "/pipelines/latest", "private", 404, "404 Project Not Found"),
    ],
)
def test_a_job_token_works_only_on_the_routes_that_accept_it(
    gitlab: Sandbox,
    project: Project,
    executor: User,
    method: str,
    path: str,
    visibility: Any,
    status: int,
    message: str | None,
) -> None:
    job = gitlab.add_running_job(project, executor)
    project.visibility = visibility
    with Api(gitlab, **{"JOB-TOKEN": job.token}) as api:
        body = {"tag_name": "v1", "ref": "main"} if method == "POST" else None
        answer = api.request(method, PROJECT + path, json=body)
    assert answer.status_code == status
    if message:
        assert answer.json() == {"message": message}


def test_a_job_token_is_invalid_after_its_job_has_finished(
    gitlab: Sandbox, project: Project, executor: User
) -> None:
    job = gitlab.add_running_job(project, executor)
    with Api(gitlab, **{"JOB-TOKEN": job.token}) as api:
        assert api.get("/job").json()["id"] == job.id
        gitlab.finish(job)
        assert api.get("/job").status_code == 401
        body = {"token": job.token, "ref": "main"}
        assert outcome(api.post(f"{PROJECT}/trigger/pipeline", json=body)) == (
            401,
            {"message": "Job is not running"},
        )


def test_a_job_token_of_a_project_that_is_not_on_the_allowlist_is_refused(
    gitlab: Sandbox, project: Project, executor: User
) -> None:
    source = gitlab.add_project("tech-lunch/hello-world", {}, members={executor: Access.MAINTAINER})
    job = gitlab.add_running_job(source, executor)
    with Api(gitlab, **{"JOB-TOKEN": job.token}) as api:
        assert outcome(api.get(TAGS)) == (
            403,
            {
                "message": "403 Forbidden - Authentication by CI/CD job token not allowed from "
                f"hello-world to project #{project.id}."
            },
        )
        project.job_token_allowlist = {source.path}
        assert api.get(TAGS).status_code == 200


def test_a_job_token_creates_a_tag_through_a_release(
    gitlab: Sandbox, project: Project, executor: User
) -> None:
    job = gitlab.add_running_job(project, executor)
    body = {"tag_name": "v1", "ref": "main", "description": "First"}
    with Api(gitlab, **{"JOB-TOKEN": job.token}) as api:
        assert api.post(f"{PROJECT}/releases", json=body).status_code == 201
        assert outcome(api.post(f"{PROJECT}/releases", json=body)) == (
            409,
            {"message": "Release already exists"},
        )
    assert gitlab.tags(project) == {"v1": gitlab.sha(project)}
