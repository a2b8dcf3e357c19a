"""Requests, answers and errors of the REST API, apart from any socket."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Mapping
    from email.message import Message
    from io import BufferedIOBase


_ON = ("true", "1", "t", "on", "yes")
_OFF = ("false", "0", "f", "off", "no", "")


@dataclass(frozen=True)
class Request:
    """A request as it came in."""

    method: str
    target: str  # the request line's: path and query, still encoded
    headers: Message
    body: bytes

    @property
    def path(self) -> str:
        """The path, still percent-encoded."""
        return urlsplit(self.target).path

    @property
    def query(self) -> str:
        """What follows the question mark."""
        return urlsplit(self.target).query


@dataclass(frozen=True)
class Response:
    """An answer.

    Attributes:
        status: The status.
        body: The body.
        headers: The headers, but those of the connection.
        take_over: What speaks on the connection from here on, in place of an answer in HTTP; the
            connection is over when it returns. It gets the socket, and what was read from it.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    take_over: Callable[[socket.socket, BufferedIOBase], None] | None = None


class ApiError(Exception):
    """An answer that ends the handling: an error, or a redirect."""

    def __init__(
        self, status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = headers or {}


def as_json(
    content: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer in JSON."""
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(status, body, {"Content-Type": "application/json", **(headers or {})})


def refuse(status: int, message: object) -> ApiError:
    """GitLab's usual error: a message, which may be a map."""
    return ApiError(status, {"message": message})


def not_found(what: str = "") -> ApiError:
    """`404 Tag Not Found` and its like."""
    return refuse(404, f"404 {what} Not Found" if what else "404 Not Found")


def no_record() -> ApiError:
    """The answer to the id of no record; its small letter is GitLab's."""
    return refuse(404, "404 Not found")


def forbidden(reason: str = "") -> ApiError:
    """`403 Forbidden`, with or without a reason."""
    return refuse(403, f"403 Forbidden - {reason}" if reason else "403 Forbidden")


def unauthorized() -> ApiError:
    """`401 Unauthorized`."""
    return refuse(401, "401 Unauthorized")


def invalid(problem: str) -> ApiError:
    """What GitLab says of parameters that are missing or wrong."""
    return ApiError(400, {"error": problem})


class Params:
    """The parameters of a request: of its path, its query and its body, checked when read.

    What a handler does not read is known: see `unread`.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._read: set[str] = set()

    def has(self, name: str) -> bool:
        """Return True if the parameter was sent."""
        self._read.add(name)
        return name in self._values

    def any(self, name: str, default: Any = None) -> Any:
        """Return a parameter as it was sent."""
        self._read.add(name)
        return self._values.get(name, default)

    def unread(self) -> list[str]:
        """Return the names of the parameters that no handler has read, in order."""
        return [name for name in self._values if name not in self._read]

    def require(self, *names: str) -> None:
        """Refuse a request that lacks parameters, naming them all.

        Raises:
            ApiError: 400.
        """
        missing = [f"{name} is missing" for name in names if name not in self._values]
        if missing:
            raise invalid(", ".join(missing))

    def text(self, name: str, default: str = "") -> str:
        """Return a string; a number or a flag is turned into one, as GitLab does."""
        value = self.any(name)
        if value is None:
            return default
        if isinstance(value, (dict, list)):
            raise invalid(f"{name} is invalid")
        if isinstance(value, bool):
            return str(value).lower()
        return str(value)

    def choice(self, name: str, values: Collection[str], default: str = "") -> str:
        """Return one of a few words."""
        value = self.text(name, default)
        if value not in (*values, default):
            raise invalid(f"{name} does not have a valid value")
        return value

    def integer(self, name: str, default: int) -> int:
        """Return a whole number."""
        try:
            return int(self.text(name, str(default)))
        except ValueError:
            raise invalid(f"{name} is invalid") from None

    def flag(self, name: str) -> bool:
        """Return True if it is switched on."""
        value = self.text(name, "false").lower()
        if value not in (*_ON, *_OFF):
            raise invalid(f"{name} is invalid")
        return value in _ON

    def texts(self, name: str) -> list[str]:
        """Return a list of strings: sent as `name[]`, as a list or as one value."""
        value = self.any(name, [])
        return [str(item) for item in (value if isinstance(value, list) else [value])]

    def listed(self, name: str) -> list[str]:
        """Return a list that may also be sent as one string with commas; empty items are none."""
        return [item.strip() for text in self.texts(name) for item in text.split(",") if item]

    def numbers(self, name: str) -> list[int]:
        """Return such a list of whole numbers."""
        try:
            return [int(item) for item in self.listed(name)]
        except ValueError:
            raise invalid(f"{name} is invalid") from None

    def maps(self, name: str, keys: Collection[str]) -> list[dict[str, Any]]:
        """Return a list of maps.

        Args:
            name: The parameter.
            keys: What the maps may have; another key is an error of the sandbox's own.
        """
        value = self.any(name) or []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise invalid(f"{name} is invalid")
        strange = {key for item in value for key in item} - {*keys}
        for key in sorted(strange):
            self._values = {**self._values, f"{name}[][{key}]": None}
        return value

    def time(self, name: str) -> datetime | None:
        """Return a time, in UTC if it names no zone; None if it was not sent."""
        text = self.text(name)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise invalid(f"{name} is invalid") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_params(request: Request, path_params: Mapping[str, str]) -> Params:
    """Puts the parameters together; those of the path win.

    Raises:
        ApiError: 400, if the body is not what its Content-Type says.
    """
    values = _pairs(parse_qsl(request.query, keep_blank_values=True))
    if request.body:
        values |= _read_body(request)
    found = Params({**values, **path_params})
    for name in path_params:
        found.has(name)
    return found


def _read_body(request: Request) -> dict[str, Any]:
    kind = request.headers.get_content_type()
    try:
        if kind == "application/json":
            content = json.loads(request.body)
            if not isinstance(content, dict):
                raise invalid("The request body is not an object")
            return content
        if kind == "application/x-www-form-urlencoded":
            return _pairs(parse_qsl(request.body.decode(), keep_blank_values=True))
    except ValueError:
        raise refuse(400, "400 Bad request - Malformed request body") from None
    raise ApiError(415, {"error": f"The provided content-type '{kind}' is not supported."})


def _pairs(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Rack's reading of pairs: `a[]=1` makes a list, `a[b]=1` a map."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        inner = re.fullmatch(r"([^\[\]]+)\[([^\[\]]*)\]", name)
        if inner is None:
            values[name] = value
        elif inner[2]:
            values.setdefault(inner[1], {})[inner[2]] = value
        else:
            values.setdefault(inner[1], []).append(value)
    return values
