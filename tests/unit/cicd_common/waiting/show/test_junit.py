"""The JUnit report, as GitLab and Jenkins read it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cicd_common.cleaning import hide
from cicd_common.cli import console
from cicd_common.errors import Interrupted, PipelineFailedError
from cicd_common.waiting.events import Changed, Finished, Found
from cicd_common.waiting.show.junit import JUnitFile, junit_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.cicd_common.waiting.show.conftest import Scene

EXPECTED = """\
<?xml version='1.0' encoding='utf-8'?>
<testsuites tests="7" failures="4" errors="0" skipped="1" time="103.000">
  <testsuite name="group/api main" timestamp="2026-01-05T09:00:00+00:00" tests="4" failures="2" \
errors="0" skipped="1" time="98.000">
    <properties>
      <property name="pipeline" value="1234" />
      <property name="url" value="https://gitlab.example.com/group/api/-/pipelines/1234" />
      <property name="sha" value="aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" />
      <property name="status" value="failed" />
    </properties>
    <testcase name="compile" classname="group/api.build" time="52.000" />
    <testcase name="unit" classname="group/api.test" time="43.000">
      <failure message="script failure" type="script_failure">\
https://gitlab.example.com/group/api/-/jobs/2

assert 3 == 4
exit 1</failure>
    </testcase>
    <testcase name="lint" classname="group/api.test" time="3.000">
      <skipped message="failed, which is allowed: script failure" />
    </testcase>
"""


def cases(document: bytes) -> dict[str, str]:
    """The verdict of each case by its name: the tag of what it holds, or `passed`."""
    return {
        case.get("name", ""): case[0].tag if len(case) else "passed"
        for case in ET.fromstring(document).iter("testcase")  # noqa: S314 - our own document
    }


def test_each_pipeline_is_a_suite_and_each_job_a_case(scene: Scene) -> None:
    document = junit_report([scene.failed_downstream()]).decode()
    assert document.startswith(EXPECTED)
    suites = [
        suite.get("name")
        for suite in ET.fromstring(document).iter("testsuite")  # noqa: S314 - our own document
    ]
    assert suites == ["group/api main", "group/deploy main", "group/clusters main"]


@pytest.mark.parametrize(
    ("status", "started", "verdict"),
    [
        ("success", 1, "passed"),
        ("failed", 1, "failure"),
        ("failed", None, "failure"),
        ("skipped", None, "skipped"),
        ("manual", None, "skipped"),
        ("created", None, "skipped"),
        ("canceled", None, "skipped"),
        ("canceled", 1, "error"),
        ("running", 1, "error"),
    ],
)
def test_a_job_that_began_and_came_to_no_verdict_is_an_error(
    scene: Scene, status: str, started: float | None, verdict: str
) -> None:
    job = scene.job(1, "unit", status, started=started)
    assert cases(junit_report([scene.pipeline("running", job)])) == {"unit": verdict}


@pytest.mark.parametrize(
    ("status", "verdict"),
    [("success", "passed"), ("failed", "failure"), ("skipped", "skipped"), ("canceled", "error")],
)
def test_a_pipeline_without_jobs_is_one_case_and_never_green_by_absence(
    scene: Scene, status: str, verdict: str
) -> None:
    assert cases(junit_report([scene.pipeline(status)])) == {"pipeline": verdict}


def test_no_name_changes_from_run_to_run(scene: Scene) -> None:
    def names(number: int) -> list[tuple[str | None, str | None]]:
        pipeline = scene.pipeline("success", scene.job(number, "unit", "success"), number=number)
        root = ET.fromstring(junit_report([pipeline]))  # noqa: S314 - our own document
        return [(e.get("name"), e.get("classname")) for e in root.iter() if e.tag != "property"]

    assert names(1) == names(2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text())
def test_any_text_makes_a_document_that_can_be_read(scene: Scene, text: str) -> None:
    job = scene.job(1, f"{text}/{text}", "failed", log=(text,), failure_reason=text)
    pipeline = scene.pipeline("failed", job, project=text, ref=text)
    assert len(cases(junit_report([pipeline]))) == 1


def test_no_secret_reaches_the_file(scene: Scene) -> None:
    hide("glpat-secret-token")
    job = scene.job(1, "unit", "failed", log=("token glpat-secret-token",))
    assert b"glpat-secret-token" not in junit_report([scene.pipeline("failed", job)])


def test_the_file_is_written_however_the_wait_ends(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    before = scene.pipeline("running", scene.job(1, "unit", "running", started=1))
    after = scene.pipeline("failed", scene.job(1, "unit", "failed", started=1, ended=2))

    def wait_until_a_signal() -> None:
        with JUnitFile(path) as file:
            file.show(Found(scene.pipeline("pending")))
            file.show(Changed(before, scene.pipeline("pending")))
            raise Interrupted(15)

    with pytest.raises(Interrupted):
        wait_until_a_signal()
    assert cases(path.read_bytes()) == {"unit": "error"}
    with JUnitFile(path) as file:
        file.show(Found(before))
        file.show(Finished(PipelineFailedError("failed"), after))
    assert cases(path.read_bytes()) == {"unit": "failure"}


def test_a_file_that_cannot_be_written_is_a_warning(
    tmp_path: Path, stderr: Callable[[], list[str]]
) -> None:
    console.set_verbosity(0)
    with JUnitFile(tmp_path):
        pass
    assert stderr() == [f"warning: --junit {tmp_path} was not written: Is a directory"]
