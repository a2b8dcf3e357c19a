"""`cmd-tag-project` against the sandbox: waiting for the tag's pipeline."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from cicd_common.waiting.policy import WaitPolicy
from cmd_tag_project import tag_project
from sandbox import Fault, Sandbox, ScriptedJob, ScriptedPipeline
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.model import Project, Token, User
    from tests.functional.conftest import Ending


def scripted(project: Project, end: str) -> None:
    job = ScriptedJob(
        name="tests", stage="test", timeline=((0, "running"), (0.3, end)), trace="it ran"
    )
    project.script = ScriptedPipeline(jobs=(job,))


@every_server
def test_wait_ends_as_the_tags_pipeline_does(
    tag: Callable[..., Ending], project: Project, tmp_path: Path
) -> None:
    scripted(project, "success")

    ending = tag("--tag-name", "v1", "--wait", "--dotenv", str(tmp_path / "tag.env"))

    assert ending.code == 0, ending.stderr
    assert re.match(
        r"tech-lunch/service-tests: tag v1 created at \w{8}; pipeline \d+ success .*\n$",
        ending.stdout,
    )
    variables = dict(line.split("=", 1) for line in (tmp_path / "tag.env").read_text().splitlines())
    assert variables["TAG_NAME"] == "v1"
    assert variables["PIPELINE_STATUS"] == "success"


@every_server
def test_wait_reports_that_the_tags_pipeline_failed_and_why(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    scripted(project, "failed")

    ending = tag("--tag-name", "v1", "--wait", "--output", "json")

    assert ending.code == 1
    document = json.loads(ending.stdout)
    assert document["error"]["kind"] == "failed"
    [result] = document["results"]
    assert (result["tag"], result["created"]) == ("v1", True)
    assert result["pipeline"]["status"] == "failed"
    assert result["pipeline"]["id"] == gitlab.pipelines(project)[0].id
    assert "it ran" in ending.stderr


@every_server
def test_wait_waits_for_a_pipeline_that_was_there_before(
    tag: Callable[..., Ending], project: Project
) -> None:
    scripted(project, "success")
    tag("--tag-name", "v1")

    ending = tag("--tag-name", "v1", "--wait")

    assert ending.code == 0
    assert "already exists" in ending.stdout
    assert "success" in ending.stdout


@pytest.mark.parametrize(
    ("options", "reads"),
    [(("--quiet",), False), ((), True), (("--quiet", "--output", "json"), True)],
    ids=["quiet", "lines", "quiet json"],
)
def test_the_report_of_a_success_is_read_where_it_is_shown(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    options: tuple[str, ...],
    *,
    reads: bool,
) -> None:
    scripted(project, "success")

    assert tag("--tag-name", "v1", "--wait", *options).code == 0
    assert any("test_report" in request.path for request in gitlab.requests) is reads


@every_server
def test_wait_says_when_there_is_no_pipeline(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    ending = tag("--tag-name", "v1", "--wait", "--appear-timeout", "1")

    assert ending.code == 4
    assert list(gitlab.tags(project)) == ["v1"]


@every_server
def test_a_limit_cancels_the_pipeline_that_this_tag_started(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    project.script = ScriptedPipeline(jobs=(ScriptedJob(name="tests", timeline=((0, "running"),)),))

    ending = tag("--tag-name", "v1", "--wait", "--timeout", "60", "--cancel-on", "timeout")

    assert ending.code == 7
    assert gitlab.pipelines(project)[0].status == "canceled"


@every_server
def test_a_limit_does_not_cancel_where_the_answer_to_the_tag_was_lost(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    """Another job can have made the tag that is found then, and its pipeline."""
    project.script = ScriptedPipeline(jobs=(ScriptedJob(name="tests", timeline=((0, "running"),)),))
    gitlab.fault(Fault(path=r"/repository/tags$", method="POST", nth=1, reset="after"))

    ending = tag("--tag-name", "v1", "--wait", "--timeout", "60", "--cancel-on", "timeout")

    assert ending.code == 7
    assert gitlab.pipelines(project)[0].status == "running"


@every_server
def test_from_python_with_a_wait(gitlab: Sandbox, token: Token, project: Project) -> None:
    scripted(project, "success")

    done = tag_project(
        project=project.path,
        tag_name="v1",
        wait=WaitPolicy(timeout=60),
        base_url=gitlab.url,
        api_access_token=token.secret,
    )

    assert done.pipeline is not None
    assert done.pipeline.status == "success"


@every_server
def test_a_pipeline_of_an_earlier_tag_of_the_same_name_does_not_count(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, executor: User
) -> None:
    """The tag was deleted and is created again at the same commit; the old one was green."""
    green = ScriptedPipeline(jobs=(ScriptedJob(name="tests"),))
    scripted(project, "failed")
    sha = gitlab.sha(project)
    subprocess.run(["git", "tag", "v1", sha], cwd=project.repository, check=True)
    old = gitlab.add_pipeline(project, green, user=executor, ref="v1", sha=sha)
    subprocess.run(["git", "tag", "-d", "v1"], cwd=project.repository, check=True)

    ending = tag("--tag-name", "v1", "--wait")

    assert ending.code == 1
    assert f"pipeline {old.id} " not in ending.stdout


@every_server
def test_a_pipeline_of_a_tag_that_existed_is_not_canceled(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    project.script = ScriptedPipeline(jobs=(ScriptedJob(name="tests", timeline=((0, "running"),)),))
    assert tag("--tag-name", "v1").code == 0

    ending = tag("--tag-name", "v1", "--wait", "--timeout", "60", "--cancel-on", "timeout")

    assert ending.code == 7
    assert [each.status for each in gitlab.pipelines(project)] == ["running"]
    assert not any(request.path.endswith("/cancel") for request in gitlab.requests)


@pytest.mark.parametrize(
    "asked",
    [
        ["--on-manual", "play"],
        ["--cancel-on", "timeout"],
        ["--cancel-on", "timeout", "--dry-run"],
    ],
)
def test_3_a_job_token_cannot_do_what_the_wait_asks_for(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    executor: User,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[str],
) -> None:
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")
    monkeypatch.setenv("CI_JOB_TOKEN", gitlab.add_running_job(project, executor).token)

    ending = tag("--tag-name", "v1", "--release", "--wait", *asked)

    assert ending.code == 3, ending.stderr
    assert len(gitlab.requests) == 0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_the_pipeline_is_found_if_those_before_the_tag_cannot_be_read(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, status: int
) -> None:
    scripted(project, "success")
    fault = gitlab.fault(Fault(path=r"/pipelines\?", nth=1, status=status))

    ending = tag("--tag-name", "v1", "--wait")

    assert ending.code == 0, ending.stderr
    assert fault.fired == 1
