"""The sandbox's HTTP server: connections, the record of requests, faults; no GitLab in it."""

from __future__ import annotations

import io
import os
import socket
import struct
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from sandbox.faults import Faults, changed
from sandbox.web import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from email.message import Message

    from sandbox.faults import Fault

# A closed socket with this option resets the connection instead of ending it in order.
_RESET = struct.pack("ii", 1, 0)
# How soon the server notices that it shall stop.
_POLL_SECONDS = 0.02


@dataclass(eq=False)
class RecordedRequest:
    """A request that came in.

    Attributes:
        method: GET, POST, …
        path: Path and query, as they were sent.
        headers: Its headers; names compare without regard to case.
        body: Its body.
        status: What was answered; None while nothing was, or if nothing ever is.
    """

    method: str
    path: str
    headers: Message
    body: bytes
    status: int | None = None


class Server:
    """Listens, and hands each request to a function.

    Args:
        handle: Answers a request.
        host: The address to listen at.
        port: The port; 0 takes a free one.
        now: The time that answers are dated with.
        later: Has work done so many seconds later.
    """

    def __init__(
        self,
        handle: Callable[[Request], Response],
        host: str,
        port: int,
        now: Callable[[], datetime],
        later: Callable[[Callable[[], object], float], None],
    ) -> None:
        self.now = now
        self.later = later
        self.handle = handle
        self.faults = Faults()
        self.requests: list[RecordedRequest] = []
        self.stopping = threading.Event()
        self._connections = _Connections((host, port), self)
        self.port: int = self._connections.server_address[1]
        self._thread = threading.Thread(
            target=self._connections.serve_forever, args=(_POLL_SECONDS,), name="sandbox-server"
        )

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Ends every connection and every thread."""
        self.stopping.set()
        self._connections.wake()
        self._connections.shutdown()
        self._thread.join()
        self._connections.close_all()


class _Connections(ThreadingHTTPServer):
    """A thread for each connection; all of them are joined at the end."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], server: Server) -> None:
        self.server = server
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own would look its name up in the DNS.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leaves out the noise of clients that have gone; anything else is a bug to be seen."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def wake(self) -> None:
        """Ends the wait for a next connection at once, where the system allows it: on Linux."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close_all(self) -> None:
        """Wakes the threads that wait for a next request, and joins all."""
        with self._open_lock:
            waiting = list(self._open)
        for connection in waiting:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "nginx"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer's head and body leave together
    server: _Connections

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The `Date` of an answer, by the sandbox's clock."""
        return super().date_time_string(timestamp or self.server.server.now().timestamp())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Keeps quiet: requests are recorded."""

    def do_GET(self) -> None:
        """Answers a request of any method."""
        server = self.server.server
        request = Request(self.command, self.path, self.headers, self._read_body())
        record = RecordedRequest(self.command, self.path, self.headers, request.body)
        server.requests.append(record)
        faults = server.faults.of(request)
        for fault in faults:
            if fault.meanwhile:
                fault.meanwhile()
        server.stopping.wait(sum(fault.delay for fault in faults))
        if any(fault.reset == "before" for fault in faults):
            self._reset()
            return
        response = self._answer(request, faults)
        server.stopping.wait(sum(fault.delay_after for fault in faults))
        if any(fault.reset == "after" for fault in faults):
            self._reset()
            return
        record.status = response.status
        if response.take_over:
            self.close_connection = True
            response.take_over(self.connection, self.rfile)
            return
        response = changed(response, faults, request)
        with self._dripping(max((fault.drip for fault in faults), default=0)):
            self._send(response, truncated=any(fault.truncate for fault in faults))

    def _answer(self, request: Request, faults: Sequence[Fault]) -> Response:
        """Handles a request, now or later, or lets a fault answer in its place."""
        server = self.server.server
        answers = (fault.response() for fault in faults)
        response = next((answer for answer in answers if answer), None)
        delays = [fault.carried_out_after for fault in faults]
        delay = next((each for each in delays if each is not None), None)
        if delay is not None:
            server.later(lambda: server.handle(request), delay)
            return response or Response(504, b"Gateway Timeout")
        return response or server.handle(request)

    @contextmanager
    def _dripping(self, pause: float) -> Iterator[None]:
        """Sends what is written meanwhile byte by byte, with pauses."""
        if not pause:
            yield
            return
        held = io.BytesIO()
        written, self.wfile = self.wfile, held
        try:
            yield
        finally:
            self.wfile = written
        for byte in held.getvalue():
            if self.server.server.stopping.wait(pause):
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - as above

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(chunks)

    def _send(self, response: Response, *, truncated: bool) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status not in (204, 304):
            self.send_header("Content-Length", str(len(response.body)))
        if truncated:
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            half = len(response.body) // 2
            self.wfile.write(response.body[:half] if truncated else response.body)
        self.wfile.flush()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # Closed below the base class, which would end the connection in order first.
        os.close(self.connection.detach())
        self.close_connection = True
