"""`cmd-tag-project` against the sandbox: no fault makes it happen twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from cmd_tag_project.cli import cli
from sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.model import Project, Token, User
    from tests.functional.conftest import Ending, Invoke, SkippingClock

TAGS = r"/repository/tags$"


def test_a_response_lost_after_the_tag_was_made_leaves_one_tag(
    writes: Callable[[], list[str]], tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    gitlab.fault(Fault(path=TAGS, method="POST", nth=1, reset="after"))

    ending = tag("--tag-name", "v1")

    assert ending.code == 0, ending.stderr
    assert list(gitlab.tags(project)) == ["v1"]
    assert len(writes()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path=TAGS, method="POST", nth=1, status=502),
        Fault(path=TAGS, method="POST", nth=1, reset="before"),
        Fault(path=TAGS, method="POST", nth=1, status=429, headers={"Retry-After": "1"}),
        Fault(path=TAGS, method="POST", nth=1, status=200),
    ],
    ids=["502", "reset", "429", "html"],
)
def test_a_write_that_did_not_happen_is_sent_once_more(
    writes: Callable[[], list[str]],
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    fault: Fault,
) -> None:
    gitlab.fault(fault)

    ending = tag("--tag-name", "v1")

    assert ending.code == 0, ending.stderr
    assert list(gitlab.tags(project)) == ["v1"]
    assert len(writes()) == 2


@pytest.mark.parametrize("truncate", [True, False], ids=["truncated", "slow"])
def test_after_a_broken_or_late_response_the_tag_is_checked(
    writes: Callable[[], list[str]],
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    *,
    truncate: bool,
) -> None:
    late = 0 if truncate else 3600
    gitlab.fault(Fault(path=TAGS, method="POST", nth=1, truncate=truncate, delay_after=late))

    ending = tag("--tag-name", "v1", "--request-timeout", "0.7")

    assert ending.code == 0, ending.stderr
    assert list(gitlab.tags(project)) == ["v1"]
    assert len(writes()) == 1


def test_7_a_throttled_answer_with_a_date_is_waited_for(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    gitlab.fault(Fault(path=TAGS, method="POST", nth=1, status=429, headers={"Retry-After": soon}))
    gitlab.fault(Fault(method="GET", nth=1, status=429, headers={"Retry-After": soon}))

    assert tag("--tag-name", "v1").code == 0
    assert list(gitlab.tags(project)) == ["v1"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "retry_after",
    ["3600", format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)],
    ids=["seconds", "date"],
)
@pytest.mark.usefixtures("project")
def test_7_an_hour_is_not_waited_for(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    clock: SkippingClock,
    method: str,
    retry_after: str,
) -> None:
    gitlab.fault(Fault(method=method, status=429, headers={"Retry-After": retry_after}))
    started = clock.now()

    ending = tag("--tag-name", "v1")

    assert ending.code == 7
    assert clock.now() - started < timedelta(minutes=1)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="GET", status=503),
        Fault(method="GET", status=200),
        Fault(method="GET", truncate=True),
        Fault(method="GET", reset="before"),
        Fault(path=TAGS, method="POST", status=500),
    ],
    ids=["503", "html", "truncated", "reset", "500 to the write"],
)
@pytest.mark.usefixtures("project")
def test_8_a_server_that_keeps_failing(
    tag: Callable[..., Ending], gitlab: Sandbox, fault: Fault
) -> None:
    gitlab.fault(fault)

    ending = tag("--tag-name", "v1", "--retry-for", "1")

    assert ending.code == 8
    assert fault.fired > 1
    assert "Traceback" not in ending.stderr


def test_8_an_unknown_outcome_says_what_to_check(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    gitlab.fault(Fault(path=TAGS, method="POST", reset="after"))
    for nth in range(1, 12):
        gitlab.fault(Fault(path=r"/tags/v1$", method="GET", nth=nth, status=500))

    ending = tag("--tag-name", "v1", "--retry-for", "0.5")

    assert ending.code == 8
    assert f"{gitlab.url}/{project.path}/-/tags/v1" in ending.stderr


def test_8_no_server_listens_at_the_address(invoke: Invoke) -> None:
    ending = invoke(
        cli, "--base-url", "http://127.0.0.1:9", "--api-access-token", "glpat-x",
        "--project", "a/b", "--tag-name", "v1", "--retry-for", "0.2",
    )  # fmt: skip

    assert ending.code == 8
    assert "cannot be reached" in ending.stderr


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.usefixtures("project")
def test_8_a_redirect_to_another_host_carries_nothing_there(
    tag: Callable[..., Ending], gitlab: Sandbox, method: str, status: int
) -> None:
    with Sandbox(run_jobs=False) as elsewhere:
        gitlab.fault(
            Fault(method=method, status=status, headers={"Location": f"{elsewhere.url}/api/v4/x"})
        )

        ending = tag("--tag-name", "v1")

        assert ending.code == 8
        assert elsewhere.url in ending.stderr
        assert len(elsewhere.requests) == 0


def test_a_renamed_project_is_found_under_its_new_name(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    project.old_paths.add("tech-lunch/old-name")

    ending = tag("--tag-name", "v1", project="tech-lunch/old-name")

    assert ending.code == 0, ending.stderr
    assert ending.stdout.startswith("tech-lunch/service-tests: tag v1 created")
    assert list(gitlab.tags(project)) == ["v1"]


def test_a_renamed_project_is_found_when_its_write_was_refused(
    writes: Callable[[], list[str]], tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    project.old_paths.add("tech-lunch/old-name")

    ending = tag("--tag-name", "v1", "--ref", "main", project="tech-lunch/old-name")

    assert ending.code == 0, ending.stderr
    assert list(gitlab.tags(project)) == ["v1"]
    assert len(writes()) == 2


def test_4_with_a_job_token_a_renamed_project_cannot_be_found(
    writes: Callable[[], list[str]],
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    executor: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project.old_paths.add("tech-lunch/old-name")
    project.job_token_allowlist = None
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")
    monkeypatch.setenv("CI_JOB_TOKEN", gitlab.add_running_job(project, executor).token)

    ending = tag(
        *("--tag-name", "v1", "--ref", gitlab.sha(project), "--release"),
        project="tech-lunch/old-name",
    )

    assert ending.code == 4, ending.stderr
    assert len(writes()) == 1


def _each_value(value: object) -> Callable[[Any], Any]:
    """Puts a value in place of each text, number and null of an answer."""

    def edit(answer: Any) -> Any:
        if isinstance(answer, dict):
            return {key: edit(each) for key, each in answer.items()}
        if isinstance(answer, list):
            return [edit(each) for each in answer]
        return value

    return edit


@pytest.mark.parametrize("value", [None, 1, [], {}], ids=repr)
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("access", ("--tag-name", "v0.0.1")),
        ("access", ("--next", "patch")),
        ("access", ("--tag-name", "v0.0.1", "--release")),
        ("job", ("--tag-name", "v0.0.1", "--release")),
    ],
    ids=["name", "next", "release", "release with a job token"],
)
def test_after_a_response_of_other_types_the_tag_is_checked_and_exists_once(
    writes: Callable[[], list[str]],
    invoke: Invoke,
    gitlab: Sandbox,
    project: Project,
    token: Token,
    executor: User,
    kind: str,
    arguments: tuple[str, ...],
    value: object,
) -> None:
    project.job_token_allowlist = None
    job_token = gitlab.add_running_job(project, executor).token
    credential = {
        "access": ("--api-access-token", token.secret),
        "job": ("--job-token", job_token),
    }
    route = r"/releases$" if "--release" in arguments else TAGS
    spoiled = gitlab.fault(Fault(path=route, method="POST", nth=1, edit=_each_value(value)))

    ending = invoke(
        cli, "--base-url", gitlab.url, *credential[kind], "--project", project.path, *arguments
    )

    assert ending.code == 0, ending.stderr
    assert "v0.0.1 created" in ending.stdout
    assert spoiled.fired == 1
    assert list(gitlab.tags(project)) == ["v0.0.1"]
    assert len(writes()) == 1


@pytest.mark.parametrize("listed", [[{}], [None], [{"name": None}], [{"name": {}}], {}, 1])
def test_8_an_invalid_list_of_tags_gives_no_next_version(
    writes: Callable[[], list[str]],
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    listed: object,
) -> None:
    gitlab.fault(Fault(path=r"/repository/tags\?", method="GET", edit=lambda _: listed))

    ending = tag("--next", "patch", "--retry-for", "0", "--output", "json")

    assert ending.code == 8, ending.stderr
    assert json.loads(ending.stdout)["error"]["code"] == 8
    assert gitlab.tags(project) == {}
    assert writes() == []


def test_a_tag_that_another_made_first_is_not_created(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, tmp_path: Path
) -> None:
    gitlab.fault(
        Fault(path=TAGS, method="POST", nth=1, meanwhile=lambda: gitlab.tag(project, "v1"))
    )

    ending = tag("--tag-name", "v1", "--output", "json", "--dotenv", str(tmp_path / "result.env"))

    assert ending.code == 0, ending.stderr
    assert json.loads(ending.stdout)["created"] is False
    assert "TAG_CREATED=false" in (tmp_path / "result.env").read_text().splitlines()


def test_5_another_created_the_tag_elsewhere_while_our_request_was_lost(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    old = gitlab.sha(project)
    new = gitlab.commit(project, {"more": "work"})

    def create() -> None:
        gitlab.tag(project, "v1", old)

    gitlab.fault(Fault(path=TAGS, method="POST", nth=1, meanwhile=create, reset="before"))

    ending = tag("--tag-name", "v1")

    assert ending.code == 5
    assert old in ending.stderr
    assert new in ending.stderr
    assert gitlab.tags(project) == {"v1": old}


@pytest.mark.parametrize("arguments", [(), ("--release",)], ids=["tag", "release"])
def test_8_a_project_that_is_hidden_while_our_request_was_lost_gets_no_second_one(
    writes: Callable[[], list[str]],
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    arguments: tuple[str, ...],
) -> None:
    """The tag is not known to be absent: the project cannot be seen."""
    hidden = Fault(
        path=r"/tags/v1$", method="GET", status=404, body={"message": "404 Project Not Found"}
    )
    gitlab.fault(Fault(method="POST", nth=1, reset="after", meanwhile=lambda: gitlab.fault(hidden)))

    ending = tag("--tag-name", "v1", *arguments)

    assert ending.code == 8, ending.stderr
    assert f"{project.path}/-/tags/v1" in ending.stderr
    assert len(writes()) == 1
