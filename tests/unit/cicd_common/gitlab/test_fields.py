from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import UnavailableError
from cicd_common.gitlab import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[..., Any]

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)

RIGHT: list[tuple[Reader, Any, Any]] = [
    (fields.value, None, None),
    (fields.record, {"a": 1}, {"a": 1}),
    (fields.records, [], []),
    (fields.records, [{"a": 1}], [{"a": 1}]),
    (fields.text, "main", "main"),
    (fields.word, "feature/\u00fc", "feature/\u00fc"),
    (fields.optional_text, "main", "main"),
    (fields.optional_text, "", ""),
    (fields.optional_text, None, ""),
    (fields.texts, ["a", ""], ["a", ""]),
    (fields.texts, [], []),
    (fields.texts, None, []),
    (fields.number, 0, 0),
    (fields.number, 2**63 - 1, 2**63 - 1),
    (fields.optional_number, 7, 7),
    (fields.optional_number, None, None),
    (fields.flag, True, True),
    (fields.flag, False, False),
    (fields.flag, None, False),
    (fields.time, "2026-01-02T12:00:00.000Z", NOON),
    (fields.time, "2026-01-02T14:00:00+02:00", NOON),
    (fields.time, "2026-01-02T12:00:00", NOON),
    (fields.optional_time, None, None),
    (fields.optional_time, "2026-01-02T12:00:00Z", NOON),
    (fields.url, "https://h/a/b/-/pipelines/1", "https://h/a/b/-/pipelines/1"),
    (fields.url, "http://[::1]:8080/a", "http://[::1]:8080/a"),
]


@pytest.mark.parametrize(("read", "sent", "expected"), RIGHT)
def test_a_value_of_the_right_type_is_read(read: Reader, sent: object, expected: object) -> None:
    assert read({"outer": {"key": sent}}, "outer", "key") == expected


ANYTHING: list[Any] = [
    None, True, 0, -1, 1.5, 2**63, float("inf"), "", "text", [], [None], ["x"], [1], [[]], {},
    {"a": 1},
]  # fmt: skip
ACCEPTED: dict[Reader, list[Any]] = {
    fields.record: [{}, {"a": 1}],
    fields.records: [[]],
    fields.text: ["text"],
    fields.word: ["text"],
    fields.optional_text: [None, "", "text"],
    fields.texts: [None, [], ["x"]],
    fields.number: [0],
    fields.optional_number: [None, 0],
    fields.flag: [None, True],
    fields.time: [],
    fields.optional_time: [None],
    fields.url: [],
}


@pytest.mark.parametrize("read", ACCEPTED, ids=lambda read: read.__name__)
def test_a_value_of_any_other_type_is_an_error_that_names_the_field(read: Reader) -> None:
    accepted = list(map(repr, ACCEPTED[read]))
    for sent in ANYTHING:
        if repr(sent) in accepted:
            read({"key": sent}, "key")
            continue
        with pytest.raises(UnavailableError, match="key"):
            read({"key": sent}, "key")


@pytest.mark.parametrize(
    ("read", "missing"),
    [(fields.optional_text, ""), (fields.texts, []), (fields.flag, False),
     (fields.optional_time, None), (fields.optional_number, None)],
)  # fmt: skip
def test_an_optional_field_can_be_missing(read: Reader, missing: object) -> None:
    assert read({}, "key") == missing


@pytest.mark.parametrize(
    "read", [*ACCEPTED, fields.value], ids=lambda read: getattr(read, "__name__", "")
)
@pytest.mark.parametrize("answer", [None, [], "text", 1, {"outer": None}, {"outer": []}])
def test_the_parents_of_a_nested_field_are_checked_too(read: Reader, answer: object) -> None:
    with pytest.raises(UnavailableError):
        read(answer, "outer", "key")


@pytest.mark.parametrize(
    ("read", "sent"),
    [
        (fields.word, "main\nINJECTED=1"),
        (fields.word, "main\r"),
        (fields.word, "\x1b[2Jmain"),
        (fields.word, "main\x7f"),
        (fields.time, "yesterday"),
        (fields.time, "2026-02-30T00:00:00Z"),
        (fields.time, "0001-01-01T00:00:00+23:59"),
        (fields.time, "9999-12-31T23:59:59-23:59"),
        (fields.url, "http://[::1"),
        (fields.url, "http://h:99999/x"),
        (fields.url, "http://h:0/x"),
        (fields.url, "http:///x"),
        (fields.url, "javascript:alert(1)"),
        (fields.url, "https://h/a\nINJECTED=1"),
        (fields.url, "https://h/a b"),
        (fields.url, "https://h/\x1b[2J"),
    ],
)
def test_a_text_in_a_wrong_format_is_an_error(read: Reader, sent: str) -> None:
    with pytest.raises(UnavailableError):
        read({"key": sent}, "key")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[1,", b"{]}", b"words", b"<html>", b"NaN", b"[Infinity]", b'{"a":-Infinity}',
        b"1" * 5000, b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000,
        b'"\\ud800"', b'{"a":["\\udfff"]}', b'{"\\uD800":1}', b"\xff\xfe\xff", b'"\xed\xa0\x80"',
    ],
    ids=repr,
)  # fmt: skip
def test_a_response_that_is_not_json_is_an_error_that_names_the_request(content: bytes) -> None:
    with pytest.raises(UnavailableError, match="/api/v4/x"):
        fields.parse(content, "/api/v4/x")


def test_a_complete_surrogate_pair_is_one_character() -> None:
    assert fields.parse(rb'"\ud83d\ude80"', "/x") == "🚀"


@given(st.binary())
def test_any_bytes_are_json_or_a_clear_error(content: bytes) -> None:
    with contextlib.suppress(UnavailableError):
        fields.parse(content, "/x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)


@given(json_values, st.sampled_from(list(ACCEPTED)))
def test_any_json_has_valid_fields_or_is_a_clear_error(sent: object, read: Reader) -> None:
    try:
        answer = fields.parse(json.dumps({"key": sent}).encode(), "/x")
        found = read(answer, "key")
    except UnavailableError:
        return
    str(found).encode()
