"""How registries are asked, each in the way of a real one, over real HTTP."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from typing import TYPE_CHECKING

import pytest

from cicd_common import cleaning
from cicd_common.errors import (
    AuthError,
    CommandError,
    NotFoundError,
    RefusedError,
    TimeLimitError,
    UnavailableError,
)
from cicd_common.gitlab import retry
from cicd_common.registry.access import RegistrySettings
from cicd_common.registry.client import Repository, explained
from cicd_common.registry.logins import FoundLogins, Login
from cicd_common.registry.manifests import MANIFEST_TYPES
from tests.registries.server import JSON, MANIFEST, Reply, basic, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.registries.server import Certificate, Host, Request

DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
TYPE = {"Content-Type": MANIFEST_TYPES[0]}
LOGIN = Login("robot$ci+x", "config.json", "pässword€1")
OTHER = Login("other", "CI_REGISTRY_USER", "other-password")
AZURE = Login("", "config.json", "identity-token", is_identity_token=True)


FOUND = Reply(200, TYPE | {"Docker-Content-Digest": DIGEST}, MANIFEST)


def repository(host: Host, *logins: Login, retry_for: float = 0) -> Repository:
    settings = RegistrySettings(5, retry_for)
    return Repository(host.name, "group/web", FoundLogins(logins), settings)


def digest(host: Host, *logins: Login, retry_for: float = 0) -> str:
    return repository(host, *logins, retry_for=retry_for).digest_of("v1")


def token_service(
    *challenges: str,
    login: Login | None = LOGIN,
    needs: dict[str, list[str]] | None = None,
) -> Callable[[Request], Reply]:
    """A registry that takes tokens of its own /token; `{host}` stands for its address."""

    def reply(request: Request) -> Reply:
        if request.path == "/token":
            asked = {key: request.query.get(key) for key in needs or {}}
            known = login is None or request.authorization == basic(login)
            if asked != (needs or {}):
                return Reply(400)
            return Reply(200, JSON, b'{"token": "opens"}') if known else Reply(401)
        if request.authorization == "Bearer opens":
            return FOUND
        host = request.headers["Host"]
        return Reply(401, challenges=tuple(each.replace("{host}", host) for each in challenges))

    return reply


BEARER = 'Bearer realm="http://{host}/token",service="docker"'


@pytest.mark.parametrize(
    ("challenges", "needs"),
    [
        ([BEARER], {"service": ["docker"], "scope": ["repository:group/web:pull"]}),
        (
            ['Bearer realm="http://{host}/token?host=private.example&x=",service="docker"'],
            {"host": ["private.example"], "x": [""], "service": ["docker"]},
        ),
        ([BEARER, 'Basic realm="Artifactory Realm"'], {"service": ["docker"]}),
        (['Basic realm="Realm"', BEARER], {"service": ["docker"]}),
        ([f'Basic realm="Realm", {BEARER}'], {"service": ["docker"]}),
        (["Bearer realm=http://{host}/token,service=foobar.com"], {"service": ["foobar.com"]}),
        (['bearer Realm = "http://{host}/token"'], {"service": None}),
    ],
    ids=["usual", "query", "two headers", "basic first", "one header", "unquoted", "no service"],
)
def test_a_token_is_fetched_as_the_challenge_says(
    challenges: list[str], needs: dict[str, list[str]]
) -> None:
    with serving(token_service(*challenges, needs=needs)) as host:
        assert digest(host, LOGIN) == DIGEST
    assert host.log == ["HEAD /v2/group/web/manifests/v1", "GET /token", host.log[0]]
    assert host.passwords == [basic(LOGIN)]


@pytest.mark.parametrize("challenge", ["Negotiate", 'Digest realm="x", nonce="y"', "NTLM"])
def test_no_login_is_sent_without_a_valid_challenge(challenge: str) -> None:
    with serving(lambda _: Reply(401, challenges=(challenge,))) as host, pytest.raises(AuthError):
        digest(host, LOGIN)
    assert host.passwords == []


def test_a_token_and_every_login_are_hidden_from_then_on() -> None:
    def reply(request: Request) -> Reply:
        if request.path == "/token":
            return Reply(200, JSON, b'{"token": "opens-the-door"}')
        if request.authorization == "Bearer opens-the-door":
            return FOUND
        return Reply(401, challenges=(BEARER.replace("{host}", request.host),))

    assert "new-password" not in cleaning.redacted(repr(Login("me", "a file", "new-password")))
    with serving(reply) as host:
        digest(host, Login("me", "a file", "new-password"))
    text = "opens-the-door new-password"
    assert cleaning.redacted(text) == "[hidden] [hidden]"


def test_an_identity_token_is_exchanged_and_never_a_password() -> None:
    def azure(request: Request) -> Reply:
        if request.path == "/token":
            right = request.form.get("refresh_token") == ["identity-token"]
            right = right and request.form["grant_type"] == ["refresh_token"]
            return Reply(200, JSON, b'{"access_token": "opens"}') if right else Reply(401)
        return token_service(BEARER)(request)

    with serving(azure) as host:
        assert digest(host, AZURE) == DIGEST
    assert host.passwords == []
    assert host.asked[1].verb == "POST"


@pytest.mark.parametrize("status", [403, 404])
def test_a_login_is_used_if_the_registry_returns_404_without_it(status: int) -> None:
    def hiding(request: Request) -> Reply:
        if request.authorization == basic(LOGIN):
            return FOUND
        if request.path == "/v2/":
            return Reply(401, challenges=('Basic realm="x"',))
        return Reply(status)

    with serving(hiding) as host:
        assert digest(host, LOGIN) == DIGEST
    assert "GET /v2/" in host.log


def test_an_image_missing_in_an_open_registry_is_not_found_and_no_login_is_sent() -> None:
    def public(request: Request) -> Reply:
        return Reply(200, JSON, b"{}") if request.path == "/v2/" else Reply(404)

    with serving(public) as host, pytest.raises(NotFoundError):
        digest(host, LOGIN)
    assert host.passwords == []


@pytest.mark.parametrize("service", [token_service(BEARER), None], ids=["token", "basic"])
def test_the_next_login_is_tried_after_a_refused_one(
    service: Callable[[Request], Reply] | None,
) -> None:
    def with_password(request: Request) -> Reply:
        if request.authorization == basic(LOGIN):
            return FOUND
        return Reply(401, challenges=('Basic realm="x"',))

    with serving(service or with_password) as host:
        assert digest(host, OTHER, LOGIN) == DIGEST
    assert host.passwords[:2] == [basic(OTHER), basic(LOGIN)]


@pytest.mark.parametrize("with_tokens", [True, False], ids=["token", "basic"])
def test_a_400_to_a_login_is_a_refusal_as_amazon_sends_it(*, with_tokens: bool) -> None:
    """OAuth 2.0 has the same rule for tokens (RFC 6749, section 5.2)."""

    def reply(request: Request) -> Reply:
        if request.authorization == basic(OTHER):
            return Reply(400)
        if with_tokens:
            return token_service(BEARER)(request)
        if request.authorization == basic(LOGIN):
            return FOUND
        return Reply(401, challenges=('Basic realm="x"',))

    with serving(reply) as host:
        assert digest(host, OTHER, LOGIN) == DIGEST
        with pytest.raises(AuthError, match="400 Bad Request"):
            digest(host, OTHER)


def test_an_expired_identity_token_is_refused_with_the_words_of_the_token_service() -> None:
    words = b'{"error": "invalid_grant", "error_description": "The token has expired."}'

    def azure(request: Request) -> Reply:
        return Reply(400, JSON, words) if request.verb == "POST" else token_service(BEARER)(request)

    with serving(azure) as host, pytest.raises(AuthError, match="The token has expired"):
        digest(host, AZURE)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_token_service_can_have_an_ip_address(address: str) -> None:
    with serving(token_service(BEARER), address=address) as host:
        assert digest(host, LOGIN) == DIGEST


def test_the_tags_of_every_page_are_listed_with_a_permission_of_their_own() -> None:
    def azure(request: Request) -> Reply:
        if request.path == "/token":
            scope = request.query["scope"][0].rpartition(":")[2]
            return Reply(200, JSON, json.dumps({"token": scope}).encode())
        lists = request.path.endswith("/tags/list")
        if request.authorization != f"Bearer {'pull,metadata_read' if lists else 'pull'}":
            return Reply(401, challenges=(BEARER.replace("{host}", request.host),))
        if not lists:
            return Reply(404)
        page = int(request.query.get("last", ["1"])[0])
        # The address is that of a host behind a proxy.
        link = f'<http://internal/v2/x/tags/list?last={page + 1}&n=1>; rel="next"'
        return Reply(200, JSON | {"Link": link}, json.dumps({"tags": [f"v{page}"]}).encode())

    with serving(azure) as host:
        asked = repository(host, LOGIN)
        with pytest.raises(NotFoundError):
            asked.digest_of("v1")
        assert asked.tags() == [f"v{page}" for page in range(1, 11)]
    pages = [each.query["n"] for each in host.asked if each.path.endswith("/tags/list")]
    assert pages[0] == ["1000"]
    assert pages[-1] == ["1"]


def test_the_error_names_every_refused_login() -> None:
    with serving(token_service(BEARER)) as host:
        asked = repository(host, OTHER, Login("third", "DOCKER_AUTH_CONFIG", "third-password"))
        with pytest.raises(AuthError) as caught:
            asked.digest_of("v1")
    error = explained(caught.value, asked, "group/web")
    assert "other from CI_REGISTRY_USER and third from DOCKER_AUTH_CONFIG" in error.message


def test_the_error_names_the_login_that_could_not_be_read() -> None:
    with serving(token_service(BEARER)) as host:
        found = FoundLogins((), ("docker-credential-ecr failed: the token expired",))
        asked = Repository(host.name, "group/web", found, RegistrySettings(5, 0))
        with pytest.raises(CommandError) as caught:
            asked.digest_of("v1")
    error = explained(caught.value, asked, "group/web")
    assert "anyone without a login" in error.message
    assert "the token expired" in error.why


@pytest.mark.parametrize(
    "head",
    [
        Reply(404),
        Reply(405),
        Reply(501),
        Reply(400),
        Reply(403),
        Reply(401),
        Reply(200, {"Content-Type": "text/html"}),
        Reply(200),
        Reply(200, TYPE),
        Reply(200, TYPE | {"Docker-Content-Digest": "nonsense"}),
        Reply(200, {"Docker-Content-Digest": DIGEST}),
    ],
    ids=lambda reply: f"{reply.status} {sorted(reply.headers)}",
)
def test_a_head_response_without_details_is_followed_by_one_get(head: Reply) -> None:
    with serving(lambda request: head if request.verb == "HEAD" else FOUND) as host:
        assert digest(host) == DIGEST
    assert [request.verb for request in host.asked] == ["HEAD", "GET"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_storage_that_refuses_a_head_is_not_a_reason_for_another_login(status: int) -> None:
    """The signature of an address can be for a GET alone."""
    with serving(lambda each: Reply(status) if each.verb == "HEAD" else FOUND) as storage:

        def registry(request: Request) -> Reply:
            if request.authorization == basic(LOGIN):
                return Reply(307, {"Location": f"{storage.url}/signed"})
            return Reply(401, challenges=('Basic realm="x"',))

        with serving(registry) as host:
            assert digest(host, LOGIN, OTHER) == DIGEST
    assert set(host.passwords) == {basic(LOGIN)}
    assert storage.passwords == []


def test_a_403_to_a_head_is_not_a_reason_for_another_login() -> None:
    def registry(request: Request) -> Reply:
        if request.authorization == basic(LOGIN):
            return Reply(403) if request.verb == "HEAD" else FOUND
        return Reply(401, challenges=('Basic realm="x"',))

    with serving(registry) as host:
        assert digest(host, LOGIN, OTHER) == DIGEST
        assert set(host.passwords) == {basic(LOGIN)}
        assert digest(host, OTHER, LOGIN) == DIGEST


@pytest.mark.parametrize("with_tokens", [True, False], ids=["token", "basic"])
def test_after_an_accepted_login_a_missing_image_gets_no_other_login(*, with_tokens: bool) -> None:
    def registry(request: Request) -> Reply:
        reply = token_service(BEARER)(request)
        if not with_tokens:
            challenge = Reply(401, challenges=('Basic realm="x"',))
            reply = FOUND if request.authorization == basic(LOGIN) else challenge
        return Reply(404) if reply is FOUND else reply

    with serving(registry) as host:
        asked = repository(host, LOGIN, OTHER)
        with pytest.raises(NotFoundError):
            asked.digest_of("v1")
        with pytest.raises(NotFoundError):
            asked.tags()
    assert set(host.passwords) == {basic(LOGIN)}


@pytest.mark.parametrize("status", [500, 503])
def test_a_failing_registry_gets_no_extra_get(status: int) -> None:
    with serving(lambda _: Reply(status)) as host, pytest.raises(UnavailableError):
        digest(host)
    assert [request.verb for request in host.asked] == ["HEAD"]


def test_a_get_shows_the_words_of_a_limit_and_is_not_retried() -> None:
    def limited(request: Request) -> Reply:
        words = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "Log in to pull more."}]}'
        return Reply(429, JSON | {"Retry-After": "0"}, words if request.verb == "GET" else b"")

    with (
        serving(limited) as host,
        pytest.raises(TimeLimitError, match="Log in to pull more"),
    ):
        digest(host, retry_for=0.01)
    assert [request.verb for request in host.asked].count("GET") == 1


def test_the_error_contains_the_registrys_own_message() -> None:
    words = b'{"errors": [{"code": "DENIED", "message": "Your authorization token has expired."}]}'
    with serving(lambda _: Reply(403, JSON, words)) as host, pytest.raises(CommandError) as caught:
        digest(host, LOGIN)
    assert "Your authorization token has expired." in str(caught.value)


def test_a_page_in_place_of_a_head_response_is_not_retried() -> None:
    page = Reply(200, {"Content-Type": "text/html"})
    with serving(lambda request: page if request.verb == "HEAD" else FOUND) as host:
        assert digest(host, retry_for=600) == DIGEST
    assert [request.verb for request in host.asked] == ["HEAD", "GET"]


def test_a_compressed_manifest_has_the_digest_of_its_content() -> None:
    headers = TYPE | {"Content-Encoding": "gzip"}
    body = gzip.compress(MANIFEST)
    with serving(lambda _: Reply(200, headers, body)) as host:
        assert digest(host) == DIGEST


@pytest.mark.parametrize(
    "headers", [TYPE, TYPE | {"Docker-Content-Digest": "sha256:unusable"}], ids=["", "digest"]
)
def test_a_truncated_manifest_is_not_hashed(headers: dict[str, str]) -> None:
    length = {"Content-Length": str(len(MANIFEST))}
    with (
        serving(lambda _: Reply(200, headers | length, MANIFEST[:-1])) as host,
        pytest.raises(UnavailableError),
    ):
        digest(host)


@pytest.mark.parametrize(
    "named", [f"{DIGEST}, {DIGEST}", f'"{DIGEST}"', DIGEST.upper(), f" {DIGEST} "]
)
def test_a_digest_is_read_in_every_form_that_proxies_send(named: str) -> None:
    head = Reply(200, TYPE | {"Docker-Content-Digest": named})
    with serving(lambda _: head) as host:
        assert digest(host) == DIGEST


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {}, b""),
        Reply(200, {"Content-Type": "text/plain"}, b"Please log in to the guest network"),
        Reply(200, JSON, b'{"errors": []}'),
        Reply(200, TYPE, b""),
        Reply(200, TYPE, b"[]"),
        Reply(200, TYPE, b"[" * 100_000),
        Reply(200, TYPE | {"Docker-Content-Digest": f"sha256:{'0' * 64},{DIGEST}"}, MANIFEST),
    ],
    ids=["empty", "text", "other JSON", "empty manifest", "a list", "deep", "two digests"],
)
def test_only_a_manifest_with_a_matching_digest_is_accepted(reply: Reply) -> None:
    with serving(lambda _: reply) as host, pytest.raises(UnavailableError):
        digest(host)


def test_a_digest_that_does_not_match_the_manifest_is_refused() -> None:
    wrong = TYPE | {"Docker-Content-Digest": f"sha256:{'0' * 64}"}

    def reply(request: Request) -> Reply:
        return Reply(405) if request.verb == "HEAD" else Reply(200, wrong, MANIFEST)

    with (
        serving(reply) as host,
        pytest.raises(UnavailableError, match="does not match its manifest") as caught,
    ):
        digest(host)
    assert not caught.value.retryable


def test_a_manifest_that_was_requested_by_its_digest_has_that_digest() -> None:
    with serving(lambda _: FOUND) as host:
        assert repository(host).digest_of(DIGEST) == DIGEST
        with pytest.raises(UnavailableError, match="does not match its manifest"):
            repository(host).digest_of(f"sha256:{'0' * 64}")
        computed = f"sha512:{hashlib.sha512(MANIFEST).hexdigest()}"
        assert repository(host).digest_of(computed) == computed
    verbs = [request.verb for request in host.asked]
    assert verbs == ["HEAD", "HEAD", "GET", "HEAD", "GET"]


def test_the_error_for_a_schema_1_manifest_names_schema_1() -> None:
    kind = {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}
    with (
        serving(lambda _: Reply(200, kind, b'{"schemaVersion": 1}')) as host,
        pytest.raises(RefusedError, match="schema 1"),
    ):
        digest(host)


def test_a_token_that_expires_during_retries_is_renewed() -> None:
    tokens = iter(["first", "second", "third"])
    busy = iter([503])
    valid = ""

    def reply(request: Request) -> Reply:
        nonlocal valid
        if request.path == "/token":
            valid = next(tokens)
            return Reply(200, JSON, json.dumps({"token": valid}).encode())
        if request.authorization != f"Bearer {valid}":
            challenge = BEARER.replace("{host}", request.headers["Host"])
            return Reply(401, challenges=(challenge,))
        if request.verb == "HEAD":
            return Reply(200, TYPE)
        if status := next(busy, None):
            valid = "expired"
            return Reply(status)
        return FOUND

    with serving(reply) as host:
        assert digest(host, LOGIN, retry_for=30) == DIGEST
    assert host.log.count("GET /token") == 2


def test_a_token_that_expires_before_it_was_used_is_renewed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The registry fails for longer than the token lives."""
    skipped = 0.0

    def sleep(seconds: float) -> None:
        nonlocal skipped
        skipped += seconds

    clock = retry.Clock(lambda: time.monotonic() + skipped, sleep)
    monkeypatch.setattr(retry, "CLOCK", clock)
    granted: list[float] = []
    is_valid = True

    def reply(request: Request) -> Reply:
        if request.path == "/token":
            granted.append(clock.now())
            return Reply(200, JSON, json.dumps({"token": f"token-{len(granted)}"}).encode())
        if not request.authorization or clock.now() - granted[-1] > 4 or not is_valid:
            return Reply(401, challenges=(BEARER.replace("{host}", request.host),))
        return Reply(503) if len(granted) == 1 else FOUND

    with serving(reply) as host:
        assert digest(host, LOGIN, retry_for=30) == DIGEST
        assert host.log.count("GET /token") == 2
        is_valid = False
        with pytest.raises(AuthError):
            digest(host, LOGIN, retry_for=30)
        assert host.log.count("GET /token") == 3


