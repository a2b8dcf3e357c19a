"""What stands between a command and the sandbox: a server, or a proxy, that can do harm.

It takes requests of HTTP/1.1 directly, as a forward proxy, and as a proxy that is asked to CONNECT,
in which case it is the TLS server at the other end, too. Each request is counted; the one that a
plan names meets its fault, all others are carried out by the sandbox.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

Route = Literal["direct", "forward", "connect"]

HOST = "gitlab.example.com"  # known to the proxies alone
ELSEWHERE = "elsewhere.example.com"
# A closed socket with this option resets the connection instead of ending it in order.
_RESET = struct.pack("ii", 1, 0)
_HOP_BY_HOP = {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"}
_DRIP_SECONDS = 0.1


@dataclass(frozen=True)
class Key:
    """What two runs of a command have in common about a request: numbers and SHAs are left out."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def key_of(method: str, target: str) -> Key:
    """The key of a request by its method and its target."""
    path, _, query = target.partition("?")
    path = re.sub(r"(?<=[/-])[0-9a-f]{8,}(?=/|$)", ":hash", path)
    path = re.sub(r"/\d+(?=/|$)", "/:n", path)
    names = sorted({pair.partition("=")[0] for pair in query.split("&") if pair} - {"per_page"})
    if "service" in names:  # of git: to fetch, or to push
        names = [query]
    return Key(method, f"{path}?{','.join(names)}" if names else path)


@dataclass
class Answer:
    """A response."""

    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    reason: str = ""
    stream: socket.socket | None = None  # of a WebSocket: the sandbox's end

    @property
    def kind(self) -> str:
        """Its content's type."""
        return next((v for name, v in self.headers if name.lower() == "content-type"), "")


@dataclass
class Recorded:
    """A request, and the answer to it, if it was carried out."""

    key: Key
    answer: Answer | None = None


@dataclass(eq=False)
class Plan:
    """Which request meets a fault.

    Attributes:
        key: The request's key; None is none.
        nth: Which request with that key, counted from 1.
        act: What happens to it, in place of being carried out and answered.
        lasting: Whether it happens to all later requests with that key, too.
        place: The place of the request among all, counted from 0: before it, the server is gone.
        refuse: Seconds for which it is gone; 0 for not at all.
    """

    key: Key | None = None
    nth: int = 1
    act: Callable[[Exchange], None] | None = None
    lasting: bool = False
    place: int = 0
    refuse: float = 0
    fired: int = 0
    _seen: int = 0

    def meets(self, key: Key) -> bool:
        """Whether the fault happens to this request, which it counts."""
        if key != self.key:
            return False
        self._seen += 1
        return self._seen == self.nth or (self.lasting and self._seen > self.nth)


