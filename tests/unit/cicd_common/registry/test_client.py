"""How registries are asked, each in the way of a real one, over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from cicd_common.errors import (
    AuthError,
    CommandError,
    NotFoundError,
    RefusedError,
    TimeLimitError,
    UnavailableError,
)
from cicd_common.registry.access import RegistrySettings, check_login
from cicd_common.registry.client import Repository, explained
from cicd_common.registry.logins import FoundLogins, Login
from cicd_common.registry.manifests import MANIFEST_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
TYPE = {"Content-Type": MANIFEST_TYPES[0]}
JSON = {"Content-Type": "application/json"}
LOGIN = Login("robot$ci+x", "config.json", "pässword€1")
OTHER = Login("other", "CI_REGISTRY_USER", "other-password")
AZURE = Login("", "config.json", "identity-token", is_identity_token=True)


def basic(login: Login) -> str:
    pair = f"{login.user}:{login.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True)
class Request:
    verb: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    form: dict[str, list[str]]

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    challenges: tuple[str, ...] = ()


FOUND = Reply(200, TYPE | {"Docker-Content-Digest": DIGEST}, MANIFEST)


@dataclass
class Host:
    name: str
    asked: list[Request]

    @property
    def url(self) -> str:
        return f"http://{self.name}"

    @property
    def log(self) -> list[str]:
        return [f"{request.verb} {request.path}" for request in self.asked]

    @property
    def secrets(self) -> list[str]:
        """The authorizations that arrived, without those of tokens."""
        return [each.authorization for each in self.asked if "Basic" in each.authorization]

    def repository(self, *logins: Login, retry_for: float = 0) -> Repository:
        settings = RegistrySettings(5, retry_for)
        return Repository(self.name, "group/web", FoundLogins(logins), settings)

    def digest(self, *logins: Login, retry_for: float = 0) -> str:
        return self.repository(*logins, retry_for=retry_for).digest_of("v1")


@contextmanager
def serving(
    reply: Callable[[Request], Reply], context: ssl.SSLContext | None = None
) -> Iterator[Host]:
    asked: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            request = Request(
                self.command,
                parts.path,
                parse_qs(parts.query, keep_blank_values=True),
                dict(self.headers.items()),
                parse_qs(form),
            )
            asked.append(request)
            answer = reply(request)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            for challenge in answer.challenges:
                self.send_header("WWW-Authenticate", challenge)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_HEAD = do_GET  # noqa: N815 - the name by which the server calls it
        do_POST = do_GET  # noqa: N815 - the same

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the same
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Says nothing of a client that speaks TLS to it."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield Host(f"127.0.0.1:{server.server_address[1]}", asked)
        finally:
            server.shutdown()
            thread.join()


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
            ['Bearer realm="http://{host}/token?host=private.example",service="docker"'],
            {"host": ["private.example"], "service": ["docker"]},
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
        assert host.digest(LOGIN) == DIGEST
    assert host.log == ["HEAD /v2/group/web/manifests/v1", "GET /token", host.log[0]]
    assert host.secrets == [basic(LOGIN)]


@pytest.mark.parametrize("challenge", ["Negotiate", 'Digest realm="x", nonce="y"', "NTLM"])
def test_no_login_is_sent_without_a_valid_challenge(challenge: str) -> None:
    with serving(lambda _: Reply(401, challenges=(challenge,))) as host, pytest.raises(AuthError):
        host.digest(LOGIN)
    assert host.secrets == []


def test_an_identity_token_is_exchanged_and_never_a_password() -> None:
    def azure(request: Request) -> Reply:
        if request.path == "/token":
            right = request.form.get("refresh_token") == ["identity-token"]
            right = right and request.form["grant_type"] == ["refresh_token"]
            return Reply(200, JSON, b'{"access_token": "opens"}') if right else Reply(401)
        return token_service(BEARER)(request)

    with serving(azure) as host:
        assert host.digest(AZURE) == DIGEST
    assert host.secrets == []
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
        assert host.digest(LOGIN) == DIGEST
    assert "GET /v2/" in host.log


def test_an_image_missing_in_an_open_registry_is_not_found_and_no_login_is_sent() -> None:
    def public(request: Request) -> Reply:
        return Reply(200, JSON, b"{}") if request.path == "/v2/" else Reply(404)

    with serving(public) as host, pytest.raises(NotFoundError):
        host.digest(LOGIN)
    assert host.secrets == []


@pytest.mark.parametrize("service", [token_service(BEARER), None], ids=["token", "basic"])
def test_the_next_login_is_tried_after_a_refused_one(
    service: Callable[[Request], Reply] | None,
) -> None:
    def with_password(request: Request) -> Reply:
        if request.authorization == basic(LOGIN):
            return FOUND
        return Reply(401, challenges=('Basic realm="x"',))

    with serving(service or with_password) as host:
        assert host.digest(OTHER, LOGIN) == DIGEST
    assert host.secrets[:2] == [basic(OTHER), basic(LOGIN)]


def test_the_error_names_every_refused_login() -> None:
    with serving(token_service(BEARER)) as host:
        repository = host.repository(OTHER, Login("third", "DOCKER_AUTH_CONFIG", "third-password"))
        with pytest.raises(AuthError) as caught:
            repository.digest_of("v1")
    error = explained(caught.value, repository, "group/web")
    assert "other from CI_REGISTRY_USER and third from DOCKER_AUTH_CONFIG" in error.message


def test_the_error_names_the_login_that_could_not_be_read() -> None:
    with serving(token_service(BEARER)) as host:
        found = FoundLogins((), ("docker-credential-ecr failed: the token expired",))
        repository = Repository(host.name, "group/web", found, RegistrySettings(5, 0))
        with pytest.raises(CommandError) as caught:
            repository.digest_of("v1")
    error = explained(caught.value, repository, "group/web")
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
        assert host.digest() == DIGEST
    assert [request.verb for request in host.asked] == ["HEAD", "GET"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_registry_gets_no_extra_get(status: int) -> None:
    with (
        serving(lambda _: Reply(status)) as host,
        pytest.raises((TimeLimitError, UnavailableError)),
    ):
        host.digest()
    assert [request.verb for request in host.asked] == ["HEAD"]


def test_the_error_contains_the_registrys_own_message() -> None:
    words = b'{"errors": [{"code": "DENIED", "message": "Your authorization token has expired."}]}'
    with serving(lambda _: Reply(403, JSON, words)) as host, pytest.raises(CommandError) as caught:
        host.digest(LOGIN)
    assert "Your authorization token has expired." in str(caught.value)


@pytest.mark.parametrize(
    "named", [f"{DIGEST}, {DIGEST}", f'"{DIGEST}"', DIGEST.upper(), f" {DIGEST} "]
)
def test_a_digest_is_read_in_every_form_that_proxies_send(named: str) -> None:
    head = Reply(200, TYPE | {"Docker-Content-Digest": named})
    with serving(lambda _: head) as host:
        assert host.digest() == DIGEST


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {}, b""),
        Reply(200, {"Content-Type": "text/plain"}, b"Please log in to the guest network"),
        Reply(200, JSON, b'{"errors": []}'),
        Reply(200, TYPE, b""),
        Reply(200, TYPE, b"[]"),
        Reply(200, TYPE | {"Docker-Content-Digest": f"sha256:{'0' * 64},{DIGEST}"}, MANIFEST),
    ],
    ids=["empty", "text", "other JSON", "empty manifest", "a list", "two digests"],
)
def test_only_a_manifest_with_a_matching_digest_is_accepted(reply: Reply) -> None:
    with serving(lambda _: reply) as host, pytest.raises(UnavailableError):
        host.digest()


def test_a_digest_that_does_not_match_the_manifest_is_refused() -> None:
    wrong = TYPE | {"Docker-Content-Digest": f"sha256:{'0' * 64}"}

    def reply(request: Request) -> Reply:
        return Reply(405) if request.verb == "HEAD" else Reply(200, wrong, MANIFEST)

    with (
        serving(reply) as host,
        pytest.raises(UnavailableError, match="does not match its manifest"),
    ):
        host.digest()


def test_the_error_for_a_schema_1_manifest_names_schema_1() -> None:
    kind = {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}
    with (
        serving(lambda _: Reply(200, kind, b'{"schemaVersion": 1}')) as host,
        pytest.raises(RefusedError, match="schema 1"),
    ):
        host.digest()


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
        assert host.digest(LOGIN, retry_for=30) == DIGEST
    assert host.log.count("GET /token") == 2


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
            assert host.digest(LOGIN) == DIGEST
    assert host.secrets == [basic(LOGIN)]
    assert middle.secrets == last.secrets == []
    assert [each.authorization for each in (*middle.asked, *last.asked)] == ["", ""]


def test_a_loop_of_redirects_is_stopped() -> None:
    with (
        serving(
            lambda request: Reply(307, {"Location": f"http://{request.headers['Host']}/x"})
        ) as it,
        pytest.raises(UnavailableError, match="in a loop"),
    ):
        it.digest()


@pytest.mark.parametrize(
    "realm",
    ["http://elsewhere.example.com/t", "", "ftp://h/t", "http://[::1/", "http://h:99999/t", "://"],
)
def test_a_password_is_not_sent_to_an_insecure_address(realm: str) -> None:
    challenge = f'Bearer realm="{realm}",service="x"'
    with (
        serving(lambda _: Reply(401, challenges=(challenge,))) as host,
        pytest.raises(UnavailableError),
    ):
        host.digest(LOGIN)
    assert host.secrets == []


def test_a_tag_is_requested_as_a_tag() -> None:
    def reply(request: Request) -> Reply:
        assert "manifest" not in request.headers["Accept"]
        return Reply(200, JSON, b'{"tags": ["v1", 5, "v2"]}')

    with serving(reply) as host:
        assert host.repository().tags() == ["v1", "v2"]


def test_a_password_goes_to_no_other_host_over_plain_http() -> None:
    with serving(lambda _: Reply(200, JSON, b'{"token": "opens"}')) as other:
        realm = f"http://localhost:{other.name.rpartition(':')[2]}/token"
        challenge = f'Bearer realm="{realm}",service="x"'
        with (
            serving(lambda _: Reply(401, challenges=(challenge,))) as host,
            pytest.raises(UnavailableError, match="password"),
        ):
            host.digest(LOGIN)
    assert other.asked == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", folder / "key.pem", "-out", folder / "ca.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "ca.pem"


def test_a_local_registry_with_tls_is_requested_with_tls(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with serving(lambda _: FOUND, context) as host:
        settings = RegistrySettings(5, 0, certificate)
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
    ],
    ids=["a page", "errors", "nothing"],
)
def test_a_token_service_that_returns_no_token_did_not_accept_the_login(token: Reply) -> None:
    with (
        serving(lambda request: token if request.path == "/token" else root(request)) as host,
        pytest.raises(UnavailableError),
    ):
        check_login(host.name, LOGIN, RegistrySettings(5, 0))


def test_a_registry_root_without_a_challenge_does_not_check_the_login() -> None:
    with serving(lambda _: Reply(200, REGISTRY | JSON, b"{}")) as host:
        assert not check_login(host.name, LOGIN, RegistrySettings(5, 0))
    assert host.secrets == []


@pytest.mark.parametrize(
    "reply",
    [Reply(200, {"Content-Type": "text/html"}, b"<html>GitLab</html>"), Reply(200), Reply(404)],
    ids=["a page", "nothing", "404"],
)
def test_a_server_that_is_not_a_registry_gets_no_password(reply: Reply) -> None:
    with serving(lambda _: reply) as host, pytest.raises(UnavailableError):
        check_login(host.name, LOGIN, RegistrySettings(5, 0))
    assert host.secrets == []


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("where", ["/v2/", "/token"])
def test_a_busy_server_is_not_reported_as_a_wrong_login(status: int, where: str) -> None:
    with (
        serving(lambda request: Reply(status) if request.path == where else root(request)) as host,
        pytest.raises((TimeLimitError, UnavailableError)),
    ):
        check_login(host.name, LOGIN, RegistrySettings(5, 0))
