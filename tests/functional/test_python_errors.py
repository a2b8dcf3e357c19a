"""An error that says why keeps the response of GitLab, for callers in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cicd_common.errors import CommandError
from cmd_bump_image_tag import bump_image_tag
from cmd_tag_project import tag_project
from cmd_trigger_pipeline import trigger_pipeline
from cmd_wait_pipeline import wait_pipeline
from sandbox import Access
from sandbox.model import ProtectedRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox import Sandbox
    from sandbox.model import Project, Token, User

HERE = {"project": "tech-lunch/service-tests"}
GONE = {"project": "tech-lunch/gone"}
BUMP = {"image": "nginx=1", "via": "api"}


@pytest.mark.parametrize(
    ("function", "arguments", "kind", "exit_code", "status"),
    [
        (tag_project, {**GONE, "tag_name": "v1"}, "access", 4, 404),
        (tag_project, {**HERE, "tag_name": "v1", "ref": "gone"}, "access", 4, 400),
        (tag_project, {**HERE, "tag_name": "main", "ref": "main"}, "access", 6, 400),
        (tag_project, {**HERE, "tag_name": "closed"}, "access", 6, 400),
        (tag_project, {**HERE, "tag_name": "v1"}, "revoked", 3, 401),
        (tag_project, {**HERE, "tag_name": "v1", "ref": "x", "release": True}, "job", 4, 404),
        (trigger_pipeline, GONE, "access", 4, 404),
        (trigger_pipeline, {**GONE, "ref": "main"}, "access", 4, 404),
        (trigger_pipeline, {**GONE, "ref": "main"}, "job", 4, 404),
        (trigger_pipeline, {**GONE, "ref": "main"}, "trigger", 4, 404),
        (trigger_pipeline, {**HERE, "ref": "gone"}, "access", 4, 400),
        (trigger_pipeline, {**HERE, "ref": "main"}, "access", 12, 400),
        (trigger_pipeline, HERE, "revoked", 3, 401),
        (wait_pipeline, {**HERE, "pipeline_id": 9}, "access", 4, 404),
        (wait_pipeline, {**HERE, "pipeline_id": 9}, "revoked", 3, 401),
        (bump_image_tag, {**GONE, **BUMP}, "access", 4, 404),
        (bump_image_tag, {**HERE, **BUMP, "branch": "gone"}, "access", 4, 404),
        (bump_image_tag, {**HERE, **BUMP}, "revoked", 3, 401),
    ],
)
def test_an_error_keeps_the_response(
    function: Callable[..., object],
    arguments: dict[str, Any],
    kind: str,
    exit_code: int,
    status: int,
    gitlab: Sandbox,
    project: Project,
    executor: User,
    token: Token,
) -> None:
    project.protected_tags.append(ProtectedRef("closed", Access.OWNER))
    project.job_token_allowlist = None
    token.revoked = kind == "revoked"
    secret = {
        "job": {"job_token": gitlab.add_running_job(project, executor).token},
        "trigger": {"trigger_token": gitlab.add_trigger_token(project, executor).secret},
    }.get(kind, {"api_access_token": token.secret})

    with pytest.raises(CommandError) as raised:
        function(**arguments, **secret, base_url=gitlab.url, retry_for=0)

    assert raised.value.exit_code == exit_code, raised.value
    assert raised.value.answer is not None
    assert raised.value.answer.status == status
