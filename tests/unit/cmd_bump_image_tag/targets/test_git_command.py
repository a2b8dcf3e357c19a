"""What git gets from this process's environment."""

import os

import pytest

from cicd_common import cleaning
from cicd_common.gitlab.tokens import Token, TokenKind
from cmd_bump_image_tag.targets.git_command import (
    Remote,
    inherited_environment,
    repository_address,
)

SECRET = "glpat-a-secret-of-the-test"


@pytest.mark.parametrize(
    ("name", "value", "is_kept"),
    [
        ("HTTPS_PROXY", f"http://user:{SECRET}@proxy.example.com", True),
        ("http_proxy", f"http://user:{SECRET}@proxy.example.com", True),
        ("GIT_SSH_COMMAND", "ssh -i key", True),
        ("GIT_AUTHOR_NAME", "Bot", True),
        ("ANY", f"x {SECRET} y", False),
        ("CI_JOB_TOKEN", "short", False),
        ("COMMANDS_API_TOKEN", "short", False),
        ("GIT_DIR", ".git", False),
        ("GIT_INDEX_FILE", "index", False),
        ("GIT_CONFIG_COUNT", "1", False),
        ("GIT_TRACE", "1", False),
        ("GIT_TRACE_CURL", "1", False),
        ("GIT_TR2_EVENT", "1", False),
        ("GIT_CURL_VERBOSE", "1", False),
    ],
)
def test_git_gets_no_secret_no_trace_and_no_other_repository(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, *, is_kept: bool
) -> None:
    cleaning.hide(SECRET)
    monkeypatch.setenv(name, value)
    assert (inherited_environment().get(name) == value) == is_kept
    assert (name in inherited_environment()) == is_kept
    assert inherited_environment()["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize(
    ("address", "base_url", "expected"),
    [
        ("https://a.example.com/g/p", "https://a.example.com", "https://a.example.com/g/p.git"),
        ("https://a.example.com/g/p/", "https://a.example.com", "https://a.example.com/g/p.git"),
        ("https://a.example.com/g/p.git", "https://a.example.com", "https://a.example.com/g/p.git"),
        ("https://b.example.com/g/p", "https://a.example.com", "https://b.example.com/g/p"),
        ("https://a.example.com/g/p", "", "https://a.example.com/g/p"),
        ("git@a.example.com:g/p", "https://a.example.com", "git@a.example.com:g/p"),
    ],
)
def test_an_address_on_the_gitlab_server_ends_with_git(
    address: str, base_url: str, expected: str
) -> None:
    assert repository_address(address, base_url) == expected


TOKEN = Token(TokenKind.ACCESS, "a test", "glpat-0123456789")


@pytest.mark.parametrize(
    ("url", "base_url", "token", "is_sent"),
    [
        ("https://a.example.com/g/p.git", "https://a.example.com", TOKEN, True),
        ("https://a.example.com:443/g/p.git", "https://a.example.com/gitlab", TOKEN, True),
        ("https://a.example.com/g/p.git", "https://a.example.com", None, False),
        ("https://a.example.com/g/p.git", "", TOKEN, False),
        ("https://a.example.com/g/p.git", "", None, False),
        ("https://b.example.com/g/p.git", "https://a.example.com", TOKEN, False),
        ("http://a.example.com/g/p.git", "https://a.example.com", TOKEN, False),
        ("https://a.example.com:8443/g/p.git", "https://a.example.com", TOKEN, False),
        ("git@a.example.com:g/p.git", "https://a.example.com", TOKEN, False),
        ("/g/p.git", "", TOKEN, False),
    ],
)
def test_only_the_gitlab_server_gets_the_token_if_there_is_one(
    url: str, base_url: str, token: Token | None, *, is_sent: bool
) -> None:
    assert Remote(url, base_url, token).gets_token == is_sent
