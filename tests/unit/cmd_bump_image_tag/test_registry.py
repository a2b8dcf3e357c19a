"""What a registry is asked, over real HTTP, and what its answers mean."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import (
    AuthError,
    CommandError,
    NotFoundError,
    TimeLimitError,
    UnavailableError,
)
from cicd_common.gitlab.connection import Connection
from cicd_common.registry.access import RegistrySettings
from cicd_common.registry.logins import FoundLogins, Login, Logins
from cmd_bump_image_tag.image_reference import ImageReference
from cmd_bump_image_tag.images import Update
from cmd_bump_image_tag.registry import resolve, verify
from tests.registries.server import JSON, Host, Reply, basic, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.registries.server import Request

DIGEST = f"sha256:{'ab' * 32}"
OTHER = f"sha256:{'cd' * 32}"
LOGIN = Login("ci", "CI_REGISTRY_USER", "pässword")
BASIC = basic(LOGIN)
MANIFEST = "/v2/group/web/manifests/v1"
TYPE = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
FOUND = {"Docker-Content-Digest": DIGEST} | TYPE


def resolved(
    host: Host, version: str = ":v1", login: Login | None = None, patience: float = 0
) -> str:
    reference = ImageReference.parse(f"{host.name}/group/web{version}")
    assert reference is not None
    return resolve(reference, Given(login), RegistrySettings(5, patience))


class Given(Logins):
    """The logins that a test gives, in place of those of an environment."""

    def __init__(self, *logins: Login | None) -> None:
        super().__init__({})
        self._given = FoundLogins(tuple(login for login in logins if login))

    def find(self, registry: str, repository: str | None = None) -> FoundLogins:
        del registry, repository
        return self._given


def answering(table: dict[str, Reply]) -> Callable[[Request], Reply]:
    """Replies by path; with 404 to all others."""
    return lambda request: table.get(request.path, Reply(404))


def wanting_token(request: Request, answer: str = '{"token": "opens"}') -> Reply:
    """A registry as GitLab's: a token from its own address, for those who log in."""
    if request.path == "/jwt/auth":
        known = request.authorization in {"", BASIC}
        return Reply(200, JSON, answer.encode()) if known else Reply(401)
    if request.authorization == "Bearer opens":
        return Reply(200, FOUND)
    realm = f"http://{request.headers['Host']}/jwt/auth"
    challenge = f'Bearer realm="{realm}",service="container_registry",scope="registry:catalog:*"'
    return Reply(401, {"WWW-Authenticate": challenge})


def wanting_password(request: Request) -> Reply:
    """A registry as Debian's with accounts in a file."""
    if request.authorization == BASIC:
        return Reply(200, FOUND)
    return Reply(401, {"WWW-Authenticate": 'Basic realm="registry"'})


def test_an_open_registry_gets_one_request_for_any_type_of_manifest() -> None:
    with serving(answering({MANIFEST: Reply(200, FOUND)})) as host:
        assert resolved(host, login=LOGIN) == DIGEST
    (request,) = host.asked
    assert (request.verb, request.authorization) == ("HEAD", "")
    assert set(request.headers["Accept"].split(", ")) == {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    }


def test_an_image_can_be_requested_by_its_digest() -> None:
    with serving(answering({f"/v2/group/web/manifests/{DIGEST}": Reply(200, FOUND)})) as host:
        assert resolved(host, f"@{DIGEST}") == DIGEST
        with pytest.raises(NotFoundError, match=OTHER):
            resolved(host, f"@{OTHER}")


def test_the_manifest_is_read_if_the_registry_sends_no_digest() -> None:
    body = b'{"schemaVersion": 2}'
    headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    with serving(answering({MANIFEST: Reply(200, headers, body)})) as host:
        assert resolved(host) == f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert [request.verb for request in host.asked] == ["HEAD", "GET"]


@pytest.mark.parametrize("digest", ["sha256:ab", f"{DIGEST}: }}", "latest"])
def test_an_invalid_digest_is_never_used(digest: str) -> None:
    headers = {"Docker-Content-Digest": digest, "Content-Type": "text/plain"}
    with (
        serving(answering({MANIFEST: Reply(200, headers)})) as host,
        pytest.raises(UnavailableError, match="did not send a manifest"),
    ):
        resolved(host)


@pytest.mark.parametrize("login", [LOGIN, None], ids=["logged in", "anonymous"])
def test_a_token_is_requested_from_the_registrys_realm_for_this_repository_only(
    login: Login | None,
) -> None:
    with serving(wanting_token) as host:
        assert resolved(host, login=login) == DIGEST
    asked = [request.path for request in host.asked]
    assert asked == [MANIFEST, "/jwt/auth", MANIFEST]
    assert host.authorizations == ["", BASIC if login else "", "Bearer opens"]
    assert host.asked[1].query == {
        "service": ["container_registry"],
        "scope": ["repository:group/web:pull"],
    }


