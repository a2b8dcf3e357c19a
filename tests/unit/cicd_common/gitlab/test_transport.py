"""Connections over real sockets: limits of time, proxies, and whether a request was sent."""

from __future__ import annotations

import io
import socket
import ssl
import struct
import sys
import time
from typing import TYPE_CHECKING, ClassVar, cast

import pytest

from cicd_common.errors import UnavailableError, UsageError
from cicd_common.gitlab.session import SafeSession
from cicd_common.gitlab.transport import _LimitedReader, is_loopback, proxy_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.cicd_common.gitlab.conftest import Listening

    Serve = Callable[[socket.socket], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
PASSWORD = "hush-hush"


def read_request(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and (part := connection.recv(65536)):
        head += part
    return head


def answer(data: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(data)

    return serve


def close(connection: socket.socket) -> None:
    read_request(connection)


def reset(connection: socket.socket) -> None:
    read_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def session(url: str, **settings: object) -> SafeSession:
    return SafeSession(url, **({"request_timeout": 5.0, "retry_for": 0.0} | settings))  # type: ignore[arg-type] # a table of settings


def failure(client: SafeSession, method: str = "POST") -> UnavailableError:
    with client, pytest.raises(UnavailableError) as raised:
        client.request(method, f"{client.base_url}/api/v4/x")
    assert PASSWORD not in repr(raised.value)
    return raised.value


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    "end", [8, 12, 15, 17, 20, 49, 60, 69], ids=lambda end: repr(OK[:end][-12:])
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_truncated_headers_are_never_read_as_an_empty_body(
    end: int, method: str, listening: Listening
) -> None:
    assert b"\r\n\r\n" not in OK[:end]
    with listening(answer(OK[:end].replace(b"Content-Length", b"X-Length"))) as port:
        error = failure(session(f"http://127.0.0.1:{port}"), method)
    assert error.sent
    assert error.retryable


def test_a_body_can_be_empty_and_end_with_the_connection(listening: Listening) -> None:
    with listening(answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")) as port:
        client = session(f"http://127.0.0.1:{port}")
        assert client.request("GET", f"{client.base_url}/api/v4/x").content == b""


def drip(*parts: bytes, pause: float = 0.05) -> Serve:
    """Sends the first part at once, the second byte by byte for ever."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(parts[0])
        while True:
            for byte in parts[1]:
                connection.sendall(bytes([byte]))
                time.sleep(pause)  # a server's pace, not a test's

    return serve


@pytest.mark.parametrize(
    "serve",
    [
        drip(b"HTTP/1.1 200 ", b"O"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.005),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        drip(b"HTTP/1.1 500 Oh\r\nContent-Length: 100000\r\n\r\n", b"x"),
    ],
    ids=["status", "headers", "header", "continue", "body", "chunks", "error"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_slow_response_is_aborted_at_the_timeout(
    listening: Listening, serve: Serve, method: str
) -> None:
    started = time.monotonic()
    with listening(serve) as port:
        error = failure(session(f"http://127.0.0.1:{port}", request_timeout=0.5), method)
    assert "within 0.5 s" in error.message
    assert error.sent
    assert error.retryable
    assert time.monotonic() - started < 10


def test_the_remaining_timeout_applies_after_the_first_byte() -> None:
    class Connection:
        limits: ClassVar[list[float]] = []

        def settimeout(self, seconds: float) -> None:
            self.limits.append(seconds)

    connection = cast("socket.socket", Connection())
    deadline = time.monotonic() + 1000
    reader = _LimitedReader(cast("io.RawIOBase", io.BytesIO(b"ab")), connection, deadline)
    assert [reader.read(1), reader.read(1)] == [b"a", b"b"]
    first, second = Connection.limits
    assert 900 < second < first <= 1000


def test_a_cookie_is_never_sent_back(listening: Listening) -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(read_request(connection))
        connection.sendall(OK.replace(b"\r\n", b"\r\nSet-Cookie: session=1; Path=/\r\n", 1))

    with listening(serve) as port, session(f"http://127.0.0.1:{port}", retry_for=10) as client:
        for _ in range(2):
            client.get(f"{client.base_url}/x")
    assert len(asked) == 2
    assert not any(b"session=1" in request for request in asked)


def test_a_slow_response_within_the_timeout_is_read(listening: Listening) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        for byte in OK:
            connection.sendall(bytes([byte]))

    with listening(serve) as port, session(f"http://127.0.0.1:{port}") as client:
        assert client.get(f"{client.base_url}/x").json() == {}


def test_every_request_on_a_connection_has_the_whole_timeout(listening: Listening) -> None:
    def serve(connection: socket.socket) -> None:
        for _ in range(3):
            read_request(connection)
            time.sleep(0.8)  # a server's pace, not a test's
            connection.sendall(OK)

    with (
        listening(serve) as port,
        session(f"http://127.0.0.1:{port}", request_timeout=2.0) as client,
    ):
        for _ in range(3):
            client.get(f"{client.base_url}/x")


@pytest.mark.parametrize("kind", ["application/json", "text/html", "text/plain"])
@pytest.mark.parametrize("status", [200, 500])
def test_a_response_that_is_too_large_is_aborted(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, kind: str, status: int
) -> None:
    monkeypatch.setattr("cicd_common.gitlab.session.LARGEST_JSON", 2**20)
    monkeypatch.setattr("cicd_common.gitlab.session.LARGEST", 2**20)
    body = b" " * (2**20 + 1)
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    with listening(answer(head.encode() + body)) as port:
        error = failure(session(f"http://127.0.0.1:{port}"), "GET")
    assert "larger than 1 MB" in error.message
    assert not error.retryable


@pytest.mark.parametrize("serve", [close, reset, answer(OK[:20]), answer(OK[:-1])])
def test_a_failure_after_the_request_was_sent_can_mean_that_it_happened(
    listening: Listening, serve: Serve
) -> None:
    with listening(serve) as port:
        error = failure(session(f"http://127.0.0.1:{port}"))
    assert error.sent
    assert error.retryable


def test_a_failure_without_a_connection_means_that_nothing_happened(listening: Listening) -> None:
    with listening(close) as port:
        pass
    error = failure(session(f"http://127.0.0.1:{port}"))
    assert not error.sent
    assert error.retryable
    assert "refused" in error.message


def test_an_earlier_failure_does_not_count_for_the_next_request(listening: Listening) -> None:
    """A request is often sent where an earlier one failed: Python keeps that as its context."""
    with listening(close) as port:
        pass
    try:
        with session(f"http://127.0.0.1:{port}") as client:
            client.post(f"{client.base_url}/x")
    except UnavailableError:
        with listening(close) as port:
            assert failure(session(f"http://127.0.0.1:{port}")).sent


# Behind a proxy: gitlab.test is a name that only the proxy would resolve.


def by_proxy(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://user:{PASSWORD}@127.0.0.1:{port}")


@pytest.mark.parametrize("serve", [close, reset, answer(OK[:20])])
def test_a_forward_proxy_that_closes_after_the_request_can_have_forwarded_it(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    with listening(serve) as port:
        by_proxy(monkeypatch, port)
        assert failure(session("http://gitlab.test")).sent


@pytest.mark.parametrize("serve", [close, reset, answer(OK[:20])])
def test_a_tunnel_that_closes_after_the_request_can_have_forwarded_it(
    listening: Listening,
    monkeypatch: pytest.MonkeyPatch,
    certificate: tuple[Path, Path],
    serve: Serve,
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    def tunnel(connection: socket.socket) -> None:
        assert read_request(connection).startswith(b"CONNECT gitlab.test:443 ")
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as inner:
            serve(inner)

    with listening(tunnel) as port:
        by_proxy(monkeypatch, port)
        assert failure(session("https://gitlab.test", ca_file=certificate[0])).sent


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_error_names_an_unreachable_proxy_and_nothing_was_sent(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with listening(close) as port:
        pass
    by_proxy(monkeypatch, port)
    error = failure(session(f"{scheme}://gitlab.test"))
    assert f"http://127.0.0.1:{port}" in error.message
    assert not error.sent
    assert error.retryable


@pytest.mark.parametrize(
    ("serve", "retryable"),
    [
        (answer(b"HTTP/1.1 403 Forbidden\r\n\r\n"), False),
        (answer(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), False),
        (answer(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), True),
        (answer(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), True),
        (close, True),
        (reset, True),
        (drip(b"HTTP/1.1 200 ", b"O"), True),
        (drip(b"HTTP/1.1 200 OK\r\n", b"X: x\r\n"), True),
    ],
    ids=["403", "407", "502", "503", "close", "reset", "drip", "headers"],
)
def test_a_tunnel_that_was_not_opened_has_forwarded_nothing(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, serve: Serve, *, retryable: bool
) -> None:
    started = time.monotonic()
    with listening(serve) as port:
        by_proxy(monkeypatch, port)
        error = failure(session("https://gitlab.test", request_timeout=1.0))
    assert not error.sent
    assert error.retryable is retryable
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("status", [502, 503, 504])
def test_an_error_response_of_a_forward_proxy_leaves_a_write_unknown(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with listening(answer(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)) as port:
        by_proxy(monkeypatch, port)
        error = failure(session("http://gitlab.test"))
    assert error.sent
    assert error.retryable


@pytest.mark.parametrize(
    "proxy",
    [
        f"http://user:{PASSWORD}@127.0.0.1:99999",
        f"http://user:{PASSWORD}@[::1",
        f"ftp://user:{PASSWORD}@127.0.0.1",
        "http://:80",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_invalid_proxy_address_is_not_printed_and_not_retried(
    monkeypatch: pytest.MonkeyPatch, proxy: str, method: str
) -> None:
    started = time.monotonic()
    monkeypatch.setenv("http_proxy", proxy)
    error = failure(session("http://gitlab.test", retry_for=60.0), method)
    assert not error.sent
    assert not error.retryable
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("is_container", [True, False])
def test_in_a_container_a_loopback_address_fails_at_once_with_an_explanation(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_container: bool
) -> None:
    marker = tmp_path / ".dockerenv"
    if is_container:
        marker.touch()
    monkeypatch.setattr("cicd_common.gitlab.failures.CONTAINER_FILES", (marker,))
    with listening(close) as port:
        pass
    error = failure(session(f"http://127.0.0.1:{port}"))
    assert ("the container itself" in error.message) is is_container
    assert ("--network host" in error.hint) is is_container
    assert error.retryable


def test_in_an_image_a_loopback_address_is_not_retried_before_its_first_response(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cicd_common.gitlab.failures.IMAGE_PREFIX", sys.prefix)
    with listening(answer(OK)) as port:
        reached = session(f"http://127.0.0.1:{port}")
        reached.get(f"http://127.0.0.1:{port}/x")
    started = time.monotonic()
    assert not failure(session(f"http://127.0.0.1:{port}", retry_for=60.0), "GET").retryable
    assert time.monotonic() - started < 10
    assert failure(reached, "GET").retryable  # a server that restarts, with --network host


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_missing_ca_bundle_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "/no/such/bundle.pem")
    with pytest.raises(UsageError, match="bundle"), session("https://gitlab.test") as client:
        client.get("https://gitlab.test/x")


# This machine is never asked through a proxy.


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost.", True),
        ("localhost.localdomain", True),
        ("registry.localhost", True),
        ("localhost.example.com", False),
        ("notlocalhost", False),
        ("128.0.0.1", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::2", False),
        ("gitlab.example.com", False),
        ("", False),
    ],
)
def test_loopback_is_localhost_and_the_addresses_of_this_machine(
    host: str, *, expected: bool
) -> None:
    assert is_loopback(host) is expected


def test_no_proxy_is_used_for_a_loopback_address(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    with listening(lambda connection: asked.append(read_request(connection))) as proxy:
        by_proxy(monkeypatch, proxy)
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy}")
        with listening(answer(OK)) as port:
            for host in ("127.0.0.1", "localhost"):
                with session(f"http://{host}:{port}") as client:
                    assert client.get(f"{client.base_url}/x").json() == {}
                assert proxy_for(f"http://{host}:{port}") is None
    assert asked == []


def test_the_proxy_is_used_for_every_other_host(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(answer(OK)) as port, session("http://gitlab.test") as client:
        by_proxy(monkeypatch, port)
        assert client.get("http://gitlab.test/x").json() == {}
        assert proxy_for("http://gitlab.test") is not None
        monkeypatch.setenv("no_proxy", "gitlab.test")
        assert proxy_for("http://gitlab.test") is None


# TLS


@pytest.mark.parametrize("serve", [answer(OK), close, reset], ids=["http", "close", "reset"])
def test_a_port_without_tls_is_not_a_certificate_error(listening: Listening, serve: Serve) -> None:
    def no_tls(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(OK)

    with listening(no_tls if serve not in (close, reset) else serve) as port:
        error = failure(session(f"https://localhost:{port}", request_timeout=1.0))
    assert not error.sent
    assert "certificate" not in error.message + error.why + error.hint
    if serve not in (close, reset):
        assert error.why.endswith("does not use TLS.")
        assert error.hint.endswith(f"give --base-url http://localhost:{port}")


def test_a_tls_failure_after_the_request_can_mean_that_it_happened(
    listening: Listening, certificate: tuple[Path, Path]
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection.dup(), server_side=True) as inner:
            read_request(inner)
            connection.sendall(b"no TLS at all")

    with listening(serve) as port:
        error = failure(session(f"https://localhost:{port}", ca_file=certificate[0]))
    assert error.sent


@pytest.mark.parametrize(
    "data",
    [b"\0", b"\r\n", b"HTTP/9 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nA\r\n\r\n", b"x" * 70_000],
    ids=["nul", "nothing", "version", "header", "line"],
)
def test_a_response_that_is_not_http_is_a_clear_error(listening: Listening, data: bytes) -> None:
    with listening(answer(data)) as port:
        assert failure(session(f"http://127.0.0.1:{port}")).sent
