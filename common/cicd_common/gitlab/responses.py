"""Reads GitLab's responses: finds its own message in every form of body, and the error it means.

The forms are those of GitLab's REST API: `{"message": …}` with a text, a list or a map of lists,
`{"error": …, "error_description": …}` for parameters and tokens, plain text for throttling, and
HTML from a proxy in front of it.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

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
from cicd_common.gitlab import fields
from cicd_common.gitlab.tokens import Token, TokenKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests


# The statuses of temporary failures; 520 to 530 are those of a proxy in front (Cloudflare):
# https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 531)})
# The proxy did not reach the server, so that a write cannot have happened. A 522 can also come
# after a connection was made, if the server does not acknowledge the request:
# https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/error-522/
NOT_REACHED = 523
# A proxy, or the server, stopped waiting: as after a 5xx, a write may have happened.
UNCLEAR = frozenset({408, 425, 499})
LONGEST_TEXT = 500
# GitLab sends this rate limit as a bad request: app/services/ci/create_pipeline_service.rb.
THROTTLED_TEXT = "Too many pipelines created in the last minute"
MOVED_TEXT = "Non GET methods are not allowed for moved projects"
CLIENT_ERRORS = range(400, 500)
SCOPE_ERROR = "insufficient_scope"
PERMISSION_ERROR = "insufficient_granular_scope"


def read_answer(response: requests.Response) -> Answer:
    """Reads the parts of a response that an error needs; it accepts any content."""
    text, server_error = _words(response)
    return Answer(
        status=response.status_code,
        text=_one_line(text),
        # Measured by the server's clock: ours can be hours ahead, so that every date is past.
        retry_after=parse_retry_after(
            response.headers.get("Retry-After"), now=parse_date(response.headers.get("Date"))
        ),
        server_error=server_error,
        is_garbled=_is_garbled(response),
        headers=response.headers,
    )


def _is_garbled(response: requests.Response) -> bool:
    if "json" not in response.headers.get("Content-Type", "").lower():
        return False
    try:
        fields.parse(response.content, response.url)
    except UnavailableError:
        return True
    return False


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Reads a `Retry-After` header in either form of RFC 9110, section 10.2.3.

    Args:
        value: The header: seconds, or an HTTP date.
        now: The server's time, from which a date is measured; default: this machine's time.

    Returns:
        Seconds to wait, at least 0; None if there is no such header or it is not valid.
    """
    if not value:
        return None
    value = value.strip()
    if re.fullmatch(r"\d{1,9}", value):
        return float(value)
    date = parse_date(value)
    return None if date is None else max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def parse_date(value: str | None) -> datetime | None:
    """Reads an HTTP date (RFC 9110, section 5.6.7); None if there is none or it is not valid."""
    try:
        date = parsedate_to_datetime(value or "")
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def is_throttled(answer: Answer) -> bool:
    """Returns whether GitLab refused because of too many requests; then it did nothing."""
    return answer.status == HTTPStatus.TOO_MANY_REQUESTS or (
        answer.status == HTTPStatus.BAD_REQUEST and THROTTLED_TEXT in answer.text
    )


def is_temporary(status: int) -> bool:
    """Returns whether the same request can succeed a little later."""
    return status in TEMPORARY


def error_of(answer: Answer, request: str) -> CommandError:
    """Returns the error that a response means if the caller knows nothing more.

    Args:
        answer: A response with a status outside 2xx.
        request: The method and path of the request, for the message.
    """
    words = answer.text or f"{answer.status} {_reason(answer.status)}"
    message = f"{words} ({request})"
    if is_throttled(answer):
        return TimeLimitError(
            message,
            why="GitLab limits how many requests it takes.",
            hint="Try again later, or allow more with --retry-for.",
            answer=answer,
            retryable=True,
        )
    is_read = request.startswith(("GET ", "HEAD "))
    is_clear = answer.status in CLIENT_ERRORS and answer.status not in UNCLEAR
    # A refusal without a message from GitLab does not show whether a write happened.
    if not is_clear or (answer.is_garbled and not is_read):
        return UnavailableError(
            message,
            sent=answer.status != NOT_REACHED,
            retryable=is_temporary(answer.status),
            why="The server, or a proxy in front of it, failed.",
            hint="Try again later; see the server's status.",
            answer=answer,
        )
    return _client_error(answer, message, is_read=is_read)


