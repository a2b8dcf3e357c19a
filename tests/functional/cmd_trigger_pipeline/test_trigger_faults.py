"""`cmd-trigger-pipeline` against the sandbox, over a real socket: no fault makes two pipelines."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from sandbox import Access, Fault, Sandbox
from sandbox.model import ScriptedPipeline, Variable
from sandbox.versions import PIPELINES_BY_JOB_TOKEN
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.model import Job, Pipeline, Project, Token, TriggerToken, User
    from tests.functional.conftest import Ending

    Only = Callable[[Project, str], Pipeline]
    Trigger = Callable[..., Ending]

CREATE = r"/pipeline$"
LISTS = r"/pipelines\?"
LOST = "reset after"
HOUR = 3600


def writes(gitlab: Sandbox) -> int:
    return sum(request.method == "POST" for request in gitlab.requests)


def looks(gitlab: Sandbox) -> int:
    return sum(
        request.method == "GET" and "/pipelines?" in request.path for request in gitlab.requests
    )


@pytest.mark.parametrize("kind", ["access", "job", "trigger and access"])
@pytest.mark.parametrize("fault", ["lost", "truncated", "late answer", "late handling"])
def test_after_a_lost_response_the_pipeline_is_found_and_used(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    token: Token,
    job: Job,
    trigger_token: TriggerToken,
    only: Only,
    kind: str,
    fault: str,
) -> None:
    def until_it_was_looked_for() -> None:
        before = looks(gitlab)
        gitlab.wait_until(lambda: looks(gitlab) > before + 1)

    gitlab.fault(
        {
            "lost": Fault(path=CREATE, reset="after"),
            "truncated": Fault(path=CREATE, truncate=True),
            "late answer": Fault(path=CREATE, delay_after=HOUR),
            "late handling": Fault(path=CREATE, meanwhile=until_it_was_looked_for),
        }[fault]
    )
    ending = trigger(
        *(["--trigger-token", trigger_token.secret] if "trigger" in kind else []),
        *("--ref", "main", "--request-timeout", "0.8", "--retry-for", "3600"),
        access=None if kind == "job" else token.secret,
        job=job,
    )

    assert ending.code == 0, ending.stderr
    source = {"access": "api", "job": "pipeline", "trigger and access": "trigger"}[kind]
    assert ending.stdout.startswith(f"{project.path}: pipeline {only(project, source).id} ")
    assert writes(gitlab) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path=CREATE, nth=1, reset="before"),
        Fault(path=CREATE, nth=1, status=502),
        Fault(path=CREATE, nth=1, status=500),
        Fault(path=CREATE, nth=1, status=503, headers={"Retry-After": "1"}),
        Fault(path=CREATE, nth=1, status=200),
    ],
    ids=["reset", "502", "500", "503", "html"],
)
def test_a_pipeline_that_is_absent_after_the_servers_limit_is_sent_once_more(
    trigger: Trigger, gitlab: Sandbox, project: Project, only: Only, fault: Fault
) -> None:
    gitlab.fault(fault)

    ending = trigger("--retry-for", "600")

    assert ending.code == 0, ending.stderr
    assert str(only(project, "api").id) in ending.stdout
    assert writes(gitlab) == 2
    # More than one between the two writes, and none before the first.
    assert looks(gitlab) >= 2
    assert [request.method for request in gitlab.requests][:2] == ["GET", "POST"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path=CREATE, status=408),
        Fault(path=CREATE, status=502),
        Fault(path=CREATE, status=504),
        Fault(path=CREATE, status=524),
        Fault(path=CREATE, reset="before"),
        Fault(path=CREATE, delay=HOUR),
    ],
    ids=["408", "502", "504", "524", "reset", "no answer"],
)
def test_8_a_request_that_can_still_be_active_is_never_sent_again(
    trigger: Trigger, gitlab: Sandbox, project: Project, fault: Fault
) -> None:
    gitlab.fault(fault)

    ending = trigger("--request-timeout", "0.5", "--retry-for", "60")

    assert ending.code == 8
    assert f"{gitlab.url}/{project.path}/-/pipelines" in ending.stderr
    assert writes(gitlab) == 1


def test_an_older_pipeline_and_those_of_others_are_not_adopted(
    trigger: Trigger, gitlab: Sandbox, project: Project, executor: User
) -> None:
    """Of the same ref and commit: an older one, another person's, and one of another source."""
    gitlab.commit(project, {"on": "branch"}, branch="other", start_pipeline=False)
    colleague = gitlab.add_user("colleague")
    project.members[colleague.id] = Access.MAINTAINER
    script = ScriptedPipeline(timeline=((0, "running"),))
    older = gitlab.add_pipeline(project, script, user=executor, source="api")
    older.created_at -= timedelta(minutes=1)

    def start_others() -> None:
        for user, source, ref in (
            (colleague, "api", None), (executor, "push", None), (executor, "api", "other"),
        ):  # fmt: skip
            gitlab.add_pipeline(project, script, user=user, source=source, ref=ref)

    gitlab.fault(Fault(path=CREATE, nth=1, meanwhile=start_others, reset="before"))

    ending = trigger("--retry-for", "600")

    assert ending.code == 0, ending.stderr
    assert writes(gitlab) == 2
    newest = max(gitlab.pipelines(project), key=lambda pipeline: pipeline.id)
    assert newest is not older
    assert f"pipeline {newest.id} " in ending.stdout


