from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from cicd_common.errors import AuthError, UnavailableError, UsageError
from cicd_common.registry_login import Login, find_login, log_in, registry_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = {
    "CI_REGISTRY": "registry.example.com",
    "CI_REGISTRY_USER": "ci",
    "CI_REGISTRY_PASSWORD": "job-password",
}
LOGIN = Login("ci", "CI_REGISTRY_USER", "password")


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@contextmanager
def serving(realm: str | None, status: int = 401) -> Iterator[tuple[str, list[str]]]:
    """A registry that wants a token from a realm, which is itself unless told otherwise."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            good = self.headers.get("Authorization") == f"Basic {auth('ci:password')['auth']}"
            realm_asked = self.path.startswith("/jwt/auth")
            self.send_response(200 if realm_asked and good else status)
            if not realm_asked:
                where = realm or f"http://{self.headers['Host']}/jwt/auth"
                challenge = f'Bearer realm="{where}",service="container_registry"'
                self.send_header("WWW-Authenticate", challenge)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the same
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_jobs_variables_are_for_its_own_registry_alone(tmp_path: Path) -> None:
    environ = {**JOB, "DOCKER_CONFIG": str(tmp_path)}
    found = find_login("registry.example.com", environ)
    assert found == Login("ci", "CI_REGISTRY_USER", "job-password")
    assert "job-password" not in repr(found)
    assert find_login("other.example.com", environ) is None


def test_the_configuration_file_is_read(tmp_path: Path) -> None:
    config = {"auths": {"registry.example.com:5050": auth("me:pass:word")}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    found = find_login("registry.example.com:5050", environ)
    assert found == Login("me", str(tmp_path / "config.json"), "pass:word")
    assert find_login("registry.example.com", environ) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"r.example.com": {"auth": "%"}}}'])
def test_a_broken_configuration_file_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError):
        find_login("r.example.com", {"DOCKER_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    "config", [{"credsStore": "test"}, {"credHelpers": {"r.example.com": "test"}}]
)
def test_a_credential_helper_is_asked(
    tmp_path: Path, config: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text(
        "#!/bin/sh\nread host || true\n"
        'printf \'{"ServerURL": "%s", "Username": "me", "Secret": "%s"}\' "$host" "of $host"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = find_login("r.example.com", {"DOCKER_CONFIG": str(tmp_path)})
    assert found == Login("me", "docker-credential-test", "of r.example.com")


@pytest.mark.parametrize("name", ["https://index.docker.io/v1/", "docker.io"])
def test_docker_hub_is_known_by_the_names_that_docker_has_for_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {name: auth("me:password")}}))
    found = find_login("docker.io", {"DOCKER_CONFIG": str(tmp_path)})
    assert (found is not None) is name.startswith("https")
    assert registry_url("docker.io") == "https://registry-1.docker.io"


def test_only_this_machine_is_asked_without_tls() -> None:
    hosts = {"localhost:5000", "127.0.0.1", "[::1]:5000", "localhost.example.com", "10.0.0.1:5000"}
    assert {host for host in hosts if registry_url(host) == f"http://{host}"} == {
        "localhost:5000",
        "127.0.0.1",
        "[::1]:5000",
    }


def test_a_credential_helper_that_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"credsStore": "of-nobody"}')
    with pytest.raises(UnavailableError, match="docker-credential-of-nobody"):
        find_login("r.example.com", {"DOCKER_CONFIG": str(tmp_path)})


def test_the_password_goes_where_the_registry_wants_it() -> None:
    with serving(None) as (registry, asked):
        log_in(registry, LOGIN, timeout=5)
    assert asked[0] == "/v2/"
    assert parse_qs(urlsplit(asked[1]).query) == {"service": ["container_registry"]}


def test_a_wrong_password_is_refused() -> None:
    with serving(None) as (registry, _), pytest.raises(AuthError, match="refuses the login of ci"):
        log_in(registry, Login("ci", "CI_REGISTRY_USER", "wrong"), timeout=5)


def test_the_password_goes_nowhere_without_tls() -> None:
    with (
        serving("http://elsewhere.example.com/auth") as (registry, asked),
        pytest.raises(UnavailableError, match=r"http://elsewhere\.example\.com"),
    ):
        log_in(registry, LOGIN, timeout=5)
    assert asked == ["/v2/"]


def test_what_is_no_registry_is_said() -> None:
    with serving(None, 404) as (registry, _), pytest.raises(UnavailableError, match="answers 404"):
        log_in(registry, LOGIN, timeout=5)


def test_a_registry_that_cannot_be_reached_is_said() -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        log_in("127.0.0.1:9", LOGIN, timeout=5)
