"""The JUnit report, as GitLab and Jenkins read it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cicd_common.cleaning import hide
from cicd_common.cli.verbosity import set_verbosity
from cicd_common.errors import Interrupted, NotFoundError, PipelineFailedError
from cicd_common.waiting.events import Changed, Finished, Found
from cicd_common.waiting.show.junit import JUnitFile, Waited, junit_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cicd_common.waiting.pipelines import Pipeline
    from tests.unit.cicd_common.waiting.show.conftest import Scene

EXPECTED = """\
<?xml version='1.0' encoding='utf-8'?>
<testsuites tests="7" failures="2" errors="0" skipped="3" time="103.000">
  <testsuite name="group/api" timestamp="2026-01-05T09:00:00+00:00" tests="4" failures="1" \
errors="0" skipped="2" time="98.000">
    <properties>
      <property name="pipeline" value="1234" />
      <property name="ref" value="main" />
      <property name="sha" value="aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" />
      <property name="status" value="failed" />
      <property name="url" value="https://gitlab.example.com/group/api/-/pipelines/1234" />
    </properties>
    <testcase name="compile" classname="group/api.build" time="52.000" />
    <testcase name="unit" classname="group/api.test" time="43.000">
      <failure message="script failure">script failure
https://gitlab.example.com/group/api/-/jobs/2

assert 3 == 4
exit 1</failure>
    </testcase>
    <testcase name="lint" classname="group/api.test" time="3.000">
      <skipped message="failed, which is allowed: script failure">\
