"""`cmd-tag-project` against the sandbox: from Python, and as a process."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from cmd_tag_project import NotFoundError, TagResult, tag_project
from sandbox import Fault, Sandbox
from sandbox.model import ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from sandbox.model import Project, Token
    from tests.functional.conftest import Start

HOUR = 3600


def test_from_python(
    gitlab: Sandbox, token: Token, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    sha = gitlab.commit(project, {"next": "commit"})

    done = tag_project(
        project=project.path, tag_name="v1", base_url=gitlab.url, api_access_token=token.secret
    )

    assert isinstance(done, TagResult)
    assert (done.tag, done.commit, done.created) == ("v1", sha, True)
    with pytest.raises(NotFoundError):
        tag_project(
            project="a/b", tag_name="v1", base_url=gitlab.url, api_access_token=token.secret
        )
    assert capsys.readouterr() == ("", "")


def test_from_python_release_notes_imply_the_release(
    gitlab: Sandbox, token: Token, project: Project
) -> None:
    done = tag_project(
        project=project.path,
        tag_name="v1",
        release_notes="All new.",
        base_url=gitlab.url,
        api_access_token=token.secret,
    )

    assert done.release == "created"
    assert project.releases["v1"].description == "All new."


def test_from_python_a_default_wait_is_true(
    gitlab: Sandbox, token: Token, project: Project
) -> None:
    project.script = ScriptedPipeline(jobs=(ScriptedJob(name="tests"),))

    done = tag_project(
        project=project.path,
        tag_name="v1",
        wait=True,
        base_url=gitlab.url,
        api_access_token=token.secret,
    )

    assert done.pipeline is not None
    assert done.pipeline.status == "success"


@pytest.mark.parametrize(
    ("projects", "number", "code"), [(1, signal.SIGINT, 130), (3, signal.SIGTERM, 143)]
)
def test_a_signal_ends_it_at_once(
    start: Start,
    gitlab: Sandbox,
    token: Token,
    project: Project,
    number: signal.Signals,
    code: int,
    projects: int,
) -> None:
    """Nothing else would end it within an hour."""
    gitlab.fault(Fault(delay=HOUR))
    named = [project.path, "tech-lunch/two", "tech-lunch/three"][:projects]
    process = start(
        "cmd_tag_project", "--tag-name", "v1", *(f"--project={name}" for name in named),
        *("--request-timeout", str(HOUR)),
        CI_SERVER_URL=gitlab.url, GITLAB_TOKEN=token.secret,
    )  # fmt: skip
    gitlab.wait_until(lambda: len(gitlab.requests) >= projects)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in stderr
