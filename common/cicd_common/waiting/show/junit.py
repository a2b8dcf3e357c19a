"""Writes a wait as a JUnit report: a suite for each pipeline, a case for each job.

There is no schema; this is what GitLab (`Gitlab::Ci::Parsers::Test::Junit`) and Jenkins (its junit
plugin) read. GitLab identifies a case by the names of its suite, class and case, and drops a second
one with the same names; so each suite's name is unique, and no name changes from run to run. GitLab
shows the text of an element, not its attributes. The report has a failure or an error only if the
wait failed: JUnit has no warnings, so an allowed failure is a skipped case whose text says so.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from cicd_common.cleaning import redacted
from cicd_common.cli.output import write_file
from cicd_common.errors import CommandError
from cicd_common.waiting.events import Finished, Presenter
from cicd_common.waiting.show.progress import Progress
from cicd_common.waiting.show.text import style_of, why_failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from cicd_common.waiting.events import Event
    from cicd_common.waiting.pipelines import Job, Pipeline

log = logging.getLogger(__name__)

# Characters that XML 1.0 does not allow: https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

ALLOWED = "failed, which is allowed"
INDEPENDENT = "failed, but the pipeline that was waited for does not depend on it"


@dataclass(frozen=True)
class Waited:
    """Describes one pipeline that was waited for.

    Attributes:
        project: The project's path; empty if it is not known.
        pipeline: The pipeline as it was last read; None if it was never found.
        problem: Why the wait for it failed, with the reason first; empty if it did not fail.
    """

    project: str
    pipeline: Pipeline | None
    problem: str = ""


class JUnitFile(Presenter):
    """Writes the report when the wait is over, however it ended.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._progress = Progress()
        self._finished: list[Finished] = []

    def show(self, event: Event) -> None:
        """Records one event."""
        self._progress.note(event)
        if isinstance(event, Finished):
            self._finished.append(event)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Writes the file; if that fails, the result of the wait is still reported."""
        try:
            write_file(self._path, junit_report(self._waited(error)))
        except OSError as problem:
            log.warning("--junit %s was not written: %s", self._path, problem.strerror)

    def _waited(self, error: BaseException | None) -> list[Waited]:
        """Returns what was waited for, in the order it was found; what was not found comes last."""
        ends = {each.pipeline.id: each for each in self._finished if each.pipeline is not None}
        waited = []
        for watched in self._progress.watched.values():
            end = ends.get(watched.pipeline.id)
            problem = _problem(end.outcome if end else error)
            waited.append(Waited(watched.pipeline.project, watched.pipeline, problem))
        waited += [
            Waited(each.project, None, _problem(each.outcome))
            for each in self._finished
            if each.pipeline is None
        ]
        if error is not None and not any(each.problem for each in waited):
            waited.append(Waited("", None, _problem(error)))
        return waited


def _problem(outcome: object) -> str:
    if isinstance(outcome, CommandError):
        return "\n".join(filter(None, (outcome.message, outcome.why, outcome.hint)))
    if isinstance(outcome, BaseException):
        return f"The wait was ended by {outcome or type(outcome).__name__}."
    return ""


def junit_report(waited: Sequence[Waited]) -> bytes:
    """Returns the JUnit report of a wait.

    Args:
        waited: The pipelines waited for, with the ends of the failed jobs' logs.

    Returns:
        An XML document.
    """
    report = _Report()
    for each in waited:
        report.add(each)
    root = report.root
    _count(root, root.iter("testcase"))
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


@dataclass
class _Report:
    """Builds a report step by step."""

    root: ET.Element = field(default_factory=lambda: ET.Element("testsuites"))
    names: set[str] = field(default_factory=set)

    def add(self, waited: Waited) -> None:
        """Adds the jobs of a pipeline and, if no job shows why the wait failed, an error."""
        counts = bool(waited.problem)
        name = self._unique(waited.project)
        if waited.pipeline is None:
            suite, failed = self._suite(name), False
        else:
            suite = self._suite(name, waited.pipeline)
            failed = self._add_jobs(suite, waited.pipeline, name, (), counts=counts)
        if counts and not failed:
            suite.append(_case("pipeline", name, "error", waited.problem))
        _count(suite, suite.iter("testcase"))

    def _add_jobs(
        self,
        suite: ET.Element,
        pipeline: Pipeline,
        name: str,
        trail: tuple[str, ...],
        *,
        counts: bool,
    ) -> bool:
        """Adds the jobs of a pipeline and of its downstream pipelines.

        Args:
            suite: The suite to add them to.
            pipeline: The pipeline.
            name: The suite's name.
            trail: The names of the trigger jobs that led here.
            counts: Whether a failure here makes the wait fail.

        Returns:
            Whether there is a failure that counts.
        """
        failed = False
        for job in pipeline.jobs:
            counting = counts and not job.allow_failure
            below = job.downstream is not None and self._add_downstream(
                job.downstream, (*trail, job.name), counts=counting and job.status != "success"
            )
            case = _job_case(job, f"{name}.{job.stage}", counts=counting, below=below)
            suite.append(case)
            failed = failed or below or case.find("failure") is not None
        if not pipeline.jobs and not counts:
            word = style_of(pipeline.status).word
            passed = pipeline.status == "success"
            suite.append(_case("pipeline", name, "" if passed else "skipped", word))
        _count(suite, suite.iter("testcase"))
        return failed

    def _add_downstream(self, pipeline: Pipeline, trail: tuple[str, ...], *, counts: bool) -> bool:
        name = self._unique(" > ".join((pipeline.project, *trail)))
        suite = self._suite(name, pipeline)
        return self._add_jobs(suite, pipeline, name, trail, counts=counts)

    def _suite(self, name: str, pipeline: Pipeline | None = None) -> ET.Element:
        suite = _element("testsuite", name=name)
        self.root.append(suite)
        if pipeline is None:
            return suite
        suite.set("timestamp", pipeline.created_at.isoformat(timespec="seconds"))
        properties = ET.SubElement(suite, "properties")
        for key, value in {
            "pipeline": str(pipeline.id),
            "ref": pipeline.ref,
            "sha": pipeline.sha,
            "status": pipeline.status,
            "url": pipeline.web_url,
        }.items():
            properties.append(_element("property", name=key, value=value))
        return suite

    def _unique(self, name: str) -> str:
        """Returns the name, followed by ` (2)` and so on if another suite has it already."""
        numbers = (f" ({number})" for number in range(2, len(self.names) + 3))
        free = next(end for end in ("", *numbers) if name + end not in self.names)
        self.names.add(name + free)
        return name + free


def _job_case(job: Job, classname: str, *, counts: bool, below: bool) -> ET.Element:
    """Returns the test case of a job.

    Args:
        job: The job.
        classname: The case's class name.
        counts: Whether its failure makes the wait fail.
        below: Whether a pipeline that it started shows why it failed.
    """
    kind, text = _verdict(job, counts=counts, below=below)
    case = _case(job.name, classname, kind, text)
    case.set("time", f"{job.duration or 0:.3f}")
    return case


def _verdict(job: Job, *, counts: bool, below: bool) -> tuple[str, str]:
    """Returns the kind of element in a job's test case (empty if none), and its text."""
    if job.status == "success":
        return "", ""
    if job.status != "failed":
        return "skipped", style_of(job.status).word
    if below and job.downstream:
        return "skipped", f"see {job.downstream.project} #{job.downstream.id}"
    lines = [why_failed(job), job.web_url, "", *job.log]
    if counts:
        return "failure", "\n".join(lines)
    lines[0] = f"{ALLOWED if job.allow_failure else INDEPENDENT}: {lines[0]}"
    return "skipped", "\n".join(lines)


def _case(name: str, classname: str, kind: str, text: str) -> ET.Element:
    """Returns a test case; with a kind, it holds an element of that kind with the text."""
    case = _element("testcase", name=name, classname=classname, time="0.000")
    if kind:
        verdict = _element(kind, message=text.partition("\n")[0])
        verdict.text = _valid(text)
        case.append(verdict)
    return case


def _count(suite: ET.Element, cases: Iterator[ET.Element]) -> None:
    """Writes the totals of a suite; Jenkins counts by itself, but other readers show them."""
    found = list(cases)
    seconds = sum(float(case.get("time", "0")) for case in found)
    suite.set("tests", str(len(found)))
    for plural, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(plural, str(sum(case.find(tag) is not None for case in found)))
    suite.set("time", f"{seconds:.3f}")


def _element(tag: str, **attributes: str) -> ET.Element:
    return ET.Element(tag, {name: _valid(value) for name, value in attributes.items()})


def _valid(text: str) -> str:
    """Returns a text without secrets and without characters that XML does not allow."""
    return _NO_XML.sub("", redacted(text))
