"""`cmd-trigger-pipeline` against the sandbox, over a real socket: what comes of it."""

from __future__ import annotations

import json
import logging
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import NotFoundError
from cmd_trigger_pipeline import trigger_pipeline
from sandbox import Fault
from sandbox.world import PATIENCE
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox import Sandbox
    from sandbox.model import Job, Pipeline, Project, Token, TriggerToken
    from tests.functional.conftest import Ending

    Only = Callable[[Project, str], Pipeline]
    Trigger = Callable[..., Ending]

pytestmark = pytest.mark.usefixtures("project")


def bodies(gitlab: Sandbox) -> list[dict[str, object]]:
    return [json.loads(request.body) for request in gitlab.requests if request.method == "POST"]


# Projects and results


@pytest.mark.parametrize("how", ["path", "id", "url", "old path"])
def test_a_project_is_named_by_path_id_url_or_its_path_of_old(
    trigger: Trigger, gitlab: Sandbox, project: Project, how: str
) -> None:
    project.old_paths.add("tech-lunch/old-name")
    name = {
        "path": project.path,
        "id": str(project.id),
        "url": f"{gitlab.url}/{project.path}/-/pipelines",
        "old path": "tech-lunch/old-name",
    }[how]

    ending = trigger(project=name)

    assert ending.code == 0, ending.stderr
    assert ending.stdout.startswith(f"{project.path}: pipeline ")


@pytest.mark.parametrize("ref", [(), ("--ref", "main")], ids=["default branch", "ref"])
def test_a_dry_run_has_the_path_of_a_project_that_is_given_by_its_id(
    trigger: Trigger, project: Project, ref: tuple[str, ...]
) -> None:
    ending = trigger("--dry-run", *ref, project=str(project.id))

    assert ending.code == 0, ending.stderr
    assert ending.stdout.startswith(f"{project.path}: a pipeline would be started on main")


def test_a_moved_project_is_found_when_its_write_was_refused(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    project.old_paths.add("tech-lunch/old-name")

    ending = trigger("--ref", "main", project="tech-lunch/old-name")

    assert ending.code == 0, ending.stderr
    assert len(gitlab.pipelines(project)) == 1


@pytest.mark.parametrize(("count", "warned"), [(3, False), (4, True)])
def test_a_dotenv_file_that_gitlab_will_not_take_is_warned_of_before_a_pipeline_is_started(
    trigger: Trigger, gitlab: Sandbox, tmp_path: Path, count: int, *, warned: bool
) -> None:
    gitlab.fault(Fault(status=404, body={"message": "404 Project Not Found"}))
    names = [f"--project=tech-lunch/p{number}" for number in range(count)]

    ending = trigger("--dotenv", str(tmp_path / "dotenv"), *names, project=None)

    assert ending.code == 4, ending.stderr
    assert ("GitLab takes 20 variables" in ending.stderr) is warned
    assert bodies(gitlab) == []


def test_several_projects_are_triggered_and_the_first_failure_is_the_exit_code(
    trigger: Trigger, project: Project, others: list[Project], only: Only
) -> None:
    names = [argument for other in others for argument in ("--project", other.path)]

    ending = trigger("--project", "tech-lunch/nowhere", *names, "--output", "json")

    assert ending.code == 4
    document = json.loads(ending.stdout)
    assert (document["error"]["code"], document["error"]["kind"]) == (4, "not-found")
    expected = [project, *others]
    assert [result["project"] for result in document["results"]] == [each.path for each in expected]
    assert all(only(each, "api") for each in expected)


def test_json_of_one_is_an_object_and_of_several_a_list(
    trigger: Trigger, gitlab: Sandbox, project: Project, others: list[Project], only: Only
) -> None:
    one = json.loads(trigger("--output", "json").stdout)
    started = only(project, "api")
    both = json.loads(trigger("--project", others[0].path, "--output", "json").stdout)

    assert one == {
        "project": project.path,
        "id": started.id,
        "iid": started.iid,
        "status": started.status,
        "ref": "main",
        "sha": gitlab.sha(project),
        "created_at": one["created_at"],
        "web_url": f"{gitlab.url}/{project.path}/-/pipelines/{started.id}",
    }
    assert [result["project"] for result in both] == [project.path, others[0].path]


def test_dotenv_numbers_the_results_from_the_second_on(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    others: list[Project],
    tmp_path: Path,
    only: Only,
) -> None:
    file = tmp_path / "pipeline.env"

    assert trigger("--project", others[0].path, "--dotenv", str(file)).code == 0

    first, second = (only(each, "api") for each in (project, others[0]))
    assert dict(line.split("=", 1) for line in file.read_text().splitlines()) == {
        "PIPELINE_ID": str(first.id),
        "PIPELINE_PROJECT": project.path,
        "PIPELINE_URL": f"{gitlab.url}/{project.path}/-/pipelines/{first.id}",
        "PIPELINE_STATUS": first.status,
        "PIPELINE_SHA": first.sha,
        "PIPELINE_ID_2": str(second.id),
        "PIPELINE_PROJECT_2": others[0].path,
        "PIPELINE_URL_2": f"{gitlab.url}/{others[0].path}/-/pipelines/{second.id}",
        "PIPELINE_STATUS_2": second.status,
        "PIPELINE_SHA_2": second.sha,
        "PIPELINE_IDS": f"{first.id} {second.id}",
    }


def test_dotenv_numbers_are_those_of_what_was_asked_for(
    trigger: Trigger, others: list[Project], tmp_path: Path, only: Only
) -> None:
    file = tmp_path / "pipeline.env"
    file.write_text("PIPELINE_ID=1\n")

    ending = trigger(
        *("--project", "tech-lunch/absent", "--project", others[0].path),
        *("--dotenv", str(file), "--output", "json"),
    )

    assert ending.code == 4
    third = only(others[0], "api")
    variables = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert variables["PIPELINE_ID_3"] == str(third.id)
    assert variables["PIPELINE_PROJECT_3"] == others[0].path
    assert not [name for name in variables if name.endswith("_2")]
    assert variables["PIPELINE_IDS"] == f"{variables['PIPELINE_ID']} - {third.id}"


@every_server
@pytest.mark.parametrize("kind", ["access", "job", "trigger"])
def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    token: Token,
    job: Job,
    trigger_token: TriggerToken,
    tmp_path: Path,
    kind: str,
) -> None:
    ending = trigger(
        *(["--trigger-token", trigger_token.secret] if kind == "trigger" else []),
        *("--dry-run", "--ref", "nowhere", "--ref", "main"),
        *("--variable", "PASSWORD=hunter2", "--input", "size=3"),
        *("--dotenv", str(tmp_path / "dotenv")),
        access=token.secret if kind == "access" else None,
        job=job if kind == "job" else None,
    )

    assert ending.code == 0, ending.stderr
    # With a trigger token alone nothing can be read, so that the first ref has to be believed.
    where = "nowhere" if kind == "trigger" else f"main at {gitlab.sha(project)[:8]}"
    assert ending.stdout == f"{project.path}: a pipeline would be started on {where}\n"
    assert "Variables: PASSWORD. Inputs: size." in ending.stderr
    assert bodies(gitlab) == []
    assert (tmp_path / "dotenv").read_text() == ""


