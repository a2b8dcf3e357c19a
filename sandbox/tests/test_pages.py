"""The pages that a browser shows, at the addresses that results print."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import pytest
import requests

from sandbox import Access, Sandbox, tour
from sandbox.model import ENDED, ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.model import Project, User

RUNNING = ScriptedJob(
    name="end-to-end",
    timeline=((0, "running"),),
    trace="\x1b[32;1m$ sh <run>\x1b[0;m\r\nopening\r\n",
)
DOWNSTREAM = ScriptedPipeline(jobs=(RUNNING,))
BRIDGE = ScriptedJob(name="service-tests", timeline=((0, "running"),), downstream=DOWNSTREAM)


@pytest.fixture
def gitlab() -> Iterator[Sandbox]:
    with Sandbox(relative_root="/gitlab") as running:
        yield running


@pytest.fixture
def user(gitlab: Sandbox) -> User:
    return gitlab.add_user("executor")


@pytest.fixture
def project(gitlab: Sandbox, user: User) -> Project:
    return gitlab.add_project("group/<shop>", {"a": "b"}, members={user: Access.MAINTAINER})


def get(url: str) -> str:
    response = requests.get(url, timeout=10)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<script" not in response.text
    return response.text


def links(page: str) -> list[str]:
    return [unescape(link) for link in re.findall(r'href="([^"]+)"', page)]


def test_pages_link_from_the_project_to_a_downstream_job_log(
    gitlab: Sandbox, user: User, project: Project
) -> None:
    top = gitlab.add_pipeline(project, ScriptedPipeline(jobs=(BRIDGE,)), user=user)
    page = get(f"{gitlab.url}/group/%3Cshop%3E")
    assert "<h1>group/&lt;shop&gt;</h1>" in page
    _, to_pipeline = links(page)  # the newest, which is the child, comes first
    assert to_pipeline.endswith(f"/-/pipelines/{top.id}")
    page = get(to_pipeline)
    assert "service-tests" in page
    downstream = next(link for link in links(page) if "/pipelines/" in link)
    to_job = next(link for link in links(get(downstream)) if "/jobs/" in link)
    assert "<pre>$ sh &lt;run&gt;\r\nopening\r\n</pre>" in get(to_job)


def test_a_page_reloads_while_a_pipeline_is_active(
    gitlab: Sandbox, user: User, project: Project
) -> None:
    passed = ScriptedPipeline(jobs=(ScriptedJob(name="unit"),))
    done = gitlab.add_pipeline(project, passed, user=user)
    url = f"{gitlab.url}/{project.path}/-/pipelines"
    assert 'http-equiv="refresh"' not in get(f"{url}/{done.id}")
    running = gitlab.add_pipeline(project, DOWNSTREAM, user=user)
    assert 'http-equiv="refresh"' in get(f"{url}/{running.id}")


@pytest.mark.parametrize(
    "path", ["", "group", "group/other", "group/<shop>/-/pipelines/9", "a/b/-/x"]
)
def test_other_addresses_return_404(gitlab: Sandbox, project: Project, path: str) -> None:
    assert project.path
    assert requests.get(f"{gitlab.url}/{path}", timeout=10).status_code == 404


def test_every_project_of_the_tour_behaves_as_its_description_says(
    gitlab: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its jobs pause only for the eyes of a user.
    for stop in tour.STOPS.values():
        for path, text in stop.files.items():
            monkeypatch.setitem(stop.files, path, re.sub(r"sleep \d+", "sleep 0", text))
    token = tour.set_up(gitlab)
    text = tour.guide(gitlab.url, token)
    assert f"export CI_SERVER_URL={gitlab.url}\n" in text
    projects = {project.path: project for project in gitlab.state.projects.values()}
    started = {}
    for name in ("passes", "fails", "waits-for-a-person", "runs-downstream"):
        project = projects[f"tech-lunch/{name}"]
        assert f"{gitlab.url}/{project.path}" in text
        url = f"{gitlab.url}/api/v4/projects/{project.id}/pipeline?ref=main"
        headers = {"PRIVATE-TOKEN": token.secret}
        requests.post(url, headers=headers, timeout=10).raise_for_status()
        (started[name],) = gitlab.pipelines(project)
    stopped = {*ENDED, "manual"}
    gitlab.wait_until(lambda: all(each.status in stopped for each in started.values()))
    assert {name: pipeline.status for name, pipeline in started.items()} == {
        "passes": "success",
        "fails": "failed",
        "waits-for-a-person": "manual",
        "runs-downstream": "success",
    }
    assert [each.status for each in gitlab.pipelines(projects["tech-lunch/service-tests"])] == [
        "success"
    ]
