"""The routes of the REST API: which handler answers which request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sandbox.versions import ALWAYS
from sandbox.web import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sandbox.context import Call
    from sandbox.versions import Span, Version


@dataclass(frozen=True)
class Route:
    """One line of the routing table.

    Attributes:
        method: GET, POST, …; HEAD is answered like GET.
        template: The path below `/api/v4`, with `:names` that take one encoded segment
            each, and `*names` that take more.
        handler: Answers a call, with a `Response` or with what becomes a 200 in JSON.
        job_token: The versions that take a CI job token; where it is not taken it is ignored,
            and the request is anonymous. None: no version does.
        versions: The versions that have the route.
        permission: What a fine-grained token needs, in GitLab's words.
        authenticated: Whether an anonymous request is refused (401) before anything else.
        scopes: The scopes that are enough, as `api` is, and `read_api` for reads; `*` is any.
    """

    method: str
    template: str
    handler: Callable[[Call], object]
    permission: str
    job_token: Span | None = None
    versions: Span = ALWAYS
    authenticated: bool = False
    scopes: frozenset[str] = frozenset()

    @property
    def pattern(self) -> re.Pattern[str]:
        """What a path must look like."""
        segments = re.sub(r":(\w+)", r"(?P<\1>[^/]+)", self.template)
        return re.compile(re.sub(r"\*(\w+)", r"(?P<\1>.+)", segments))


class Routes:
    """The routes of one resource, filled by decorating its handlers."""

    def __init__(self, *, authenticated: bool = False, authenticated_writes: bool = False) -> None:
        self.table: list[Route] = []
        self._authenticated = authenticated
        self._authenticated_writes = authenticated_writes

    def on(
        self,
        method: str,
        template: str,
        permission: str,
        *,
        job_token: Span | None = None,
        versions: Span = ALWAYS,
        authenticated: bool = False,
        scopes: Collection[str] = (),
    ) -> Callable[[Callable[[Call], object]], Callable[[Call], object]]:
        """Adds a handler to the table; the arguments are those of `Route`."""

        def add(handler: Callable[[Call], object]) -> Callable[[Call], object]:
            always = authenticated or self._authenticated
            self.table.append(
                Route(
                    method,
                    template,
                    handler,
                    permission,
                    job_token=job_token,
                    versions=versions,
                    authenticated=always or (self._authenticated_writes and method != "GET"),
                    scopes=frozenset(scopes),
                )
            )
            return handler

        return add


class Router:
    """Finds the route of a request."""

    def __init__(self, table: Collection[Route]) -> None:
        self.routes = tuple(table)
        self._table = [(route.pattern, route) for route in table]

    def find(self, method: str, path: str, version: Version) -> tuple[Route, dict[str, str]]:
        """The route, and the decoded parameters of the path.

        Args:
            method: The request's method.
            path: The encoded path below `/api/v4`.
            version: The version that is played.

        Raises:
            ApiError: 404 for an unknown path, 405 for a known one that lacks the method.
        """
        known_path = False
        for pattern, route in self._table:
            match = pattern.fullmatch(path)
            if match is None or not version.has(route.versions):
                continue
            if route.method == ("GET" if method == "HEAD" else method):
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
            known_path = True
        if known_path:
            raise ApiError(405, {"error": "405 Not Allowed"})
        raise ApiError(404, {"error": "404 Not Found"})