def test_8_if_several_pipelines_match_all_are_named_and_none_is_used(
    trigger: Trigger, gitlab: Sandbox, project: Project, executor: User
) -> None:
    script = ScriptedPipeline(timeline=((0, "running"),))
    theirs = []

    def start_another() -> None:
        theirs.append(gitlab.add_pipeline(project, script, user=executor, source="api"))

    gitlab.fault(Fault(path=CREATE, meanwhile=start_another, reset="after"))

    ending = trigger()

    assert ending.code == 8
    assert len(gitlab.pipelines(project)) == 2
    for each in gitlab.pipelines(project):
        assert f"{gitlab.url}/{project.path}/-/pipelines/{each.id}" in ending.stderr
    assert theirs[0] in gitlab.pipelines(project)
    assert writes(gitlab) == 1


def test_8_one_at_another_commit_is_named_and_not_adopted(
    trigger: Trigger, gitlab: Sandbox, project: Project, executor: User
) -> None:
    """The branch moved meanwhile, so that it may be this call's or another one's."""
    old = gitlab.sha(project)
    gitlab.commit(project, {"moved": "on"}, start_pipeline=False)
    script = ScriptedPipeline(timeline=((0, "running"),))
    theirs = []

    def start_another() -> None:
        theirs.append(gitlab.add_pipeline(project, script, user=executor, source="api", sha=old))

    gitlab.fault(Fault(path=CREATE, meanwhile=start_another, reset="before"))

    ending = trigger()

    assert ending.code == 8
    assert f"/-/pipelines/{theirs[0].id}" in ending.stderr
    assert writes(gitlab) == 1


