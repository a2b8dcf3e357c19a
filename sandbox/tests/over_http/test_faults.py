"""What goes wrong on purpose, what is recorded, and the sandbox on its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import requests

from sandbox import Fault, Sandbox
from sandbox.testing import Api, outcome

if TYPE_CHECKING:
    from sandbox.model import Project, Token

PROJECT = "/projects/tech-lunch%2Fservice-tests"
TAGS = f"{PROJECT}/repository/tags"


def test_a_reset_before_the_request_leaves_nothing_behind(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    fault = gitlab.fault(Fault(method="POST", path=r"/tags$", nth=1, reset="before"))
    with pytest.raises(requests.ConnectionError):
        api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
    assert gitlab.tags(project) == {}
    assert fault.fired == 1
    assert [request.status for request in gitlab.requests] == [None]


def test_a_reset_after_the_request_loses_the_answer_alone(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    gitlab.fault(Fault(method="POST", reset="after"))
    with pytest.raises(requests.ConnectionError):
        api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
    assert list(gitlab.tags(project)) == ["v1"]


def test_an_answer_breaks_off_half_way(gitlab: Sandbox, api: Api) -> None:
    gitlab.fault(Fault(path="/version", truncate=True, first=1))
    with pytest.raises(requests.RequestException):
        api.get("/version")
    assert api.get("/version").status_code == 200


def test_a_delay_outlasts_a_client(gitlab: Sandbox, project: Project, api: Api) -> None:
    gitlab.fault(Fault(method="POST", delay_after=60))
    with pytest.raises(requests.Timeout):
        api.post(TAGS, json={"tag_name": "v1", "ref": "main"}, timeout=0.2)
    gitlab.wait_until(lambda: list(gitlab.tags(project)) == ["v1"])


def test_requests_are_recorded(gitlab: Sandbox, token: Token, api: Api) -> None:
    api.get("/users?username=x")
    [record] = gitlab.requests
    path = "/api/v4/users?username=x"
    assert (record.method, record.path, record.status) == ("GET", path, 200)
    assert record.headers["private-token"] == token.secret
    gitlab.requests.clear()
    assert gitlab.requests == []


def test_the_end_leaves_neither_threads_nor_files() -> None:
    def ask(url: str) -> None:
        with suppress(requests.ConnectionError):  # answered or cut off, but not kept waiting
            requests.get(url, timeout=60)

    before = threading.active_count()
    with Sandbox() as gitlab:
        root = gitlab.state.root
        gitlab.fault(Fault(delay=60))
        patient = threading.Thread(target=ask, args=[gitlab.url])
        patient.start()
        gitlab.wait_until(lambda: bool(gitlab.requests))
    patient.join()
    assert threading.active_count() == before
    assert not root.exists()


def test_on_its_own_it_says_how_to_reach_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))
        answer = requests.get(
            f"{said['GITLAB_SERVER_BASE_URL']}{'/api/v4' + TAGS}",
            headers={"PRIVATE-TOKEN": said["COMMANDS_API_TOKEN"]},
            timeout=10,
        )
        process.send_signal(signal.SIGINT)
    assert outcome(answer) == (200, [])
    assert process.returncode == 0