def test_redirects_are_followed_over_several_hosts_without_the_login() -> None:
    with (
        serving(lambda _: FOUND) as last,
        serving(lambda _: Reply(302, {"Location": f"{last.url}/z"})) as middle,
    ):

        def registry(request: Request) -> Reply:
            if request.authorization == basic(LOGIN):
                return Reply(307, {"Location": f"{middle.url}/y"})
            return Reply(401, challenges=('Basic realm="x"',))

        with serving(registry) as host:
            assert digest(host, LOGIN) == DIGEST
    assert host.passwords == [basic(LOGIN)]
    assert middle.passwords == last.passwords == []
    assert [each.authorization for each in (*middle.asked, *last.asked)] == ["", ""]


def test_a_redirect_from_tls_to_plain_http_is_not_followed(certificate: Certificate) -> None:
    with serving(lambda _: FOUND) as plain:
        location = {"Location": f"{plain.url}/z"}
        with serving(lambda _: Reply(307, location), certificate.context()) as host:
            settings = RegistrySettings(5, 0, certificate.path)
            with pytest.raises(UnavailableError):
                Repository(host.name, "group/web", FoundLogins(), settings).digest_of("v1")
    assert plain.asked == []


@pytest.mark.parametrize("location", [{}, {"Location": "ftp://h/x"}])
def test_a_redirect_to_nowhere_is_not_followed(location: dict[str, str]) -> None:
    with serving(lambda _: Reply(302, location)) as host, pytest.raises(UnavailableError):
        digest(host)
    assert [request.verb for request in host.asked] == ["HEAD", "GET"]