@pytest.mark.parametrize("fault", [LOST, "502"])
def test_8_a_trigger_token_alone_cannot_check_after_a_lost_response(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    trigger_token: TriggerToken,
    fault: str,
) -> None:
    gitlab.fault(
        Fault(path=CREATE, reset="after") if fault == LOST else Fault(path=CREATE, status=502)
    )

    ending = trigger("--ref", "main", "--trigger-token", trigger_token.secret, access=None)

    assert ending.code == 8
    assert f"{gitlab.url}/{project.path}/-/pipelines" in ending.stderr
    assert len(gitlab.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_8_a_check_that_fails_leaves_the_outcome_unknown(
    trigger: Trigger, gitlab: Sandbox, project: Project, status: int
) -> None:
    gitlab.fault(Fault(path=CREATE, reset="after"))
    gitlab.fault(Fault(path="/user$", status=status, body={"message": str(status)}))

    ending = trigger("--retry-for", "0.5")

    assert ending.code == 8
    assert f"{gitlab.url}/{project.path}/-/pipelines" in ending.stderr
    assert len(gitlab.pipelines(project)) == 1


def test_projects_that_are_triggered_side_by_side_each_adopt_their_own(
    trigger: Trigger, gitlab: Sandbox, project: Project, others: list[Project], only: Only
) -> None:
    gitlab.fault(Fault(path=CREATE, reset="after"))
    names = [argument for other in others for argument in ("--project", other.path)]

    ending = trigger(*names)

    assert ending.code == 0, ending.stderr
    assert ending.stdout.splitlines() == [
        f"{each.path}: pipeline {only(each, 'api').id} {only(each, 'api').status} "
        f"{gitlab.url}/{each.path}/-/pipelines/{only(each, 'api').id}"
        for each in [project, *others]
    ]


STEADY = ScriptedPipeline(timeline=((0, "running"),))


def start_theirs(
    gitlab: Sandbox, project: Project, user: User, *variables: Variable, source: str = "api"
) -> Pipeline:
    """Another job's pipeline of the same ref, commit, source and user."""
    pipeline = gitlab.add_pipeline(project, STEADY, user=user, source=source)
    pipeline.variables.extend(variables)
    return pipeline


@pytest.mark.parametrize(
    "theirs",
    [
        [],
        [Variable("ENV", "theirs")],
        [Variable("ENV", "ours"), Variable("MORE", "1")],
        [Variable("ENV", "ours", "file")],
    ],
    ids=["none", "another value", "one more", "another type"],
)
def test_a_pipeline_that_does_other_work_is_not_used(
    trigger: Trigger, gitlab: Sandbox, project: Project, executor: User, theirs: list[Variable]
) -> None:
    started: list[Pipeline] = []
    gitlab.fault(
        Fault(
            path=CREATE,
            nth=1,
            reset="before",
            meanwhile=lambda: started.append(start_theirs(gitlab, project, executor, *theirs)),
        )
    )

    ending = trigger("--variable", "ENV=ours", "--retry-for", "600")

    assert ending.code == 0, ending.stderr
    assert f"pipeline {started[0].id} " not in ending.stdout
    assert writes(gitlab) == 2


def test_a_pipeline_with_the_variables_that_were_sent_is_used(
    trigger: Trigger, gitlab: Sandbox, project: Project, only: Only
) -> None:
    gitlab.fault(Fault(path=CREATE, reset="after"))

    ending = trigger("--variable", "ENV=ours", "--variable", "B=")

    assert ending.code == 0, ending.stderr
    assert f"pipeline {only(project, 'api').id} " in ending.stdout
    assert writes(gitlab) == 1


@every_server
@pytest.mark.parametrize("sent", [["--variable", "ENV=ours"], ["--input", "size=1"]])
def test_8_what_the_server_does_not_show_is_not_guessed(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    executor: User,
    job: Job,
    sent: list[str],
) -> None:
    """A job token reads no variables, and no server shows inputs."""
    started: list[Pipeline] = []
    gitlab.fault(
        Fault(
            path=CREATE,
            reset="before",
            meanwhile=lambda: started.append(
                start_theirs(gitlab, project, executor, source="pipeline")
            ),
        )
    )

    ending = trigger("--ref", "main", *sent, access=None, job=job)

    assert ending.code == 8
    if gitlab.state.version.has(PIPELINES_BY_JOB_TOKEN):
        assert f"{gitlab.url}/{project.path}/-/pipelines/{started[0].id}" in ending.stderr
    else:
        assert "GitLab before 19.0 ignores job tokens for this request" in ending.stderr
        assert f"check whether {gitlab.url}/{project.path}/-/pipelines has it" in ending.stderr
    assert writes(gitlab) == 1


def test_a_pipeline_that_was_found_is_never_canceled(
    trigger: Trigger, gitlab: Sandbox, project: Project, executor: User
) -> None:
    started: list[Pipeline] = []
    gitlab.fault(
        Fault(
            path=CREATE,
            reset="before",
            meanwhile=lambda: started.append(start_theirs(gitlab, project, executor)),
        )
    )

    ending = trigger("--wait", "--interval", "0.1", "--timeout", "1", "--cancel-on", "timeout")

    assert ending.code == 7
    assert f"Pipeline {started[0].id} of {project.path} is not canceled" in ending.stderr
    assert f"pipelines/{started[0].id}" in ending.stderr
    assert started[0].status == "running"
    assert not any(request.path.endswith("/cancel") for request in gitlab.requests)
