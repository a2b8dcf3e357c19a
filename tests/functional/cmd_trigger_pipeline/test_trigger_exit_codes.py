"""`cmd-trigger-pipeline` against the sandbox, over a real socket: each way to end."""

from __future__ import annotations

import re
import signal
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from cmd_trigger_pipeline.cli import cli
from sandbox import Access, Fault, Sandbox
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.model import Job, Pipeline, Project, Token, TriggerToken, User
    from tests.functional.conftest import Ending, Invoke, Start

    Only = Callable[[Project, str], Pipeline]
    Trigger = Callable[..., Ending]

pytestmark = pytest.mark.usefixtures("project")

HOUR = 3600
CREATE = r"/pipeline$"
RULES = 'test: {script: [make], rules: [{if: $CI_PIPELINE_SOURCE == "push"}]}'
WORKFLOW = 'workflow: {rules: [{if: $CI_PIPELINE_SOURCE == "push"}]}\ntest: {script: [make]}'
ERROR = re.compile(r"error: .+\n(  why: .+\n)?   do: .+\n$")


# 2: nothing was sent


@pytest.mark.parametrize(
    "arguments",
    [
        ["--ref", ""],
        ["--ref", "main", "--ref", ""],
        ["--variable", "novalue"],
        ["--variable", "=secret"],
        ["--variable", "A-B=secret"],
        ["--variable-file", "KEY=/nonexistent/file"],
        ["--variable-file", "KEY"],
        ["--variables-from", "/nonexistent/file"],
        ["--input", "novalue"],
        ["--trigger-token", ""],
        ["--trigger-token", "$TRIGGER_TOKEN"],
        ["--trigger-token", "glptt-x", "--variable-file", f"KEY={__file__}", "--ref", "main"],
        ["--project", "noslash"],
        ["--project", "tech-lunch/service-tests"],
        ["--project", "tech-lunch/service-tests", "--wait"],
        ["--project", "https://elsewhere.example/group/name"],
        ["--dotenv", "/nonexistent/file"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
def test_2_a_wrong_option_is_refused_before_anything_is_sent(
    trigger: Trigger, gitlab: Sandbox, arguments: list[str]
) -> None:
    ending = trigger(*arguments)

    assert ending.code == 2
    assert ERROR.match(ending.stderr)
    assert "secret" not in ending.stderr
    assert ending.stdout == ""
    assert len(gitlab.requests) == 0


def test_2_a_project_is_needed(trigger: Trigger, gitlab: Sandbox) -> None:
    ending = trigger("--ref", "main", project=None)

    assert ending.code == 2
    assert "--project" in ending.stderr
    assert len(gitlab.requests) == 0


def test_2_a_trigger_token_alone_does_not_know_the_default_branch(
    trigger: Trigger, gitlab: Sandbox, trigger_token: TriggerToken
) -> None:
    ending = trigger("--trigger-token", trigger_token.secret, access=None)

    assert ending.code == 2
    assert "--ref" in ending.stderr
    assert len(gitlab.requests) == 0


def test_2_a_job_token_takes_no_file_variable(
    trigger: Trigger, gitlab: Sandbox, job: Job, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("content")

    ending = trigger("--variable-file", f"KEY={tmp_path / 'key'}", access=None, job=job)

    assert ending.code == 2
    assert "CI job token" in ending.stderr
    assert len(gitlab.requests) == 0


# 3: tokens


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--ref", "main"),
        ("--dry-run",),
        ("--wait", "--cancel-on", "timeout"),
        ("--reuse",),
        ("--variable-file", f"KEY={__file__}"),
    ],
    ids=["nothing else", "ref", "dry run", "wait", "reuse", "file"],
)
def test_3_no_token(trigger: Trigger, gitlab: Sandbox, arguments: tuple[str, ...]) -> None:
    ending = trigger(*arguments, access=None)

    assert ending.code == 3
    assert "COMMANDS_API_TOKEN" in ending.stderr
    assert len(gitlab.requests) == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "has expired"),
        ({"revoked": True}, "was revoked"),
        ({"scopes": ("read_api",), "name": "reader"}, "'reader'.*read_api"),
        (None, "does not know the token"),
    ],
    ids=["expired", "revoked", "scope", "unknown"],
)
def test_3_an_insufficient_token_is_an_error_that_explains_why(
    trigger: Trigger,
    gitlab: Sandbox,
    executor: User,
    settings: dict[str, object] | None,
    said: str,
) -> None:
    secret = (
        "glpat-unknown" if settings is None else gitlab.add_token(executor, **settings).secret  # type: ignore[arg-type] # a table of settings
    )

    ending = trigger(access=secret)

    assert ending.code == 3
    assert re.search(said, ending.stderr), ending.stderr


