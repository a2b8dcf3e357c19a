"""Makes and reads the Action Cable messages of GitLab's push.

Sources: Rails' `ActionCable::Connection`, and `GraphqlChannel` in GitLab's source. The query
travels in the identifier of a subscription; a nonce makes it unique.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum

PATH = "/-/cable"
SUBPROTOCOLS = ("actioncable-v1-json", "actioncable-unsupported")
_QUERY = (
    "subscription P($id: CiPipelineID!) { ciPipelineStatusUpdated(pipelineId: $id) { id status } }"
)
_LONGEST_REASON = 200


class ClosedError(Exception):
    """Reports that a connection failed or was closed; another attempt can succeed."""


class UnusableError(Exception):
    """Reports that push is not available; the text says why."""


class Meaning(Enum):
    """Names what a message means for a wait."""

    WELCOME = "subscriptions may be asked for"
    CONFIRMED = "a subscription stands"
    CHANGED = "something has changed"
    GONE = "a subscription is over"
    KEEPALIVE = "a ping, or an unknown message; ignored"


@dataclass(frozen=True)
class Message:
    """Holds a message of the server.

    Attributes:
        meaning: What it means.
        identifier: The subscription that it belongs to; empty if there is none.
    """

    meaning: Meaning
    identifier: str = ""


def identifier_of(pipeline_id: int, nonce: str) -> str:
    """Returns the identifier of a subscription to a pipeline's changes."""
    return json.dumps(
        {
            "channel": "GraphqlChannel",
            "query": _QUERY,
            "variables": {"id": f"gid://gitlab/Ci::Pipeline/{pipeline_id}"},
            "operationName": "P",
            "nonce": nonce,
        }
    )


def subscribe(identifier: str) -> str:
    """Returns the message that asks for a subscription."""
    return json.dumps({"command": "subscribe", "identifier": identifier})


def unsubscribe(identifier: str) -> str:
    """Returns the message that ends a subscription; the server sends no response."""
    return json.dumps({"command": "unsubscribe", "identifier": identifier})


def read(text: str | bytes) -> Message:
    """Reads a message of the server.

    A status in it is ignored: a push message is only a hint to poll.

    Raises:
        ClosedError: The server closes the connection, and accepts a new one.
        UnusableError: The server refuses to push all changes, or some of them.
    """
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise UnusableError("the server does not speak Action Cable") from None
    match frame:
        case {"type": "welcome"}:
            return Message(Meaning.WELCOME)
        case {"type": "confirm_subscription", "identifier": str(identifier)}:
            return Message(Meaning.CONFIRMED, identifier)
        case {"type": "reject_subscription"}:
            raise UnusableError("the server rejects the subscription")
        case {"type": "disconnect", "reconnect": False, **more}:
            raise UnusableError(f"the server says {_short(more.get('reason'))}")
        case {"type": "disconnect", **more}:
            raise ClosedError(f"the server says {_short(more.get('reason'))}")
        # GitLab confirms a subscription even if its result has errors.
        case {"message": {"result": {"errors": errors}}} if errors:
            raise UnusableError(f"the server says {_short(errors)}")
        case {"identifier": str(identifier), "message": {"more": False}}:
            return Message(Meaning.GONE, identifier)
        case {"identifier": str(identifier), "message": {"result": {"data": dict(data)}}} if any(
            data.values()
        ):
            return Message(Meaning.CHANGED, identifier)
    return Message(Meaning.KEEPALIVE)


def _short(said: object) -> str:
    """Returns what a server sent as one short line that is safe to show."""
    match said:
        case [{"message": str(message)}, *_]:
            said = message
    return ascii(said)[:_LONGEST_REASON]
