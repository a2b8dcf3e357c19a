from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import UsageError
from cicd_common.gitlab.tokens import Token, TokenKind, read_token_file, takes_job_token, token_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_token_is_not_in_its_representation() -> None:
    assert "hush" not in repr(Token(TokenKind.ACCESS, "--api-access-token", "hush"))


def test_white_space_around_a_token_is_removed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" glpat-x\n")
    assert read_token_file(tmp_path / "token", "a file").secret == "glpat-x"


@pytest.mark.parametrize("text", ["", " ", "--tag-name", "$TOKEN", "${TOKEN}", "a b", "a\nb", "é"])
def test_an_invalid_token_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        token_of(TokenKind.ACCESS, text, "COMMANDS_API_TOKEN")
    assert "COMMANDS_API_TOKEN" in raised.value.message
    assert len(text) < 3 or text not in raised.value.message


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b""])
def test_an_invalid_token_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(UsageError):
        read_token_file(tmp_path / "token", "--api-access-token-file")


@pytest.mark.parametrize(
    ("method", "path", "taken"),
    [
        ("GET", "projects/a%2Fb/repository/tags/v1", True),
        ("GET", "projects/1/repository/branches", True),
        ("GET", "projects/1/repository/branches/main", False),
        ("GET", "projects/1/pipelines/7/jobs", True),
        ("GET", "projects/1/pipelines/latest", False),
        ("GET", "projects/1/jobs/7/trace", False),
        ("POST", "projects/1/releases", True),
        ("POST", "projects/1/trigger/pipeline", True),
        ("POST", "projects/1/pipeline", False),
        ("POST", "projects/1/repository/tags", False),
        ("GET", "projects/1", False),
        ("GET", "job", True),
        ("GET", "user", False),
    ],
)
def test_only_listed_routes_accept_a_job_token(method: str, path: str, *, taken: bool) -> None:
    assert takes_job_token(method, path) is taken