@every_server
def test_3_the_token_of_a_job_that_has_ended(trigger: Trigger, gitlab: Sandbox, job: Job) -> None:
    gitlab.finish(job)

    ending = trigger("--ref", "main", access=None, job=job)

    assert ending.code == 3
    assert "valid only while its job runs" in ending.stderr


# 4: not found


@every_server
@pytest.mark.parametrize("kind", ["access", "job", "trigger"])
@pytest.mark.parametrize("refs", [["nowhere"], ["nowhere", "0" * 40, "refs/heads/none"]])
def test_4_no_such_ref(
    trigger: Trigger,
    token: Token,
    job: Job,
    trigger_token: TriggerToken,
    kind: str,
    refs: list[str],
) -> None:
    ending = trigger(
        *(["--trigger-token", trigger_token.secret] if kind == "trigger" else []),
        *(argument for ref in refs for argument in ("--ref", ref)),
        access=token.secret if kind == "access" else None,
        job=job,
    )

    assert ending.code == 4
    assert all(f"no branch or tag {ref}." in ending.stderr for ref in refs)
    assert "Reference not found" in ending.stderr or ", ".join(refs) in ending.stderr


def test_4_a_dry_run_finds_that_too(trigger: Trigger) -> None:
    ending = trigger("--dry-run", "--ref", "nowhere")

    assert ending.code == 4
    assert "nowhere" in ending.stderr


def test_4_an_empty_repository(trigger: Trigger, gitlab: Sandbox, executor: User) -> None:
    gitlab.add_project("tech-lunch/empty", members={executor: Access.MAINTAINER})

    assert trigger(project="tech-lunch/empty").code == 4


@pytest.mark.parametrize("ref", [[], ["--ref", "main"]], ids=" ".join)
def test_4_a_project_that_the_token_cannot_see(
    trigger: Trigger, gitlab: Sandbox, ref: list[str]
) -> None:
    gitlab.add_project("secret/plans", {"a": "b"})

    ending = trigger(*ref, project="secret/plans")

    assert ending.code == 4
    assert "cannot see it" in ending.stderr
    assert "member of the project" in ending.stderr
    assert "job token" not in ending.stderr


def test_4_a_trigger_token_of_another_project(
    trigger: Trigger, others: list[Project], trigger_token: TriggerToken
) -> None:
    ending = trigger(
        *("--ref", "main", "--trigger-token", trigger_token.secret),
        project=others[0].path,
        access=None,
    )

    assert ending.code == 4
    assert "not one of its own" in ending.stderr
    assert "Pipeline trigger tokens" in ending.stderr


@every_server
def test_4_a_job_token_and_no_such_project(trigger: Trigger, job: Job) -> None:
    ending = trigger("--ref", "main", project="tech-lunch/nowhere", access=None, job=job)

    assert ending.code == 4
    assert "Job token permissions" in ending.stderr


# 7: time limits


