"""Whether a registry accepts a login, and what is no answer to that, over real HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import AuthError, CommandError, TimeLimitError, UnavailableError
from cicd_common.registry.access import RegistrySettings
from cicd_common.registry.check import check_login
from cicd_common.registry.logins import Login
from tests.registries.server import JSON, Reply, basic, serving

if TYPE_CHECKING:
    from tests.registries.server import Request

LOGIN = Login("robot$ci+x", "config.json", "pässword€1")
OTHER = Login("other", "CI_REGISTRY_USER", "other-password")
BEARER = 'Bearer realm="http://{host}/token",service="docker"'
REGISTRY = {"Docker-Distribution-Api-Version": "registry/2.0"}


def root(request: Request) -> Reply:
    """GitLab's registry: a token for who has a login, and with it the root."""
    if request.path == "/token":
        known = request.authorization == basic(LOGIN)
        return Reply(200, JSON, b'{"token": "opens"}') if known else Reply(403)
    if request.authorization == "Bearer opens":
        return Reply(200, REGISTRY)
    return Reply(401, challenges=(BEARER.replace("{host}", request.headers["Host"]),))


def test_check_login_accepts_a_valid_login_and_refuses_a_wrong_one() -> None:
    with serving(root) as host:
        assert check_login(host.name, LOGIN, RegistrySettings(5, 0))
        with pytest.raises(CommandError) as caught:
            check_login(host.name, OTHER, RegistrySettings(5, 0))
    assert caught.value.exit_code in {3, 6}


@pytest.mark.parametrize(
    "token",
    [
        Reply(200, {"Content-Type": "text/html"}, b"<html>Sign in</html>"),
        Reply(200, JSON, b'{"errors": [{"code": "UNAUTHORIZED"}]}'),
        Reply(200, JSON, b"{}"),
        Reply(200, JSON, b'{"token": 5}'),
        Reply(200, JSON, b'{"token": "two words"}'),
        Reply(200, {"Content-Type": "text/plain"}, b"[" * 100_000),
    ],
    ids=["a page", "errors", "nothing", "a number", "words", "deep"],
)
def test_a_token_service_that_returns_no_token_did_not_accept_the_login(token: Reply) -> None:
    with (
        serving(lambda request: token if request.path == "/token" else root(request)) as host,
        pytest.raises(UnavailableError) as caught,
    ):
        check_login(host.name, LOGIN, RegistrySettings(5, 0))
    assert not caught.value.retryable


def test_a_registry_root_without_a_challenge_does_not_check_the_login() -> None:
    with serving(lambda _: Reply(200, REGISTRY | JSON, b"{}")) as host:
        assert not check_login(host.name, LOGIN, RegistrySettings(5, 0))
    assert host.passwords == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {"Content-Type": "text/html"}, b"<html>GitLab</html>"),
        Reply(200, {"Content-Type": "text/html"}, b"{}"),
        Reply(200, {"Content-Type": "text/plain"}, b"[" * 100_000),
        Reply(200, JSON, b"[]"),
        Reply(200, JSON, b'{"errors": []}'),
        Reply(200),
        Reply(400),
        Reply(403),
        Reply(404),
    ],
    ids=lambda reply: f"{reply.status} {reply.headers.get('Content-Type')} {reply.body[:9]!r}",
)
def test_a_server_that_is_not_a_registry_gets_no_password(reply: Reply) -> None:
    with serving(lambda _: reply) as host, pytest.raises(UnavailableError) as caught:
        check_login(host.name, LOGIN, RegistrySettings(5, 0))
    assert host.passwords == []
    assert not caught.value.retryable


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("where", ["/v2/", "/token"])
def test_a_busy_server_is_not_reported_as_a_wrong_login(status: int, where: str) -> None:
    with (
        serving(lambda request: Reply(status) if request.path == where else root(request)) as host,
        pytest.raises((TimeLimitError, UnavailableError)),
    ):
        check_login(host.name, LOGIN, RegistrySettings(5, 0))


def test_a_password_that_cannot_be_read_is_refused_as_amazon_does() -> None:
    def amazon(request: Request) -> Reply:
        challenge = 'Basic realm="x",service="ecr.amazonaws.com"'
        return Reply(400) if request.authorization else Reply(401, challenges=(challenge,))

    with serving(amazon) as host, pytest.raises(AuthError, match="400 Bad Request"):
        check_login(host.name, LOGIN, RegistrySettings(5, 0))


def test_an_identity_token_is_not_sent_as_a_password() -> None:
    token = Login("", "config.json", "identity-token", is_identity_token=True)
    with (
        serving(lambda _: Reply(401, challenges=('Basic realm="x"',))) as host,
        pytest.raises(UnavailableError, match="is not a container registry"),
    ):
        check_login(host.name, token, RegistrySettings(5, 0))
    assert host.passwords == []
