"""GitLab's answers, read: its own words out of every shape of body, and the error each one means.

The shapes are those of GitLab's REST API: `{"message": …}` with a text, a list or a map of lists,
`{"error": …, "error_description": …}` for parameters and tokens, plain text for throttling, HTML
from whatever stands before it.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from cicd_common.errors import (
    Answer,
    AuthError,
    CommandError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    TimeLimitError,
    UnavailableError,
)

if TYPE_CHECKING:
    import requests

TRANSIENT = frozenset({429, 500, 502, 503, 504})
LONGEST_TEXT = 500
# GitLab words this throttle as a bad request: app/services/ci/create_pipeline_service.rb.
THROTTLED_TEXT = "Too many pipelines created in the last minute"
MOVED_TEXT = "Non GET methods are not allowed for moved projects"
SCOPE_ERRORS = frozenset({"insufficient_scope", "insufficient_granular_scope"})


def read_answer(response: requests.Response) -> Answer:
    """Reads what a response says, without ever failing on what it holds."""
    text, server_error = _words(response)
    return Answer(
        status=response.status_code,
        text=_one_line(text),
        retry_after=parse_retry_after(response.headers.get("Retry-After")),
        server_error=server_error,
        headers=response.headers,
    )


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Reads a `Retry-After` header in either form of RFC 9110, section 10.2.3.

    Args:
        value: The header: seconds, or an HTTP date.
        now: The time to measure a date against; default: the present.

    Returns:
        Seconds to wait, not below 0; None where there is no such header or it makes no sense.
    """
    if not value:
        return None
    value = value.strip()
    if re.fullmatch(r"\d{1,9}", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def is_throttled(answer: Answer) -> bool:
    """Whether GitLab says that there were too many requests: nothing was done."""
    return answer.status == HTTPStatus.TOO_MANY_REQUESTS or (
        answer.status == HTTPStatus.BAD_REQUEST and THROTTLED_TEXT in answer.text
    )


def is_transient(answer: Answer) -> bool:
    """Whether the same read may well succeed a little later."""
    return answer.status in TRANSIENT or is_throttled(answer)


def error_of(answer: Answer, request: str) -> CommandError:
    """The error that an answer means when nobody knows better.

    Args:
        answer: An answer outside 2xx.
        request: The request, for the message: method and path.
    """
    words = answer.text or f"{answer.status} {_reason(answer.status)}"
    message = f"{words} ({request})"
    match answer.status:
        case _ if is_throttled(answer):
            return TimeLimitError(
                message,
                why="GitLab limits how many requests it takes.",
                hint="Try again later, or allow more with --retry-for.",
                answer=answer,
            )
        case 401:
            return AuthError(message, answer=answer)
        case 403 if answer.server_error in SCOPE_ERRORS:
            return AuthError(
                message,
                why="The token lacks the scope for this.",
                hint="Use a token with the api scope.",
                answer=answer,
            )
        case 403:
            return ForbiddenError(message, answer=answer)
        case 404:
            return NotFoundError(message, answer=answer)
        case 405 if MOVED_TEXT in answer.text:
            return NotFoundError(
                message,
                why="The project was renamed or moved.",
                hint="Give the project's new path, or its numeric id, which stays.",
                answer=answer,
            )
        case 409:
            return ConflictError(message, answer=answer)
        case status if not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return UnavailableError(
                message,
                # A proxy has given up waiting; what is behind it has not.
                unfinished=status == HTTPStatus.GATEWAY_TIMEOUT,
                why="The server, or a proxy before it, failed.",
                hint="Try again later; see the server's status.",
                answer=answer,
            )
        case _:
            return RefusedError(message, answer=answer)


def _words(response: requests.Response) -> tuple[str, str]:
    """GitLab's own words in the body, and its machine-readable error code."""
    if "html" in response.headers.get("Content-Type", "").lower():
        return f"{response.status_code} {response.reason} (an HTML page)", ""
    try:
        body = response.json()
    except ValueError:
        return response.text, ""
    if not isinstance(body, dict):
        return json.dumps(body), ""
    code = body.get("error")
    parts = [body.get("message"), body.get("error_description")]
    words = " ".join(filter(None, map(_flatten, parts)))
    if isinstance(code, str) and body.get("error_description"):
        return words, code
    return " ".join(filter(None, (words, _flatten(code)))), code if isinstance(code, str) else ""


def _flatten(value: object) -> str:
    """Validation messages as one text: `{"base": ["a", "b"]}` is `a, b`; other keys are named."""
    match value:
        case None:
            return ""
        case str():
            return value
        case list():
            return ", ".join(map(_flatten, value))
        case dict():
            return ", ".join(
                _flatten(inner) if key in {"base", "error"} else f"{key} {_flatten(inner)}"
                for key, inner in value.items()
            )
        case _:
            return json.dumps(value)


def _one_line(text: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_TEXT else f"{line[:LONGEST_TEXT]}…"


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "an unknown status"