def _client_error(answer: Answer, message: str, *, is_read: bool) -> CommandError:
    """Returns the error of a 4xx that clearly refuses the request."""
    match answer.status:
        case 401:
            return AuthError(message, answer=answer)
        case 403 if answer.server_error == PERMISSION_ERROR:
            return _permission_error(answer, message)
        case 403 if answer.server_error == SCOPE_ERROR:
            return AuthError(
                message,
                why="The token does not have the scope that this request needs.",
                hint="Use a token with the api scope.",
                answer=answer,
            )
        case 403:
            return ForbiddenError(message, answer=answer)
        case 404 | 410:
            return NotFoundError(message, answer=answer)
        case 405 if MOVED_TEXT in answer.text:
            return NotFoundError(
                message,
                why="The project was renamed or moved.",
                hint="Give the project's new path, or its numeric id, which never changes.",
                answer=answer,
            )
        case 407:
            return UnavailableError(
                message,
                sent=False,
                retryable=False,
                why="The proxy wants a user name and a password.",
                hint="Give them in the proxy's address: HTTPS_PROXY=http://USER:PASSWORD@HOST",
                answer=answer,
            )
        case _ if is_read:
            return UnavailableError(
                message,
                retryable=False,
                why="The server refuses a request that only reads.",
                answer=answer,
            )
        case 409:
            return ConflictError(message, answer=answer)
        case _:
            return RefusedError(message, answer=answer)


def _permission_error(answer: Answer, message: str) -> AuthError:
    """Returns the error of a request that needs a permission of a fine-grained token.

    GitLab names the missing permissions; a group can allow fine-grained tokens only, so that
    another token ends here too (`authorize_granular_scopes_service.rb` in GitLab's source).
    """
    if named := re.search(r"permissions: \[([^\]]+)\]", answer.text):
        return AuthError(
            message,
            why=f"This request needs a fine-grained token with the permission {named[1]}.",
            hint="Create a fine-grained token that has it; a token with the api scope is enough "
            "unless its group allows fine-grained tokens only.",
            answer=answer,
        )
    return AuthError(
        message,
        why="GitLab accepts no fine-grained token for this request.",
        hint="Create a token with the api scope.",
        answer=answer,
    )


def lacks_permission(error: CommandError) -> bool:
    """Returns whether a fine-grained token lacks a permission for the request."""
    return error.answer is not None and error.answer.server_error == PERMISSION_ERROR


def _words(response: requests.Response) -> tuple[str, str]:
    """Returns GitLab's own message in the body, and its machine-readable error code."""
    if "html" in response.headers.get("Content-Type", "").lower():
        return f"{response.status_code} {response.reason} (an HTML page)", ""
    text = response.content.decode("utf-8", "replace")
    try:
        body = fields.parse(response.content, response.url)
        if not isinstance(body, dict):
            return text, ""
        code = body.get("error")
        parts = [body.get("message"), body.get("error_description"), _registrys_words(body)]
        words = " ".join(filter(None, map(_flatten, parts)))
        if isinstance(code, str) and body.get("error_description"):
            return words, code
        words = " ".join(filter(None, (words, _flatten(code))))
        return words, code if isinstance(code, str) else ""
    except (UnavailableError, RecursionError):
        return text, ""


def _registrys_words(body: dict[str, Any]) -> list[object]:
    """Returns a registry's messages (https://distribution.github.io/distribution/spec/api/#errors).

    Docker Hub's token service has another form: `{"details": "incorrect username or password"}`.
    """
    errors, details = body.get("errors"), body.get("details")
    listed = errors if isinstance(errors, list) else []
    messages = [each.get("message") for each in listed if isinstance(each, dict)]
    return [*messages, details if isinstance(details, str) else None]


def _flatten(value: object) -> str:
    """Joins validation messages: `{"base": ["a", "b"]}` becomes `a, b`; other keys are named."""
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


# GitLab's names of scopes: https://docs.gitlab.com/security/tokens/
WRITE_SCOPE = "api"