class Front:
    """Listens while its `with` block runs.

    Args:
        route: How clients are to reach it.
        certificate: The certificate of `HOST`, with its key, for `connect`.

    Attributes:
        recorded: The requests that came in, in order.
        elsewhere: What was sent to another host than the server's: heads and bodies.
        connects: The heads of the CONNECT requests.
    """

    def __init__(self, route: Route, certificate: ssl.SSLContext) -> None:
        self.route = route
        self.certificate = certificate
        self.recorded: list[Recorded] = []
        self.elsewhere: list[str] = []
        self.connects: list[str] = []
        self.plan = Plan()
        self.stopping = threading.Event()
        self.on_revoke: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._late: list[threading.Thread] = []
        # Bound and never listening, it keeps the port while nobody listens at it.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self._listener: socket.socket | None = None

    def serve(self, upstream: str, plan: Plan) -> None:
        """Begins to listen.

        Args:
            upstream: The sandbox's URL.
            plan: Which request meets a fault.
        """
        parts = urlsplit(upstream)
        assert parts.hostname
        assert parts.port
        self.upstream = (parts.hostname, parts.port)
        self.plan = plan
        if plan.refuse and plan.place == 0:
            self._leave()
        else:
            self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends every connection and every thread."""
        self.stopping.set()
        self._close_listener()
        with self._lock:
            waiting = list(self._open)
        for connection in waiting:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in [*self._threads, *self._late]:
            thread.join()
        # A WebSocket whose answer met the fault is still open.
        for connection in [*waiting, *self._open, self._reserved]:
            connection.close()

    @property
    def url(self) -> str:
        """The server's URL, as clients of this route know it."""
        if self.route == "direct":
            return f"http://127.0.0.1:{self.port}"
        return f"http{'s' if self.route == 'connect' else ''}://{HOST}"

    @property
    def elsewhere_url(self) -> str:
        """The URL of another host, whose requests arrive here, too."""
        if self.route == "direct":
            return f"http://localhost:{self.port}"
        return f"http{'s' if self.route == 'connect' else ''}://{ELSEWHERE}"

    @property
    def authority(self) -> str:
        """What the Host header of a request for the server holds."""
        return urlsplit(self.url).netloc

    def settle(self) -> None:
        """Waits for what is carried out late."""
        for thread in self._late:
            thread.join()

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        """Does something some seconds later."""

        def wait_and_work() -> None:
            self.stopping.wait(seconds)
            work()

        thread = threading.Thread(target=wait_and_work)
        self._late.append(thread)
        thread.start()

    def count(self, record: Recorded) -> bool:
        """Counts a request; returns whether it meets the fault."""
        with self._lock:
            self.recorded.append(record)
            meets = self.plan.meets(record.key)
            self.plan.fired += meets
            return meets

    def leave_before_next(self) -> bool:
        """Stops to listen, if the fault says so for the request that comes next."""
        with self._lock:
            due = self.plan.refuse > 0 and not self.plan.fired
            if not due or len(self.recorded) != self.plan.place:
                return False
        self._leave()
        return True

    def _leave(self) -> None:
        self.plan.fired += 1
        self._close_listener()
        if self.plan.refuse < float("inf"):
            timer = threading.Timer(self.plan.refuse, self._listen)
            self._late.append(timer)
            timer.start()

    def _listen(self) -> None:
        if self.stopping.is_set():
            return
        self._listener = _bound(self.port)
        self._listener.listen(64)
        thread = threading.Thread(target=self._accept, args=(self._listener,))
        self._threads.append(thread)
        thread.start()

    def _close_listener(self) -> None:
        if self._listener:
            # A close alone would not wake the thread that accepts.
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            thread = threading.Thread(target=self._talk, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket) -> None:
        # Whatever a client does to its end is its own business.
        with suppress(OSError, ValueError):
            Handler(connection, self)
        with self._lock:
            self._open.discard(connection)
        with suppress(OSError):
            connection.close()

    def opened(self, connection: socket.socket) -> None:
        """Notes a connection that took the place of another."""
        with self._lock:
            self._open.add(connection)


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def __init__(self, connection: socket.socket, front: Front) -> None:
        self.front = front
        super().__init__(connection, ("127.0.0.1", 0), front)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keeps quiet: requests are recorded."""

    def do_CONNECT(self) -> None:
        front = self.front
        front.connects.append(f"{self.requestline}\n{self.headers}")
        if self.path.partition(":")[0] != HOST:
            front.elsewhere.append(front.connects[-1])
        record = Recorded(Key("CONNECT", ""))
        exchange = Exchange(self, record, b"")
        if front.count(record) and front.plan.act:
            front.plan.act(exchange)
        else:
            self.tunnel()

    def tunnel(self) -> None:
        """Opens the tunnel that was asked for, and is the TLS server at its other end."""
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.wfile.flush()
        self.close_connection = False
        self.connection = self.front.certificate.wrap_socket(self.connection, server_side=True)
        self.front.opened(self.connection)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb")

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()
        with suppress(OSError):
            self.connection.close()

    def do_GET(self) -> None:
        """Takes a request of any method."""
        front = self.front
        if self.path.startswith("http"):  # as to a forward proxy
            parts = urlsplit(self.path)
            self.path = parts._replace(scheme="", netloc="").geturl()
            authority = parts.netloc
        else:
            authority = self.headers.get("Host", "")
        body = self._read_body()
        if authority != front.authority:
            front.elsewhere.append(f"{self.requestline}\n{self.headers}\n{body!r}")
            Exchange(self, Recorded(Key("", "")), body).send(Answer(200, b"{}", JSON))
            return
        record = Recorded(key_of(self.command, self.path))
        exchange = Exchange(self, record, body)
        if front.count(record) and front.plan.act:
            front.plan.act(exchange)
        else:
            exchange.send(exchange.carry_out())

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


JSON = [("Content-Type", "application/json")]


class Exchange:
    """One request, and what can be done with it.

    Attributes:
        key: The request's key.
        method: Its method.
        target: Its path and query.
        headers: Its headers.
        body: Its body.
        front: Where it arrived.
    """

    def __init__(self, handler: Handler, record: Recorded, body: bytes) -> None:
        self.key = record.key
        # Kept, for the handler takes the next request while this one is carried out late.
        self.method = handler.command
        self.target = handler.path
        self.headers = handler.headers
        self.body = body
        self.front = handler.front
        self._handler = handler
        self._record = record

    def carry_out(self, body: bytes | None = None) -> Answer:
        """Has the sandbox carry it out.

        Args:
            body: What to send in place of its body.
        """
        if self.method == "CONNECT":
            raise TypeError("a CONNECT is carried out by answering it")
        body = self.body if body is None else body
        headers = [
            (name, value)
            for name, value in self.headers.items()
            if name.lower() not in _HOP_BY_HOP | {"content-length", "proxy-authorization"}
        ]
        if self.headers.get("Upgrade"):
            return self._upgrade()
        connection = http.client.HTTPConnection(*self.front.upstream)
        try:
            connection.putrequest(
                self.method, self.target, skip_host=True, skip_accept_encoding=True
            )
            for name, value in headers:
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            answer = Answer(
                response.status, response.read(), response.getheaders(), response.reason
            )
        finally:
            connection.close()
        self._record.answer = answer
        return answer

    def _upgrade(self) -> Answer:
        """Opens a WebSocket."""
        upstream = socket.create_connection(self.front.upstream)
        self.front.opened(upstream)
        head = f"{self.method} {self.target} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        upstream.sendall(f"{head}\r\n".encode())
        received = b""
        while not received.endswith(b"\r\n\r\n") and (byte := upstream.recv(1)):
            received += byte  # one by one, for what follows is the client's
        first, _, rest = received.decode("latin-1").partition("\r\n")
        pairs = (line.partition(": ") for line in rest.splitlines() if line)
        answer = Answer(
            int(first.split()[1]), b"", [(name, value) for name, _, value in pairs], "", upstream
        )
        self._record.answer = answer
        return answer

    def tunnel(self) -> None:
        """Answers a CONNECT."""
        self._handler.tunnel()

    def send(self, answer: Answer) -> None:
        """Answers, and keeps the connection."""
        if answer.stream:
            self._relay(answer, answer.stream)
            return
        leaving = self.front.leave_before_next()
        if leaving:
            self._handler.close_connection = True
        self.write(self.head(answer, closing=leaving))
        if self._handler.command != "HEAD":
            self.write(answer.body)

    def head(self, answer: Answer, *, closing: bool = False, length: int | None = None) -> bytes:
        """The head of an answer.

        Args:
            answer: The answer.
            closing: Whether it says that the connection ends.
            length: Its Content-Length; None is that of its body.
        """
        headers = [
            (name, value)
            for name, value in answer.headers
            if answer.stream or name.lower() not in _HOP_BY_HOP | {"content-length"}
        ]
        if not answer.stream and answer.status not in (204, 304):
            headers.append(("Content-Length", str(len(answer.body) if length is None else length)))
        if closing:
            headers.append(("Connection", "close"))
        reason = answer.reason or http.client.responses.get(answer.status, "Unknown")
        lines = [f"HTTP/1.1 {answer.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def write(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._handler.wfile.write(data)
        self._handler.wfile.flush()

    def close(self) -> None:
        """Ends the connection in order."""
        self._handler.close_connection = True

    def reset(self) -> None:
        """Resets the connection."""
        connection = self._handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._handler.close_connection = True
        # Closed below TLS and the base class, which would end the connection in order first.
        os.close(connection.detach())

    def hold(self) -> None:
        """Says nothing until the client leaves."""
        self._handler.close_connection = True
        while self._handler.connection.recv(4096):
            pass

    def drip(self, data: Iterable[bytes]) -> None:
        """Sends byte strings one after the other, slowly, until the client leaves."""
        self._handler.close_connection = True
        for part in data:
            self.write(part)
            if self.front.stopping.wait(_DRIP_SECONDS):
                return
        self.hold()

    def _relay(self, answer: Answer, upstream: socket.socket) -> None:
        """Passes a WebSocket's bytes on in both directions."""
        self._handler.close_connection = True
        self.write(self.head(answer))
        client = self._handler.connection
        back = threading.Thread(target=_pump, args=(upstream, client))
        back.start()
        _pump(client, upstream)
        back.join()
        upstream.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError as error:
        if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.EBADF, errno.ENOTCONN):
            raise
    finally:
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
