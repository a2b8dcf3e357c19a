"""How many requests each command sends, alone and with every option that adds one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import pytest

from cmd_bump_image_tag.cli import cli as bump
from cmd_tag_project.cli import cli as tag
from cmd_trigger_pipeline.cli import cli as trigger
from cmd_wait_pipeline.cli import cli as wait
from sandbox import Access, Fault, ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from sandbox import Sandbox
    from sandbox.model import Pipeline, Project, Token, User
    from tests.functional.conftest import Invoke

CI = "test: {script: [echo]}\n"
DEPLOYMENT = "kind: Pod\nspec:\n  containers:\n    - image: example.com/web:v1\n"
PROJECTS = 10


class Run(Protocol):
    def __call__(self, command: click.Command, *arguments: str) -> list[str]: ...


@pytest.fixture
def project(gitlab: Sandbox, executor: User) -> Project:
    return gitlab.add_project(
        "tech-lunch/hello-world",
        {".gitlab-ci.yml": CI, "apps/web.yaml": DEPLOYMENT, "apps/other.yaml": "kind: Pod\n"},
        members={executor: Access.MAINTAINER},
    )


@pytest.fixture
def run(
    gitlab: Sandbox, token: Token, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Runs a command that succeeds, and returns the requests that it sent, without their query."""
    monkeypatch.setenv("GITLAB_TOKEN", token.secret)
    monkeypatch.setenv("CI_SERVER_URL", gitlab.url)
    monkeypatch.chdir(tmp_path)

    def call(command: click.Command, *arguments: str) -> list[str]:
        before = len(gitlab.requests)
        ending = invoke(command, *arguments)
        assert ending.code == 0, ending.stderr
        return [
            f"{sent.method} {_route(sent.path)}"
            for sent in gitlab.requests[before:]
            if not sent.path.startswith("/-/cable")
        ]

    return call


def _route(path: str) -> str:
    """The route of a request below its project, with `:id` for a number or a SHA."""
    route = path.partition("?")[0].removeprefix("/api/v4/")
    route = re.sub(r"^projects/[^/]+", "", route).strip("/")
    return re.sub(r"(?<=/)([0-9a-f]{40}|\d+)(?=/|$)", ":id", route) or "project"


TAG = "POST repository/tags"
RELEASE = ["GET repository/tags/v1", "GET repository/commits/main", "POST releases"]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ("--tag-name v1 --ref main", [TAG]),
        ("--tag-name v1", ["GET project", TAG]),
        ("--tag-name v1 --ref main --message First", [TAG]),
        ("--next minor --ref main", ["GET repository/tags", TAG]),
        ("--tag-name v1 --ref main --release", RELEASE),
        ("--tag-name v1 --ref main --asset a=https://example.com/a", RELEASE),
        (
            "--tag-name v1 --ref main --dry-run",
            ["GET project", "GET repository/tags/v1", "GET repository/commits/main"],
        ),
    ],
)
def test_a_tag(project: Project, run: Run, options: str, sent: list[str]) -> None:
    assert run(tag, "--project", project.path, *options.split()) == sent


def test_a_tag_that_exists_is_read_after_the_refusal(project: Project, run: Run) -> None:
    options = ("--project", project.path, "--tag-name", "v1", "--ref", "main")
    run(tag, *options)
    assert run(tag, *options) == [
        TAG,
        "GET repository/tags/v1",
        "GET repository/commits/main",
    ]


START = "POST pipeline"


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ("--ref main", [START]),
        ("", ["GET project", START]),
        ("--ref main --variable A=1 --input b=2", [START]),
        ("--ref none --ref main", [START, START]),
        ("--ref main --dry-run", ["GET project", "GET repository/commits/main"]),
    ],
)
def test_a_trigger(
    gitlab: Sandbox, project: Project, run: Run, options: str, sent: list[str]
) -> None:
    inputs = "spec: {inputs: {b: {type: number, default: 1}}}\n---\n"
    gitlab.commit(project, {".gitlab-ci.yml": inputs + CI})
    assert run(trigger, "--project", project.path, *options.split()) == sent


