"""Opens the WebSocket to GitLab's push, with the same safety rules as the session for requests.

It is imported only when it is used, because `websockets` is slow to import.
"""

from __future__ import annotations

import logging
import ssl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    WebSocketException,
)
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol
from websockets.version import version

from cicd_common import __version__
from cicd_common.errors import UsageError
from cicd_common.gitlab.addresses import origin
from cicd_common.gitlab.responses import is_temporary
from cicd_common.gitlab.session import CONNECT_TIMEOUT
from cicd_common.gitlab.transport import proxy_for, whole_context
from cicd_common.waiting.push import cable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cicd_common.gitlab.connection import Connection
    from cicd_common.gitlab.tokens import Token

log = logging.getLogger(__name__)

# Seconds to wait for the server's closing frame before the connection is closed without it.
CLOSE_TIMEOUT = 0.05
# With debug logging the library would log headers, including the token: this logger is silent.
_SILENT = logging.getLogger(f"{__name__}.library")
_SILENT.disabled = True


class Cable:
    """Sends and receives messages on an open connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def receive(self, timeout: float) -> str | bytes | None:
        """Returns the next message; None if none arrives within a number of seconds.

        Raises:
            ClosedError: The connection is over.
        """
        try:
            return self._connection.recv(timeout)
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            raise cable.ClosedError(str(error)) from error

    def send(self, text: str) -> None:
        """Sends a message.

        Raises:
            ClosedError: The connection was closed.
        """
        try:
            self._connection.send(text)
        except ConnectionClosed as error:
            raise cable.ClosedError(str(error)) from error


@contextmanager
def opened(
    server: Connection, token: Token, leave_by: Callable[[Callable[[], None]], None]
) -> Iterator[Cable]:
    """Opens a connection, and closes it when the `with` block ends.

    Args:
        server: The server, and which certificates to trust.
        token: The token; it is sent only to this server, and only in a header.
        leave_by: Gets a function with which another thread can close the connection at any stage.

    Raises:
        ClosedError: It failed, and another attempt can succeed.
        UnusableError: Push is not available.
    """
    with _open(server, token, leave_by) as connection:
        leave_by(connection.close)
        yield Cable(connection)


def _open(
    server: Connection, token: Token, leave_by: Callable[[Callable[[], None]], None]
) -> ClientConnection:
    def create(*arguments: Any, **settings: Any) -> ClientConnection:
        connection = _WithoutRedirects(*arguments, **settings)
        leave_by(connection.close_socket)
        return connection

    started = time.monotonic()
    try:
        proxy = proxy_for(server.base_url)
        context = whole_context(server.base_url, server.ca_file)
        connection = connect(
            server.base_url.replace("http", "ws", 1) + cable.PATH,
            proxy=proxy,
            ssl=context if server.base_url.startswith("https:") else None,
            proxy_ssl=context if proxy and proxy.startswith("https:") else None,
            origin=Origin(origin(server.base_url)),
            subprotocols=[Subprotocol(name) for name in cable.SUBPROTOCOLS],
            additional_headers={"Authorization": f"Bearer {token.secret}"},
            user_agent_header=f"ci-cd-commands/{__version__} websockets/{version}",
            compression=None,
            open_timeout=min(CONNECT_TIMEOUT, server.request_timeout),
            ping_interval=None,  # the server's own pings show that it is alive
            close_timeout=CLOSE_TIMEOUT,
            logger=_SILENT,
            create_connection=cast("type[ClientConnection]", create),  # the library only calls it
        )
    except Exception as error:
        raise _failure(error) from error
    log.debug("GET %s 101 %.0f ms", cable.PATH, (time.monotonic() - started) * 1000)
    return connection


class _AnsweredError(Exception):
    """Reports that the server answered the handshake with an HTTP error."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _WithoutRedirects(ClientConnection):
    """Opens a connection without following redirects, which the library would follow."""

    def handshake(self, *arguments: Any, **settings: Any) -> None:
        try:
            super().handshake(*arguments, **settings)
        except InvalidStatus as error:
            raise _AnsweredError(error.response.status_code) from error


def _failure(error: Exception) -> Exception:
    """Returns the error that means a connection could not be opened."""
    match error:
        case _AnsweredError(status=status) if not is_temporary(status):
            return cable.UnusableError(f"GET {cable.PATH} {status}")
        case InvalidProxyStatus() if not is_temporary(error.response.status_code):
            return cable.UnusableError(f"the proxy answers {error.response.status_code}")
        case _AnsweredError() | InvalidProxyStatus() | InvalidMessage():
            return cable.ClosedError(str(error))
        case InvalidProxy():  # its full text holds the URL, maybe with a password
            return cable.UnusableError(f"the proxy cannot be used: {error.msg}")
        case ssl.SSLError():
            return cable.UnusableError(f"the TLS connection failed: {error}")
        case InvalidHandshake() | WebSocketException() | UsageError() | ValueError():
            return cable.UnusableError(str(error))
        case ImportError():  # this kind of proxy needs another library
            return cable.UnusableError(str(error))
        case OSError():
            return cable.ClosedError(str(error))
    return error
