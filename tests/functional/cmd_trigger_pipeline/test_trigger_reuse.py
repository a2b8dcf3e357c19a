"""`cmd-trigger-pipeline --reuse`: a retried job uses the pipeline that it started before."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Protocol

import pytest
import requests

from cmd_trigger_pipeline import ForbiddenError, reuse, trigger_pipeline
from sandbox import Access, Fault, Sandbox
from sandbox.model import ENDED, ScriptedJob, ScriptedPipeline, Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.model import Job, Project, Token, TriggerToken, User
    from tests.functional.conftest import Ending, SkippingClock

    Trigger = Callable[..., Ending]

pytestmark = pytest.mark.usefixtures("project")

VERSIONS = ("17.11", "18.2", "18.9", "19.4")
JOB = {
    "CI_PIPELINE_URL": "https://gitlab.example.com/tech-lunch/hello-world/-/pipelines/7",
    "CI_JOB_NAME": "deploy: [eu, $HOME]",
    "CI_JOB_ID": "71",
}
WAIT = ("--wait", "--interval", "0.1")


class InJob(Protocol):
    def __call__(self, **changed: str) -> None: ...


@pytest.fixture
def gitlab(clock: SkippingClock, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    version = getattr(request, "param", VERSIONS[-1])
    with Sandbox(clock=clock, run_jobs=False, version=version) as running:
        yield running


@pytest.fixture
def in_job(gitlab: Sandbox, monkeypatch: pytest.MonkeyPatch, trigger: Trigger) -> InJob:
    """Sets the variables of a job, whose pipeline begins now; the command runs as in it."""
    del trigger  # it empties the environment first
    now = gitlab.state.clock.now().isoformat()

    def run(**changed: str) -> None:
        for name, value in {**JOB, "CI_PIPELINE_CREATED_AT": now, **changed}.items():
            monkeypatch.setenv(name, value)

    run()
    return run


def posts(gitlab: Sandbox) -> list[str]:
    """The writes that arrived: the last word of each one's path."""
    return [
        request.path.rpartition("/")[2] for request in gitlab.requests if request.method == "POST"
    ]


@pytest.mark.parametrize("gitlab", VERSIONS, indirect=True)
@pytest.mark.parametrize("kind", ["access", "trigger and access"])
def test_a_retried_job_starts_no_second_pipeline(
    trigger: Trigger, gitlab: Sandbox, in_job: InJob, trigger_token: TriggerToken, kind: str
) -> None:
    given = ["--trigger-token", trigger_token.secret] if "trigger" in kind else []
    first = trigger("--reuse", "--ref", "main", "--variable", "A=$B", *given)
    in_job(CI_JOB_ID="72")
    second = trigger("--reuse", "--ref", "main", "--variable", "A=$B", *given)

    assert (first.code, second.code, second.stdout) == (0, 0, first.stdout)
    assert "was started by an earlier run of this job, and is reused" in second.stderr
    assert len(posts(gitlab)) == 1


@pytest.mark.parametrize(
    ("options", "job"),
    [
        ((), {"CI_JOB_NAME": "deploy: [us]"}),
        ((), {"CI_PIPELINE_URL": f"{JOB['CI_PIPELINE_URL']}1"}),
        (("--variable", "A=2"), {}),
        (("--variable", "B=1"), {}),
        (("--input", "a=1"), {}),
        (("--ref", "main"), {}),
    ],
    ids=["job", "pipeline", "value", "key", "input", "ref"],
)
def test_another_job_or_another_request_starts_another(
    trigger: Trigger, project: Project, in_job: InJob, options: tuple[str, ...], job: dict[str, str]
) -> None:
    project.script = ScriptedPipeline(timeline=((0, "running"),))
    first = trigger("--reuse", "--variable", "A=1")
    in_job(**job)
    second = trigger("--reuse", "--variable", "A=1", *options)
    assert (first.code, second.code) == (0, 0)
    assert second.stdout != first.stdout