IMAGE = ("--image", "example.com/web", "--tag", "v2")
ONE_FILE = "--file apps/web.yaml --branch main"


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (ONE_FILE, 3),
        ("--file apps/web.yaml", 4),
        ("--branch main", 3),
        ("", 4),
        (f"{ONE_FILE} --dry-run", 2),
        (f"{ONE_FILE} --merge-request", 8),
    ],
)
def test_a_bump(project: Project, run: Run, options: str, count: int) -> None:
    assert len(run(bump, "--project", project.path, *IMAGE, *options.split())) == count


def _pipelines(
    gitlab: Sandbox, executor: User, count: int, *statuses: tuple[float, str]
) -> list[Pipeline]:
    """Pipelines of ten projects, as many in each."""
    jobs = (ScriptedJob(name="test", timeline=statuses),)
    found = []
    for number in range(PROJECTS):
        members = {executor: Access.MAINTAINER}
        project = gitlab.add_project(f"tech-lunch/service-{number}", {"a": ""}, members=members)
        for _ in range(count // PROJECTS):
            script = ScriptedPipeline(jobs=jobs)
            found.append(gitlab.add_pipeline(project, script, user=executor))
    return found


def _all(gitlab: Sandbox, pipelines: list[Pipeline]) -> list[str]:
    return [f"{gitlab.url}/{each.project.path}/-/pipelines/{each.id}" for each in pipelines]


FIND = ["GET pipelines/:id/jobs"]
END = ["GET pipelines/:id/test_report_summary"]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ("--quiet", FIND),
        ("", FIND + END),
        ("--quiet --output json", FIND + END),
        ("--quiet --dotenv x.env", FIND),
        ("--quiet --junit x.xml", [*FIND, "GET pipelines/:id/bridges", *END]),
        ("--quiet --dry-run", FIND),
    ],
)
def test_a_wait_for_a_pipeline_that_has_succeeded(
    gitlab: Sandbox, project: Project, executor: User, run: Run, options: str, sent: list[str]
) -> None:
    job = ScriptedJob(name="test", timeline=((0, "success"),))
    pipeline = gitlab.add_pipeline(project, ScriptedPipeline(jobs=(job,)), user=executor)
    url = f"{gitlab.url}/{project.path}/-/pipelines/{pipeline.id}"
    assert run(wait, url, *options.split()) == sent


def test_a_quiet_wait_for_many_asks_each_project_once_to_find_them_and_once_a_poll(
    gitlab: Sandbox, executor: User, run: Run
) -> None:
    pipelines = _pipelines(gitlab, executor, 200, (0, "pending"), (30, "success"))
    sent = run(wait, *_all(gitlab, pipelines), "--quiet", "--no-realtime", "--interval", "10")
    assert set(sent) == {"GET pipelines"}
    # In 30 s there are at most 5 polls, 10 s apart, of each project.
    assert len(sent) <= (1 + 5) * PROJECTS


def test_a_wait_for_many_whose_jobs_are_shown_reads_them_once_each(
    gitlab: Sandbox, executor: User, run: Run
) -> None:
    pipelines = _pipelines(gitlab, executor, 20, (0, "success"))
    sent = run(wait, *_all(gitlab, pipelines))
    assert sorted(sent) == sorted((FIND + END) * 20)


def test_a_lost_answer_adds_the_checks_that_find_the_tag(
    gitlab: Sandbox, project: Project, run: Run
) -> None:
    gitlab.fault(Fault(method="POST", path="repository/tags", reset="after", first=1))
    sent = run(tag, "--project", project.path, "--tag-name", "v1", "--ref", "main")
    assert sent == [TAG, "GET repository/tags/v1", "GET repository/commits/main"]