def test_7_a_throttled_request_is_sent_again_and_only_then_counts(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    gitlab.fault(Fault(path=CREATE, nth=1, status=429, headers={"Retry-After": "1"}))
    gitlab.fault(Fault(path=CREATE, nth=2, status=429, headers={"Retry-After": soon}))

    assert trigger().code == 0
    assert len(gitlab.pipelines(project)) == 1


def test_7_too_many_pipelines_in_a_minute_is_throttling(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    too_many = {
        "message": {"base": ["Too many pipelines created in the last minute. Try again later."]}
    }
    gitlab.fault(Fault(path=CREATE, first=2, status=400, body=too_many))

    assert trigger("--retry-for", "10").code == 0
    assert len(gitlab.pipelines(project)) == 1


def test_7_too_many_pipelines_for_too_long(trigger: Trigger, gitlab: Sandbox) -> None:
    gitlab.state.pipelines_per_minute = 0

    ending = trigger("--retry-for", "0.2")

    assert ending.code == 7
    assert "Too many pipelines created in the last minute" in ending.stderr


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "retry_after",
    ["3600", format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)],
    ids=["seconds", "date"],
)
def test_7_an_hour_is_not_waited_for(
    trigger: Trigger, gitlab: Sandbox, method: str, retry_after: str
) -> None:
    fault = gitlab.fault(Fault(method=method, status=429, headers={"Retry-After": retry_after}))

    assert trigger().code == 7
    assert fault.fired == 1


# 8: no usable answer; the faults of a write are in test_trigger_faults.py


def test_8_no_server_listens_at_the_address(invoke: Invoke) -> None:
    ending = invoke(
        cli, "--base-url", "http://127.0.0.1:9", "--api-access-token", "glpat-x",
        "--project", "a/b", "--retry-for", "0.2",
    )  # fmt: skip

    assert ending.code == 8
    assert "cannot be reached" in ending.stderr


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(status=200),
        Fault(truncate=True),
        Fault(reset="before"),
    ],
    ids=["503", "html", "truncated", "reset"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_8_a_server_that_keeps_failing(
    trigger: Trigger, gitlab: Sandbox, fault: Fault, method: str
) -> None:
    fault = gitlab.fault(
        Fault(method=method, status=fault.status, truncate=fault.truncate, reset=fault.reset)
    )
    ending = trigger("--retry-for", "1")

    # A truncated answer to the write is no reason to fail: the pipeline is there.
    assert ending.code == (0 if method == "POST" and fault.truncate else 8)
    assert "Traceback" not in ending.stderr


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["access", "trigger"])
def test_8_a_redirect_to_another_host_carries_nothing_there(
    trigger: Trigger,
    gitlab: Sandbox,
    token: Token,
    trigger_token: TriggerToken,
    kind: str,
    status: int,
) -> None:
    with Sandbox(run_jobs=False) as elsewhere:
        there = {"Location": f"{elsewhere.url}/api/v4/x"}
        gitlab.fault(Fault(method="POST", status=status, headers=there))

        ending = trigger(
            *(["--trigger-token", trigger_token.secret] if kind == "trigger" else []),
            *("--ref", "main"),
            access=token.secret if kind == "access" else None,
        )

        assert ending.code == 8
        assert elsewhere.url in ending.stderr
        assert len(elsewhere.requests) == 0


# 130, 143


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
        "cmd_trigger_pipeline", *(f"--project={name}" for name in named),
        *("--request-timeout", str(HOUR)),
        CI_SERVER_URL=gitlab.url, GITLAB_TOKEN=token.secret,
    )  # fmt: skip
    gitlab.wait_until(lambda: len(gitlab.requests) >= projects)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in stderr


@pytest.mark.parametrize("kind", ["access", "job"])
@pytest.mark.parametrize("options", [(), ("--wait",)])
def test_2_a_project_named_by_path_and_by_id_starts_nothing(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    token: Token,
    job: Job,
    kind: str,
    options: tuple[str, ...],
) -> None:
    access = token.secret if kind == "access" else None
    ending = trigger("--project", str(project.id), *options, access=access, job=job)
    assert ending.code == 2
    assert f"{project.path} is named twice" in ending.stderr
    assert gitlab.pipelines(project) == []
