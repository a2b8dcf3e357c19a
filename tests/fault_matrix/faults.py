"""The table of faults: what happens to one request of a run, or to one and those after it."""

from __future__ import annotations

import base64
import functools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from tests.fault_matrix.front import JSON, Answer, Exchange, Recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FOR_EVER = float("inf")
_PAGE = b"<!DOCTYPE html><html><body><h1>Sorry</h1><p>Please log in first.</p></body></html>"
_HTML = [("Content-Type", "text/html; charset=utf-8")]
_DEPTH = 100_000

# The contract's exit codes.
AUTH, NOT_FOUND, CONFLICT, TIMEOUT, REFUSED = 3, 4, 5, 7, 12


def everything(recorded: Recorded) -> bool:
    """All requests, and a CONNECT, too."""
    return recorded.key.method != ""


def requests(recorded: Recorded) -> bool:
    """The requests that reach the server."""
    return recorded.answer is not None


def writes(recorded: Recorded) -> bool:
    """The requests that change something."""
    reads = ("GET", "HEAD", "CONNECT")
    return recorded.key.method not in reads and "upload-pack" not in recorded.key.path


def document(recorded: Recorded) -> Any:
    """The JSON of a usable answer; None if it is not that."""
    answer = recorded.answer
    if answer is None or answer.status // 100 != 2 or "json" not in answer.kind:
        return None
    return json.loads(answer.body)


def documents(recorded: Recorded) -> bool:
    """The requests that are answered in JSON."""
    return document(recorded) is not None


def lists(recorded: Recorded) -> bool:
    """The requests that are answered with a list."""
    return isinstance(document(recorded), list)


def objects(recorded: Recorded) -> bool:
    """The requests that are answered with an object."""
    return isinstance(document(recorded), dict)


def other_contents(recorded: Recorded) -> bool:
    """The requests that are answered with something else: archives, files, git's own."""
    answer = recorded.answer
    return answer is not None and answer.status // 100 == 2 and "json" not in answer.kind


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes:
        name: What happens.
        act: Does it.
        meets: Whether it can happen to a request.
        lasting: Whether it happens to all later requests of that kind, too.
        refuse: Seconds for which the server is gone before the request; 0: it is not.
        codes: The exit codes that can follow, beside that of a run without a fault, and 8.
        recovers: Whether a read that meets it once is sent again, so that the run succeeds.
        by_proxy: Whether a proxy makes a difference to it.
        lies: Whether what the server answers is well-formed and wrong, such as another's SHA.
        is_part_of: The group of faults.
    """

    name: str
    act: Callable[[Exchange], None] | None
    meets: Callable[[Recorded], bool] = requests
    lasting: bool = False
    refuse: float = 0
    codes: frozenset[int] = frozenset()
    recovers: bool = False
    by_proxy: bool = False
    lies: bool = False
    is_part_of: str = ""

    def __str__(self) -> str:
        return self.name


# What happens on the way


def _reset_before(exchange: Exchange) -> None:
    exchange.reset()


def _reset_after(exchange: Exchange) -> None:
    exchange.carry_out()
    exchange.reset()


def _close_before(exchange: Exchange) -> None:
    exchange.close()


def _close_after(exchange: Exchange) -> None:
    exchange.carry_out()
    exchange.close()


def _silence_before(exchange: Exchange) -> None:
    exchange.hold()


def _silence_after(exchange: Exchange) -> None:
    exchange.carry_out()
    exchange.hold()


def _truncate(exchange: Exchange) -> None:
    answer = exchange.carry_out()
    exchange.write(exchange.head(answer, length=len(answer.body) + 100))
    exchange.write(answer.body[: len(answer.body) // 2])
    exchange.close()


def _truncate_head(exchange: Exchange) -> None:
    head = exchange.head(exchange.carry_out())
    exchange.write(head[: len(head) // 2])
    exchange.close()


def _garbage(exchange: Exchange) -> None:
    exchange.carry_out()
    exchange.write(b"\x00\x16\x03\x01 is not HTTP\r\n\r\n")
    exchange.close()


def _rival_then(act: Callable[[Exchange], None], exchange: Exchange) -> None:
    """Another job's request, of the same kind and with the same token, is carried out instead."""
    exchange.carry_out(_theirs(exchange.body))
    act(exchange)


