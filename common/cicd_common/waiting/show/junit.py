"""A wait as a JUnit report: a suite for each pipeline, downstream ones too, a case for each job.

There is no schema; this is what GitLab (`Gitlab::Ci::Parsers::Test::Junit`) and Jenkins (its junit
plugin) read. They know no warning, so that a failure that is allowed is a skipped test, which says
so. GitLab recognises a test from run to run by the names of suite, class and case together, so that
none of them holds the pipeline's id.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from cicd_common.cleaning import redacted
from cicd_common.waiting.events import Presenter
from cicd_common.waiting.show.progress import Progress
from cicd_common.waiting.show.text import ALLOWED, STYLES, job_style, style_of, why_failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from cicd_common.waiting.events import Event
    from cicd_common.waiting.pipelines import Job, Pipeline

log = logging.getLogger(__name__)

# What is no character of XML 1.0: https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# The verdicts of a test that came to none: its job was stopped, or the wait ended before it did.
STARTED = frozenset({"running", "canceling", "canceled"})


class JUnitFile(Presenter):
    """Writes the report when the wait is over, however it ended.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._progress = Progress()

    def show(self, event: Event) -> None:
        """Takes in one event."""
        self._progress.note(event)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Writes the file; that it cannot be written does not hide how the wait ended."""
        pipelines = [watched.pipeline for watched in self._progress.watched.values()]
        try:
            self._path.write_bytes(junit_report(pipelines))
        except OSError as problem:
            log.warning("--junit %s was not written: %s", self._path, problem.strerror)


def junit_report(pipelines: Iterable[Pipeline]) -> bytes:
    """The report.

    Args:
        pipelines: As they were last seen, with the ends of the failed jobs' logs.

    Returns:
        An XML document.
    """
    root = ET.Element("testsuites")
    for pipeline in pipelines:
        for each in _with_downstream(pipeline):
            root.append(_suite(each))
    _count(root, root.iter("testcase"))
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _with_downstream(pipeline: Pipeline) -> Iterator[Pipeline]:
    yield pipeline
    for job in pipeline.jobs:
        if job.downstream:
            yield from _with_downstream(job.downstream)


def _suite(pipeline: Pipeline) -> ET.Element:
    suite = _element(
        "testsuite",
        name=f"{pipeline.project} {pipeline.ref}",
        timestamp=pipeline.created_at.isoformat(timespec="seconds"),
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in {
        "pipeline": str(pipeline.id),
        "url": pipeline.web_url,
        "sha": pipeline.sha,
        "status": pipeline.status,
    }.items():
        properties.append(_element("property", name=name, value=value))
    cases = [_case(job, pipeline) for job in pipeline.jobs] or [_pipeline_case(pipeline)]
    suite.extend(cases)
    _count(suite, cases)
    return suite


def _count(suite: ET.Element, cases: Iterable[ET.Element]) -> None:
    """Writes a suite's sums, which Jenkins counts itself and other readers show."""
    cases = list(cases)
    seconds = sum(float(case.get("time", "0")) for case in cases)
    suite.set("tests", str(len(cases)))
    for plural, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(plural, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{seconds:.3f}")


def _case(job: Job, pipeline: Pipeline) -> ET.Element:
    case = _element(
        "testcase",
        name=job.name,
        classname=f"{pipeline.project}.{job.stage}",
        time=f"{job.duration or 0:.3f}",
    )
    look = job_style(job)
    reason = why_failed(job)
    if look is STYLES[ALLOWED]:
        case.append(_element("skipped", message=f"failed, which is allowed: {reason}"))
    elif job.status == "failed":
        failure = _element("failure", message=reason, type=job.failure_reason)
        failure.text = _valid("\n".join([job.web_url, "", *job.log]))
        case.append(failure)
    elif job.status in STARTED and job.started_at:
        case.append(_element("error", message=look.word, type=job.status))
    elif job.status != "success":
        case.append(_element("skipped", message=look.word))
    return case


def _pipeline_case(pipeline: Pipeline) -> ET.Element:
    """The one case of a pipeline whose jobs are not known: an empty suite would look green."""
    case = _element("testcase", name="pipeline", classname=pipeline.project, time="0.000")
    word = style_of(pipeline.status).word
    if pipeline.status == "failed":
        failure = _element("failure", message=pipeline.yaml_errors or word, type=pipeline.status)
        failure.text = _valid(pipeline.web_url)
        case.append(failure)
    elif pipeline.status == "skipped":
        case.append(_element("skipped", message=word))
    elif pipeline.status != "success":
        case.append(_element("error", message=word, type=pipeline.status))
    return case


def _element(tag: str, **attributes: str) -> ET.Element:
    return ET.Element(tag, {name: _valid(value) for name, value in attributes.items()})


def _valid(text: str) -> str:
    """A text as XML can hold it, without any secret."""
    return _NO_XML.sub("", redacted(text))
