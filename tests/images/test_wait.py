"""The image of cmd-wait-pipeline, as Docker and GitLab's runner end it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from sandbox.model import ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Project, Token
    from tests.images.conftest import Start

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_as_pid_1_a_signal_ends_the_wait_at_once(
    start: Start,
    images: dict[str, str],
    gitlab: Sandbox,
    project: Project,
    token: Token,
    signum: signal.Signals,
) -> None:
    """Nothing else would end it within an hour."""
    job = ScriptedJob(name="test", timeline=((0, "running"),))
    script = ScriptedPipeline(jobs=(job,))
    pipeline = gitlab.add_pipeline(project, script, user=token.user)
    container = start(
        "--project", project.path, "--pipeline-id", str(pipeline.id), "--interval", "3600",
        image=images["cmd-wait-pipeline"],
        environment={"CI_SERVER_URL": gitlab.url, "COMMANDS_API_TOKEN": token.secret},
    )  # fmt: skip
    gitlab.wait_until(lambda: len(gitlab.requests) >= 3)  # by then it is found
    container.kill(signum.name)
    assert container.wait()["StatusCode"] == 128 + signum
