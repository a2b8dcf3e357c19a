"""`cmd-trigger-pipeline --wait` against the sandbox, over a real socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import PipelineFailedError
from cicd_common.waiting.engine import Engine
from cicd_common.waiting.policy import CancelOn, WaitPolicy
from cmd_trigger_pipeline import trigger_pipeline
from sandbox import Access, Fault
from sandbox.model import ScriptedJob, ScriptedPipeline
from sandbox.versions import PIPELINE_JOBS_BY_JOB_TOKEN
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sandbox import Sandbox
    from sandbox.model import Job, Pipeline, Project, Token, TriggerToken, User
    from tests.functional.conftest import Ending, Start

    Only = Callable[[Project, str], Pipeline]
    Trigger = Callable[..., Ending]

WAIT = ("--wait", "--interval", "0.1")


def runs(*steps: tuple[float, str]) -> ScriptedPipeline:
    return ScriptedPipeline(timeline=((0, "created"), *steps))


def fails(trace: str) -> ScriptedPipeline:
    job = ScriptedJob(name="unit", timeline=((0, "running"), (0.3, "failed")), trace=trace)
    return ScriptedPipeline(jobs=(job,))


@every_server
@pytest.mark.parametrize("kind", ["access", "job", "trigger and access", "trigger and job"])
def test_it_waits_for_what_it_started(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    token: Token,
    job: Job,
    trigger_token: TriggerToken,
    tmp_path: Path,
    only: Only,
    kind: str,
) -> None:
    steps = ((0.2, "running"), (0.6, "success"))
    project.script = ScriptedPipeline(jobs=(ScriptedJob(name="unit", timeline=steps),))

    ending = trigger(
        *WAIT,
        *(["--trigger-token", trigger_token.secret] if "trigger" in kind else []),
        *("--ref", "main", "--output", "json", "--dotenv", str(tmp_path / "dotenv")),
        access=token.secret if "access" in kind else None,
        job=job,
    )

    source = {"access": "api", "job": "pipeline"}.get(kind, "trigger")
    started = only(project, source)
    if "access" not in kind and not gitlab.state.version.has(PIPELINE_JOBS_BY_JOB_TOKEN):
        assert ending.code == 4
        assert "GitLab before 18.4 ignores job tokens for this request" in ending.stderr
        assert f"Pipeline {started.id} of {project.path} was started, but" in ending.stderr
        assert "Waiting" not in ending.stderr
        return
    assert ending.code == 0, ending.stderr
    result = json.loads(ending.stdout)
    assert (result["id"], result["status"], result["project"]) == (
        started.id,
        "success",
        project.path,
    )
    assert result["failed_jobs"] == []
    assert "PIPELINE_STATUS=success\n" in (tmp_path / "dotenv").read_text()
    assert gitlab.pipelines(project) == [started]


@pytest.mark.parametrize(
    ("status", "code"), [("failed", 1), ("canceled", 9), ("skipped", 10), ("manual", 11)]
)
def test_it_ends_as_the_pipeline_does(
    trigger: Trigger, project: Project, status: str, code: int
) -> None:
    project.script = runs((0.2, status))

    ending = trigger(*WAIT, "--output", "json")

    assert ending.code == code
    document = json.loads(ending.stdout)
    assert document["error"]["code"] == code
    assert [result["status"] for result in document["results"]] == [status]


def test_the_options_of_waiting_are_heeded(trigger: Trigger, project: Project) -> None:
    project.script = fails("the setting\nthe reason\n")

    ending = trigger(*WAIT, "--log-tail", "1")

    assert ending.code == 1
    assert "the reason" in ending.stderr
    assert "the setting" not in ending.stderr


def test_several_pipelines_are_waited_for_and_a_refused_one_is_reported(
    trigger: Trigger, gitlab: Sandbox, project: Project, others: list[Project]
) -> None:
    project.script = others[1].script = runs((0.3, "success"))
    others[0].ci_enabled = False
    others[2].script = runs((0.1, "failed"))
    names = [argument for other in others for argument in ("--project", other.path)]

    ending = trigger(*WAIT, *names, "--output", "json")

    assert ending.code == 6
    assert {
        result["project"]: result["status"] for result in json.loads(ending.stdout)["results"]
    } == {project.path: "success", others[1].path: "success", others[2].path: "failed"}
    assert gitlab.pipelines(others[0]) == []


def test_7_the_time_limit_cancels_the_started_pipeline_with_cancel_on_timeout(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    project.script = runs((0.1, "running"))

    limit = ("--wait", "--interval", "10", "--timeout", "60")

    left = trigger(*limit)
    canceled = trigger(*limit, "--cancel-on", "timeout")

    assert (left.code, canceled.code) == (7, 7)
    assert [each.status for each in gitlab.pipelines(project)] == ["running", "canceled"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_started_pipeline_with_cancel_on_signal(
    start: Start, gitlab: Sandbox, token: Token, project: Project, number: signal.Signals, code: int
) -> None:
    project.script = runs((0.1, "running"))
    process = start(
        "cmd_trigger_pipeline", "--project", project.path, "--wait", "--cancel-on", "signal",
        *("--interval", "3600"), CI_SERVER_URL=gitlab.url, GITLAB_TOKEN=token.secret,
    )  # fmt: skip
    # The wait has begun; that its first answer was understood is not needed.
    gitlab.wait_until(lambda: any("/pipelines/" in request.path for request in gitlab.requests))
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert [each.status for each in gitlab.pipelines(project)] == ["canceled"]


@contextmanager
def running(gitlab: Sandbox, token: Token, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Runs the command until GitLab has got its POST."""
    with subprocess.Popen(
        [sys.executable, "-m", "cmd_trigger_pipeline", "--base-url", gitlab.url, *arguments],
        env={"PATH": os.environ["PATH"], "GITLAB_TOKEN": token.secret},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        gitlab.wait_until(
            lambda: any(request.method == "POST" for request in gitlab.requests), timeout=20
        )
        yield process


def slow_answer(gitlab: Sandbox, project: Project, seconds: float) -> None:
    """Lets GitLab start the pipeline at once, and answer so many seconds later."""
    gitlab.fault(Fault(path=f"projects/{project.id}/pipeline$", method="POST", delay_after=seconds))


def test_a_signal_during_the_request_cancels_what_the_late_answer_names(
    gitlab: Sandbox, token: Token, project: Project
) -> None:
    project.script = runs((0.1, "running"))
    slow_answer(gitlab, project, 1)
    with running(
        gitlab, token, "--project", project.path, *WAIT, "--cancel-on", "signal"
    ) as process:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=15)

    assert process.returncode == 143
    [pipeline] = gitlab.pipelines(project)
    assert f"Canceled pipeline {pipeline.id}" in said
    assert pipeline.status == "canceled"


