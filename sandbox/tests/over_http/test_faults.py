"""What goes wrong on purpose, what is recorded, and the sandbox on its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import requests

from sandbox import Fault, ManualClock, Sandbox
from sandbox.testing import Api, outcome, serving

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.model import Project, Token

PROJECT = "/projects/tech-lunch%2Fservice-tests"
TAGS = f"{PROJECT}/repository/tags"


def test_a_reset_before_the_request_changes_nothing(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    fault = gitlab.fault(Fault(method="POST", path=r"/tags$", nth=1, reset="before"))
    with pytest.raises(requests.ConnectionError):
        api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
    assert gitlab.tags(project) == {}
    assert fault.fired == 1
    assert [request.status for request in gitlab.requests] == [None]


def test_a_reset_after_the_request_loses_only_the_response(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    gitlab.fault(Fault(method="POST", reset="after"))
    with pytest.raises(requests.ConnectionError):
        api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
    assert list(gitlab.tags(project)) == ["v1"]


def test_a_response_is_cut_off_in_the_middle(gitlab: Sandbox, api: Api) -> None:
    gitlab.fault(Fault(path="/version", truncate=True, first=1))
    with pytest.raises(requests.RequestException):
        api.get("/version")
    assert api.get("/version").status_code == 200


def test_a_delay_is_longer_than_the_timeout_of_a_client(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    gitlab.fault(Fault(method="POST", delay_after=60))
    with pytest.raises(requests.Timeout):
        api.post(TAGS, json={"tag_name": "v1", "ref": "main"}, timeout=0.2)
    gitlab.wait_until(lambda: list(gitlab.tags(project)) == ["v1"])


def test_a_request_can_take_effect_after_its_response() -> None:
    clock = ManualClock()
    with serving(clock=clock) as world:
        world.gitlab.fault(Fault(method="POST", status=504, carried_out_after=10))
        answer = world.api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
        assert answer.status_code == 504
        clock.advance(9)
        assert world.api.get(TAGS).json() == []
        clock.advance(1)
        assert [tag["name"] for tag in world.api.get(TAGS).json()] == ["v1"]


def test_a_request_can_take_effect_after_its_connection_was_reset() -> None:
    clock = ManualClock()
    with serving(clock=clock) as world:
        world.gitlab.fault(Fault(method="POST", reset="after", carried_out_after=10))
        with pytest.raises(requests.ConnectionError):
            world.api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
        assert world.gitlab.tags(world.project) == {}
        clock.advance(10)
        assert len(world.api.get(TAGS).json()) == 1


def test_a_response_can_arrive_slowly(gitlab: Sandbox, api: Api) -> None:
    gitlab.fault(Fault(drip=0.0005, nth=1))
    assert api.get("/version").json()["version"]
    gitlab.fault(Fault(drip=60))
    with pytest.raises(requests.Timeout):
        api.get("/version", timeout=0.2)


def test_a_list_can_have_endless_pages(gitlab: Sandbox, project: Project, api: Api) -> None:
    gitlab.tag(project, "v1")
    gitlab.fault(Fault(path="/tags", endless=True))
    following = api.get(TAGS).headers["X-Next-Page"]
    assert following == "2"
    link = api.get(f"{TAGS}?page={following}&per_page=1").links["next"]["url"]
    assert link.endswith("/tags?page=3&per_page=1")


@pytest.mark.parametrize("content", [[], {"version": 1}, "text", None, 7])
def test_a_response_can_have_another_content_type(
    gitlab: Sandbox, api: Api, content: object
) -> None:
    gitlab.fault(Fault(path="/version", edit=lambda _: content))
    assert outcome(api.get("/version")) == (200, content)


def test_requests_are_recorded(gitlab: Sandbox, token: Token, api: Api) -> None:
    api.get("/users?username=x")
    [record] = gitlab.requests
    path = "/api/v4/users?username=x"
    assert (record.method, record.path, record.status) == ("GET", path, 200)
    assert record.headers["private-token"] == token.secret
    gitlab.requests.clear()
    assert gitlab.requests == []


def test_a_stopped_sandbox_leaves_no_threads_or_files() -> None:
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


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_command_prints_its_address_and_leaves_no_files(
    tmp_path: Path, end: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--gitlab-version", "18.2"],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    ) as process:
        assert process.stdout is not None
        settings = (line for line in process.stdout if re.match(r"export C\w+=", line))
        said = dict(next(settings).split()[1].split("=", 1) for _ in range(2))
        base = f"{said['CI_SERVER_URL']}/api/v4"
        headers = {"PRIVATE-TOKEN": said["COMMANDS_API_TOKEN"]}
        answers = [
            outcome(requests.get(base + path, headers=headers, timeout=10))
            for path in (TAGS, "/version")
        ]
        process.send_signal(end)
    assert answers[0] == (200, [])
    assert answers[1][1]["version"] == "18.2.0"
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []
