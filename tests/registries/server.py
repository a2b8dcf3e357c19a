"""A server that replies over real HTTP as a test says, and records what each host received.

It is one host on this machine, with or without TLS; or it is the proxy in front of named hosts, so
that a test can ask `registry-1.docker.io` and its token service over HTTPS.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from cicd_common.registry.manifests import MANIFEST_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cicd_common.registry.logins import Login

JSON = {"Content-Type": "application/json"}
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPES[0],
        "manifests": [],
    }
).encode()


def basic(login: Login) -> str:
    """The header that holds a login."""
    pair = f"{login.user}:{login.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True)
class Request:
    verb: str
    host: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    form: dict[str, list[str]]

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")

    @property
    def credential(self) -> str:
        """What it carries, in a word."""
        if "refresh_token" in self.form:
            return "identity token"
        return {"Basic": "password", "Bearer": "token"}.get(self.authorization.split(" ")[0], "-")


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    challenges: tuple[str, ...] = ()


def json_reply(status: int, body: Any, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, JSON | named, json.dumps(body).encode())


@dataclass
class Host:
    """A running server, and what it received.

    Attributes:
        name: Its host and port.
        asked: The requests, in their order.
    """

    name: str
    asked: list[Request]

    @property
    def url(self) -> str:
        return f"http://{self.name}"

    @property
    def log(self) -> list[str]:
        return [f"{request.verb} {request.path}" for request in self.asked]

    @property
    def received(self) -> list[str]:
        """Each request with its host and the kind of credential that it carries."""
        return [f"{each.verb} {each.host}{each.path} {each.credential}" for each in self.asked]

    @property
    def authorizations(self) -> list[str]:
        return [request.authorization for request in self.asked]

    @property
    def passwords(self) -> list[str]:
        """The authorizations that hold a password."""
        return [each for each in self.authorizations if each.startswith("Basic")]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_CONNECT(self) -> None:
        """Becomes the host that is named."""
        self.send_response(200)
        self.end_headers()
        if self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
            self.setup()
        self.close_connection = False

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        form = self._body().decode()
        request = Request(
            self.command,
            self.headers["Host"],
            parts.path,
            parse_qs(parts.query, keep_blank_values=True),
            dict(self.headers.items()),
            parse_qs(form),
        )
        self.server.asked.append(request)
        reply = self.server.reply(request)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        for challenge in reply.challenges:
            self.send_header("WWW-Authenticate", challenge)
        if "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_HEAD = do_GET  # noqa: N815 - the name by which the server calls it
    do_POST = do_GET  # noqa: N815 - the same

    def finish(self) -> None:
        super().finish()
        self.request.close()  # the one over TLS is not the server's own

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the same
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    def __init__(
        self,
        address: str,
        reply: Callable[[Request], Reply],
        context: ssl.SSLContext | None,
    ) -> None:
        self.reply = reply
        self.context = context
        self.asked: list[Request] = []
        self.bugs: list[BaseException] = []
        super().__init__((address, 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the same
        """Keeps what a test did wrong; a client may break off, or not trust it."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.bugs.append(error)


class _Server6(_Server):
    address_family = socket.AF_INET6


@contextmanager
def serving(
    reply: Callable[[Request], Reply],
    context: ssl.SSLContext | None = None,
    *,
    address: str = "127.0.0.1",
    is_proxy: bool = False,
) -> Iterator[Host]:
    """Serves one host on this machine, or all hosts as their proxy.

    Args:
        reply: What to reply to a request.
        context: The server's side of TLS; None for plain HTTP.
        address: Where to listen.
        is_proxy: Whether TLS begins after a `CONNECT` that names a host, not at once.
    """
    kind = _Server6 if ":" in address else _Server
    with kind(address, reply, context) as server:
        if context is not None and not is_proxy:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        shown = f"[{address}]" if ":" in address else address
        try:
            yield Host(f"{shown}:{server.server_address[1]}", server.asked)
        finally:
            server.shutdown()
            thread.join()
        if server.bugs:
            raise server.bugs[0]


@dataclass(frozen=True)
class Certificate:
    """A certificate of its own authority, with its key."""

    path: Path
    key: Path

    @classmethod
    def make(cls, folder: Path, *names: str) -> Certificate:
        """Makes one for hosts, as `DNS:name` and `IP:address`; RSA, which registries know too."""
        made = cls(folder / "certificate.pem", folder / "key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=tests", "-addext", f"subjectAltName={','.join(names)}",
             "-keyout", made.key, "-out", made.path],
            check=True, capture_output=True,
        )  # fmt: skip
        return made

    def context(self) -> ssl.SSLContext:
        """The server's side of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key)
        return context
