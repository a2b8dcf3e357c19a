"""Faults by rule: what goes wrong with which request."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, parse_qsl, urlencode

from sandbox.web import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sandbox.web import Request

_HTML = "<!DOCTYPE html><html><body><h1>{status}</h1><p>GitLab is not responding</p></body></html>"


@dataclass(eq=False)
class Fault:
    """One rule: which requests it meets, and what happens to them.

    Attributes:
        path: A regular expression, looked for in the path and query as they were sent.
        method: The method; empty for any.
        nth: Only the nth matching request, counted from 1.
        first: Only the first so many matching requests; without both, all.
        status: Answers with this status instead of handling the request. 302 with a `Location`
            header is a redirect, 200 with an HTML body the page of a proxy in between.
        body: That answer's: a map or a list becomes JSON, text is HTML; None is an error page.
        headers: That answer's.
        meanwhile: Is called before the request is handled: what happens on the server meanwhile.
        delay: Seconds that pass before the request is handled.
        delay_after: Seconds that pass between the handling and the answer.
        reset: The connection is reset `before` the request is handled, or `after`: then it was
            done, and its answer is lost.
        truncate: The answer's body breaks off half-way, and the connection is closed.
        carried_out_after: The request is carried out so many seconds after its answer, which
            `status` or `reset` give at once: a server that works on behind a proxy that gave up.
            The seconds are those of the sandbox's clock.
        drip: Seconds between any two bytes of the answer, those of its headers included.
        endless: Every page names a next one, however often it is asked for.
        edit: What becomes of the JSON that GitLab answers with.
        fired: How often it has happened.
    """

    path: str = ""
    method: str = ""
    nth: int | None = None
    first: int | None = None
    status: int | None = None
    body: Mapping[str, Any] | list[Any] | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    meanwhile: Callable[[], object] | None = None
    delay: float = 0.0
    delay_after: float = 0.0
    reset: Literal["before", "after"] | None = None
    truncate: bool = False
    carried_out_after: float | None = None
    drip: float = 0.0
    endless: bool = False
    edit: Callable[[Any], Any] | None = None
    fired: int = 0
    _seen: int = 0

    def meets(self, request: Request) -> bool:
        """Whether it happens to this request, which it counts."""
        if self.method not in ("", request.method) or not re.search(self.path, request.target):
            return False
        self._seen += 1
        if self.nth not in (None, self._seen):
            return False
        if self.first is not None and self._seen > self.first:
            return False
        self.fired += 1
        return True

    def response(self) -> Response | None:
        """What it answers instead of handling the request; None if it lets it through."""
        if self.status is None:
            return None
        if self.body is None or isinstance(self.body, str):
            text = _HTML.format(status=self.status) if self.body is None else self.body
            kind, content = "text/html; charset=utf-8", text
        else:
            kind, content = "application/json", json.dumps(self.body)
        return Response(self.status, content.encode(), {"Content-Type": kind, **self.headers})


def changed(response: Response, faults: Iterable[Fault], request: Request) -> Response:
    """Returns an answer as the faults leave it."""
    for fault in faults:
        if fault.edit and response.headers.get("Content-Type") == "application/json":
            content = fault.edit(json.loads(response.body))
            response = replace(response, body=json.dumps(content).encode())
        if fault.endless:
            page = int(parse_qs(request.query).get("page", ["1"])[0]) + 1
            query = {**dict(parse_qsl(request.query)), "page": str(page)}
            address = f"http://{request.headers['Host']}{request.path}?{urlencode(query)}"
            links = {"X-Next-Page": str(page), "Link": f'<{address}>; rel="next"'}
            response = replace(response, headers={**response.headers, **links})
    return response


class Faults:
    """The rules that are active."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Makes a rule active."""
        with self._lock:
            self._rules.append(fault)

    def of(self, request: Request) -> list[Fault]:
        """The faults that happen to a request."""
        with self._lock:
            return [fault for fault in self._rules if fault.meets(request)]
