"""`cmd-tag-project` against the sandbox: from Python, and as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import NotFoundError
from cmd_tag_project import tag_project
from sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from sandbox.model import Project, Token


def test_from_python(
    gitlab: Sandbox, token: Token, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    sha = gitlab.commit(project, {"next": "commit"})

    done = tag_project(
        project=project.path, tag_name="v1", base_url=gitlab.url, api_access_token=token.secret
    )

    assert (done.tag, done.commit, done.created) == ("v1", sha, True)
    with pytest.raises(NotFoundError):
        tag_project(
            project="a/b", tag_name="v1", base_url=gitlab.url, api_access_token=token.secret
        )
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("projects", [1, 3])
def test_a_signal_ends_it_at_once(
    gitlab: Sandbox,
    token: Token,
    project: Project,
    number: signal.Signals,
    code: int,
    projects: int,
) -> None:
    gitlab.fault(Fault(delay=20))
    with subprocess.Popen(
        [sys.executable, "-m", "cmd_tag_project", "--base-url", gitlab.url, "--tag-name", "v1",
         *(["--project", project.path] * projects)],
        env={"PATH": os.environ["PATH"], "GITLAB_TOKEN": token.secret},
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        gitlab.wait_until(lambda: len(gitlab.requests) >= projects, timeout=20)
        process.send_signal(number)
        assert process.wait(timeout=5) == code
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