def test_a_signal_during_the_request_names_what_was_started_and_leaves_it_running(
    gitlab: Sandbox, token: Token, project: Project
) -> None:
    project.script = runs((0.1, "running"))
    slow_answer(gitlab, project, 1)
    with running(gitlab, token, "--project", project.path, *WAIT) as process:
        process.send_signal(signal.SIGINT)
        result, said = process.communicate(timeout=15)

    assert process.returncode == 130
    [pipeline] = gitlab.pipelines(project)
    assert pipeline.status != "canceled"
    assert f"ipeline {pipeline.id} of {project.path} was started" in said
    assert f"/pipelines/{pipeline.id}" in result


def test_a_second_signal_during_the_request_ends_at_once_and_names_the_possible_outcome(
    gitlab: Sandbox, token: Token, project: Project
) -> None:
    slow_answer(gitlab, project, 20)
    with running(
        gitlab, token, "--project", project.path, *WAIT, "--cancel-on", "signal"
    ) as process:
        for _ in range(3):
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=15)

    assert process.returncode == 143
    assert f"took effect in {project.path} is unknown" in said
    assert "Traceback" not in said


def test_a_signal_cancels_what_it_started_while_others_are_still_to_be_started(
    gitlab: Sandbox, token: Token, executor: User, project: Project
) -> None:
    project.script = runs((0.1, "running"))
    slow = gitlab.add_project("tech-lunch/slow", {"a": "b"}, members={executor: Access.MAINTAINER})
    slow_answer(gitlab, slow, 20)
    with running(
        gitlab, token, "--project", project.path, "--project", slow.path, *WAIT,
        "--cancel-on", "signal",
    ) as process:  # fmt: skip
        gitlab.wait_until(lambda: bool(gitlab.pipelines(project)), timeout=20)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)

    assert process.returncode == 143
    assert [each.status for each in gitlab.pipelines(project)] == ["canceled"]
    assert f"took effect in {slow.path} is unknown" in said
    assert f"in {project.path} happened" not in said


@pytest.mark.parametrize("refs", [[], ["--ref", "main"]])
def test_3_with_a_trigger_token_alone_nothing_is_triggered(
    trigger: Trigger, gitlab: Sandbox, trigger_token: TriggerToken, refs: list[str]
) -> None:
    ending = trigger(*WAIT, *refs, "--trigger-token", trigger_token.secret, access=None)

    assert ending.code == 3
    assert "A trigger token is not enough to wait" in ending.stderr
    assert len(gitlab.requests) == 0