def test_a_token_can_have_the_field_name_of_oauth() -> None:
    with serving(lambda request: wanting_token(request, '{"access_token": "opens"}')) as host:
        assert resolved(host) == DIGEST


@pytest.mark.parametrize(
    "answer", ["", "[]", "{}", '{"token": 1}', r'{"token": "opens\r\nX: secret"}']
)
def test_an_invalid_token_is_an_error_that_does_not_show_it(answer: str) -> None:
    with (
        serving(lambda request: wanting_token(request, answer)) as host,
        pytest.raises(UnavailableError) as caught,
    ):
        resolved(host)
    assert "secret" not in f"{caught.value}{caught.value.why}"


def test_a_registry_with_basic_authentication_gets_the_password() -> None:
    with serving(wanting_password) as host:
        assert resolved(host, login=LOGIN) == DIGEST
    assert host.authorizations == ["", BASIC]


@pytest.mark.parametrize("registry", [wanting_token, wanting_password])
def test_a_wrong_password_is_refused_and_never_shown(
    registry: Callable[[Request], Reply],
) -> None:
    wrong = Login("ci", "CI_REGISTRY_USER", "wrong-password")
    with (
        serving(registry) as host,
        pytest.raises(AuthError, match="group/web to ci from CI_REGISTRY_USER") as caught,
    ):
        resolved(host, login=wrong)
    assert "wrong-password" not in f"{caught.value}{caught.value.why}{caught.value.hint}"
    assert "docker login" in caught.value.hint


def test_a_private_image_without_a_login_is_an_authentication_error() -> None:
    with (
        serving(wanting_password) as host,
        pytest.raises(AuthError, match="anyone without a login"),
    ):
        resolved(host)
    assert host.authorizations == ["", ""]


def test_a_token_without_access_to_the_repository_is_refused() -> None:
    with (
        serving(lambda request: wanting_token(request, '{"token": "else"}')) as host,
        pytest.raises(AuthError),
    ):
        resolved(host, login=LOGIN)


def test_the_password_is_not_sent_without_tls() -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="http://elsewhere.example.com/auth"'}
    with (
        serving(lambda _: Reply(401, challenge)) as host,
        pytest.raises(UnavailableError, match=r"http://elsewhere\.example\.com"),
    ):
        resolved(host, login=LOGIN)
    assert host.authorizations == [""]


def test_a_redirect_to_another_host_is_followed_without_the_login() -> None:
    with serving(lambda _: Reply(200, FOUND)) as target:

        def mirror(request: Request) -> Reply:
            reply = wanting_token(request)
            if reply.headers == FOUND:
                return Reply(307, {"Location": f"{target.url}/v2/at/home/manifests/v1"})
            return reply

        with serving(mirror) as host:
            assert resolved(host, login=LOGIN) == DIGEST
    assert host.authorizations[-1] == "Bearer opens"
    assert [(each.path, each.authorization) for each in target.asked] == [
        ("/v2/at/home/manifests/v1", "")
    ]


def test_the_login_is_not_sent_to_a_challenge_of_a_redirect_target() -> None:
    with (
        serving(wanting_token) as target,
        serving(lambda _: Reply(307, {"Location": f"{target.url}{MANIFEST}"})) as host,
        pytest.raises(AuthError),
    ):
        resolved(host, login=LOGIN)
    assert target.authorizations == ["", ""]


@pytest.mark.parametrize(
    "location", ["ftp://elsewhere.example.com/", "", "http://[", "https://h:99999/", "//h:x/"]
)
def test_a_redirect_without_a_valid_address_is_an_error(location: str) -> None:
    with (
        serving(lambda _: Reply(307, {"Location": location})) as host,
        pytest.raises(UnavailableError),
    ):
        resolved(host)


def tags(*names: object) -> Reply:
    return Reply(200, JSON, json.dumps({"name": "group/web", "tags": names}).encode())


def test_the_error_for_a_missing_tag_suggests_similar_tags() -> None:
    listed = tags("v1.2.4", "v1.2.2", "latest", "v9\x1b[31m", 5)
    with (
        serving(answering({"/v2/group/web/tags/list": listed})) as host,
        pytest.raises(NotFoundError, match=r"has no group/web:v1\.2\.3\.") as caught,
    ):
        resolved(host, ":v1.2.3")
    assert caught.value.why in {"The nearest: v1.2.4, v1.2.2.", "The nearest: v1.2.2, v1.2.4."}


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        (tags("latest"), "It has no similar tag."),
        (Reply(200, JSON, b'{"name": "group/web", "tags": null}'), "It has no similar tag."),
        (Reply(200, {}, b"nothing"), "It has no similar tag."),
        (Reply(200, JSON | {"Link": '<http://[>; rel="next"'}, b"{}"), "It has no similar tag."),
        (Reply(403), "The registry does not list its tags."),
        (
            Reply(404),
            "The registry has no such repository, or does not show it to anyone without a login.",
        ),
    ],
    ids=["nothing near", "no tags", "no list", "wrong link", "not allowed", "no repository"],
)
def test_a_missing_tag_is_an_error_even_without_a_list_of_tags(listed: Reply, why: str) -> None:
    with (
        serving(answering({"/v2/group/web/tags/list": listed})) as host,
        pytest.raises(NotFoundError) as caught,
    ):
        resolved(host)
    assert caught.value.why == why