def test_thirty_projects_are_triggered_side_by_side(trigger: Trigger, gitlab: Sandbox) -> None:
    """The server answers no request before five of its kind are under way."""
    answers: list[tuple[str, str, dict[str, object] | list[object]]] = [
        (
            "GET",
            r"/projects/[^/]+$",
            {"id": 7, "path_with_namespace": "a/b", "default_branch": "m"},
        ),
        ("GET", r"/pipelines\?", []),
        (
            "POST",
            r"/pipeline$",
            {
                "id": 8,
                "iid": 1,
                "status": "created",
                "ref": "m",
                "sha": "c",
                "created_at": "2026-01-05T09:00:00Z",
                "web_url": f"{gitlab.url}/a/b/-/pipelines/8",
            },
        ),
    ]
    assert trigger("--dry-run").code == 0  # all is imported now
    gitlab.requests.clear()
    for method, path, body in answers:
        gitlab.fault(
            Fault(
                method=method,
                path=path,
                status=200,
                body=body,
                meanwhile=Barrier(5, timeout=PATIENCE).wait,
            )
        )

    ending = trigger(*[f"--project=tech-lunch/p{number}" for number in range(30)], project=None)

    assert ending.code == 0, ending.stderr
    assert len(bodies(gitlab)) == 30


def test_from_python(
    gitlab: Sandbox,
    token: Token,
    project: Project,
    trigger_token: TriggerToken,
    capsys: pytest.CaptureFixture[str],
    only: Only,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What an earlier test's command set up would print; a script's own process has none.
    monkeypatch.setattr(logging.getLogger("cicd_common"), "handlers", [])
    done = trigger_pipeline(
        project=project.path,
        ref=("nowhere", "main"),
        variables={"A": "1"},
        file_variables={"A": "lost", "F": "content"},
        base_url=gitlab.url,
        api_access_token=token.secret,
    )
    again = trigger_pipeline(
        project=project.path, ref="main", trigger_token=trigger_token.secret, base_url=gitlab.url
    )

    started = only(project, "api")
    assert (done.id, done.ref, done.sha) == (started.id, "main", started.sha)
    assert {variable.key: variable.kind for variable in started.variables} == {
        "A": "env_var",
        "F": "file",
    }
    assert again.id == only(project, "trigger").id
    with pytest.raises(NotFoundError):
        trigger_pipeline(project="a/b", base_url=gitlab.url, api_access_token=token.secret)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "requests"),
    [
        (["--ref", "main"], ["POST"]),
        (["--ref", "main", "--variable", "A=1"], ["POST"]),
        ([], ["GET", "POST"]),
        (["--ref", "nowhere", "--ref", "main"], ["POST", "POST"]),
    ],
    ids=" ".join,
)
def test_no_request_is_sent_that_is_not_needed(
    trigger: Trigger, gitlab: Sandbox, project: Project, arguments: list[str], requests: list[str]
) -> None:
    assert trigger(*arguments).code == 0
    assert [request.method for request in gitlab.requests] == requests
    assert len(gitlab.pipelines(project)) == 1


def test_the_project_is_named_as_gitlab_names_it(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    for name in (str(project.id), f"{gitlab.url}/{project.path}"):
        ending = trigger("--ref", "main", project=name)
        assert ending.stdout.startswith(f"{project.path}: pipeline ")


@pytest.mark.parametrize(
    ("value", "warned"),
    [("$HOME", True), ("a${B}c", True), ("5$", False), ("$$HOME", False), ("a$$$B", True)],
)
def test_a_value_that_gitlab_expands_gets_a_warning_that_names_the_key(
    trigger: Trigger, value: str, warned: bool
) -> None:
    ending = trigger("--variable", f"SUITE={value}")

    assert ending.code == 0
    assert ("warning: GitLab expands the $ in the value of SUITE" in ending.stderr) is warned
    assert value not in ending.stderr
