from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cicd_common.errors import UsageError
from cicd_common.gitlab.connection import connection_from, parse_base_url, read_section
from cicd_common.gitlab.tokens import TokenKind

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://gitlab.example.com", "https://gitlab.example.com"),
        ("http://gitlab.example.com:9980/", "http://gitlab.example.com:9980"),
        ("https://example.com/gitlab/", "https://example.com/gitlab"),
        ("https://example.com/gitlab/api/v4/", "https://example.com/gitlab"),
        (" https://[::1]:8080 ", "https://[::1]:8080"),
    ],
)
def test_an_address_is_normalized(text: str, url: str) -> None:
    assert parse_base_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gitlab.example.com",
        "ftp://gitlab.example.com",
        "https://",
        "https://:80",
        "https://host:port",
        "https://host:99999",
        "https://user:hush@gitlab.example.com",
        "https://gitlab.example.com?x=1",
        "https://gitlab.example.com#x",
        "https://gitlab .example.com",
        "https://gitläb.example.com",
        "--api-access-token",
        "$CI_SERVER_URL",
        "http://[::1",
    ],
)
def test_an_invalid_address_is_refused_without_showing_its_password(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_base_url(text)
    assert "hush" not in raised.value.message


@given(st.text())
def test_any_text_is_a_valid_address_or_a_clear_error(text: str) -> None:
    try:
        url = parse_base_url(text)
    except UsageError:
        return
    assert parse_base_url(url) == url


CONFIG_LINES = [
    "[global]", "[a]", "[other]", "default = a", "url = https://h", "url = h", "url = %(x)s",
    "private_token = HUSH", "private_token HUSH", "private_token = %HUSH", "job_token = HUSH\0",
    "oauth_token = HUSH\ud7ff", "oauth_token = helper: ./none HUSH", " HUSH", "timeout = HUSH",
    "ssl_verify = HUSH", "ssl_verify = no", "api_version = HUSH", "per_page = HUSH", "=HUSH", "%",
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(text=st.text() | st.lists(st.sampled_from(CONFIG_LINES)).map("\n".join))
def test_any_configuration_file_is_read_or_a_clear_error_without_its_values(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.cfg"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHON_GITLAB_CFG", str(file))
    said = ""
    try:
        read_section("a")
    except UsageError as error:
        said = f"{error.message} {error.why} {error.hint}"
    assert "HUSH" not in said


def test_an_access_token_takes_precedence_over_a_job_token() -> None:
    connection = connection_from(
        {"base_url": "https://h", "api_access_token": "a", "job_token": "j"}
    )
    assert connection.token is not None
    assert (connection.token.kind, connection.token.secret) == (TokenKind.ACCESS, "a")


def test_a_job_token_is_enough_and_an_empty_token_is_ignored() -> None:
    connection = connection_from(
        {"base_url": "https://h", "api_access_token": "", "job_token": "j"}
    )
    assert connection.token is not None
    assert connection.token.kind is TokenKind.JOB


def test_there_is_no_default_server() -> None:
    with pytest.raises(UsageError):
        connection_from({"api_access_token": "a"})
    assert connection_from({"api_access_token": "a"}, needs_server=False).base_url == ""
