"""The session over real sockets, against servers that misbehave as the sandbox cannot."""

from __future__ import annotations

import contextlib
import http.server
import io
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import UnavailableError, UsageError
from cicd_common.gitlab.addresses import origin, same_origin
from cicd_common.gitlab.session import SafeSession

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from requests_mock import Mocker


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


def test_a_body_is_read_completely() -> None:
    with server(JSON % (7, b'{"a":1}')) as url, session(url) as client:
        assert client.get(f"{url}/x").json() == {"a": 1}


def test_a_slow_response_does_not_block_the_command() -> None:
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
def test_an_invalid_http_response_is_a_clear_error(answer: bytes) -> None:
    with server(answer) as url, session(url) as client, pytest.raises(UnavailableError):
        client.get(f"{url}/x")


def test_a_request_to_another_server_is_stopped_before_it_is_sent(requests_mock: Mocker) -> None:
    with (
        session("https://gitlab.example.com") as client,
        pytest.raises(UnavailableError, match="was stopped") as stopped,
    ):
        client.get("https://elsewhere.example.com/api/v4/projects")
    assert not stopped.value.sent
    assert requests_mock.call_count == 0


def test_a_redirect_loop_is_stopped() -> None:
    circle = b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"
    with (
        server(circle) as url,
        session(url) as client,
        pytest.raises(UnavailableError, match="in a loop"),
    ):
        client.get(f"{url}/x")


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> Iterator[tuple[str, Path]]:
    """A server whose certificate no machine trusts, and the certificate."""

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
        context.load_cert_chain(*certificate)
        running.socket = context.wrap_socket(running.socket, server_side=True)
        running.handle_error = lambda *_: None  # type: ignore[method-assign] # refused handshakes are the test
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"https://localhost:{running.server_address[1]}", certificate[0]
        running.shutdown()
        thread.join()


def test_an_unknown_authority_fails_at_once_and_the_hint_names_the_fix(
    tls: tuple[str, Path],
) -> None:
    url, _ = tls
    with pytest.raises(UnavailableError) as raised, session(url, retry_for=86400.0) as client:
        client.get(f"{url}/x")
    assert "--ca-file" in raised.value.hint
    assert not raised.value.sent


def test_a_ca_file_is_trusted_in_addition_to_the_default_authorities(tls: tuple[str, Path]) -> None:
    url, certificate = tls
    with session(url, ca_file=certificate) as client:
        assert client.get(f"{url}/x").json() == {}


def test_a_ca_file_without_certificates_is_an_error(tmp_path: Path) -> None:
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
        ("https://[::1]", "https://[::1]:443", True),
        ("https://[::1", "https://[::1", False),
        ("https://h:99999", "https://h:99999", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, *, same: bool) -> None:
    assert same_origin(one, other) is same


def test_an_origin_omits_path_query_and_credentials() -> None:
    assert origin("https://me:hush@Host:8080/path?x=1") == "https://host:8080"


def test_an_origin_has_brackets_around_an_ipv6_address() -> None:
    assert origin("https://[::1]/path") == "https://[::1]"
    assert origin("http://[FE80::1]:8080") == "http://[fe80::1]:8080"


BASE = "https://gitlab.example.com"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("method", "location"),
    [
        ("GET", "https://elsewhere.example/x"),
        ("GET", "http://gitlab.example.com/x"),
        ("GET", "https://gitlab.example.com:8443/x"),
        ("GET", "//elsewhere.example/x"),
        ("GET", "https://me:hush@elsewhere.example/x?private_token=hush#hush"),
        ("GET", "https://hush@[::1"),
        ("GET", "https://me:hush@h:99999/x"),
        ("GET", "ftp://me:hush@h/x"),
        ("GET", "https://h/\x1b[2J\u202e"),
        ("GET", "javascript:alert(1)"),
        ("POST", "/x"),
        ("POST", "https://gitlab.example.com/x"),
        ("POST", "https://me:hush@elsewhere.example/x"),
    ],
)
def test_credentials_are_not_sent_to_another_address_and_its_own_are_not_printed(
    requests_mock: Mocker, status: int, method: str, location: str
) -> None:
    answered = requests_mock.register_uri(
        method, f"{BASE}/a", status_code=status, headers={"Location": location}
    )
    with session(BASE, retry_for=60.0) as client, pytest.raises(UnavailableError) as raised:
        client.request(method, f"{BASE}/a", headers={"PRIVATE-TOKEN": "glpat-1"})
    assert "redirects to" in raised.value.message
    assert not raised.value.sent
    assert not raised.value.retryable
    assert requests_mock.call_count == answered.call_count == 1
    said = raised.value.message + raised.value.why + raised.value.hint
    assert "hush" not in said
    assert said.isprintable()


def test_a_redirected_read_stays_in_its_origin_and_uses_only_the_new_query(
    requests_mock: Mocker,
) -> None:
    requests_mock.get(f"{BASE}/a", status_code=301, headers={"Location": "/b?id=7"})
    requests_mock.get(f"{BASE}/b", json={})
    with session(BASE) as client:
        client.get(f"{BASE}/a", params={"search": "x"})
    assert [request.query for request in requests_mock.request_history] == ["search=x", "id=7"]


