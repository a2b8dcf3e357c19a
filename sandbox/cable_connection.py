"""One connection of the cable: Action Cable's messages, and the subscriptions behind them."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from websockets.frames import Frame, Opcode

from sandbox import auth, background, subscription
from sandbox.ci.status import composite
from sandbox.model import ENDED
from sandbox.permissions import may_see

if TYPE_CHECKING:
    from io import BufferedIOBase

    from websockets.server import ServerProtocol

    from sandbox.model import Pipeline, State, Token, User

# How soon a change is seen; scripted pipelines change by the clock, which notifies nobody.
_LOOK_SECONDS = 0.02
_SCOPES = frozenset({"api", "read_api"})
_RESET = struct.pack("ii", 1, 0)
_NEVER = datetime.min.replace(tzinfo=UTC)


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
class Shared:
    """What all connections have in common.

    Attributes:
        state: The records.
        faults: What goes wrong.
        ping_every: Seconds between pings.
        check_every: Seconds between checks of a connection's token.
        sent: The messages that were sent, over all connections.
        received: The commands that came in, over all connections.
        told_until: By the sandbox's clock: what has changed by then was sent.
    """

    state: State
    faults: CableFaults = field(default_factory=CableFaults)
    ping_every: float = 3.0
    check_every: float = 600.0
    sent: list[dict[str, Any]] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    told_until: datetime = _NEVER
    _events: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

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
            background.catch_up(self.state)
            pipeline = self.state.pipelines.get(number)
            hidden = pipeline is None or not may_see(pipeline.project, user)
            return None if hidden or self.faults.unauthorized else pipeline


@dataclass
class _Subscription:
    """What a client listens to."""

    query: subscription.Query
    pipeline: Pipeline
    seen: dict[str, str | None]  # the statuses of the pipeline and, by name, of its stages


class CableConnection:
    """One connection: a thread reads it, and another sends pings and changes.

    Args:
        cable: What it has in common with the others.
        protocol: Its end of the WebSocket, the handshake done.
        secret: The token that it came with; empty for none.
        connection: The socket.
    """

    def __init__(
        self, cable: Shared, protocol: ServerProtocol, secret: str, connection: socket.socket
    ) -> None:
        self._cable = cable
        self._protocol = protocol
        self._secret = secret
        self._socket = connection
        self._user: User | None = None
        self._subscriptions: dict[str, _Subscription] = {}
        self._lock = threading.RLock()
        self._over = threading.Event()

    def serve(self, read: BufferedIOBase) -> None:
        """Serves until the connection is over."""
        self._flush()
        token = self._cable.token_of(self._secret)
        if self._secret and token is None:
            self.disconnect("unauthorized", reconnect=False)
        else:
            self._user = token.user if token else None
            self._send({"type": "welcome"})
        watcher = threading.Thread(target=self._watch, name="sandbox-cable")
        watcher.start()
        try:
            self._read(read)
        finally:
            self._over.set()
            watcher.join()

    def pipelines(self) -> list[int]:
        """What it listens to."""
        with self._lock:
            return [entry.pipeline.id for entry in self._subscriptions.values()]

    def announce(self, pipeline: Pipeline) -> None:
        """Sends an event to those who listen to a pipeline."""
        with self._lock:
            for identifier, entry in list(self._subscriptions.items()):
                if entry.pipeline is pipeline and self._cable.takes_event(pipeline):
                    self._tell(identifier, entry.query.result(pipeline))

    def unsubscribe_all(self) -> None:
        """Forgets what it listens to."""
        with self._lock:
            self._subscriptions.clear()

    def end_all(self) -> None:
        """Ends what it listens to, and says so."""
        with self._lock:
            for identifier in self._subscriptions:
                self._send({"identifier": identifier, "message": {"more": False}})
            self._subscriptions.clear()

    def disconnect(self, reason: str, *, reconnect: bool) -> None:
        """Says why, and closes in order."""
        with self._lock:
            self._send({"type": "disconnect", "reason": reason, "reconnect": reconnect})
            self._subscriptions.clear()
            if not self._over.is_set():
                self._protocol.send_close()
                self._flush()

    def reset(self) -> None:
        """Breaks off."""
        self._over.set()
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._socket.shutdown(socket.SHUT_RDWR)

    # Reading

    def _read(self, read: BufferedIOBase) -> None:
        while not self._over.is_set():
            try:
                data = read.read1(65536)
            except OSError:
                return
            with self._lock:
                if data:
                    self._protocol.receive_data(data)
                else:
                    self._protocol.receive_eof()
                events = self._protocol.events_received()
                self._flush()  # what the protocol answers by itself
            for event in events:
                if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    self._handle(json.loads(bytes(event.data)))
            if not data:
                return

    def _handle(self, command: dict[str, Any]) -> None:
        self._cable.received.append(command)
        identifier = command.get("identifier", "")
        match command.get("command"):
            case "subscribe" if identifier not in self._subscriptions:
                self._subscribe(identifier, json.loads(identifier))
            case "unsubscribe":
                with self._lock:
                    self._subscriptions.pop(identifier, None)
        # Anything else, such as the `message` of other servers' `execute`, has no answer.

    def _subscribe(self, identifier: str, params: dict[str, Any]) -> None:
        faults = self._cable.faults
        if params.get("channel") != "GraphqlChannel":
            return
        if faults.rejects:
            self._send({"identifier": identifier, "type": "reject_subscription"})
            return
        try:
            query = subscription.parse(
                params.get("query", ""),
                params.get("variables") or {},
                knows_field=not faults.unknown_field,
            )
        except subscription.QueryError as error:
            self._confirm(identifier, {"errors": [error.error]})
            return
        if query is None:
            return
        pipeline = self._cable.find(query.pipeline_id, self._user)
        if pipeline is None:
            self._confirm(identifier, query.unauthorized())
            return
        # Taken first: whatever changes once the client knows that it listens is told.
        entry = _Subscription(query, pipeline, _statuses(pipeline))
        with self._lock:
            self._confirm(identifier, query.nothing())
            self._subscriptions[identifier] = entry

    def _confirm(self, identifier: str, result: dict[str, Any]) -> None:
        """Sends the first result, and that the subscription stands, even if it has errors."""
        with self._lock:
            self._tell(identifier, result)
            self._send({"identifier": identifier, "type": "confirm_subscription"})

    # Sending

    def _watch(self) -> None:
        """Sends pings and changes, and looks at the token from time to time."""
        cable = self._cable
        started = time.monotonic()
        pinged, checked = started, started
        while not self._over.wait(_LOOK_SECONDS):
            now = time.monotonic()
            if now - pinged >= cable.ping_every:
                pinged = now
                if not cable.faults.no_pings:
                    self._send({"type": "ping", "message": int(time.time())})
            if now - checked >= cable.check_every:
                checked = now
                if self._secret and cable.token_of(self._secret) is None:
                    self.unsubscribe_all()
            moment = cable.state.clock.now()
            for identifier, entry in self._changes():
                if cable.takes_event(entry.pipeline):
                    self._tell(identifier, entry.query.result(entry.pipeline))
            cable.told_until = moment

    def _changes(self) -> list[tuple[str, _Subscription]]:
        """What is to be told, once for each change of a pipeline or of one of its stages."""
        changes = []
        with self._cable.state.lock, self._lock:
            background.catch_up(self._cable.state)
            for identifier, entry in self._subscriptions.items():
                before, entry.seen = entry.seen, _statuses(entry.pipeline)
                count = sum(before.get(name) != status for name, status in entry.seen.items())
                changes += [(identifier, entry)] * count
        return changes

    def _tell(self, identifier: str, result: dict[str, Any]) -> None:
        self._send({"identifier": identifier, "message": {"result": result, "more": True}})

    def _send(self, message: dict[str, Any]) -> None:
        with self._lock:
            if self._over.is_set() or self._protocol.close_expected():
                return
            self._cable.sent.append(message)
            self._protocol.send_text(json.dumps(message).encode())
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            for data in self._protocol.data_to_send():
                try:
                    if data:
                        self._socket.sendall(data)
                    else:
                        self._socket.shutdown(socket.SHUT_WR)
                except OSError:  # the client has gone
                    self._over.set()


def _statuses(pipeline: Pipeline) -> dict[str, str | None]:
    latest = [job for job in pipeline.jobs if not job.retried]
    stages = {
        stage: composite(job for job in latest if job.stage == stage) for stage in pipeline.stages
    }
    return {"": pipeline.status, **stages}