def test_a_loop_of_redirects_is_stopped() -> None:
    with (
        serving(
            lambda request: Reply(307, {"Location": f"http://{request.headers['Host']}/x"})
        ) as it,
        pytest.raises(UnavailableError, match="in a loop") as caught,
    ):
        digest(it)
    assert not caught.value.retryable
    assert len(it.asked) == 5


def test_a_loop_over_two_hosts_is_stopped_after_five_requests() -> None:
    def other(request: Request) -> Reply:
        return Reply(307, {"Location": f"http://{hosts[hosts[0] == request.host]}/x"})

    hosts: list[str] = []
    with serving(other) as one, serving(other) as two:
        hosts += [one.name, two.name]
        with pytest.raises(UnavailableError, match="in a loop"):
            digest(one)
    assert len(one.asked) + len(two.asked) == 5


@pytest.mark.parametrize(
    "realm",
    ["http://elsewhere.example.com/t", "", "ftp://h/t", "http://[::1/", "http://h:99999/t", "://"],
)
def test_a_password_is_not_sent_to_an_insecure_address(realm: str) -> None:
    challenge = f'Bearer realm="{realm}",service="x"'
    with (
        serving(lambda _: Reply(401, challenges=(challenge,))) as host,
        pytest.raises(UnavailableError) as caught,
    ):
        digest(host, LOGIN)
    assert host.passwords == []
    assert not caught.value.retryable