@pytest.mark.usefixtures("in_job")
def test_a_branch_that_moved_meanwhile_does_not_matter(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    first = trigger("--reuse")
    gitlab.commit(project, {"a": "b"}, start_pipeline=False)
    assert trigger("--reuse").stdout == first.stdout


def test_a_pipeline_of_before_this_jobs_pipeline_is_not_read(
    trigger: Trigger, gitlab: Sandbox, in_job: InJob, clock: SkippingClock
) -> None:
    trigger("--reuse", "--ref", "main")
    clock.sleep(3600)
    in_job(CI_PIPELINE_CREATED_AT=clock.now().isoformat())
    before = len(gitlab.requests)
    assert trigger("--reuse", "--ref", "main").code == 0
    assert not any("/variables" in request.path for request in gitlab.requests[before:])


@pytest.mark.usefixtures("in_job")
def test_failed_jobs_are_retried(trigger: Trigger, gitlab: Sandbox, project: Project) -> None:
    job = ScriptedJob(
        name="test",
        timeline=((0, "running"), (0.3, "failed")),
        retried=((0, "running"), (0.3, "success")),
    )
    project.script = ScriptedPipeline(jobs=(job,))
    first = trigger("--reuse", *WAIT)
    same = trigger("--reuse", *WAIT)
    gitlab.fault(Fault(path="/retry$", reset="after", nth=1))
    second = trigger("--reuse", "--retry-failed", *WAIT, "--output", "json")

    assert (first.code, same.code, second.code) == (1, 1, 0), second.stderr
    assert json.loads(second.stdout)["id"] == gitlab.pipelines(project)[0].id
    assert posts(gitlab) == ["pipeline", "retry"]
    # One that passed is left alone.
    assert trigger("--reuse", "--retry-failed", *WAIT).code == 0
    assert posts(gitlab) == ["pipeline", "retry"]


@pytest.mark.usefixtures("in_job")
def test_jobs_that_fail_again_before_the_check_are_not_retried_twice(
    trigger: Trigger, gitlab: Sandbox, project: Project, clock: SkippingClock
) -> None:
    ends = ((0, "running"), (0.3, "failed"))
    project.script = ScriptedPipeline(jobs=(ScriptedJob(name="test", timeline=ends, retried=ends),))
    trigger("--reuse", *WAIT)
    gitlab.fault(Fault(path="/retry$", reset="after", nth=1))
    gitlab.fault(Fault(path=r"/pipelines/\d+$", meanwhile=lambda: clock.sleep(1)))
    assert trigger("--reuse", "--retry-failed", *WAIT).code == 1
    assert posts(gitlab) == ["pipeline", "retry"]


@pytest.mark.usefixtures("in_job")
def test_a_reused_pipeline_is_not_canceled_and_named(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    project.script = ScriptedPipeline(timeline=((0, "running"),))
    trigger("--reuse")
    ending = trigger("--reuse", *WAIT, "--timeout", "1", "--cancel-on", "timeout")
    [pipeline] = gitlab.pipelines(project)
    assert (ending.code, pipeline.status) == (7, "running")
    assert f"Pipeline {pipeline.id} of {project.path} is not canceled" in ending.stderr


@pytest.mark.usefixtures("in_job")
def test_a_dry_run_names_the_earlier_pipeline_and_retries_nothing(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    project.script = ScriptedPipeline(timeline=((0, "failed"),))
    first = trigger("--reuse", "--dry-run")
    trigger("--reuse")
    second = trigger("--reuse", "--retry-failed", "--dry-run")
    assert "would be started" in first.stdout
    assert f"pipeline {gitlab.pipelines(project)[0].id} failed" in second.stdout
    assert "would be retried" in second.stderr
    assert posts(gitlab) == ["pipeline"]


@pytest.mark.parametrize("gitlab", VERSIONS, indirect=True)
@pytest.mark.usefixtures("in_job")
def test_3_a_token_that_cannot_read_variables_is_refused_by_name(
    trigger: Trigger, gitlab: Sandbox, job: Job, trigger_token: TriggerToken
) -> None:
    by_trigger = ("--trigger-token", trigger_token.secret, "--ref", "main")
    endings = [
        trigger("--reuse", access=None, job=job),
        trigger("--reuse", *by_trigger, access=None, job=job),
        trigger("--reuse", *by_trigger, access=None),
    ]
    assert [ending.code for ending in endings] == [3, 3, 3]
    assert all("A CI job token is not enough" in ending.stderr for ending in endings[:2])
    assert "A pipeline trigger token is not enough" in endings[2].stderr
    assert len(gitlab.requests) == 0


@pytest.mark.parametrize(
    ("options", "job", "words"),
    [
        (("--reuse",), {"CI_JOB_NAME": ""}, "--reuse needs CI_JOB_NAME."),
        (("--reuse",), {"CI_PIPELINE_CREATED_AT": "x"}, "is not a time"),
        (("--reuse",), {"CI_PIPELINE_CREATED_AT": "0001-01-01T00:00:00Z"}, "is not a time"),
        (("--reuse", "--variable", f"{reuse.KEY}=1"), {}, "is set by --reuse"),
        (("--retry-failed",), {}, "has no effect without --reuse"),
    ],
)
def test_2_it_is_refused_before_anything_is_sent(
    trigger: Trigger, gitlab: Sandbox, in_job: InJob, options: tuple[str, ...], job: dict[str, str],
    words: str,
) -> None:  # fmt: skip
    in_job(**job)
    ending = trigger(*options)
    assert ending.code == 2
    assert words in ending.stderr
    assert len(gitlab.requests) == 0


def test_6_what_cannot_be_known_is_not_guessed(
    gitlab: Sandbox,
    trigger: Trigger,
    in_job: InJob,
    project: Project,
    executor: User,
    trigger_token: TriggerToken,
) -> None:
    """A Developer cannot read the variables of what the trigger token's owner starts."""
    del in_job
    by_trigger = ("--reuse", "--trigger-token", trigger_token.secret, "--ref", "main")
    trigger(*by_trigger)
    developer = gitlab.add_user("developer")
    project.members[developer.id] = Access.DEVELOPER
    ending = trigger(*by_trigger, access=gitlab.add_token(developer).secret)
    assert ending.code == 6
    assert f"The variables of pipeline {gitlab.pipelines(project)[0].id} cannot be" in ending.stderr
    assert len(posts(gitlab)) == 1
    # But a Developer's own can be.
    project.members[executor.id] = Access.DEVELOPER
    gitlab.commit(project, {"a": "b"}, branch="work", start_pipeline=False)
    first, second = (trigger("--reuse", "--ref", "work") for _ in range(2))
    assert (first.code, second.code, second.stdout) == (0, 0, first.stdout)


@pytest.mark.usefixtures("in_job")
def test_6_a_project_without_variables_is_told_apart(trigger: Trigger, project: Project) -> None:
    project.pipeline_variables_role = Access.OWNER
    ending = trigger("--reuse")
    assert ending.code == 6
    assert "--reuse passes the pipeline a variable" in ending.stderr


@pytest.mark.usefixtures("in_job")
def test_12_too_many_pipelines_are_not_read(
    trigger: Trigger, gitlab: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reuse, "MOST_PIPELINES", 1)
    for number in range(2):
        assert trigger("--variable", f"N={number}").code == 0
    ending = trigger("--reuse")
    assert ending.code == 12
    assert "cannot check more than 1 pipelines" in ending.stderr
    assert len(posts(gitlab)) == 2


@pytest.mark.usefixtures("in_job")
def test_a_function_does_it_too(gitlab: Sandbox, project: Project, token: Token) -> None:
    def start(secret: str) -> int | None:
        return trigger_pipeline(
            project=project.path, reuse=True, base_url=gitlab.url, api_access_token=secret
        ).id

    assert start(token.secret) == start(token.secret)
    gitlab.fault(Fault(path="/variables$", status=403))
    with pytest.raises(ForbiddenError):
        start(token.secret)


def test_in_a_job_that_is_retried() -> None:
    command = ["cmd-trigger-pipeline", "-p", "a/deploy", "--reuse", "--retry-failed", "--wait"]
    with Sandbox(shell_runner=True) as gitlab:
        user = gitlab.add_user("executor")
        roles = {user: Access.MAINTAINER}
        flaky = "test: {script: 'test -n \"$PASSES\"'}"
        other = gitlab.add_project("a/deploy", {".gitlab-ci.yml": flaky}, members=roles)
        secret = gitlab.add_token(user).secret
        gitlab.state.group_variables["a"] = [Variable("COMMANDS_API_TOKEN", secret, masked=True)]
        config = f"deploy: {{script: '{shlex.join(command)}'}}"
        here = gitlab.add_project("a/code", members=roles)
        gitlab.commit(here, {".gitlab-ci.yml": config})
        gitlab.wait_until(lambda: bool(gitlab.pipelines(here)))
        upstream = gitlab.pipelines(here)[0]
        gitlab.wait_until(lambda: upstream.status in ENDED)
        assert upstream.jobs[0].exit_code == 1, upstream.jobs[0].trace.decode()
        other.variables.append(Variable("PASSES", "1"))
        requests.post(
            f"{gitlab.url}/api/v4/projects/{here.id}/jobs/{upstream.jobs[0].id}/retry",
            headers={"PRIVATE-TOKEN": secret},
            timeout=10,
        ).raise_for_status()
        gitlab.wait_until(lambda: upstream.status in ENDED)
        assert upstream.status == "success", upstream.jobs[-1].trace.decode()
        [downstream] = gitlab.pipelines(other)
        assert [job.status for job in downstream.jobs] == ["failed", "success"]