def _theirs(body: bytes) -> bytes:
    """A request's body, with another job's words where ours were."""
    try:
        content = json.loads(body)
    except ValueError:
        return body.replace(b"ours", b"theirs")
    for action in content.get("actions", []):
        text = base64.b64decode(action["content"]).replace(b"ours", b"theirs")
        action["content"] = base64.b64encode(text).decode()
    return json.dumps(content).encode().replace(b"ours", b"theirs")


# What is slow


def _drip_body(exchange: Exchange) -> None:
    answer = exchange.carry_out()
    exchange.write(exchange.head(answer, length=len(answer.body) + 100_000))
    exchange.drip(_endless(answer.body, b" "))


def _drip_head(exchange: Exchange) -> None:
    exchange.carry_out()
    exchange.drip(_endless(b"HTTP/1.1 200 OK\r\nX-Padding: ", b"x"))


def _drip_status(exchange: Exchange) -> None:
    exchange.carry_out()
    exchange.drip(_endless(b"HTTP/1.1 200 ", b"x"))


def _continue_for_ever(exchange: Exchange) -> None:
    exchange.carry_out()
    exchange.drip(_repeated(b"HTTP/1.1 100 Continue\r\n\r\n"))


def _endless(data: bytes, then: bytes) -> Iterator[bytes]:
    for byte in data:
        yield bytes([byte])
    yield from _repeated(then)


def _repeated(data: bytes) -> Iterator[bytes]:
    while True:
        yield data


def _carry_out_later(seconds: float, act: Callable[[Exchange], None], exchange: Exchange) -> None:
    """The server finishes after the client was told otherwise."""
    exchange.front.later(seconds, exchange.carry_out)
    act(exchange)


# What is answered


def _answer_with(answer: Answer, exchange: Exchange) -> None:
    exchange.send(answer)


def _answer_after(answer: Answer, exchange: Exchange) -> None:
    exchange.carry_out()
    exchange.send(answer)


def status(code: int, headers: Mapping[str, str] | None = None) -> Answer:
    """The page that a proxy answers with."""
    return Answer(code, _PAGE, [*_HTML, *(headers or {}).items()])


