"""Logs in to a registry: chooses HTTPS or HTTP, and gets tokens from its token service.

Sources: https://distribution.github.io/distribution/spec/auth/token/ and
https://distribution.github.io/distribution/spec/auth/oauth/.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from cicd_common import cleaning
from cicd_common.errors import (
    AuthError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from cicd_common.gitlab.session import SafeSession, origin
from cicd_common.gitlab.transport import is_loopback
from cicd_common.registry.challenges import Challenge, parse_challenges
from cicd_common.registry.logins import DOCKER_HUB, HUB_SERVER, Login, host_of
from cicd_common.registry.manifests import json_object

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from cicd_common.errors import Answer

_PRINTABLE = re.compile(r"[\x21-\x7e]+")
CLIENT_ID = "ci-cd-commands"


@dataclass(frozen=True)
class RegistrySettings:
    """Holds the settings for requests to registries.

    Attributes:
        request_timeout: Seconds that one request can take.
        retry_for: Seconds for which temporary failures are retried.
        ca_file: A certificate authority to trust in addition to the usual ones.
        insecure: The registries, as `host[:port]`, that are contacted over plain HTTP.
    """

    request_timeout: float
    retry_for: float
    ca_file: Path | None = None
    insecure: tuple[str, ...] = ()

    def session(self, url: str) -> SafeSession:
        """Opens a session for one server."""
        return SafeSession(
            origin(url),
            request_timeout=self.request_timeout,
            retry_for=self.retry_for,
            ca_file=self.ca_file,
        )

    def is_insecure(self, registry: str) -> bool:
        """Returns whether to use plain HTTP: the registry is listed, or is local and has no TLS."""
        if host_of(registry) in map(host_of, self.insecure):
            return True
        host = urlsplit(f"//{registry}").hostname or ""
        return is_loopback(host) and not _speaks_tls(registry, self.request_timeout)


class Bearer:
    """Adds a token to requests, in the form that `requests` expects."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Adds the header."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def check_login(registry: str, login: Login, settings: RegistrySettings) -> bool:
    """Checks that a registry accepts a login, without changing anything.

    Args:
        registry: `host[:port]`.
        login: The login.
        settings: The settings for requests.

    Returns:
        True if the login was checked; False if the registry's root asks for no login.

    Raises:
        AuthError: The registry refuses the login.
        TimeLimitError: The registry accepts no more requests for now.
        UnavailableError: The registry cannot be reached, is busy, or is not a registry.
    """
    insecure = settings.is_insecure(registry)
    host = HUB_SERVER if host_of(registry) == DOCKER_HUB else registry
    root = f"{'http' if insecure else 'https'}://{host}/v2/"
    session = settings.session(root)
    try:
        answer = session.request("GET", root)
    except AuthError as refusal:
        challenges = challenges_of(refusal.answer)
    except (NotFoundError, ForbiddenError, RefusedError) as error:
        raise _not_a_registry(registry, error.message) from error
    else:
        if not _is_registry(answer):
            raise _not_a_registry(registry, "It responds, but not as a registry does.")
        return False
    bearer = first(challenges, "bearer")
    if bearer is not None:
        auth: Any = fetch_token(bearer, login, None, settings, insecure=insecure, registry=registry)
    elif first(challenges, "basic") and not login.is_identity_token:
        auth = basic(login)
    else:
        raise _not_a_registry(registry, "It does not ask for a login that container tools support.")
    answer = session.request("GET", root, auth=auth)
    if not _is_registry(answer):
        raise _not_a_registry(registry, "It responds, but not as a registry does.")
    return True