@pytest.mark.parametrize("status", [300, 302, 304, 305])
def test_a_redirect_without_a_usable_address_is_an_error(
    requests_mock: Mocker, status: int
) -> None:
    requests_mock.get(f"{BASE}/a", status_code=status, json={})
    with session(BASE) as client, pytest.raises(UnavailableError):
        client.get(f"{BASE}/a")


@pytest.mark.parametrize(("limit", "timeouts"), [(3.0, (3.0, 3.0)), (30.0, (10.0, 30.0))])
def test_connecting_has_its_own_timeout(limit: float, timeouts: tuple[float, float]) -> None:
    with session(BASE, request_timeout=limit) as client:
        assert client.timeouts == timeouts


def seconds_ahead(client: SafeSession) -> float:
    return (client.now() - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize("ahead", [-7200, 0, 7200])
def test_the_servers_time_is_read_from_its_last_response(
    requests_mock: Mocker, ahead: float
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    requests_mock.get(f"{BASE}/a", json={}, headers={"Date": date})
    with session(BASE) as client:
        assert abs(seconds_ahead(client)) < 5
        client.get(f"{BASE}/a")
        assert abs(seconds_ahead(client) - ahead) < 5


@pytest.mark.parametrize(
    "headers",
    [{}, {"Date": "soon"}, {"Date": "Fri, 02 Jan 2026 03:04:05 GMT", "Age": "100"}],
    ids=["no date", "no sense", "from a cache"],
)
def test_a_response_without_a_date_does_not_change_the_servers_time(
    requests_mock: Mocker, headers: dict[str, str]
) -> None:
    requests_mock.get(f"{BASE}/a", json={}, headers=headers)
    with session(BASE) as client:
        client.get(f"{BASE}/a")
        assert abs(seconds_ahead(client)) < 5


def download(url: str, **settings: object) -> bytes:
    target = io.BytesIO()
    session(url, **settings).download(f"{url}/file", {}, target, lambda _: None)
    return target.getvalue()


ZIP = b"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\nContent-Length: %d\r\n\r\n%s"


def test_a_download_can_take_longer_than_a_request_while_it_moves() -> None:
    with server(ZIP % (8, b"12345678"), drip=0.1) as url:
        assert download(url, request_timeout=0.5) == b"12345678"


def test_a_download_that_stalls_is_given_up() -> None:
    with (
        server(ZIP % (3, b"123"), drip=0.6) as url,
        pytest.raises(UnavailableError, match=r"did not respond within 0\.2 s"),
    ):
        download(url, request_timeout=0.2)


def test_a_page_is_no_file() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
    with server(page) as url, pytest.raises(UnavailableError, match="is not a file"):
        download(url)


def test_another_part_than_asked_for_is_not_taken() -> None:
    part = (
        b"HTTP/1.1 206 Partial Content\r\nContent-Type: application/zip\r\n"
        b"Content-Range: bytes 5-6/7\r\nContent-Length: 2\r\n\r\nxy"
    )
    with server(part) as url, pytest.raises(UnavailableError, match="another part"):
        download(url)


@pytest.mark.parametrize("place", ["bytes 0-1/7", "bytes 50-51/70", ""])
def test_a_part_from_another_place_is_not_appended(place: str, requests_mock: Mocker) -> None:
    requests_mock.get(
        f"{BASE}/file", status_code=206, headers={"Content-Range": place}, content=b"xy"
    )
    target = io.BytesIO()
    target.write(b"12345")
    with pytest.raises(UnavailableError, match="another part"):
        session(BASE, retry_for=0).download(f"{BASE}/file", {}, target, lambda _: None)
    assert target.getvalue() == b""


@pytest.mark.parametrize(
    "location", ["http://storage.example.com/x", "HTTP://x/", "file:///etc/passwd", "//["]
)
def test_a_server_with_tls_never_sends_a_download_to_plain_http(
    location: str, requests_mock: Mocker
) -> None:
    requests_mock.get(
        "https://gitlab.example.com/file", status_code=302, headers={"Location": location}
    )
    with pytest.raises(UnavailableError, match="redirects a download to"):
        download("https://gitlab.example.com")


def test_a_storage_gets_the_request_without_the_credential(requests_mock: Mocker) -> None:
    requests_mock.get(
        "https://gitlab.example.com/file",
        request_headers={"PRIVATE-TOKEN": "secret"},
        status_code=302,
        headers={"Location": "https://storage.example.com/x?X-Amz-Signature=1"},
    )
    stored = requests_mock.get("https://storage.example.com/x", content=b"zip")
    target = io.BytesIO()
    session("https://gitlab.example.com").download(
        "https://gitlab.example.com/file", {"PRIVATE-TOKEN": "secret"}, target, lambda _: None
    )
    assert target.getvalue() == b"zip"
    [request] = stored.request_history
    assert not {"PRIVATE-TOKEN", "Authorization"} & {*request.headers}
