"""The session over real sockets, against servers that misbehave as the sandbox cannot."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import UnavailableError, UsageError
from cicd_common.gitlab.session import SafeSession, origin, same_origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def session(url: str, **settings: object) -> SafeSession:
    return SafeSession(url, **({"request_timeout": 1.0, "retry_for": 0.0} | settings))  # type: ignore[arg-type] # a table of settings


@contextlib.contextmanager
def server(answer: bytes, *, drip: float = 0.0) -> Iterator[str]:
    """Answers every connection with these bytes, one at a time where it drips."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        head, separator, body = answer.partition(b"\r\n\r\n")
                        connection.sendall(head + separator)
                        for n in range(len(body)):
                            connection.sendall(body[n : n + 1])
                            time.sleep(drip)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


def test_a_body_is_read_whole() -> None:
    with server(JSON % (7, b'{"a":1}')) as url, session(url) as client:
        assert client.get(f"{url}/x").json() == {"a": 1}


def test_a_server_that_drips_does_not_hold_the_command() -> None:
    """All of it would take hours."""
    with (
        server(JSON % (100_000, b" " * 100_000), drip=0.1) as url,
        session(url) as client,
        pytest.raises(UnavailableError, match="within 1 s"),
    ):
        client.get(f"{url}/x")


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nno gzip",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        JSON % (3, b"{]}"),
        JSON % (10, b"["),
        JSON % (200_000, b"[" * 200_000),
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
    ],
    ids=["words", "nothing", "gzip", "chunks", "json", "cut", "deep", "location", "999", "html"],
)
def test_nonsense_is_an_error_of_ours(answer: bytes) -> None:
    with server(answer) as url, session(url) as client, pytest.raises(UnavailableError):
        client.get(f"{url}/x")


def test_a_redirect_in_circles_ends() -> None:
    circle = b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"
    with (
        server(circle) as url,
        session(url) as client,
        pytest.raises(UnavailableError, match="circles"),
    ):
        client.get(f"{url}/x")


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server whose certificate no machine trusts, and the certificate."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        running.socket = context.wrap_socket(running.socket, server_side=True)
        running.handle_error = lambda *_: None  # type: ignore[method-assign] # refused handshakes are the test
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"https://localhost:{running.server_address[1]}", certificate
        running.shutdown()
        thread.join()


def test_an_unknown_authority_is_refused_at_once_and_the_remedy_named(
    tls: tuple[str, Path],
) -> None:
    url, _ = tls
    with pytest.raises(UnavailableError) as raised, session(url, retry_for=86400.0) as client:
        client.get(f"{url}/x")
    assert "--ca-file" in raised.value.hint
    assert not raised.value.sent


def test_a_ca_file_is_trusted_beside_the_usual_ones(tls: tuple[str, Path]) -> None:
    url, certificate = tls
    with session(url, ca_file=certificate) as client:
        assert client.get(f"{url}/x").json() == {}


def test_a_ca_file_without_certificates_is_said(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(UsageError, match=r"ca\.pem"):
        session("https://localhost", ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://h/a", "https://H:443/b", True),
        ("http://h", "http://h:80", True),
        ("http://h", "https://h", False),
        ("https://h", "https://h:8443", False),
        ("https://h", "https://h.evil", False),
        ("https://h", "https://h@evil", False),
        ("https://h", "https://h:port", False),
        ("https://[::1]:1", "https://[::1]:1", True),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, *, same: bool) -> None:
    assert same_origin(one, other) is same


def test_an_origin_leaves_out_what_is_no_part_of_it() -> None:
    assert origin("https://me:hush@Host:8080/path?x=1") == "https://host:8080"
