"""Plain HTML pages at the addresses that results print: projects, pipelines, jobs with their logs.

They need no script and no login. While something runs, a page loads itself again.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from sandbox.entities import job_url, pipeline_url, project_url
from sandbox.model import ENDED
from sandbox.permissions import find_project
from sandbox.web import Response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.model import Job, Pipeline, Project, State

_PATH = re.compile(
    r"/(?P<project>[^/]+(?:/(?!-/)[^/]+)+)"
    r"(?:/-/(?P<kind>pipelines|jobs)(?:/(?P<id>\d+))?)?/?"
)
_CONTROLS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|section_(?:start|end):\d+:[^\r\n]*\r|\r(?!\n)")
_HEADERS = {"Content-Type": "text/html; charset=utf-8"}
_RELOAD = '<meta http-equiv="refresh" content="2">'
_STYLE = """
body { font: 16px sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em }
table { border-collapse: collapse } td, th { padding: .3em 1em .3em 0; text-align: left }
pre { background: #222; color: #eee; padding: 1em; white-space: pre-wrap }
"""


def answer(state: State, path: str) -> Response | None:
    """Returns the page at a path, or None if there is none; call it with `State.lock` held.

    Args:
        state: The records.
        path: The path, without the server's own prefix.
    """
    asked = _PATH.fullmatch(path)
    project = find_project(state, asked["project"]) if asked else None
    if asked is None or project is None:
        return None
    if asked["id"] is None:
        return _project(state, project)
    if asked["kind"] == "pipelines":
        pipeline = state.pipelines.get(int(asked["id"]))
        return _pipeline(state, pipeline) if pipeline and pipeline.project is project else None
    job = state.jobs.get(int(asked["id"]))
    return _job(state, job) if job and job.pipeline.project is project else None


def _project(state: State, project: Project) -> Response:
    """A project's pipelines, the newest first."""
    found = [each for each in state.pipelines.values() if each.project is project]
    newest = sorted(found, key=lambda each: each.id, reverse=True)
    rows = [
        (_link(pipeline_url(state, each), f"#{each.id}"), escape(each.status), escape(each.ref))
        for each in newest
    ]
    body = _table(("Pipeline", "Status", "Ref"), rows) if rows else "<p>No pipeline yet.</p>"
    return _page(project.path, body, active=any(each.status not in ENDED for each in newest))


def _pipeline(state: State, pipeline: Pipeline) -> Response:
    """A pipeline's jobs, and the pipelines that they started."""
    rows = []
    for job in pipeline.jobs:
        name = escape(job.name) if job.bridge else _link(job_url(state, job), job.name)
        below = job.downstream
        started = _link(pipeline_url(state, below), f"#{below.id}") if below else ""
        rows.append((escape(job.stage), name, escape(job.status), started))
    project = _link(project_url(state, pipeline.project), pipeline.project.path)
    status = f"<p><b>{escape(pipeline.status)}</b>, on {escape(pipeline.ref)} of {project}</p>"
    errors = f"<pre>{escape(pipeline.yaml_errors)}</pre>" if pipeline.yaml_errors else ""
    table = _table(("Stage", "Job", "Status", "Downstream"), rows)
    return _page(
        f"Pipeline #{pipeline.id}", status + errors + table, active=pipeline.status not in ENDED
    )


def _job(state: State, job: Job) -> Response:
    """A job's log."""
    of = _link(pipeline_url(state, job.pipeline), f"pipeline #{job.pipeline.id}")
    log = _CONTROLS.sub("", job.trace.decode("utf-8", "replace"))
    body = f"<p><b>{escape(job.status)}</b>, of {of}</p><pre>{escape(log)}</pre>"
    return _page(f"Job {job.name}", body, active=job.status not in ENDED)


def _page(title: str, body: str, *, active: bool) -> Response:
    head = f'<meta charset="utf-8">{_RELOAD if active else ""}<title>{escape(title)}</title>'
    text = (
        f"<!DOCTYPE html><html lang=en><head>{head}<style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return Response(200, text.encode(), _HEADERS)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; the cells are HTML."""
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><tr>{titles}</tr>{body}</table>"


def _link(url: str, text: str) -> str:
    return f'<a href="{escape(url)}">{escape(text)}</a>'
