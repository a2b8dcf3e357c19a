"""The sandbox's cable behaves as GitLab's: handshake, frames, subscriptions, faults."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from sandbox import Access, Fault, Sandbox, ScriptedJob, ScriptedPipeline, scripted
from sandbox.world import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

    from sandbox.model import Pipeline, Project, Token, User

GOING = ScriptedPipeline(timeline=((0, "running"),))
QUERY = (
    "subscription P($id: CiPipelineID!) { ciPipelineStatusUpdated(pipelineId: $id) { id status } }"
)


@contextmanager
def cable(
    gitlab: Sandbox, secret: str = "", *, origin: str | None = "", root: str = ""
) -> Iterator[ClientConnection]:
    server = gitlab.url.removesuffix(root)
    with connect(
        f"{gitlab.url.replace('http', 'ws', 1)}/-/cable",
        origin=server if origin == "" else origin,  # type: ignore[arg-type]  # a NewType of str
        subprotocols=["actioncable-v1-json", "actioncable-unsupported"],  # type: ignore[list-item]  # the same
        additional_headers={"Authorization": f"Bearer {secret}"} if secret else {},
        compression=None,
        close_timeout=1,
        ping_interval=None,  # its thread would end some time after the connection
    ) as connection:
        yield connection


def receive(connection: ClientConnection) -> dict[str, Any]:
    """The next message that is no ping."""
    while True:
        message: dict[str, Any] = json.loads(connection.recv(timeout=PATIENCE))
        if message.get("type") != "ping":
            return message


def subscribe(connection: ClientConnection, pipeline_id: object, **changes: str) -> str:
    identifier = json.dumps(
        {
            "channel": "GraphqlChannel",
            "query": QUERY,
            "variables": {"id": f"gid://gitlab/Ci::Pipeline/{pipeline_id}"},
            "operationName": "P",
            "nonce": "1",
            **changes,
        }
    )
    connection.send(json.dumps({"command": "subscribe", "identifier": identifier}))
    return identifier


def subscribed(connection: ClientConnection, pipeline: Pipeline) -> str:
    assert receive(connection) == {"type": "welcome"}
    identifier = subscribe(connection, pipeline.id)
    assert receive(connection) == {
        "identifier": identifier,
        "message": {"result": {"data": {"ciPipelineStatusUpdated": None}}, "more": True},
    }
    assert receive(connection) == {"identifier": identifier, "type": "confirm_subscription"}
    return identifier


def event(identifier: str, pipeline: Pipeline, status: str) -> dict[str, Any]:
    data = {"id": f"gid://gitlab/Ci::Pipeline/{pipeline.id}", "status": status}
    result = {"data": {"ciPipelineStatusUpdated": data}}
    return {"identifier": identifier, "message": {"result": result, "more": True}}


def cancel(gitlab: Sandbox, pipeline: Pipeline) -> None:
    with gitlab.state.lock:
        scripted.Director(gitlab.state).cancel(pipeline)


@pytest.fixture
def pipeline(gitlab: Sandbox, project: Project, executor: User) -> Pipeline:
    return gitlab.add_pipeline(project, GOING, user=executor)


# The handshake


@pytest.mark.parametrize("origin", [None, "https://gitlab.example.com", "null"])
def test_a_wrong_origin_gets_404(gitlab: Sandbox, token: Token, origin: str | None) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        cable(gitlab, token.secret, origin=origin),
    ):
        pass
    response = refused.value.response
    assert (response.status_code, response.body) == (404, b"Page not found")
    assert [request.status for request in gitlab.requests] == [404]


def test_the_origin_has_no_path_and_the_cable_is_under_the_relative_url_root() -> None:
    with Sandbox(run_jobs=False, relative_root="/gitlab") as gitlab:
        token = gitlab.add_token(gitlab.add_user("ci-cd-executor"))
        with cable(gitlab, token.secret, root="/gitlab") as connection:
            assert receive(connection) == {"type": "welcome"}
            assert connection.subprotocol == "actioncable-v1-json"
        with pytest.raises(InvalidStatus), cable(gitlab, token.secret, origin=gitlab.url):
            pass


def test_a_request_without_an_upgrade_gets_404(gitlab: Sandbox) -> None:
    answer = requests.get(f"{gitlab.url}/-/cable", timeout=PATIENCE)
    assert (answer.status_code, answer.text) == (404, "Page not found")


@pytest.mark.parametrize("scope", ["api", "read_api"])
def test_a_token_with_the_scope_opens_the_connection(
    gitlab: Sandbox, executor: User, scope: str
) -> None:
    token = gitlab.add_token(executor, scopes=[scope])
    with cable(gitlab, token.secret) as connection:
        assert receive(connection) == {"type": "welcome"}


def bad_secrets(gitlab: Sandbox, user: User, project: Project) -> dict[str, str]:
    past = gitlab.state.clock.now() - timedelta(days=1)
    return {
        "unknown": "glpat-unknown",
        "revoked": gitlab.add_token(user, revoked=True).secret,
        "expired": gitlab.add_token(user, expires_at=past).secret,
        "scope": gitlab.add_token(user, scopes=["write_repository"]).secret,
        "job": gitlab.add_running_job(project, user).token,
    }


@pytest.mark.parametrize("kind", ["unknown", "revoked", "expired", "scope", "job"])
def test_a_bad_token_is_rejected_after_the_handshake(
    gitlab: Sandbox, executor: User, project: Project, kind: str
) -> None:
    with cable(gitlab, bad_secrets(gitlab, executor, project)[kind]) as connection:
        told = {"type": "disconnect", "reason": "unauthorized", "reconnect": False}
        assert receive(connection) == told
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=PATIENCE)
    assert [request.status for request in gitlab.requests] == [101]


# Subscriptions


def test_a_change_is_pushed(gitlab: Sandbox, token: Token, pipeline: Pipeline) -> None:
    with cable(gitlab, token.secret) as connection:
        identifier = subscribed(connection, pipeline)
        cancel(gitlab, pipeline)
        assert receive(connection) == event(identifier, pipeline, "CANCELED")


def test_a_change_of_a_stage_is_pushed_too(
    gitlab: Sandbox, token: Token, project: Project, executor: User
) -> None:
    jobs = (
        ScriptedJob(name="build", stage="build", timeline=((0, "running"),)),
        ScriptedJob(name="test", stage="test", timeline=((0, "created"),)),
    )
    pipeline = gitlab.add_pipeline(project, ScriptedPipeline(jobs=jobs), user=executor)
    with cable(gitlab, token.secret) as connection:
        identifier = subscribed(connection, pipeline)
        gitlab.finish(pipeline.jobs[0])
        assert receive(connection) == event(identifier, pipeline, "RUNNING")
        gitlab.finish(pipeline.jobs[1], "failed")
        changed = [event(identifier, pipeline, "FAILED")] * 2  # the stage's and the pipeline's
        assert [receive(connection), receive(connection)] == changed


def test_a_pipeline_whose_jobs_run_is_pushed_too(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with Sandbox(job_environment={"GO": str(go)}) as gitlab:
        user = gitlab.add_user("ci-cd-executor")
        project = gitlab.add_project("group/name", {"a": "b"}, members={user: Access.MAINTAINER})
        job = 'job: {script: ["until [ -e $GO ]; do sleep 0.02; done"]}\n'
        gitlab.commit(project, {".gitlab-ci.yml": job})
        (pipeline,) = gitlab.pipelines(project)
        gitlab.wait_until(lambda: pipeline.status == "running")
        with cable(gitlab, gitlab.add_token(user).secret) as connection:
            identifier = subscribed(connection, pipeline)
            go.touch()
            assert receive(connection) == event(identifier, pipeline, "SUCCESS")


@pytest.mark.parametrize("hidden", [True, False], ids=["hidden", "missing"])
def test_a_pipeline_that_cannot_be_seen_is_confirmed_with_an_error(
    gitlab: Sandbox, pipeline: Pipeline, *, hidden: bool
) -> None:
    stranger = gitlab.add_token(gitlab.add_user("stranger"))
    with cable(gitlab, stranger.secret) as connection:
        assert receive(connection) == {"type": "welcome"}
        identifier = subscribe(connection, pipeline.id if hidden else 4711)
        error = {
            "message": "Unauthorized subscription",
            "locations": [{"line": 1, "column": 38}],
            "path": ["ciPipelineStatusUpdated"],
        }
        result = {"data": {"ciPipelineStatusUpdated": None}, "errors": [error]}
        assert receive(connection)["message"] == {"result": result, "more": True}
        assert receive(connection) == {"identifier": identifier, "type": "confirm_subscription"}
        assert gitlab.cable.subscriptions == []


def test_an_anonymous_client_sees_only_public_pipelines(
    gitlab: Sandbox, project: Project, pipeline: Pipeline
) -> None:
    with cable(gitlab) as connection:
        assert receive(connection) == {"type": "welcome"}
        subscribe(connection, pipeline.id)
        assert "errors" in receive(connection)["message"]["result"]
    project.visibility = "public"
    with cable(gitlab) as connection:
        subscribed(connection, pipeline)


@pytest.mark.parametrize(
    ("old", "new", "kind", "name", "path"),
    [
        ("ciPipelineStatusUpdated", "ciPipeline", "Subscription", "ciPipeline", ["subscription P"]),
        ("status", "state", "Pipeline", "state", ["subscription P", "ciPipelineStatusUpdated"]),
    ],
)
def test_an_unknown_field_is_an_error(
    gitlab: Sandbox, token: Token, pipeline: Pipeline, old: str, new: str, kind: str, name: str,
    path: list[str],
) -> None:  # fmt: skip
    query = QUERY.replace(old + " }", new + " }").replace(old + "(", new + "(")
    with cable(gitlab, token.secret) as connection:
        assert receive(connection) == {"type": "welcome"}
        subscribe(connection, pipeline.id, query=query)
        (error,) = receive(connection)["message"]["result"]["errors"]
    assert error == {
        "message": f"Field '{name}' doesn't exist on type '{kind}'",
        "locations": [{"line": 1, "column": query.index(new) + 1}],
        "path": [*path, name],
        "extensions": {"code": "undefinedField", "typeName": kind, "fieldName": name},
    }


def test_messages_that_gitlab_ignores_get_no_response(
    gitlab: Sandbox, token: Token, pipeline: Pipeline
) -> None:
    with cable(gitlab, token.secret) as connection:
        identifier = subscribed(connection, pipeline)
        subscribe(connection, pipeline.id)  # a duplicate
        subscribe(connection, "no number", nonce="2")
        subscribe(connection, pipeline.id, nonce="3", channel="OtherChannel")
        execute = {"command": "message", "identifier": identifier, "data": '{"action":"execute"}'}
        connection.send(json.dumps(execute))
        other = subscribe(connection, pipeline.id, nonce="4")
        assert receive(connection)["identifier"] == other  # the next answer
        assert receive(connection)["identifier"] == other
        assert gitlab.cable.subscriptions == [pipeline.id] * 2


def test_after_unsubscribing_nothing_is_pushed(
    gitlab: Sandbox, token: Token, pipeline: Pipeline
) -> None:
    with cable(gitlab, token.secret) as connection:
        first = subscribed(connection, pipeline)
        second = subscribe(connection, pipeline.id, nonce="2")
        connection.send(json.dumps({"command": "unsubscribe", "identifier": first}))
        gitlab.wait_until(lambda: len(gitlab.cable.received) == 3)
        gitlab.wait_until(lambda: gitlab.cable.subscriptions == [pipeline.id])
        cancel(gitlab, pipeline)
        got = [receive(connection) for _ in range(3)]
        assert {message["identifier"] for message in got} == {second}


# Time, and what goes wrong


def test_the_server_sends_pings(gitlab: Sandbox, token: Token) -> None:
    gitlab.cable.ping_every = 0.05
    with cable(gitlab, token.secret) as connection:
        assert receive(connection) == {"type": "welcome"}
        ping = json.loads(connection.recv(timeout=PATIENCE))
        assert ping == {"type": "ping", "message": pytest.approx(ping["message"], abs=0)}
        assert isinstance(ping["message"], int)


def test_a_revoked_token_loses_its_subscriptions_without_a_message(
    gitlab: Sandbox, token: Token, pipeline: Pipeline
) -> None:
    gitlab.cable.ping_every = gitlab.cable.check_every = 0.05
    with cable(gitlab, token.secret) as connection:
        subscribed(connection, pipeline)
        token.revoked = True
        gitlab.wait_until(lambda: gitlab.cable.subscriptions == [])
        cancel(gitlab, pipeline)
        messages = [json.loads(connection.recv(timeout=PATIENCE))["type"] for _ in range(3)]
        assert messages == ["ping"] * 3


def test_a_test_can_make_the_server_lose_events(
    gitlab: Sandbox, token: Token, pipeline: Pipeline
) -> None:
    gitlab.cable.faults.dropped = frozenset({2})
    gitlab.cable.faults.drops_ends = True
    with cable(gitlab, token.secret) as connection:
        identifier = subscribed(connection, pipeline)
        for _ in range(3):
            gitlab.cable.announce(pipeline)
        cancel(gitlab, pipeline)
        gitlab.wait_until(lambda: pipeline.status == "canceled")
        gitlab.cable.restart()
        got = [receive(connection) for _ in range(3)]
    running = event(identifier, pipeline, "RUNNING")
    restart = {"type": "disconnect", "reason": "server_restart", "reconnect": True}
    assert got == [running, running, restart]


def test_a_test_can_cut_the_connection(gitlab: Sandbox, token: Token) -> None:
    with cable(gitlab, token.secret) as connection:
        assert receive(connection) == {"type": "welcome"}
        gitlab.cable.cut()
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=PATIENCE)
    gitlab.wait_until(lambda: gitlab.cable.connections == 0)


def test_fault_rules_apply_to_the_handshake(gitlab: Sandbox, token: Token) -> None:
    gitlab.fault(Fault(path="/-/cable$", status=503))
    with pytest.raises(InvalidStatus, match="503"), cable(gitlab, token.secret):
        pass


def test_stopping_the_sandbox_closes_connections_and_threads(executor: User) -> None:
    del executor
    before = set(threading.enumerate())
    with Sandbox(run_jobs=False) as gitlab:
        token = gitlab.add_token(gitlab.add_user("ci-cd-executor"))
        client = cable(gitlab, token.secret)
        connection = client.__enter__()
        assert receive(connection) == {"type": "welcome"}
    with pytest.raises(ConnectionClosed):
        connection.recv(timeout=PATIENCE)
    client.__exit__(None, None, None)
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()