def fetch_token(
    challenge: Challenge,
    login: Login | None,
    scope: str | None,
    settings: RegistrySettings,
    *,
    insecure: bool,
    registry: str,
) -> Bearer:
    """Gets a token from the token service that a registry names.

    Args:
        challenge: The registry's Bearer challenge.
        login: The login; None for an anonymous token.
        scope: What the token is for; None to check only the login.
        settings: The settings for requests.
        insecure: Whether the registry itself is contacted over plain HTTP.
        registry: `host[:port]`.

    Raises:
        AuthError: The login is refused.
        UnavailableError: The service gives no token, or its URL is not safe for a password.
    """
    realm = _realm(challenge, login, insecure=insecure, registry=registry)
    fields = {"service": challenge.parameters.get("service", ""), "scope": scope or ""}
    fields = {name: value for name, value in fields.items() if value}
    session = settings.session(realm)
    try:
        if login is not None and login.is_identity_token:
            form = {
                "grant_type": "refresh_token",
                "client_id": CLIENT_ID,
                "refresh_token": login.password,
                **fields,
            }
            answer = session.request("POST", realm, data=form)
        else:
            parts = urlsplit(realm)
            query = urlencode([*parse_qsl(parts.query), *fields.items()])
            answer = session.request(
                "GET", urlunsplit(parts._replace(query=query)), auth=login and basic(login)
            )
    except (NotFoundError, RefusedError) as error:
        raise UnavailableError(f"There are no tokens: {error.message}", retryable=False) from error
    body = json_object(answer)
    token = body.get("token") or body.get("access_token")
    if not isinstance(token, str) or not _PRINTABLE.fullmatch(token):
        raise UnavailableError(f"{origin(realm)} returns no token.", retryable=False)
    cleaning.hide(token)
    return Bearer(token)


def _realm(challenge: Challenge, login: Login | None, *, insecure: bool, registry: str) -> str:
    """Returns the URL of the token service, if it is safe to send a password there.

    Raises:
        UnavailableError: It is not safe, or it is not a URL.
    """
    realm = challenge.parameters.get("realm", "")
    try:
        parts = urlsplit(realm)
        named = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise UnavailableError(
            f"The registry {registry} does not say where to get tokens: {realm!r}.",
            retryable=False,
        )
    same_host = insecure and (parts.hostname or "") == (urlsplit(f"//{registry}").hostname or "")
    if parts.scheme == "http" and login is not None and not same_host:
        raise UnavailableError(
            f"The registry asks for its password at {named}.",
            why="A password is not sent without TLS.",
            hint="Have the registry's administrator set an https:// realm.",
            retryable=False,
        )
    return urlunsplit(parts._replace(netloc=named.partition("://")[2], fragment=""))


def _speaks_tls(registry: str, timeout: float) -> bool:
    """Returns whether a server on this machine uses TLS; Docker checks this in the same way."""
    parts = urlsplit(f"//{registry}")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent; the session checks the certificate
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except OSError:  # ssl.SSLError is one
        return False


def basic(login: Login) -> tuple[bytes, bytes]:
    """Returns a login for `requests`, as bytes, because it would encode strings as Latin-1."""
    return login.user.encode(), login.password.encode()


def challenges_of(answer: Answer | None) -> list[Challenge]:
    """Returns the challenges in a response; an empty list without a response."""
    return parse_challenges(answer.headers.get("WWW-Authenticate", "")) if answer else []


def first(challenges: list[Challenge], scheme: str) -> Challenge | None:
    """Finds the first challenge of a scheme, such as `bearer`."""
    return next((each for each in challenges if each.scheme == scheme), None)


def _is_registry(answer: requests.Response) -> bool:
    """Returns whether a 2xx of /v2/ is from a registry, which its header or its JSON shows."""
    if "Docker-Distribution-Api-Version" in answer.headers:
        return True
    kind = answer.headers.get("Content-Type", "").lower()
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        return False
    return "json" in kind and isinstance(body, dict) and "errors" not in body


def _not_a_registry(registry: str, why: str) -> UnavailableError:
    return UnavailableError(
        f"{registry} is not a container registry.",
        why=why,
        hint="Name the registry as host[:port], as images are named.",
        retryable=False,
    )
