"""Makes connections to a server, with their time limit, trusted certificates and proxy.

urllib3 and requests do not do this by themselves:

- the timeout of a socket restarts with each byte, so that a server that sends one byte a second
  blocks a command for ever: here it limits the whole response, with status line and headers;
- their errors do not show whether a request was sent: a connection that a proxy closes after the
  request raises a `ProxyError`, and so does a connection that was never made;
- loopback addresses never use a proxy, as in Go's `httpproxy`.
"""

from __future__ import annotations

import io
import re
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

# As many as the projects handled in parallel, so that a few dozen need one round, not two.
POOL_SIZE = 32
_NEVER_SENT = "never_sent"
_LOCALHOST = re.compile(r"(?:.+\.)?localhost(?:\.localdomain)?\.?")


def was_never_sent(error: BaseException) -> bool:
    """Returns whether an exchange failed before its request was sent, without a connection."""
    return any(_NEVER_SENT in vars(cause) for cause in causes(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and the errors that caused it, the innermost last.

    `__context__` is left out, because it can be the failure of an earlier request.
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
    """Reads from a socket until a fixed deadline, which received bytes do not extend.

    Attributes:
        stall: Seconds until the next byte; if set, the deadline does not count.
    """

    stall: float | None = None

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic() if self.stall is None else self.stall
        if left <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _LineReader(io.BufferedReader):
    """Reads from a socket, and remembers the last line."""

    line = b""

    def readline(self, size: int | None = -1, /) -> bytes:
        self.line = super().readline(size)
        return self.line


class _LimitedResponse(HTTPResponse):
    """Reads a response with complete headers and one timeout for the whole response."""

    limited: _LimitedReader | None = None

    def __init__(self, sock: socket.socket, *arguments: Any, **settings: Any) -> None:
        super().__init__(sock, *arguments, **settings)
        reader = self.fp.detach()
        if (limit := sock.gettimeout()) is not None:
            reader = self.limited = _LimitedReader(reader, sock, time.monotonic() + limit)
        self.fp = self._lines = _LineReader(reader)

    def begin(self) -> None:
        super().begin()
        # http.client also ends the headers at the end of the connection or at a malformed line,
        # which hides the rest: in both cases an empty body would follow.
        has_lost = self.msg.defects and self.length is None and not self.chunked
        if has_lost or self._lines.line not in {b"\r\n", b"\n"}:
            raise HTTPException("the headers are incomplete")


def limit_stalls(response: requests.Response, seconds: float) -> None:
    """Limits the pauses within a response's body instead of its total time.

    Args:
        response: A response whose body is not read yet.
        seconds: How long the server can send nothing.
    """
    original = getattr(response.raw, "_original_response", None)
    if isinstance(original, _LimitedResponse) and original.limited:
        original.limited.stall = seconds


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

    def connect(self) -> None:  # includes the tunnel through a proxy and TLS
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
    """Limits the time of each response, and trusts one more certificate authority.

    Args:
        ca_file: Its certificates, in addition to the usual ones; None for the usual ones alone.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        super().__init__(pool_maxsize=POOL_SIZE)

    def _context(self) -> dict[str, Any]:
        return {} if self._ca_file is None else {"ssl_context": context_with(self._ca_file)}

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Makes the connection pool; `HTTPAdapter` calls this."""
        super().init_poolmanager(*args, **(options | self._context()))
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Makes the connection pool for a proxy; `HTTPAdapter` calls this."""
        manager = super().proxy_manager_for(proxy, **(options | self._context()))
        manager.pool_classes_by_scheme = _POOLS
        return manager


def context_with(ca_file: Path | None) -> SSLContext:
    """Returns a TLS context that trusts only one CA, for a session that adds the usual ones.

    Args:
        ca_file: Its certificates in PEM form; with None the context trusts nothing yet.

    Raises:
        UsageError: The file holds no certificates.
    """
    context = create_urllib3_context()
    if ca_file is None:
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"{ca_file} cannot be used as a certificate authority: {error}",
            hint="Give --ca-file a file with certificates in PEM format.",
        ) from error
    return context


def whole_context(url: str, ca_file: Path | None) -> SSLContext:
    """Returns a TLS context that trusts what a session trusts, including `REQUESTS_CA_BUNDLE`.

    Args:
        url: The URL to connect to.
        ca_file: A certificate authority to trust in addition to the usual ones.

    Raises:
        UsageError: The file holds no certificates.
        OSError: The usual authorities cannot be read.
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
    """Returns whether a host is this machine: localhost, 127.0.0.0/8 or ::1.

    This is the rule of Go's `httpproxy`, and users know it from curl and git:
    https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config. The other names of localhost are
    those of https://www.freedesktop.org/software/systemd/man/latest/nss-myhostname.html.
    """
    if _LOCALHOST.fullmatch(host.lower()):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def proxy_for(url: str) -> str | None:
    """Returns the proxy that a session uses for a URL, from the usual environment variables."""
    if is_loopback(urlsplit(url).hostname or ""):
        return None
    settings = requests.Session().merge_environment_settings(url, {}, None, None, None)
    return select_proxy(url, settings["proxies"])
