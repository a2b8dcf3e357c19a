"""What is heard from a server that pushes as GitLab does, over real sockets."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cicd_common.gitlab.tokens import Token, TokenKind
from cicd_common.waiting.push import cable
from cicd_common.waiting.push import listener as push_module
from sandbox import Fault

OFF = "No push from GitLab for the rest of this run: "
UNKNOWN = "Field 'ciPipelineStatusUpdated' doesn't exist on type 'Subscription'"

A_DAY = 86400


def off_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text.removeprefix(OFF) for text in caplog.messages if text.startswith(OFF)]


def test_a_change_is_a_hint_for_the_project(world: Any) -> None:
    pipeline = world.add()
    hint = {str(world.project.id)}
    with world.push() as push:
        assert not push.covers(pipeline.id)
        push.listen(world.record(pipeline))
        assert world.hints() == hint  # the confirmation
        assert push.covers(pipeline.id)
        assert not push.covers(pipeline.id + 1)
        world.change(pipeline)
        assert world.hints() == hint
    world.gitlab.wait_until(lambda: world.gitlab.cable.connections == 0)


def test_one_connection_serves_all_pipelines_and_their_downstream_pipelines(
    world: Any, until: Any
) -> None:
    first, second, below, deeper = (world.add() for _ in range(4))
    record = world.record
    with world.push() as push:
        push.listen(record(first))
        push.listen(record(second, record(below, record(deeper))))
        push.listen(record(second))
        until(lambda: len(world.gitlab.cable.subscriptions) == 4)
        numbers = {first.id, second.id, below.id, deeper.id}
        assert set(world.gitlab.cable.subscriptions) == numbers
        assert world.gitlab.cable.accepted == 1
        until(lambda: all(map(push.covers, numbers)))
        world.hints()
        world.gitlab.cable.announce(deeper)
        until(lambda: world.clock.take_hints() == {str(world.project.id)})


def test_the_handshake_has_the_headers_of_gitlab_and_the_token_only_in_a_header(world: Any) -> None:
    with world.push() as push:
        push.listen(world.record(world.add()))
        world.hints()
    (request,) = world.gitlab.requests
    assert request.path == "/-/cable"
    assert request.headers["Origin"] == world.gitlab.url
    assert request.headers["Authorization"] == f"Bearer {world.token.secret}"
    assert (
        request.headers["Sec-WebSocket-Protocol"] == "actioncable-v1-json, actioncable-unsupported"
    )
    assert request.headers["User-Agent"].startswith("ci-cd-commands/")
    assert "PRIVATE-TOKEN" not in request.headers
    assert not any("execute" in str(command) for command in world.gitlab.cable.received)


def test_no_connection_is_opened_before_the_first_pipeline(world: Any) -> None:
    with world.push():
        pass
    assert world.handshakes == []


# Off for good


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (404, {}),
        (401, {}),
        (403, {}),
        (407, {}),
        (426, {}),
        (200, {}),
        (302, {"Location": "/elsewhere/-/cable"}),
        (307, {"Location": "https://elsewhere.example.com/-/cable"}),
    ],
)
def test_a_permanent_error_turns_push_off(
    world: Any, until: Any, caplog: pytest.LogCaptureFixture, status: int, headers: dict[str, str]
) -> None:
    world.gitlab.fault(Fault(path="/-/cable", status=status, headers=headers))
    pipeline = world.add()
    with world.push() as push:
        push.listen(world.record(pipeline))
        until(lambda: bool(off_lines(caplog)))
        push.listen(world.record(world.add()))
        assert not push.covers(pipeline.id)
    assert off_lines(caplog) == [f"GET /-/cable {status}"]
    assert world.handshakes == [status]
    assert len(world.gitlab.requests) == 1


@pytest.mark.parametrize("kind", [TokenKind.JOB, TokenKind.TRIGGER])
def test_a_token_that_the_cable_does_not_accept_is_not_sent(
    world: Any, caplog: pytest.LogCaptureFixture, kind: TokenKind
) -> None:
    with world.push(Token(kind, "CI_JOB_TOKEN", "some-secret")) as push:
        push.listen(world.record(world.add()))
    assert off_lines(caplog) == [f"it does not accept a {kind.value}"]
    assert world.handshakes == []


def test_a_revoked_token_turns_push_off_and_is_not_logged(
    world: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.token.revoked = True
    with world.push() as push:
        push.listen(world.record(world.add()))
        until(lambda: bool(off_lines(caplog)))
    assert off_lines(caplog) == ["the server says 'unauthorized'"]
    assert world.handshakes == [101]
    assert world.token.secret not in caplog.text


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("unauthorized", "the server says 'Unauthorized subscription'"),
        (
            "unknown_field",
            f'the server says "{UNKNOWN}"',
        ),
        ("rejects", "the server rejects the subscription"),
    ],
)
def test_a_failed_subscription_turns_push_off(
    world: Any, until: Any, caplog: pytest.LogCaptureFixture, fault: str, reason: str
) -> None:
    setattr(world.gitlab.cable.faults, fault, True)
    pipeline = world.add()
    with world.push() as push:
        push.listen(world.record(pipeline))
        until(lambda: bool(off_lines(caplog)))
        assert not push.covers(pipeline.id)
    assert off_lines(caplog) == [reason]
    assert world.handshakes == [101]


def test_a_bug_turns_push_off(
    world: Any, until: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cable, "read", lambda _: 1 / 0)
    with world.push() as push:
        push.listen(world.record(world.add()))
        until(lambda: bool(off_lines(caplog)))
    assert off_lines(caplog) == ["ZeroDivisionError: division by zero"]


# Broken off


@pytest.mark.parametrize(
    "fault",
    [{"status": 503}, {"status": 429}, {"reset": "before"}, {"reset": "after"}],
)
def test_a_temporary_failure_is_retried(
    world: Any, until: Any, caplog: pytest.LogCaptureFixture, fault: dict[str, Any]
) -> None:
    world.gitlab.fault(Fault(path="/-/cable", first=1, **fault))
    pipeline = world.add()
    with world.push() as push:
        push.listen(world.record(pipeline))
        until(lambda: push.covers(pipeline.id))
    assert off_lines(caplog) == []
    assert len(world.handshakes) == 2


@pytest.mark.parametrize("end", ["restart", "cut"])
def test_after_a_reconnect_the_confirmation_causes_a_poll(
    world: Any, until: Any, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    pipeline = world.add()
    hint = {str(world.project.id)}
    with world.push() as push:
        push.listen(world.record(pipeline))
        assert world.hints() == hint
        assert push.covers(pipeline.id)
        world.gitlab.fault(Fault(path="/-/cable", delay=0.3))
        getattr(world.gitlab.cable, end)()
        until(lambda: not push.covers(pipeline.id))
        until(lambda: world.clock.take_hints() == hint)  # the pace is another from now on
        until(lambda: world.clock.take_hints() == hint)
        assert push.covers(pipeline.id)
    assert off_lines(caplog) == []
    assert world.gitlab.cable.accepted == 2


def test_a_connection_without_pings_is_stale(
    world: Any, until: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_module, "CHORES_SECONDS", 0.02)
    monkeypatch.setattr(push_module, "STALE_SECONDS", 0.3)
    world.gitlab.cable.ping_every = 0.05
    pipeline = world.add()
    with world.push() as push:
        push.listen(world.record(pipeline))
        until(lambda: push.covers(pipeline.id))
        world.gitlab.cable.faults.no_pings = True
        until(lambda: not push.covers(pipeline.id))
        until(lambda: world.gitlab.cable.accepted == 2)
    assert "The connection of GitLab's push was closed: no message for 0.3 s" in caplog.messages


# Renewed


@pytest.mark.usefixtures("hasty")
def test_a_subscription_is_renewed_with_a_new_nonce_and_the_old_one_is_removed(
    world: Any, until: Any
) -> None:
    pipeline = world.add()
    received = world.gitlab.cable.received
    with world.push() as push:
        push.listen(world.record(pipeline))
        until(lambda: len(received) >= 5)
        commands = [(entry["command"], entry["identifier"]) for entry in received[:5]]
        (_, first), (_, second), (_, third) = (
            entry for entry in commands if entry[0] == "subscribe"
        )
        assert len({first, second, third}) == 3
        assert commands == [
            ("subscribe", first),
            ("subscribe", second),
            ("unsubscribe", first),
            ("subscribe", third),
            ("unsubscribe", second),
        ]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("end", ["unsubscribe_silently", "end_subscriptions"])
def test_a_subscription_that_the_server_ended_is_renewed_with_a_poll(
    world: Any, until: Any, end: str
) -> None:
    pipeline = world.add()
    hint = {str(world.project.id)}
    with world.push() as push:
        push.listen(world.record(pipeline))
        assert world.hints() == hint
        assert push.covers(pipeline.id)
        getattr(world.gitlab.cable, end)()
        world.change(pipeline)  # nobody is told
        until(lambda: world.clock.take_hints() == hint)
        until(lambda: world.gitlab.cable.subscriptions == [pipeline.id])
    assert world.gitlab.cable.accepted == 1


# The end


@pytest.mark.parametrize("stage", ["handshake", "waiting", "flooded", "delay"])
def test_closing_the_listener_leaves_no_thread_and_no_connection(
    world: Any, until: Any, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(push_module, "FIRST_DELAY", A_DAY)
    pipeline = world.add()
    before = set(threading.enumerate())
    if stage == "handshake":
        world.gitlab.fault(Fault(path="/-/cable", delay=A_DAY))
    if stage == "delay":
        world.gitlab.fault(Fault(path="/-/cable", status=503))
    with world.push() as push:
        push.listen(world.record(pipeline))
        if stage in {"handshake", "delay"}:
            until(lambda: len(world.gitlab.requests) > 0)
        else:
            until(lambda: push.covers(pipeline.id))
        if stage == "flooded":
            for _ in range(500):
                world.gitlab.cable.announce(pipeline)
    until(lambda: not [each for each in set(threading.enumerate()) - before if each.daemon])


def test_a_connection_that_opens_after_the_close_is_left_at_once(world: Any) -> None:
    left: list[str] = []
    with world.push() as push:
        push._leave_by(lambda: left.append("open"))
        assert left == []
    left.clear()

    push._leave_by(lambda: left.append("late"))

    assert left == ["late"]
