"""`cmd-tag-project` against the sandbox: what it makes."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from cmd_tag_project import tag_project
from cmd_tag_project.cli import cli
from sandbox import Access, Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.model import Project, Token, User
    from tests.functional.conftest import Ending, Invoke


def test_the_seeds_own_invocation_makes_the_tag_and_a_second_run_says_it_is_there(
    writes: Callable[[], list[str]], invoke: Invoke, gitlab: Sandbox, token: Token, project: Project
) -> None:
    arguments = [
        *("--base_url", gitlab.url, "--api_access_token", token.secret),
        *("--project_group_and_name", "tech-lunch/service-tests", "--tag_name", "v1"),
    ]
    sha = gitlab.commit(project, {"next": "commit"})

    first, second = invoke(cli, *arguments), invoke(cli, *arguments)

    assert (first.code, second.code) == (0, 0)
    assert first.stdout == f"tech-lunch/service-tests: tag v1 created at {sha[:8]}\n"
    assert second.stdout == f"tech-lunch/service-tests: tag v1 already exists at {sha[:8]}\n"
    assert gitlab.tags(project) == {"v1": sha}
    assert len(writes()) == 2  # GitLab refuses the second


def test_a_tag_at_another_commit_is_a_conflict_that_names_both(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    old = gitlab.commit(project, {"next": "commit"})
    tag("--tag-name", "v1")
    new = gitlab.commit(project, {"more": "work"})

    ending = tag("--tag-name", "v1")

    assert ending.code == 5
    assert old in ending.stderr
    assert new in ending.stderr
    assert gitlab.tags(project) == {"v1": old}


@pytest.mark.parametrize("how", ["path", "id", "url", "page"])
def test_a_project_is_named_by_path_id_or_url(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, how: str
) -> None:
    name = {
        "path": project.path,
        "id": str(project.id),
        "url": f"{gitlab.url}/{project.path}.git",
        "page": f"{gitlab.url}/{project.path}/-/tags",
    }[how]

    ending = tag("--tag-name", "v1", project=name)

    assert ending.code == 0
    assert ending.stdout.startswith("tech-lunch/service-tests: tag v1 created")


@pytest.mark.parametrize("kind", ["branch", "tag", "sha", "short sha"])
def test_a_ref_is_a_branch_a_tag_or_a_sha(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, kind: str
) -> None:
    sha = gitlab.commit(project, {"on": "branch"}, branch="feature/x")
    if kind == "tag":
        tag("--tag-name", "base", "--ref", sha)
    ref = {"branch": "feature/x", "tag": "base", "sha": sha, "short sha": sha[:8]}[kind]

    assert tag("--tag-name", "v1", "--ref", ref).code == 0
    assert gitlab.tags(project)["v1"] == sha


def test_a_message_makes_an_annotated_tag(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    sha = gitlab.commit(project, {"next": "commit"})

    first = tag("--tag-name", "v1", "--message", "Résumé of\nthe release")
    second = tag("--tag-name", "v1", "--message", "Résumé of\nthe release")

    assert (first.code, second.code) == (0, 0)
    shown = subprocess.run(
        ["git", "cat-file", "tag", "v1"],
        cwd=project.repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Résumé of\nthe release" in shown
    assert f"object {sha}" in shown


def test_several_projects_are_tagged_and_the_first_failure_is_the_exit_code(
    tag: Callable[..., Ending], gitlab: Sandbox, executor: User, project: Project
) -> None:
    others = [
        gitlab.add_project(f"tech-lunch/p{n}", {"a": "b"}, members={executor: Access.MAINTAINER})
        for n in range(3)
    ]

    names = [argument for other in others for argument in ("--project", other.path)]
    ending = tag("--tag-name", "v1", "--project", "tech-lunch/nowhere", *names, "--output", "json")

    assert ending.code == 4
    document = json.loads(ending.stdout)
    assert document["error"]["code"] == 4
    assert document["error"]["kind"] == "not-found"
    assert [result["project"] for result in document["results"]] == [
        project.path,
        *(other.path for other in others),
    ]
    assert all("v1" in gitlab.tags(each) for each in [project, *others])


def test_json_of_one_is_an_object_and_of_several_a_list(
    tag: Callable[..., Ending], gitlab: Sandbox, executor: User, project: Project
) -> None:
    gitlab.add_project("tech-lunch/other", {"a": "b"}, members={executor: Access.MAINTAINER})
    sha = gitlab.commit(project, {"next": "commit"})

    one = json.loads(tag("--tag-name", "v1", "--output", "json").stdout)
    both = json.loads(
        tag("--tag-name", "v2", "--project", "tech-lunch/other", "--output=json").stdout
    )

    assert one == {
        "project": "tech-lunch/service-tests",
        "tag": "v1",
        "commit": sha,
        "created": True,
        "web_url": f"{gitlab.url}/tech-lunch/service-tests/-/tags/v1",
        "release": None,
        "would_create": False,
        "pipeline": None,
    }
    assert [result["project"] for result in both] == [project.path, "tech-lunch/other"]


def test_dotenv_holds_the_result(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, tmp_path: Path
) -> None:
    sha = gitlab.commit(project, {"next": "commit"})

    tag("--tag-name", "v1", "--dotenv", str(tmp_path / "tag.env"))

    assert (tmp_path / "tag.env").read_text() == (
        f"TAG_NAME=v1\nTAG_COMMIT_SHA={sha}\nTAG_PROJECT=tech-lunch/service-tests\n"
        "TAG_CREATED=true\n"
    )


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    writes: Callable[[], list[str]], tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    ending = tag("--tag-name", "v1", "--dry-run")

    assert ending.code == 0
    assert "tag v1 would be created at" in ending.stdout
    assert gitlab.tags(project) == {}
    assert writes() == []


def test_a_dry_run_says_that_the_tag_already_exists(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    gitlab.tag(project, "v1")

    ending = tag("--tag-name", "v1", "--dry-run")

    assert ending.code == 0
    assert "tag v1 already exists at" in ending.stdout


def test_in_a_job_the_tag_is_named_after_it(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI_PROJECT_PATH_SLUG", "tech-lunch-hello-world")
    monkeypatch.setenv("CI_COMMIT_SHA", "0" * 39 + "1")
    monkeypatch.setenv("CI_JOB_ID", "77")

    assert tag().code == 0
    assert list(gitlab.tags(project)) == ["tech-lunch-hello-world_" + "0" * 39 + "1_77"]


@pytest.mark.parametrize(
    ("count", "options", "warned"),
    [(4, (), False), (5, (), True), (2, ("--wait",), False), (3, ("--wait",), True)],
)
def test_a_dotenv_file_that_gitlab_will_not_take_is_warned_of_before_a_tag_is_made(
    tag: Callable[..., Ending],
    writes: Callable[[], list[str]],
    gitlab: Sandbox,
    tmp_path: Path,
    count: int,
    options: tuple[str, ...],
    *,
    warned: bool,
) -> None:
    """A tag has 4 variables, its pipeline 5, and several projects have one more in common."""
    gitlab.fault(Fault(status=404, body={"message": "404 Project Not Found"}))
    names = [f"--project=tech-lunch/p{number}" for number in range(count)]

    ending = tag(
        *("--tag-name", "v1", "--dotenv", str(tmp_path / "tag.env")), *names, *options, project=None
    )

    assert ending.code == 4, ending.stderr
    assert ("GitLab takes 20 variables" in ending.stderr) is warned
    assert writes() == []


@pytest.mark.parametrize(
    ("arguments", "requests"),
    [
        (["--ref", "main"], ["POST"]),
        (["--ref", "main", "--message", "Words"], ["POST"]),
        ([], ["GET", "POST"]),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("project")
def test_no_request_is_sent_that_is_not_needed(
    tag: Callable[..., Ending], gitlab: Sandbox, arguments: list[str], requests: list[str]
) -> None:
    assert tag("--tag-name", "v1", *arguments).code == 0
    assert [request.method for request in gitlab.requests] == requests


def test_the_project_is_named_as_gitlab_names_it(
    tag: Callable[..., Ending], project: Project
) -> None:
    ending = tag("--tag-name", "v1", "--ref", "main", project=str(project.id))

    assert ending.stdout.startswith(f"{project.path}: tag v1 created")


def test_of_many_at_once_one_says_that_it_created_the_tag(
    gitlab: Sandbox, token: Token, project: Project
) -> None:
    made: list[bool] = []

    def race() -> None:
        done = tag_project(
            project=project.path, tag_name="v1", ref="main",
            base_url=gitlab.url, api_access_token=token.secret,
        )  # fmt: skip
        made.append(done.created)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(made) == [*[False] * 7, True]
