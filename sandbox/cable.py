"""GitLab's push of pipeline changes: Action Cable over a WebSocket at `/-/cable`.

Sources: Rails 7.2 (`ActionCable::Connection`), and `ApplicationCable::Connection` and
`GraphqlChannel` of GitLab.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from websockets.datastructures import Headers
from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from sandbox.cable_connection import CableConnection, Shared
from sandbox.web import Response

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from io import BufferedIOBase

    from sandbox.model import Pipeline
    from sandbox.web import Request

_SUBPROTOCOLS = (Subprotocol("actioncable-v1-json"), Subprotocol("actioncable-unsupported"))
# The library's own would show tokens where everything is logged, as it is in tests.
_SILENT = logging.getLogger(f"{__name__}.library")
_SILENT.disabled = True


@dataclass
class Cable(Shared):
    """The cable, as tests hold it.

    Attributes:
        accepted: How many connections there have been.
    """

    accepted: int = 0
    _open: list[CableConnection] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        """Answers the handshake; whatever is wrong with it, there is no such page."""
        protocol = ServerProtocol(
            origins=[Origin(self.state.origin)],
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


def _select_subprotocol(
    protocol: ServerProtocol, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    """The first that both know; without any the connection stands all the same."""
    del protocol
    return next((name for name in _SUBPROTOCOLS if name in offered), None)