@pytest.mark.parametrize(
    "option",
    [
        ("--on-manual", "play"),
        ("--cancel-on", "timeout"),
        ("--on-manual", "play", "--dry-run"),
        ("--cancel-on", "timeout", "--dry-run"),
    ],
    ids=" ".join,
)
def test_3_an_option_that_a_job_token_does_not_allow_is_refused_before_anything_is_triggered(
    trigger: Trigger, gitlab: Sandbox, job: Job, option: tuple[str, ...]
) -> None:
    ending = trigger(*WAIT, *option, "--ref", "main", access=None, job=job)

    assert ending.code == 3
    assert len(gitlab.requests) == 0


@pytest.mark.parametrize(
    ("options", "reads"),
    [(("--quiet",), False), ((), True), (("--quiet", "--output", "json"), True)],
    ids=["quiet", "lines", "quiet json"],
)
def test_the_report_of_a_success_is_read_where_it_is_shown(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    options: tuple[str, ...],
    *,
    reads: bool,
) -> None:
    project.script = runs((0.2, "success"))

    assert trigger(*WAIT, *options).code == 0
    asked = [each for each in gitlab.requests if "test_report" in each.path]
    assert bool(asked) is reads


@pytest.mark.usefixtures("project")
def test_2_an_option_of_waiting_needs_wait(trigger: Trigger, gitlab: Sandbox) -> None:
    ending = trigger("--timeout", "5")

    assert ending.code == 2
    assert "--wait" in ending.stderr
    assert len(gitlab.requests) == 0


def test_a_dry_run_waits_for_nothing(trigger: Trigger, gitlab: Sandbox, project: Project) -> None:
    ending = trigger(*WAIT, "--dry-run")

    assert ending.code == 0
    assert "would be started" in ending.stdout
    assert gitlab.pipelines(project) == []


def test_from_python(gitlab: Sandbox, token: Token, project: Project) -> None:
    policy = WaitPolicy(interval=0.1)
    project.script = runs((0.2, "success"))
    done = trigger_pipeline(
        project=project.path, wait=policy, base_url=gitlab.url, api_access_token=token.secret
    )
    assert (done.status, done.id) == ("success", gitlab.pipelines(project)[0].id)

    project.script = fails("")
    with pytest.raises(PipelineFailedError) as raised:
        trigger_pipeline(
            project=project.path, wait=policy, base_url=gitlab.url, api_access_token=token.secret
        )
    assert len(raised.value.results) == 1


def test_a_started_pipeline_that_a_replica_does_not_show_yet_is_waited_for(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    project.script = runs((0.2, "success"))
    for number in (1, 2, 3):
        gitlab.fault(Fault(path=r"/pipelines/\d+/", nth=number, status=404))
    ending = trigger(*WAIT)
    assert ending.code == 0
    assert len(gitlab.pipelines(project)) == 1


def test_4_one_that_is_never_shown_is_not_found_and_named(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    project.script = runs((0.2, "success"))
    gitlab.fault(Fault(path=r"/pipelines/\d+", status=404))
    ending = trigger(*WAIT, "--appear-timeout", "3")
    assert ending.code == 4
    assert "was started, within 3 s" in ending.stderr


def test_a_cancel_that_is_not_answered_does_not_hold_the_command(
    gitlab: Sandbox, token: Token, project: Project
) -> None:
    project.script = runs((0.1, "running"))
    gitlab.fault(Fault(path="/cancel$", method="POST", delay_after=3600))
    with running(
        gitlab, token, "--project", project.path, *WAIT, "--cancel-on", "signal"
    ) as process:
        gitlab.wait_until(lambda: any("/pipelines/" in request.path for request in gitlab.requests))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "was canceled is unknown" in said


def test_from_python_an_interrupt_cancels_what_was_started(
    gitlab: Sandbox, token: Token, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.script = runs((0.1, "running"))

    def interrupted(_: Engine) -> Iterator[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "events", interrupted)
    never: frozenset[CancelOn] = frozenset()
    on_signal: frozenset[CancelOn] = frozenset({"signal"})
    for causes in (never, on_signal):
        with pytest.raises(KeyboardInterrupt):
            trigger_pipeline(
                project=project.path,
                wait=WaitPolicy(cancel_on=causes),
                base_url=gitlab.url,
                api_access_token=token.secret,
            )
    assert [each.status == "canceled" for each in gitlab.pipelines(project)] == [False, True]
