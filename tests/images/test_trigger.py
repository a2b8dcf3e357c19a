"""The image of cmd-trigger-pipeline, as Docker ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox.model import ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Project, Token
    from tests.images.conftest import Start

pytestmark = pytest.mark.docker

HOUR = 3600


def test_docker_stop_ends_the_wait_at_once_and_cancels_what_it_started(
    start: Start, images: dict[str, str], gitlab: Sandbox, project: Project, token: Token
) -> None:
    project.script = ScriptedPipeline(jobs=(ScriptedJob(name="test", timeline=((0, "running"),)),))
    container = start(
        "--project", project.path, "--wait", "--cancel-on", "signal", "--interval", "3600",
        image=images["cmd-trigger-pipeline"],
        environment={"CI_SERVER_URL": gitlab.url, "COMMANDS_API_TOKEN": token.secret},
    )  # fmt: skip
    gitlab.wait_until(lambda: any("/pipelines/" in request.path for request in gitlab.requests))
    container.stop(timeout=HOUR)  # until then Docker does not kill it

    assert container.wait()["StatusCode"] == 143, container.logs().decode()
    assert [each.status for each in gitlab.pipelines(project)] == ["canceled"]