failed, which is allowed: script failure
"""


def parsed(document: bytes) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314 - our own document


def cases(document: bytes) -> dict[str, str]:
    """The verdict of each case by its name: the tag of what it holds, or `passed`."""
    return {
        case.get("name", ""): case[0].tag if len(case) else "passed"
        for case in parsed(document).iter("testcase")
    }


def identities(document: bytes) -> list[tuple[str, str, str]]:
    """What GitLab knows a case by: its suite, class and name."""
    return [
        (suite.get("name", ""), case.get("classname", ""), case.get("name", ""))
        for suite in parsed(document).iter("testsuite")
        for case in suite.iter("testcase")
    ]


def failed(*pipelines: Pipeline) -> list[Waited]:
    return [Waited(each.project, each, "It failed.") for each in pipelines]


def passed(*pipelines: Pipeline) -> list[Waited]:
    return [Waited(each.project, each) for each in pipelines]


def test_each_pipeline_is_a_suite_and_each_job_a_case(scene: Scene) -> None:
    document = junit_report(failed(scene.failed_downstream()))
    assert document.decode().startswith(EXPECTED)
    assert [suite.get("name") for suite in parsed(document).iter("testsuite")] == [
        "group/api",
        "group/deploy > deploy",
        "group/clusters > deploy > clusters",
    ]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("success", "passed"),
        ("failed", "failure"),
        ("skipped", "skipped"),
        ("manual", "skipped"),
        ("created", "skipped"),
        ("canceled", "skipped"),
        ("running", "skipped"),
    ],
)
def test_a_test_case_shows_the_result_of_its_job(scene: Scene, status: str, verdict: str) -> None:
    job = scene.job(1, "unit", status, started=1)
    found = cases(junit_report(failed(scene.pipeline("running", job))))
    assert found.pop("unit") == verdict
    assert found == ({} if verdict == "failure" else {"pipeline": "error"})


def test_the_text_of_an_element_begins_with_the_reason(scene: Scene) -> None:
    job = scene.job(1, "unit", "failed", log=("exit 1",), failure_reason="runner_system_failure")
    document = junit_report(failed(scene.pipeline("failed", job)))
    (failure,) = parsed(document).iter("failure")
    assert (failure.text or "").splitlines()[0] == failure.get("message")
    assert (failure.text or "").endswith("exit 1")


@pytest.mark.parametrize("status", ["success", "failed", "skipped", "canceled", "manual"])
def test_a_pipeline_without_jobs_is_one_case_with_the_result_of_the_pipeline(
    scene: Scene, status: str
) -> None:
    pipeline = scene.pipeline(status)
    assert cases(junit_report(failed(pipeline))) == {"pipeline": "error"}
    verdict = "passed" if status == "success" else "skipped"
    assert cases(junit_report(passed(pipeline))) == {"pipeline": verdict}


def test_a_pipeline_that_was_not_found_is_an_error_with_its_reason() -> None:
    document = junit_report([Waited("a/b", None, "It never appeared.\nThe tag has no pipeline.")])
    (error,) = parsed(document).iter("error")
    assert identities(document) == [("a/b", "a/b", "pipeline")]
    assert error.text == "It never appeared.\nThe tag has no pipeline."


def test_a_failure_that_does_not_count_is_a_skipped_case(scene: Scene) -> None:
    below = scene.pipeline("failed", scene.job(2, "deploy", "failed"), number=2)
    optional = scene.job(1, "optional", "failed", allow_failure=True, downstream=below)
    apart = scene.job(3, "apart", "success", downstream=below)
    for job in (optional, apart):
        found = cases(junit_report(passed(scene.pipeline("success", job))))
        assert "failure" not in found.values()
        assert "error" not in found.values()
        assert found["deploy"] == "skipped"


def test_a_failure_below_an_optional_trigger_job_does_not_count_in_a_failed_pipeline(
    scene: Scene,
) -> None:
    below = scene.pipeline("failed", scene.job(2, "deploy", "failed"), number=2)
    optional = scene.job(1, "optional", "failed", allow_failure=True, downstream=below)
    unit = scene.job(3, "unit", "failed")
    found = cases(junit_report(failed(scene.pipeline("failed", optional, unit))))
    assert found == {"deploy": "skipped", "optional": "skipped", "unit": "failure"}


def test_a_trigger_job_is_not_a_second_failure_beside_the_failed_downstream_job(
    scene: Scene,
) -> None:
    below = scene.pipeline("failed", scene.job(2, "deploy", "failed"), number=2)
    trigger = scene.job(1, "trigger", "failed", downstream=below)
    document = junit_report(failed(scene.pipeline("failed", trigger)))
    assert cases(document) == {"trigger": "skipped", "deploy": "failure"}
    assert f"see {below.project} #2" in document.decode()


def test_every_case_is_unique_for_gitlab(scene: Scene) -> None:
    def child(number: int) -> Pipeline:
        jobs = (scene.job(number + 1, "unit", "failed"), scene.job(number + 2, "lint", "success"))
        return scene.pipeline("failed", *jobs, number=number)

    def parent(number: int) -> Pipeline:
        triggers = [
            scene.job(number + n, name, "failed", downstream=child(number + 10 * n))
            for n, name in enumerate(("eu", "us", "deploy: [a]", "deploy: [b]"), start=1)
        ]
        return scene.pipeline("failed", *triggers, number=number)

    document = junit_report(failed(parent(100), parent(200), parent(300)))
    found = identities(document)
    assert len(set(found)) == len(found) == 3 * (4 + 4 * 2)
    assert len(list(parsed(document).iter("failure"))) == 3 * 4


def test_case_names_are_the_same_in_every_run(scene: Scene) -> None:
    def names(number: int, ref: str) -> list[tuple[str, str, str]]:
        job = scene.job(number, "unit", "failed")
        return identities(
            junit_report(failed(scene.pipeline("failed", job, number=number, ref=ref)))
        )

    assert names(1, "v1") == names(2, "v2")


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(text=st.text())
def test_a_report_with_any_text_is_valid_xml(scene: Scene, text: str) -> None:
    job = scene.job(1, f"{text}/{text}", "failed", log=(text,), failure_reason=text)
    pipeline = scene.pipeline("failed", job, project=text, ref=text)
    assert len(identities(junit_report(failed(pipeline)))) == 1


def test_no_secret_is_written_to_the_file(scene: Scene) -> None:
    hide("glpat-secret-token")
    job = scene.job(1, "unit", "failed", log=("token glpat-secret-token",))
    assert b"glpat-secret-token" not in junit_report(failed(scene.pipeline("failed", job)))


def test_the_file_is_written_for_every_result_of_the_wait(scene: Scene, tmp_path: Path) -> None:
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
    assert cases(path.read_bytes()) == {"unit": "skipped", "pipeline": "error"}
    assert b"SIGTERM" in path.read_bytes()
    with JUnitFile(path) as file:
        file.show(Found(before))
        file.show(Finished(PipelineFailedError("failed"), after))
        file.show(Finished(NotFoundError("There is none."), project="group/absent"))
    assert cases(path.read_bytes()) == {"unit": "failure", "pipeline": "error"}


def test_a_signal_before_anything_was_found_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    with pytest.raises(Interrupted), JUnitFile(path):
        raise Interrupted(15)
    assert cases(path.read_bytes()) == {"pipeline": "error"}


def test_a_wait_without_pipelines_writes_an_empty_report(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    with JUnitFile(path):
        pass
    assert cases(path.read_bytes()) == {}


def test_a_file_that_cannot_be_written_is_a_warning(
    tmp_path: Path, stderr: Callable[[], list[str]]
) -> None:
    set_verbosity(0)
    with JUnitFile(tmp_path):
        pass
    assert stderr() == [f"warning: --junit {tmp_path} was not written: Is a directory"]