def test_a_login_without_permission_to_list_tags_is_not_tried_twice() -> None:
    def without_list(request: Request) -> Reply:
        if request.authorization and request.path == MANIFEST:
            return Reply(404)
        return Reply(401, {"WWW-Authenticate": 'Basic realm="registry"'})

    with serving(without_list) as host, pytest.raises(NotFoundError):
        resolved(host, login=LOGIN)
    assert host.authorizations == ["", BASIC, BASIC, BASIC]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(403), AuthError),
        (Reply(429, {"Retry-After": "60"}), TimeLimitError),
        (Reply(429), TimeLimitError),
        (Reply(400), UnavailableError),
        (Reply(500), UnavailableError),
        (Reply(200, {"Content-Type": "text/html"}), UnavailableError),
    ],
    ids=["403", "429 for long", "429", "400", "500", "a page"],
)
def test_each_refusal_has_its_exit_code(reply: Reply, kind: type[CommandError]) -> None:
    with serving(lambda _: reply) as host, pytest.raises(kind) as caught:
        resolved(host)
    assert type(caught.value) is kind


def test_a_missing_token_service_is_not_a_missing_tag() -> None:
    def without_realm(request: Request) -> Reply:
        return Reply(404) if request.path == "/jwt/auth" else wanting_token(request)

    with serving(without_realm) as host, pytest.raises(UnavailableError, match="no tokens"):
        resolved(host)


def test_a_temporary_registry_failure_is_retried() -> None:
    replies = iter([Reply(503), Reply(429, {"Retry-After": "0"}), Reply(200, FOUND)])
    with serving(lambda _: next(replies)) as host:
        assert resolved(host, patience=30) == DIGEST


def test_an_unreachable_registry_is_an_error() -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9 cannot be reached") as caught:
        resolved(Host("127.0.0.1:9", []))
    assert "--base-url" not in caught.value.hint


def test_verified_bumps_are_pinned_if_requested_and_keep_a_given_digest() -> None:
    manifests = {
        "/v2/group/web/manifests/v1": Reply(200, FOUND),
        "/v2/group/api/manifests/v2": Reply(200, FOUND),
        f"/v2/group/api/manifests/{OTHER}": Reply(200, {"Docker-Content-Digest": OTHER} | TYPE),
        f"/v2/group/db/manifests/{OTHER}": Reply(200, {"Docker-Content-Digest": OTHER} | TYPE),
    }
    with serving(answering(manifests)) as host:
        web = Update(f"{host.name}/group/web", "v1")
        others = (
            Update(f"{host.name}/group/api", "v2", OTHER),
            Update(f"{host.name}/group/db", None, OTHER),
        )
        connection = Connection("", request_timeout=5, retry_for=0)
        environ = {"DOCKER_CONFIG": "/nonexistent"}
        verified = verify((web, *others), pin=False, connection=connection, environ=environ)
        assert verified == (web, *others)
        pinned = verify((web, *others), pin=True, connection=connection, environ=environ)
        assert pinned == (Update(web.name, "v1", DIGEST), *others)
        assert pinned[0].reference.digest == DIGEST


def test_the_error_names_the_first_missing_image() -> None:
    with serving(answering({MANIFEST: Reply(200, FOUND)})) as host:
        bumps = [Update(f"{host.name}/group/{name}", "v1") for name in ("web", "one", "two")]
        connection = Connection("", request_timeout=5, retry_for=0)
        environ = {"DOCKER_CONFIG": "/nonexistent"}
        with pytest.raises(NotFoundError, match="group/one:v1"):
            verify(bumps, pin=False, connection=connection, environ=environ)


def test_a_jobs_credentials_are_sent_only_to_its_own_registry() -> None:
    with serving(wanting_password) as own, serving(wanting_password) as other:
        environ = {
            "CI_REGISTRY": own.name,
            "CI_REGISTRY_USER": LOGIN.user,
            "CI_REGISTRY_PASSWORD": LOGIN.password,
            "DOCKER_CONFIG": "/nonexistent",
        }
        connection = Connection("", request_timeout=5, retry_for=0)
        bumps = [Update(f"{host.name}/group/web", "v1") for host in (own, other)]
        with pytest.raises(AuthError, match=other.name):
            verify(bumps, pin=False, connection=connection, environ=environ)
    assert own.authorizations == ["", BASIC]
    assert other.authorizations == ["", ""]
