"""Connections to a server: how long an answer can take, whom to trust, which proxy to use.

urllib3 and requests do not do this by themselves:

- the timeout of a socket starts anew with each byte, so that a server that sends one byte a second
  holds a command for ever: here it is the limit of the whole answer, status line and headers too;
- whether a request was sent cannot be told from their errors: a connection that a proxy closes
  after the request is a `ProxyError`, as is one that was never made;
- a proxy never stands between this machine and itself, as in Go's `httpproxy`.
"""

from __future__ import annotations

import io
import time
from http.client import HTTPException, HTTPResponse
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import create_urllib3_context

from cicd_common.errors import UsageError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from ssl import SSLContext

# As many as the most projects handled side by side: a few dozen of them take one round, not two.
POOL_SIZE = 32
_NEVER_SENT = "never_sent"


def was_never_sent(error: BaseException) -> bool:
    """Whether an exchange failed before its request was sent: there was no connection yet."""
    return any(_NEVER_SENT in vars(cause) for cause in causes(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it was made of, the innermost last.

    `__context__` is left out: that can be the failure of an earlier request.
    """
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        yield inner
        seen.add(id(inner))
        candidates = (
            getattr(inner, "reason", None),
            getattr(inner, "original_error", None),
            *reversed(inner.args),
            inner.__cause__,
        )
        inner = next((each for each in candidates if isinstance(each, BaseException)), None)


class _LimitedReader(io.RawIOBase):
    """What a socket receives until a deadline, which no byte moves."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _LineReader(io.BufferedReader):
    """What a socket receives, and the last of its lines."""

    line = b""

    def readline(self, size: int | None = -1, /) -> bytes:
        self.line = super().readline(size)
        return self.line


class _LimitedResponse(HTTPResponse):
    """An answer whose headers are whole, and whose timeout is that of all of it."""

    def __init__(self, sock: socket.socket, *arguments: Any, **settings: Any) -> None:
        super().__init__(sock, *arguments, **settings)
        reader = self.fp.detach()
        if (limit := sock.gettimeout()) is not None:
            reader = _LimitedReader(reader, sock, time.monotonic() + limit)
        self.fp = self._lines = _LineReader(reader)

    def begin(self) -> None:
        super().begin()
        # To http.client the end of the connection ends the headers too, and a line that is none
        # hides those after it: either way an empty body would follow.
        has_lost = self.msg.defects and self.length is None and not self.chunked
        if has_lost or self._lines.line not in {b"\r\n", b"\n"}:
            raise HTTPException("the headers are not whole")


class _HttpConnection(HTTPConnection):
    response_class = _LimitedResponse

    def connect(self) -> None:
        try:
            super().connect()
        except Exception as error:
            vars(error)[_NEVER_SENT] = True
            raise


class _HttpsConnection(HTTPSConnection):
    response_class = _LimitedResponse

    def connect(self) -> None:  # to the other end of a proxy, and with TLS
        try:
            super().connect()
        except Exception as error:
            vars(error)[_NEVER_SENT] = True
            raise


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class Adapter(HTTPAdapter):
    """Limits each answer, and trusts one more certificate authority.

    Args:
        ca_file: Its certificates, in addition to the usual ones; None for the usual ones alone.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        super().__init__(pool_maxsize=POOL_SIZE)

    def _context(self) -> dict[str, Any]:
        return {} if self._ca_file is None else {"ssl_context": context_with(self._ca_file)}

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Makes the connections' pool; what `HTTPAdapter` calls."""
        super().init_poolmanager(*args, **(options | self._context()))
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Makes the pool of those by a proxy; what `HTTPAdapter` calls."""
        manager = super().proxy_manager_for(proxy, **(options | self._context()))
        manager.pool_classes_by_scheme = _POOLS
        return manager


def context_with(ca_file: Path | None) -> SSLContext:
    """A TLS context that trusts one authority alone, for a session that adds the usual ones.

    Args:
        ca_file: Its certificates in PEM form; None trusts nothing yet.

    Raises:
        UsageError: The file holds none.
    """
    context = create_urllib3_context()
    if ca_file is None:
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"{ca_file} cannot be used as a certificate authority: {error}",
            hint="--ca-file takes a file of certificates in PEM form.",
        ) from error
    return context


def whole_context(url: str, ca_file: Path | None) -> SSLContext:
    """A TLS context that trusts what a session trusts, `REQUESTS_CA_BUNDLE` included.

    Args:
        url: Where to.
        ca_file: A certificate authority to trust in addition to the usual ones.

    Raises:
        UsageError: The file holds none.
        OSError: The usual ones cannot be read.
    """
    context = context_with(ca_file)
    bundle = requests.Session().merge_environment_settings(url, {}, None, None, None)["verify"]
    usual = Path(bundle if isinstance(bundle, str) else DEFAULT_CA_BUNDLE_PATH)
    if usual.is_dir():
        context.load_verify_locations(capath=usual)
    else:
        context.load_verify_locations(cafile=usual)
    return context


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: localhost, 127.0.0.0/8 or ::1.

    The rule of Go's `httpproxy`, by which curl's and git's users know it too:
    https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def proxy_for(url: str) -> str | None:
    """The proxy that a session takes to a URL, by the usual environment variables."""
    if is_loopback(urlsplit(url).hostname or ""):
        return None
    settings = requests.Session().merge_environment_settings(url, {}, None, None, None)
    return select_proxy(url, settings["proxies"])