def test_a_tag_is_requested_as_a_tag() -> None:
    def reply(request: Request) -> Reply:
        assert "manifest" not in request.headers["Accept"]
        return Reply(200, JSON, b'{"tags": ["v1", 5, "v2"]}')

    with serving(reply) as host:
        assert repository(host).tags() == ["v1", "v2"]


def test_a_password_goes_to_no_other_host_over_plain_http() -> None:
    with serving(lambda _: Reply(200, JSON, b'{"token": "opens"}')) as other:
        realm = f"http://localhost:{other.name.rpartition(':')[2]}/token"
        challenge = f'Bearer realm="{realm}",service="x"'
        with (
            serving(lambda _: Reply(401, challenges=(challenge,))) as host,
            pytest.raises(UnavailableError, match="password"),
        ):
            digest(host, LOGIN)
    assert other.asked == []


def test_a_local_registry_with_tls_is_requested_with_tls(certificate: Certificate) -> None:
    with serving(lambda _: FOUND, certificate.context()) as host:
        settings = RegistrySettings(5, 0, certificate.path)
        assert Repository(host.name, "group/web", FoundLogins(), settings).digest_of("v1") == DIGEST
        unknown = Repository(host.name, "group/web", FoundLogins(), RegistrySettings(5, 0))
        with pytest.raises(UnavailableError) as caught:
            unknown.digest_of("v1")
    assert "--ca-file" in explained(caught.value, unknown, "group/web").hint


def test_plain_http_to_another_host_needs_the_option_with_its_name() -> None:
    settings = RegistrySettings(5, 0, insecure=("registry.internal:5000",))
    assert settings.is_insecure("registry.internal:5000")
    assert not settings.is_insecure("registry.internal")
    assert not RegistrySettings(5, 0).is_insecure("registry.internal:5000")
