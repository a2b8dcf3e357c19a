"""The WebSocket to GitLab's push: as safe as the session for requests, and as easy to leave.

Imported only where it is used: `websockets` takes its time.
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
from cicd_common.gitlab.responses import is_temporary
from cicd_common.gitlab.session import CONNECT_TIMEOUT, origin
from cicd_common.gitlab.transport import proxy_for, whole_context
from cicd_common.waiting.push import cable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cicd_common.gitlab.connection import Connection
    from cicd_common.gitlab.tokens import Token

log = logging.getLogger(__name__)

# What a server may take to return the closing frame before the connection is closed all the same.
CLOSE_TIMEOUT = 0.05
# The library logs headers, the token among them, where debugging is on: here it is not.
_SILENT = logging.getLogger(f"{__name__}.library")
_SILENT.disabled = True


class Cable:
    """An open connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def receive(self, timeout: float) -> str | bytes | None:
        """The next message; None if there is none for so many seconds.

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
            ClosedError: The connection is over.
        """
        try:
            self._connection.send(text)
        except ConnectionClosed as error:
            raise cable.ClosedError(str(error)) from error


@contextmanager
def opened(
    server: Connection, token: Token, leave_by: Callable[[Callable[[], None]], None]
) -> Iterator[Cable]:
    """Opens a connection, and closes it at the end.

    Args:
        server: Which server, and whom to trust.
        token: The token, which goes there alone, and in a header alone.
        leave_by: Gets what ends the connection from another thread, soon and at any stage.

    Raises:
        ClosedError: It failed, and another attempt may succeed.
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
            ping_interval=None,  # the server's own messages tell that it is there
            close_timeout=CLOSE_TIMEOUT,
            logger=_SILENT,
            create_connection=cast("type[ClientConnection]", create),  # it is only called
        )
    except Exception as error:
        raise _failure(error) from error
    log.debug("GET %s 101 %.0f ms", cable.PATH, (time.monotonic() - started) * 1000)
    return connection


class _AnsweredError(Exception):
    """The server answered the handshake in HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _WithoutRedirects(ClientConnection):
    """A connection that goes to one place alone: the library would follow redirects."""

    def handshake(self, *arguments: Any, **settings: Any) -> None:
        try:
            super().handshake(*arguments, **settings)
        except InvalidStatus as error:
            raise _AnsweredError(error.response.status_code) from error


def _failure(error: Exception) -> Exception:
    """What it means that a connection could not be opened."""
    match error:
        case _AnsweredError(status=status) if not is_temporary(status):
            return cable.UnusableError(f"GET {cable.PATH} {status}")
        case InvalidProxyStatus() if not is_temporary(error.response.status_code):
            return cable.UnusableError(f"the proxy answers {error.response.status_code}")
        case _AnsweredError() | InvalidProxyStatus() | InvalidMessage():
            return cable.ClosedError(str(error))
        case InvalidProxy():  # whose whole text holds the address, and a password with it
            return cable.UnusableError(f"the proxy cannot be used: {error.msg}")
        case ssl.SSLError():
            return cable.UnusableError(f"the TLS connection failed: {error}")
        case InvalidHandshake() | WebSocketException() | UsageError() | ValueError():
            return cable.UnusableError(str(error))
        case ImportError():  # a proxy of a kind that needs a library
            return cable.UnusableError(str(error))
        case OSError():
            return cable.ClosedError(str(error))
    return error
