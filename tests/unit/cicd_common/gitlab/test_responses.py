from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import Answer, UnavailableError
from cicd_common.gitlab.responses import (
    error_of,
    is_throttled,
    parse_date,
    parse_retry_after,
    read_answer,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def response(status: int, body: str | bytes, kind: str = "application/json") -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made._content = body if isinstance(body, bytes) else body.encode()
    made.headers["Content-Type"] = kind
    return made


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"message":"404 Project Not Found"}', "404 Project Not Found"),
        ('{"error":"ref is missing"}', "ref is missing"),
        ('{"message":{"base":["Reference not found"]}}', "Reference not found"),
        ('{"message":{"name":["is taken","is short"]}}', "name is taken, is short"),
        ('{"message":["Another open merge request already exists: !6"]}',
         "Another open merge request already exists: !6"),
        ('{"message":{"error":"Too many"}}', "Too many"),
        ('{"error":"invalid_token","error_description":"Token was revoked."}',
         "Token was revoked."),
        ('{"error":["odd"],"error_description":"Token was revoked."}', "Token was revoked. odd"),
        ('{"message":null}', ""),
        ('["a list"]', '["a list"]'),
        ("", ""),
    ],
)  # fmt: skip
def test_gitlabs_error_message_is_found_in_every_form_of_body(body: str, text: str) -> None:
    assert read_answer(response(400, body)).text == text


def test_an_html_page_is_not_shown_in_the_error() -> None:
    answer = read_answer(response(502, "<html>" + "x" * 5000, "text/html"))
    assert "HTML" in answer.text
    assert "x" * 10 not in answer.text


def test_a_long_text_of_many_lines_becomes_one_line() -> None:
    answer = read_answer(response(400, "a\n\x1b[31mb\r\n" + "c" * 5000, "text/plain"))
    assert answer.text.startswith("a [31mb ccc")
    assert len(answer.text) == 501


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("[" * 100_000 + "]" * 100_000, "application/json"),
        ('{"message":' * 900 + "1" + "}" * 900, "application/json"),
        ('{"message":"\\ud800"}', "application/json"),
        ("words", "text/plain; charset=idna"),
        ("words", "text/plain; charset=\0"),
        ("words", "text/plain; charset=undefined"),
    ],
)
def test_an_unreadable_body_is_still_a_response(body: str, kind: str) -> None:
    answer = read_answer(response(500, body, kind))
    assert answer.status == 500
    answer.text.encode()


@given(st.binary(), st.sampled_from(["application/json", "text/html", "text/plain", ""]))
def test_a_body_of_any_bytes_can_be_read(body: bytes, kind: str) -> None:
    answer = read_answer(response(500, body, kind))
    assert "\n" not in answer.text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
        ("Fri, 02 Jan 2026 03:05:05", 60.0),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=NOW) == seconds


@pytest.mark.parametrize("ahead", [-7200, 0, 7200])
def test_a_retry_after_date_is_compared_with_the_servers_clock(ahead: float) -> None:
    servers = datetime.now(UTC) + timedelta(seconds=ahead)
    answer = response(503, "")
    answer.headers["Date"] = format_datetime(servers, usegmt=True)
    later = servers + timedelta(seconds=90)
    answer.headers["Retry-After"] = format_datetime(later, usegmt=True)
    assert read_answer(answer).retry_after == 90


@pytest.mark.parametrize(
    "value",
    ["Feb 30 11111111111111111111 23:59:59", "Fri, 31 Dec 9999 23:59:59 -2359", "x" * 5000],
)
def test_an_impossible_retry_after_date_is_ignored(value: str) -> None:
    assert parse_retry_after(value) is None
    assert parse_date(value) is None


@given(st.text())
def test_any_retry_after_header_can_be_read(value: str) -> None:
    seconds = parse_retry_after(value)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("status", "text", "throttled"),
    [
        (429, "Retry later", True),
        (400, "Too many pipelines created in the last minute. Try again later.", True),
        (400, "Reference not found", False),
        (503, "Too many pipelines created in the last minute", False),
    ],
)
def test_throttling_has_two_forms(status: int, text: str, *, throttled: bool) -> None:
    assert is_throttled(Answer(status, text)) is throttled


@pytest.mark.parametrize(
    ("status", "text", "server_error", "exit_code"),
    [
        (400, "Tag name invalid", "", 12),
        (401, "401 Unauthorized", "", 3),
        (403, "403 Forbidden", "", 6),
        (403, "scopes", "insufficient_scope", 3),
        (403, "scopes", "insufficient_granular_scope", 3),
        (404, "404 Project Not Found", "", 4),
        (405, "Non GET methods are not allowed for moved projects", "", 4),
        (405, "405 Method Not Allowed", "", 12),
        (409, "409 Conflict: Resource lock", "", 5),
        (422, "", "", 12),
        (429, "Retry later", "", 7),
        (500, "500 Internal Server Error", "", 8),
        (503, "", "", 8),
        (599, "", "", 8),
    ],
)
def test_every_http_status_has_an_exit_code(
    status: int, text: str, server_error: str, exit_code: int
) -> None:
    error = error_of(Answer(status, text, server_error=server_error), "POST /x")
    assert error.exit_code == exit_code
    assert "POST /x" in error.message
    assert text or str(status) in error.message


@pytest.mark.parametrize("status", [400, 402, 405, 406, 409, 414, 418, 422, 431, 451])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_refused_read_is_exit_code_8_because_it_creates_nothing(status: int, method: str) -> None:
    error = error_of(Answer(status, "Bad request"), f"{method} /x")
    assert error.exit_code == 8
    assert not error.retryable


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_same_failures_are_temporary_for_reads_and_writes(method: str) -> None:
    errors = {status: error_of(Answer(status, ""), f"{method} /x") for status in range(100, 600)}
    retryable = {status for status, error in errors.items() if error.retryable}
    assert retryable == {408, 425, 429, 500, 502, 503, 504, *range(520, 531)}


@pytest.mark.parametrize(
    ("status", "can_have_happened"),
    [(408, True), (425, True), (499, True), (500, True), (501, True), (502, True), (503, True),
     (504, True), (520, True), (521, True), (522, True), (523, False), (524, True), (530, True),
     (300, True), (407, False)],
)  # fmt: skip
def test_a_write_certainly_did_not_happen_only_if_the_server_was_not_reached(
    status: int, *, can_have_happened: bool
) -> None:
    error = error_of(Answer(status, ""), "POST /x")
    assert isinstance(error, UnavailableError)
    assert error.sent is can_have_happened


@pytest.mark.parametrize("body", ["{", "[" * 100_000, "", '{"message": NaN}'])
@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
def test_a_refusal_that_is_not_json_leaves_a_write_unknown(status: int, body: str) -> None:
    answer = read_answer(response(status, body))
    error = error_of(answer, "POST /x")
    assert isinstance(error, UnavailableError)
    assert error.sent
    assert not error.retryable
    assert error_of(read_answer(response(404, body)), "GET /x").exit_code == 4
    assert error_of(read_answer(response(404, body, "text/plain")), "POST /x").exit_code == 4


def test_throttling_in_either_form_can_be_retried() -> None:
    for answer in (Answer(429, ""), Answer(400, "Too many pipelines created in the last minute.")):
        error = error_of(answer, "POST /x")
        assert (error.exit_code, error.retryable) == (7, True)
