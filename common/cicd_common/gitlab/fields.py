"""Reads and checks the fields of GitLab's JSON responses, in one place.

A field of another type than GitLab sends (null for a list, a text for an id, an incomplete time)
raises `UnavailableError`: something other than GitLab's API seems to respond. A library of models
(pydantic, attrs) would check whole objects, but the commands need five fields of fifty.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from cicd_common.errors import UnavailableError

JsonObject = dict[str, Any]

NOT_GITLAB = "The server at this address does not seem to be GitLab's API."
HIGHEST_ID = 2**63 - 1  # GitLab's ids are bigint columns
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # git does not allow them in names either
# JSON can hold half of a surrogate pair (RFC 8259, section 8.2), which cannot be encoded again.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


def parse(content: bytes, source: str) -> Any:
    """Reads JSON strictly by RFC 8259: without NaN, and without half surrogate pairs.

    Args:
        content: The body of a response.
        source: The path of the request, for the message.

    Raises:
        UnavailableError: It is not JSON, or is nested too deeply.
    """
    try:
        value = json.loads(content, parse_constant=_refuse)
        if _SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise UnavailableError(f"The response is not JSON ({source}).", why=NOT_GITLAB) from error
    return value


def value(answer: Any, *names: str) -> Any:
    """Returns any value, including null; see `record` for the arguments."""
    found = answer
    for name in names:
        if not isinstance(found, dict) or name not in found:
            raise UnavailableError(
                f"GitLab's response does not have {'.'.join(names)}.", why=NOT_GITLAB
            )
        found = found[name]
    return found


def record(answer: Any, *names: str) -> JsonObject:
    """Returns an object.

    Args:
        answer: What GitLab sent.
        names: The keys that lead to the value; without any, the answer itself.

    Raises:
        UnavailableError: There is no such value, or it is something else.
    """
    found = value(answer, *names)
    if not isinstance(found, dict):
        raise _wrong("an object", names)
    return found


def records(answer: Any, *names: str) -> list[JsonObject]:
    """Returns a list of objects; see `record`."""
    found = value(answer, *names)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise _wrong("a list of objects", names)
    return found


def text(answer: Any, *names: str) -> str:
    """Returns a text that is not empty; see `record`."""
    found = value(answer, *names)
    if not isinstance(found, str) or not found:
        raise _wrong("a text", names)
    return found


def word(answer: Any, *names: str) -> str:
    """Returns a name, a status or a SHA, which has no control characters; see `record`."""
    found = text(answer, *names)
    if _CONTROL.search(found):
        raise _wrong("a name", names)
    return found


def optional_text(answer: Any, *names: str) -> str:
    """Returns a text; empty if it is missing or null; see `record`."""
    found = _find_optional(answer, names)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise _wrong("a text", names)
    return found


def texts(answer: Any, *names: str) -> list[str]:
    """Returns a list of texts; empty if it is missing or null; see `record`."""
    found = _find_optional(answer, names)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise _wrong("a list of strings", names)
    return found


def number(answer: Any, *names: str) -> int:
    """Returns an id or a count, a whole number of 0 or more; see `record`."""
    found = value(answer, *names)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= HIGHEST_ID:
        raise _wrong("a whole number", names)
    return found


def optional_number(answer: Any, *names: str) -> int | None:
    """Returns an id or a count; None if it is missing or null; see `record`."""
    return None if _find_optional(answer, names) is None else number(answer, *names)


def flag(answer: Any, *names: str) -> bool:
    """Returns a boolean; False if it is missing or null; see `record`."""
    found = _find_optional(answer, names)
    if found is not None and not isinstance(found, bool):
        raise _wrong("true or false", names)
    return bool(found)


def time(answer: Any, *names: str) -> datetime:
    """Returns a time in UTC; see `record`."""
    found = text(answer, *names)
    try:
        moment = datetime.fromisoformat(found)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _wrong("a time", names) from error


def optional_time(answer: Any, *names: str) -> datetime | None:
    """Returns a time in UTC; None if it is missing or null; see `record`."""
    return None if _find_optional(answer, names) is None else time(answer, *names)


def url(answer: Any, *names: str) -> str:
    """Returns the URL of a page; see `record`."""
    found = text(answer, *names)
    try:
        parts = urlsplit(found)
        is_url = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not found.isprintable() or " " in found:
        raise _wrong("an address", names)
    return found


def _find_optional(answer: Any, names: tuple[str, ...]) -> Any:
    *path, last = names
    return record(answer, *path).get(last)


def _wrong(kind: str, names: tuple[str, ...]) -> UnavailableError:
    subject = f"{'.'.join(names)} in GitLab's response" if names else "GitLab's answer"
    return UnavailableError(f"{subject} is not {kind}.", why=NOT_GITLAB)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
