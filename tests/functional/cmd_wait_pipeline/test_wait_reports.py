"""What a wait leaves for GitLab to read, by GitLab's own rules, whatever the ending."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from sandbox import Access
from sandbox.ci import reports
from sandbox.model import ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox import Sandbox
    from sandbox.model import Pipeline, Project, User
    from tests.functional.cmd_wait_pipeline.conftest import Wait
    from tests.functional.conftest import Ending

STALE_ENV, STALE_XML = "STALE=1\n", "<testsuites><testsuite name='old'/></testsuites>"


class Files:
    """The two reports of a wait, with what an earlier run left in their places."""

    def __init__(self, folder: Path, gitlab: Sandbox) -> None:
        self.dotenv, self.junit = folder / "result.env", folder / "report.xml"
        self.dotenv.write_text(STALE_ENV)
        self.junit.write_text(STALE_XML)
        self._gitlab = gitlab

    @property
    def options(self) -> list[str]:
        return ["--dotenv", str(self.dotenv), "--junit", str(self.junit)]

    def variables(self) -> dict[str, str]:
        """The variables that GitLab takes from the file."""
        found = reports.dotenv(self.dotenv.read_bytes(), self._gitlab.state)
        return {each.key: each.value for each in found}

    def hold(self, ending: Ending) -> None:
        """The report has a failure or an error exactly if the command failed; nothing is lost."""
        content = self.junit.read_bytes()
        counts = reports.junit([content])
        assert counts.suite_error is None
        assert bool(counts.failed + counts.error) is (ending.code != 0)
        assert counts.total == content.count(b"<testcase ")
        for verdict in ("failure", "error", "skipped"):
            for element in ET.fromstring(content).iter(verdict):  # noqa: S314 - our own document
                assert (element.text or "").partition("\n")[0] == element.get("message") != ""


@pytest.fixture
def files(tmp_path: Path, gitlab: Sandbox) -> Files:
    return Files(tmp_path, gitlab)


def job(name: str, status: str, **more: object) -> ScriptedJob:
    return ScriptedJob(name=name, timeline=((0, status),), **more)  # type: ignore[arg-type]


def below(*jobs: ScriptedJob) -> ScriptedPipeline:
    return ScriptedPipeline(jobs=jobs)


BROKEN = below(job("unit", "failed"), job("lint", "success"))
DEEP = below(job("below", "failed", downstream=BROKEN))
ENDINGS = {
    "success": (below(job("test", "success")), 0),
    "failed": (below(job("build", "success"), job("test", "failed")), 1),
    "allowed": (below(job("test", "failed", allow_failure=True), job("build", "success")), 0),
    "optional trigger job": (
        below(job("deploy", "failed", allow_failure=True, downstream=BROKEN), job("x", "success")),
        0,
    ),
    "not depended on": (below(job("deploy", "success", downstream=BROKEN)), 0),
    "children of children": (below(job("deploy", "failed", downstream=DEEP)), 1),
    "matrix": (
        below(*(job(f"deploy: [{name}]", "failed", downstream=BROKEN) for name in "abc")),
        1,
    ),
    "two with the same jobs": (
        below(*(job(name, "failed", downstream=BROKEN) for name in ("eu", "us"))),
        1,
    ),
    "canceled": (below(job("test", "canceled")), 9),
    "manual": (below(job("test", "success"), job("go", "manual", stage="deploy")), 11),
    "never started": (below(job("test", "pending")), 7),
    "running": (below(job("test", "running")), 7),
}


@pytest.fixture
def add_to(gitlab: Sandbox, executor: User) -> AddTo:
    return AddTo(gitlab, executor)


class AddTo:
    """Adds a scripted pipeline to a project."""

    def __init__(self, gitlab: Sandbox, user: User) -> None:
        self._gitlab, self._user = gitlab, user

    def __call__(self, project: Project, script: ScriptedPipeline) -> Pipeline:
        return self._gitlab.add_pipeline(project, script, user=self._user)

    def project(self, number: int) -> Project:
        members = {self._user: Access.MAINTAINER}
        return self._gitlab.add_project(f"tech-lunch/n{number}", {"a": "b"}, members=members)


@pytest.mark.parametrize(("script", "code"), ENDINGS.values(), ids=ENDINGS)
def test_each_ending_of_one_pipeline(
    add_to: AddTo, project: Project, wait: Wait, files: Files, script: ScriptedPipeline, code: int
) -> None:
    pipeline = add_to(project, script)
    ending = wait("--pipeline-id", pipeline.id, "--timeout", "1", *files.options)
    assert ending.code == code
    files.hold(ending)
    assert files.variables()["PIPELINE_ID"] == str(pipeline.id)
    assert "STALE" not in files.variables()


def test_an_accepted_manual_or_skipped_pipeline_is_not_a_failure(
    add_to: AddTo, project: Project, wait: Wait, files: Files
) -> None:
    manual = add_to(project, below(job("test", "success"), job("go", "manual", stage="deploy")))
    skipped = add_to(project, ScriptedPipeline(timeline=((0, "skipped"),)))
    passes = ("--on-manual", "pass", "--on-skipped", "pass")
    ids = ("--pipeline-id", manual.id, "--pipeline-id", skipped.id)
    ending = wait(*ids, *passes, *files.options)
    assert ending.code == 0
    files.hold(ending)


def test_several_pipelines_of_one_ref_lose_no_case(
    add_to: AddTo, project: Project, wait: Wait, files: Files
) -> None:
    pipelines = [add_to(project, below(job("deploy", "failed", downstream=BROKEN))) for _ in "abc"]
    ids = [word for each in pipelines for word in ("--pipeline-id", each.id)]
    ending = wait(*ids, *files.options)
    assert ending.code == 1
    files.hold(ending)
    assert files.variables()["PIPELINE_ID_3"] == str(pipelines[2].id)
    assert files.variables()["PIPELINE_IDS"] == " ".join(str(each.id) for each in pipelines)


@pytest.mark.parametrize("count", [3, 40])
def test_numbers_are_places_also_where_some_are_missing(
    add_to: AddTo, gitlab: Sandbox, wait: Wait, files: Files, count: int
) -> None:
    gitlab.state.dotenv_variables = gitlab.state.dotenv_bytes = 10**6
    urls = []
    for number in range(1, count + 1):
        pipeline = add_to(add_to.project(number), below(job("test", "success")))
        missing = number == count // 2 + 1
        number_of = 999_999 if missing else pipeline.id
        urls.append(f"{gitlab.url}/{pipeline.project.path}/-/pipelines/{number_of}")
    named = [word for url in urls for word in ("--pipeline-url", url)]
    ending = wait(*named, "--appear-timeout", "0", *files.options)
    assert ending.code == 4
    files.hold(ending)
    variables = files.variables()
    absent = count // 2 + 1
    assert f"PIPELINE_ID_{absent}" not in variables
    assert variables[f"PIPELINE_PROJECT_{count}"] == f"tech-lunch/n{count}"
    assert variables["PIPELINE_IDS"].split(" ")[absent - 1] == "-"
    assert ("GitLab takes 20 variables" in ending.stderr) is (count * 5 > 20)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--tag", "absent", "--appear-timeout", "0"], 4),
        (["--pipeline-id", "999999", "--appear-timeout", "0"], 4),
        (["--all-running"], 0),
    ],
    ids=["never appeared", "no such id", "nothing running"],
)
def test_a_pipeline_that_is_never_found_leaves_no_old_report(
    project: Project, wait: Wait, files: Files, arguments: list[str], code: int
) -> None:
    del project
    ending = wait(*arguments, *files.options)
    assert ending.code == code
    files.hold(ending)
    assert files.variables() == {}


def test_a_usage_error_leaves_no_old_report_either(wait: Wait, files: Files) -> None:
    assert wait("--ref", "main", "--tag", "v1", *files.options).code == 2
    assert files.dotenv.read_bytes() == b""
    assert not files.junit.exists()


def test_one_file_cannot_be_both_reports(wait: Wait, files: Files) -> None:
    ending = wait("--ref", "main", "--dotenv", str(files.dotenv), "--junit", str(files.dotenv))
    assert ending.code == 2


def test_a_dry_run_writes_no_variable(
    add_to: AddTo, project: Project, wait: Wait, files: Files
) -> None:
    pipeline = add_to(project, below(job("test", "success")))
    assert wait("--pipeline-id", pipeline.id, "--dry-run", *files.options).code == 0
    assert files.variables() == {}
