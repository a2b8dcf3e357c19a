"""The route to the cable: TLS and proxies, as for requests."""

from __future__ import annotations

import socket
import socketserver
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from cicd_common.errors import UsageError
from cicd_common.gitlab.transport import whole_context
from cicd_common.waiting.push import websocket
from cicd_common.waiting.push.listener import Push

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OFF = "No push from GitLab for the rest of this run: "


class Forwarder(socketserver.ThreadingTCPServer):
    """Passes on what comes in; with `answer`, once it has answered a CONNECT."""

    def __init__(self, target: str, answer: bytes = b"") -> None:
        self.target = (urlsplit(target).hostname, urlsplit(target).port)
        self.answer = answer
        self.requests: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, *_: object) -> None:
        """Refused handshakes are what some tests are about."""


class Handler(socketserver.BaseRequestHandler):
    server: Forwarder

    def handle(self) -> None:
        if self.server.answer:
            self.server.requests.append(self.request.recv(65536))
            self.request.sendall(self.server.answer)
            if b" 200 " not in self.server.answer:
                return
        with socket.create_connection(self.server.target) as target:
            back = threading.Thread(target=pump, args=(target, self.request))
            back.start()
            pump(self.request, target)
            back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def running(server: Forwarder) -> Iterator[int]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate, with its key, that no machine trusts."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", "both.pem", "-out", "cert.pem"],
        check=True, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    with (tmp_path / "both.pem").open("a") as both:
        both.write((tmp_path / "cert.pem").read_text())
    return tmp_path / "cert.pem"


@pytest.fixture
def secure(world: Any, certificate: Path) -> Iterator[str]:
    """The server's address by TLS."""
    server = Forwarder(world.gitlab.url)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.with_name("both.pem"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with running(server) as port:
        world.gitlab.state.external_url = f"https://localhost:{port}"
        yield world.gitlab.state.external_url
        world.gitlab.cable.cut()


def test_an_unknown_authority_turns_push_off(
    world: Any, secure: str, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with Push(replace(world.server(), base_url=secure), world.clock) as push:
        push.listen(world.record(world.add()))
        until(lambda: any(text.startswith(OFF) for text in caplog.messages))
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.messages[-1]
    assert world.handshakes == []


@pytest.mark.parametrize("how", ["--ca-file", "REQUESTS_CA_BUNDLE"])
def test_the_websocket_trusts_the_same_authorities_as_requests(
    world: Any, secure: str, certificate: Path, until: Any, monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:  # fmt: skip
    server = replace(world.server(), base_url=secure)
    if how == "--ca-file":
        server = replace(server, ca_file=certificate)
    else:
        monkeypatch.setenv(how, str(certificate))
    pipeline = world.add()
    with Push(server, world.clock) as push:
        push.listen(world.record(pipeline))
        until(lambda: push.covers(pipeline.id))
    assert world.gitlab.requests[0].headers["Origin"] == secure


def test_a_folder_of_ca_certificates_is_trusted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert whole_context("https://localhost", None).verify_mode is ssl.CERT_REQUIRED
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(UsageError):
        whole_context("https://localhost", tmp_path / "ca.pem")


@pytest.fixture
def elsewhere(world: Any) -> Push:
    """Push of a server that only a proxy reaches: this machine's own needs none."""
    world.gitlab.state.external_url = "http://gitlab.test"
    return Push(replace(world.server(), base_url="http://gitlab.test"), world.clock)


def test_the_websocket_uses_the_proxy_and_does_not_send_it_the_token(
    world: Any, elsewhere: Push, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Forwarder(world.gitlab.url, b"HTTP/1.1 200 Connection established\r\n\r\n")
    pipeline = world.add()
    with running(proxy) as port:
        monkeypatch.setenv("http_proxy", f"http://user:password@127.0.0.1:{port}")
        with elsewhere as push:
            push.listen(world.record(pipeline))
            until(lambda: push.covers(pipeline.id))
    (request,) = proxy.requests
    assert request.startswith(b"CONNECT gitlab.test:80 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic " in request
    assert world.token.secret.encode() not in request


def test_a_proxy_that_refuses_turns_push_off(
    world: Any,
    elsewhere: Push,
    until: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with running(Forwarder(world.gitlab.url, refusal)) as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with elsewhere as push:
            push.listen(world.record(world.add()))
            until(lambda: f"{OFF}the proxy answers 407" in caplog.messages)
    assert world.handshakes == []


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://127.0.0.1:1",
        "http://user@127.0.0.1:1",
        "ftp://user:password@h",
        "http://user:password@h/path",
    ],
)
def test_an_invalid_proxy_turns_push_off_and_is_not_printed(
    world: Any,
    elsewhere: Push,
    until: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    proxy: str,
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with elsewhere as push:
        push.listen(world.record(world.add()))
        until(lambda: any(text.startswith(OFF) for text in caplog.messages))
    assert proxy.partition("://")[2] not in caplog.text


def test_a_loopback_address_is_reached_without_a_proxy(
    world: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    pipeline = world.add()
    with world.push() as push:
        push.listen(world.record(pipeline))
        until(lambda: push.covers(pipeline.id))


def test_an_unreachable_server_is_retried(
    world: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    server = replace(world.server(), base_url=f"http://127.0.0.1:{port}")
    with Push(server, world.clock) as push:
        push.listen(world.record(world.add()))
        until(lambda: sum("was closed" in text for text in caplog.messages) == 2)
    assert not any(text.startswith(OFF) for text in caplog.messages)


def test_a_server_gets_a_moment_only_to_answer_the_close(world: Any) -> None:
    server = world.server()
    assert server.token is not None
    with websocket.opened(server, server.token, lambda _: None) as cable:
        assert cable._connection.close_timeout == websocket.CLOSE_TIMEOUT