def explain_auth(
    error: AuthError, token: Token | None, description: Mapping[str, Any] | None
) -> AuthError:
    """Returns the error with the reason for a 401 or for a missing scope.

    Args:
        error: The error from GitLab.
        token: The token; None without one.
        description: The token as `/personal_access_tokens/self` shows it; None if it does not.
    """
    if lacks_permission(error) or (error.why and description is None):
        return error
    why, hint = _why_unauthorized(error.message, token, description)
    return AuthError(error.message, why=why, hint=hint, answer=error.answer)


def explain_forbidden(
    error: ForbiddenError, token: Token | None, description: Mapping[str, Any] | None
) -> CommandError:
    """Returns the error with the reason for a 403; an `AuthError` if the token has no write scope.

    Args:
        error: The error from GitLab.
        token: The token; None without one.
        description: The token as `/personal_access_tokens/self` shows it; None if it does not.
    """
    explained = _explain_job_token(error)
    if explained is not None:
        return explained
    if token is not None and token.kind is TokenKind.JOB:
        why = "The user who started this job is not allowed to do it there."
        hint = "Have a Developer of the other project start the job, or use an access token."
    else:
        who = (
            f"{_name(description)} is not allowed to"
            if description
            else "The token is not allowed to"
        )
        why = f"{who} do this in the project: the role is too low, or a rule protects it."
        hint = "Give the token's user at least the Developer role in the project."
    return ForbiddenError(error.message, why=why, hint=hint, answer=error.answer)


def _explain_job_token(error: CommandError) -> ForbiddenError | None:
    """Returns an error with the setting that blocks a job token, if GitLab's text shows it."""
    if "CI/CD job token not allowed" in error.message:
        return ForbiddenError(
            error.message,
            why="The other project does not allow this project's job token.",
            hint="Add this project there, under Settings > CI/CD > Job token permissions.",
            answer=error.answer,
        )
    if permission := re.search(r"token permission is required: (\w+)", error.message):
        return ForbiddenError(
            error.message,
            why="In the other project, this project's job token does not have the permission "
            f"{permission[1]}.",
            hint="Add it there, under Settings > CI/CD > Job token permissions.",
            answer=error.answer,
        )
    return None


def explain_ignored(error: ForbiddenError | NotFoundError, since: str) -> CommandError:
    """Returns an error that explains a 403 or 404 on a route where older servers ignore job tokens.

    Args:
        error: The error from GitLab.
        since: The first version that accepts a job token.
    """
    explained = _explain_job_token(error)
    if explained is not None:
        return explained
    return type(error)(
        error.message,
        why=f"GitLab before {since} ignores job tokens for this request; on a newer server the "
        "project does not exist, or does not allow this project's job token.",
        hint="Use an access token with the read_api scope (COMMANDS_API_TOKEN), or check the name.",
        answer=error.answer,
    )


def _why_unauthorized(
    message: str, token: Token | None, description: Mapping[str, Any] | None
) -> tuple[str, str]:
    if token is None:
        return (
            "No token was sent, and this request needs one.",
            "Give --api-access-token, or pass COMMANDS_API_TOKEN on.",
        )
    if token.kind is TokenKind.JOB:
        return (
            "A job token is valid only while its job runs, and only for some requests.",
            "Use the CI_JOB_TOKEN of the running job, or an access token.",
        )
    if description is not None:
        scopes = ", ".join(map(str, description.get("scopes") or ())) or "none"
        expiry = description.get("expires_at") or "never"
        return (
            f"{_name(description)} from {token.source} has the scopes {scopes}; expiry: {expiry}.",
            f"Create a token with the {WRITE_SCOPE} scope.",
        )
    if "expired" in message:
        why = f"The token from {token.source} has expired."
    elif "revoked" in message:
        why = f"The token from {token.source} was revoked."
    else:
        return (
            f"GitLab does not know the token from {token.source}.",
            f"Compare --base-url with the token's server, or create one with scope {WRITE_SCOPE}.",
        )
    return why, f"Create a new access token with the {WRITE_SCOPE} scope."


def _name(description: Mapping[str, Any]) -> str:
    return f"The token {description.get('name')!r}"