def _throttled(text: str | dict[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
    kind = [("Content-Type", "text/plain")] if isinstance(text, str) else JSON
    body = text.encode() if isinstance(text, str) else json.dumps(text).encode()
    return Answer(429, body, [*kind, *(headers or {}).items()])


def _redirect(code: int, exchange: Exchange) -> None:
    address = exchange.front.elsewhere_url + exchange.target
    exchange.send(Answer(code, b"", [("Location", address)]))


def _revoke(exchange: Exchange) -> None:
    exchange.front.on_revoke()
    exchange.send(exchange.carry_out())


def _with_body(change: Callable[[bytes], bytes], exchange: Exchange) -> None:
    answer = exchange.carry_out()
    exchange.send(Answer(answer.status, change(answer.body), answer.headers))


def _each(change: Callable[[str, Any], Any], body: bytes) -> bytes:
    """Changes each value of a JSON document that is in an object."""

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(each) for each in value]
        if isinstance(value, dict):
            return {name: change(name, walk(each)) for name, each in value.items()}
        return value

    return json.dumps(walk(json.loads(body))).encode()


def _ids(instead: Any, name: str, value: Any) -> Any:
    return instead if name == "id" or name.endswith(("_id", "iid")) else value


def _scalars(instead: Any, _: str, value: Any) -> Any:
    return value if isinstance(value, (list, dict)) else instead


def _texts(change: Callable[[str], Any], _: str, value: Any) -> Any:
    return change(value) if isinstance(value, str) else value


def _pages(exchange: Exchange, *, counting: bool) -> None:
    """Lists that always have a next page: the same one, or a new one each time."""
    answer = exchange.carry_out()
    target, _, query = exchange.target.partition("?")
    pairs = [pair for pair in query.split("&") if pair and not pair.startswith("page=")]
    page = next((int(p[5:]) for p in query.split("&") if p.startswith("page=")), 1)
    following = page + 1 if counting else 2
    address = f"{exchange.front.url}{target}?{'&'.join([*pairs, f'page={following}'])}"
    items = json.loads(answer.body)
    exchange.send(
        Answer(
            200,
            json.dumps(items or [{"id": 1}]).encode(),
            [*JSON, ("X-Next-Page", str(following)), ("Link", f'<{address}>; rel="next"')],
        )
    )


def _transport() -> Iterator[Fault]:
    fault = functools.partial(Fault, recovers=True, by_proxy=True, is_part_of="transport")
    yield fault("refused for a second", None, everything, refuse=1)
    yield fault("refused for ever", None, everything, refuse=FOR_EVER, recovers=False)
    yield fault("reset before", _reset_before, everything)
    yield fault("reset before, lasting", _reset_before, everything, lasting=True, recovers=False)
    yield fault("reset after", _reset_after, writes)
    yield fault("reset after, lasting", _reset_after, writes, lasting=True, recovers=False)
    yield fault("close before", _close_before, everything)
    yield fault("close after", _close_after, writes)
    yield fault("truncated body", _truncate)
    yield fault("truncated head", _truncate_head)
    yield fault("not HTTP", _garbage)


def _time() -> Iterator[Fault]:
    fault = functools.partial(
        Fault, recovers=True, by_proxy=True, codes=frozenset({TIMEOUT}), is_part_of="time"
    )
    yield fault("silence before", _silence_before, everything)
    yield fault("silence after", _silence_after, writes)
    yield fault("silence, lasting", _silence_before, everything, lasting=True, recovers=False)
    yield fault("drip in the body", _drip_body)
    yield fault("drip in the headers", _drip_head)
    yield fault("drip in the status line", _drip_status)
    yield fault("drip in the headers, lasting", _drip_head, lasting=True, recovers=False)
    yield fault("100 Continue for ever", _continue_for_ever)


def _statuses() -> Iterator[Fault]:
    fault = functools.partial(Fault, recovers=True, is_part_of="status")
    for code in (408, 425, 499, 500, 502, 503, 504, 520, 522, 524, 530):
        recovers = code != 499
        by_proxy = code in (408, 502, 504)
        yield fault(
            f"{code} before",
            functools.partial(_answer_with, status(code)),
            everything if by_proxy else requests,
            recovers=recovers,
            by_proxy=by_proxy,
        )
        yield fault(
            f"{code} after",
            functools.partial(_answer_after, status(code)),
            writes,
            recovers=recovers,
            by_proxy=by_proxy,
        )
    for code in (403, 407):
        yield fault(
            f"{code} by the proxy",
            functools.partial(_answer_with, status(code)),
            lambda recorded: recorded.key.method == "CONNECT",
            recovers=False,
            by_proxy=True,
        )
    yield fault(
        "503, lasting",
        functools.partial(_answer_with, status(503)),
        lasting=True,
        recovers=False,
    )
    for name, value in {"0": "0", "a past date": _date(hours=-1)}.items():
        yield fault(
            f"503, Retry-After {name}, lasting",
            functools.partial(_answer_with, status(503, {"Retry-After": value})),
            lasting=True,
            recovers=False,
        )


def _throttles() -> Iterator[Fault]:
    fault = functools.partial(
        Fault, recovers=True, codes=frozenset({TIMEOUT}), is_part_of="throttling"
    )
    shapes: dict[str, str | dict[str, Any]] = {
        "text": "Retry later\n",
        "JSON": {
            "message": {
                "error": "This endpoint has been requested too many times. Try again later."
            }
        },
    }
    for shape, text in shapes.items():
        for name, value in {
            "": "", "1": "1", "0": "0", "a past date": _date(hours=-1), "nonsense": "soon",
        }.items():  # fmt: skip
            headers = {"Retry-After": value} if value else {}
            with_header = f", Retry-After {name}" if name else ""
            yield fault(
                f"429 in {shape}{with_header}",
                functools.partial(_answer_with, _throttled(text, headers)),
            )
    for name, value in {"an hour": "3600", "a far date": _date(hours=1)}.items():
        yield fault(
            f"429, Retry-After {name}",
            functools.partial(_answer_with, _throttled("Retry later\n", {"Retry-After": value})),
            recovers=False,
        )
    for name, value in {"0": "0", "a past date": _date(hours=-1)}.items():
        yield fault(
            f"429, Retry-After {name}, lasting",
            functools.partial(_answer_with, _throttled("Retry later\n", {"Retry-After": value})),
            lasting=True,
            recovers=False,
        )


def _date(*, hours: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)


def _contents() -> Iterator[Fault]:
    fault = functools.partial(Fault, is_part_of="content")
    page = Answer(200, _PAGE, _HTML)
    yield fault("HTML instead", functools.partial(_answer_with, page), everything)
    yield fault("HTML after", functools.partial(_answer_after, page), writes)
    yield fault("HTML, lasting", functools.partial(_answer_after, page), lasting=True)
    yield fault("empty after", functools.partial(_answer_after, Answer(200, b"", JSON)))
    yield fault("204 after", functools.partial(_answer_after, Answer(204)), documents)
    for body in ("null", "1", '"x"', "true", '{"message": 1}', '[{"id": 1}', "NaN"):
        act = functools.partial(_answer_after, Answer(200, body.encode(), JSON))
        yield fault(f"JSON {body}", act, documents)
    for body in ("{}", "[null]", '["x"]', "[[]]", "[{}]"):
        act = functools.partial(_answer_after, Answer(200, body.encode(), JSON))
        yield fault(f"JSON {body} for a list", act, lists)
    for body in ("[]", "{}"):
        act = functools.partial(_answer_after, Answer(200, body.encode(), JSON))
        yield fault(f"JSON {body} for an object", act, objects)
    deep = b"[" * _DEPTH + b"]" * _DEPTH
    for code in (200, 404, 500):
        how = _answer_with if code == 404 else _answer_after  # what is 404 is not carried out
        act = functools.partial(how, Answer(code, deep, JSON))
        yield fault(f"{code}, deep JSON", act, documents, codes=frozenset({NOT_FOUND, REFUSED}))
    for name, change in {
        "ids are null": functools.partial(_ids, None),
        "ids are infinite": functools.partial(_ids, float("inf")),
        "ids are objects": functools.partial(_ids, {}),
        "all values are null": functools.partial(_scalars, None),
        "all values are numbers": functools.partial(_scalars, 1),
        "all values are lists": functools.partial(_scalars, []),
    }.items():
        act = functools.partial(_with_body, functools.partial(_each, change))
        yield fault(name, act, documents)
    for name, change in {
        "ids are texts": functools.partial(_ids, "x"),
        "texts are lone surrogates": functools.partial(_texts, lambda _: "\ud800"),
        "texts are empty": functools.partial(_texts, lambda _: ""),
        "texts inject": functools.partial(
            _texts, lambda text: f"{text}\x1b[2J\r\nINJECTED=1\u202e"
        ),
    }.items():
        act = functools.partial(_with_body, functools.partial(_each, change))
        # What is named so is not found, of no known status, in conflict, …
        yield fault(name, act, documents, codes=frozenset(range(3, 13)), lies=True)
    yield fault(
        "bytes of nonsense",
        functools.partial(_with_body, lambda body: bytes(255 - byte for byte in body)),
        other_contents,
        codes=frozenset(range(3, 13)),
        lies=True,
    )


def _late() -> Iterator[Fault]:
    fault = functools.partial(Fault, meets=writes, is_part_of="late")
    acts: dict[str, Callable[[Exchange], None]] = {
        "reset": _reset_before,
        "silence": _silence_before,
        **{
            str(code): functools.partial(_answer_with, status(code))
            for code in (408, 500, 502, 503, 504, 520, 524)
        },
    }
    for name, act in acts.items():
        for seconds in (1.5, 8):
            yield fault(
                f"{name}, carried out {seconds:g} s later",
                functools.partial(_carry_out_later, seconds, act),
                codes=frozenset({TIMEOUT} if name == "silence" else ()),
                by_proxy=name in ("reset", "504"),
            )


def _others() -> Iterator[Fault]:
    for code in (301, 302, 303, 307, 308):
        yield Fault(
            f"{code} to another host",
            functools.partial(_redirect, code),
            is_part_of="redirect",
            by_proxy=code in (302, 307),
        )
    yield Fault(
        "the token is revoked",
        _revoke,
        # GitLab does not tell a trigger token that it was revoked, but 404.
        codes=frozenset({AUTH, NOT_FOUND}),
        by_proxy=True,
        is_part_of="token",
    )
    for name, counting in {"the same page for ever": False, "pages for ever": True}.items():
        yield Fault(
            name,
            functools.partial(_pages, counting=counting),
            lists,
            lasting=True,
            is_part_of="pages",
            codes=frozenset(range(3, 13)),
        )
    acts: dict[str, Callable[[Exchange], None]] = {
        "reset": _reset_before,
        "502": functools.partial(_answer_with, status(502)),
        "504": functools.partial(_answer_with, status(504)),
    }
    for name, act in acts.items():
        yield Fault(
            f"{name}, and another job's is carried out",
            functools.partial(_rival_then, act),
            writes,
            codes=frozenset({CONFLICT, REFUSED}),
            is_part_of="rival",
            by_proxy=name == "reset",
        )


FAULTS = tuple(
    fault
    for group in (_transport, _time, _statuses, _throttles, _contents, _late, _others)
    for fault in group()
)
