from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.waiting.push import cable
from cicd_common.waiting.push.cable import ClosedError, Meaning, Message, UnusableError

FIELD = "ciPipelineStatusUpdated"
CHANGED = {"data": {FIELD: {"id": "gid://gitlab/Ci::Pipeline/1", "status": "SUCCESS"}}}
ERRORS = {"data": {FIELD: None}, "errors": [{"message": "Unauthorized\x1b[2J\nsubscription"}]}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"type": "welcome"}, Message(Meaning.WELCOME)),
        ({"type": "ping", "message": 1795283423}, Message(Meaning.KEEPALIVE)),
        ({"identifier": "i", "type": "confirm_subscription"}, Message(Meaning.CONFIRMED, "i")),
        (
            {"identifier": "i", "message": {"result": {"data": {FIELD: None}}, "more": True}},
            Message(Meaning.KEEPALIVE),
        ),
        (
            {"identifier": "i", "message": {"result": CHANGED, "more": True}},
            Message(Meaning.CHANGED, "i"),
        ),
        ({"identifier": "i", "message": {"more": False}}, Message(Meaning.GONE, "i")),
        ({"type": "something new"}, Message(Meaning.KEEPALIVE)),
        ([], Message(Meaning.KEEPALIVE)),
        ({"type": "confirm_subscription", "identifier": None}, Message(Meaning.KEEPALIVE)),
        ({"identifier": "i", "message": {"result": {"data": None}}}, Message(Meaning.KEEPALIVE)),
    ],
)
def test_every_message_has_one_meaning(frame: object, expected: Message) -> None:
    assert cable.read(json.dumps(frame)) == expected


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ({"type": "reject_subscription", "identifier": "i"}, "the server rejects the subscription"),
        (
            {"type": "disconnect", "reason": "unauthorized", "reconnect": False},
            "the server says 'unauthorized'",
        ),
        (
            {"identifier": "i", "message": {"result": ERRORS, "more": True}},
            "the server says 'Unauthorized\\x1b[2J\\nsubscription'",
        ),
        (
            {"identifier": "i", "message": {"result": {"errors": "x" * 1000}, "more": False}},
            "the server says '" + "x" * 199,
        ),
    ],
)
def test_a_refusal_is_an_error_with_its_reason_on_one_line(frame: object, reason: str) -> None:
    with pytest.raises(UnusableError) as error:
        cable.read(json.dumps(frame))
    assert str(error.value) == reason


@pytest.mark.parametrize("text", ["", "<html>", b"\xff"])
def test_a_message_that_is_not_json_is_an_error(text: str | bytes) -> None:
    with pytest.raises(UnusableError, match="does not speak Action Cable"):
        cable.read(text)


def test_a_server_restart_allows_another_connection() -> None:
    frame = {"type": "disconnect", "reason": "server_restart", "reconnect": True}
    with pytest.raises(ClosedError, match="the server says 'server_restart'"):
        cable.read(json.dumps(frame))


def test_a_subscription_is_unique_by_its_nonce() -> None:
    first, second = (cable.identifier_of(1234, nonce) for nonce in ("a", "b"))
    assert first != second
    assert json.loads(first) == {
        "channel": "GraphqlChannel",
        "query": "subscription P($id: CiPipelineID!) "
        "{ ciPipelineStatusUpdated(pipelineId: $id) { id status } }",
        "variables": {"id": "gid://gitlab/Ci::Pipeline/1234"},
        "operationName": "P",
        "nonce": "a",
    }
    assert json.loads(cable.subscribe(first)) == {"command": "subscribe", "identifier": first}
    assert json.loads(cable.unsubscribe(first)) == {"command": "unsubscribe", "identifier": first}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "identifier", "message", "result", "data", "errors", "more", "reconnect"]
            ),
            values | st.sampled_from(["disconnect", "confirm_subscription", "reject_subscription"]),
        )
    ),
)


@given(st.binary() | st.text() | JSON.map(json.dumps))
def test_any_message_is_read_or_closes_the_connection(text: str | bytes) -> None:
    try:
        said = cable.read(text).meaning.name
    except (ClosedError, UnusableError) as error:
        said = str(error)
    assert said.isprintable()


def test_a_deep_message_is_not_action_cable() -> None:
    with pytest.raises(UnusableError):
        cable.read("[" * 100_000)
