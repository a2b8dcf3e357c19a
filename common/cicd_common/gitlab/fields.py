"""JSON has a type only after it was checked: the one place that reads a field of GitLab's answers.

What is not as GitLab sends it (null or a number for a list, a text for an id, half a time) is an
`UnavailableError`: something other than GitLab's API seems to answer. A library of models
(pydantic, attrs) would check whole objects, of which the commands need five fields of fifty.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from cicd_common.errors import UnavailableError

JsonObject = dict[str, Any]

NOT_GITLAB = "Something other than GitLab's API seems to answer at this address."
HIGHEST_ID = 2**63 - 1  # GitLab's ids are bigint columns
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # git takes none in a name either
# JSON can hold half of a surrogate pair (RFC 8259, section 8.2), which nothing else can be made of.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


def parse(content: bytes, source: str) -> Any:
    """Reads JSON as RFC 8259 has it: without NaN, and with whole characters only.

    Args:
        content: The body of an answer.
        source: What answered, for the message: the path of the request.

    Raises:
        UnavailableError: It is not JSON, or is nested too deeply.
    """
    try:
        value = json.loads(content, parse_constant=_refuse)
        if _SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise UnavailableError(f"The answer is not JSON ({source}).", why=NOT_GITLAB) from error
    return value


def value(answer: Any, *names: str) -> Any:
    """Anything, null too; as `record`."""
    found = answer
    for name in names:
        if not isinstance(found, dict) or name not in found:
            raise UnavailableError(f"GitLab's answer lacks {'.'.join(names)}.", why=NOT_GITLAB)
        found = found[name]
    return found


def record(answer: Any, *names: str) -> JsonObject:
    """An object.

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
    """A list of objects; as `record`."""
    found = value(answer, *names)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise _wrong("a list of objects", names)
    return found


def text(answer: Any, *names: str) -> str:
    """A text that is not empty; as `record`."""
    found = value(answer, *names)
    if not isinstance(found, str) or not found:
        raise _wrong("a text", names)
    return found


def word(answer: Any, *names: str) -> str:
    """A text that is a name, a status or a SHA: without control characters; as `record`."""
    found = text(answer, *names)
    if _CONTROL.search(found):
        raise _wrong("a name", names)
    return found


def optional_text(answer: Any, *names: str) -> str:
    """A text; empty if there is none or it is null; as `record`."""
    found = _find_optional(answer, names)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise _wrong("a text", names)
    return found


def texts(answer: Any, *names: str) -> list[str]:
    """A list of texts; empty if there is none or it is null; as `record`."""
    found = _find_optional(answer, names)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise _wrong("a list of texts", names)
    return found


def number(answer: Any, *names: str) -> int:
    """An id, or a count: a whole number of 0 or more; as `record`."""
    found = value(answer, *names)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= HIGHEST_ID:
        raise _wrong("a whole number", names)
    return found


def optional_number(answer: Any, *names: str) -> int | None:
    """An id, or a count; None if there is none or it is null; as `record`."""
    return None if _find_optional(answer, names) is None else number(answer, *names)


def flag(answer: Any, *names: str) -> bool:
    """Whether something is so; not, if that is missing or null; as `record`."""
    found = _find_optional(answer, names)
    if found is not None and not isinstance(found, bool):
        raise _wrong("true or false", names)
    return bool(found)


def time(answer: Any, *names: str) -> datetime:
    """A time, in UTC; as `record`."""
    found = text(answer, *names)
    try:
        moment = datetime.fromisoformat(found)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _wrong("a time", names) from error


def optional_time(answer: Any, *names: str) -> datetime | None:
    """A time, in UTC; None if there is none or it is null; as `record`."""
    return None if _find_optional(answer, names) is None else time(answer, *names)


def url(answer: Any, *names: str) -> str:
    """The address of a page; as `record`."""
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
    subject = f"{'.'.join(names)} in GitLab's answer" if names else "GitLab's answer"
    return UnavailableError(f"{subject} is not {kind}.", why=NOT_GITLAB)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
