"""GitLab's push of pipeline changes: Action Cable over a WebSocket at `/-/cable`.

Sources: Rails 7.2 (`ActionCable::Connection`), and `ApplicationCable::Connection` and
`GraphqlChannel` of GitLab.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from sandbox import auth, scripted
from sandbox.cable_connection import CableConnection
from sandbox.model import ENDED
from sandbox.permissions import may_see
from sandbox.web import Response

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from io import BufferedIOBase

    from sandbox.model import Pipeline, State, Token, User
    from sandbox.web import Request

_SUBPROTOCOLS = (Subprotocol("actioncable-v1-json"), Subprotocol("actioncable-unsupported"))
_SCOPES = frozenset({"api", "read_api"})
# The library's own would show tokens where everything is logged, as it is in tests.
_SILENT = logging.getLogger(f"{__name__}.library")
_SILENT.disabled = True


@dataclass
class CableFaults:
    """What goes wrong on connections that stand; a `Fault` is for those that never do.

    Attributes:
        dropped: Which events get lost, counted from 1 over all subscriptions.
        drops_ends: Whether every event gets lost that says that a pipeline has ended.
        no_pings: Whether no ping is sent, and nothing else goes wrong.
        unknown_field: Whether the server is too old for the subscription.
        bad_token: Whether no token opens the cable, whatever the REST API says.
        unauthorized: Whether no pipeline is visible, whatever the REST API says.
        rejects: Whether every subscription is rejected.
    """

    dropped: frozenset[int] = frozenset()
    drops_ends: bool = False
    no_pings: bool = False
    unknown_field: bool = False
    bad_token: bool = False
    unauthorized: bool = False
    rejects: bool = False


@dataclass
class Cable:
    """The cable, as tests hold it.

    Attributes:
        state: The records.
        faults: What goes wrong.
        ping_every: Seconds between pings.
        check_every: Seconds between looks at a connection's token.
        sent: The messages that were sent, over all connections.
        received: The commands that came in, over all connections.
        accepted: How many connections there have been.
    """

    state: State
    faults: CableFaults = field(default_factory=CableFaults)
    ping_every: float = 3.0
    check_every: float = 600.0
    sent: list[dict[str, Any]] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    accepted: int = 0
    _open: list[CableConnection] = field(default_factory=list)
    _events: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request) -> Response:
        """Answers the handshake; whatever is wrong with it, there is no such page."""
        parts = urlsplit(self.state.external_url)
        protocol = ServerProtocol(
            origins=[Origin(f"{parts.scheme}://{parts.netloc}")],
            select_subprotocol=_select_subprotocol,
            logger=_SILENT,
        )
        handshake = Handshake(request.target, Headers(request.headers.items()))
        protocol.receive_data(handshake.serialize())
        protocol.events_received()
        answer = protocol.accept(handshake)
        if answer.status_code != 101:
            return Response(404, b"Page not found", {"Content-Type": "text/plain; charset=utf-8"})
        protocol.send_response(answer)
        secret = request.headers.get("Authorization", "").partition("Bearer ")[2].strip()
        return Response(101, take_over=partial(self._serve, protocol, secret))

    def _serve(
        self, protocol: ServerProtocol, secret: str, connection: socket.socket, read: BufferedIOBase
    ) -> None:
        served = CableConnection(self, protocol, secret, connection)
        with self._lock:
            self._open.append(served)
            self.accepted += 1
        try:
            served.serve(read)
        finally:
            with self._lock:
                self._open.remove(served)

    @property
    def connections(self) -> int:
        """How many connections stand."""
        return len(self._connections())

    @property
    def subscriptions(self) -> list[int]:
        """The pipelines that there are subscriptions to, one entry for each subscription."""
        return [number for connection in self._connections() for number in connection.pipelines()]

    def _connections(self) -> list[CableConnection]:
        with self._lock:
            return list(self._open)

    # What goes wrong at once

    def announce(self, pipeline: Pipeline) -> None:
        """Sends an event about a pipeline, though nothing has changed."""
        for connection in self._connections():
            connection.announce(pipeline)

    def unsubscribe_silently(self) -> None:
        """Ends every subscription without telling anybody."""
        for connection in self._connections():
            connection.unsubscribe_all()

    def end_subscriptions(self) -> None:
        """Ends every subscription, and says so."""
        for connection in self._connections():
            connection.end_all()

    def restart(self) -> None:
        """Ends every connection as a server does that starts anew."""
        for connection in self._connections():
            connection.disconnect("server_restart", reconnect=True)

    def cut(self) -> None:
        """Resets every connection."""
        for connection in self._connections():
            connection.reset()

    # For connections

    def takes_event(self, pipeline: Pipeline) -> bool:
        """Whether an event, which this counts, gets through."""
        with self._lock:
            self._events += 1
            number = self._events
        lost = self.faults.drops_ends and pipeline.status in ENDED
        return not lost and number not in self.faults.dropped

    def token_of(self, secret: str) -> Token | None:
        """The token, if it opens the cable."""
        with self.state.lock:
            token = self.state.tokens.get(secret)
            if token is None or auth.token_problem(self.state, token):
                return None
            return token if token.scopes & _SCOPES and not self.faults.bad_token else None

    def find(self, number: int, user: User | None) -> Pipeline | None:
        """A pipeline, if the user can see it."""
        with self.state.lock:
            scripted.refresh(self.state)
            pipeline = self.state.pipelines.get(number)
            hidden = pipeline is None or not may_see(pipeline.project, user)
            return None if hidden or self.faults.unauthorized else pipeline


def _select_subprotocol(
    protocol: ServerProtocol, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    """The first that both know; without any the connection stands all the same."""
    del protocol
    return next((name for name in _SUBPROTOCOLS if name in offered), None)
