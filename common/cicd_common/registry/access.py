"""Logs in to a registry: chooses HTTPS or HTTP, and gets tokens from its token service.

Sources: https://distribution.github.io/distribution/spec/auth/token/ and
https://distribution.github.io/distribution/spec/auth/oauth/.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from cicd_common import cleaning
from cicd_common.errors import (
    AuthError,
    NotFoundError,
    RefusedError,
    TimeLimitError,
    UnavailableError,
)
from cicd_common.gitlab.addresses import origin
from cicd_common.gitlab.failures import NO_TLS_WHY
from cicd_common.gitlab.session import SafeSession
from cicd_common.gitlab.transport import is_loopback
from cicd_common.registry.challenges import Challenge, parse_challenges
from cicd_common.registry.logins import DOCKER_HUB, HUB_SERVER, Login, host_of
from cicd_common.registry.manifests import json_object

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from cicd_common.errors import Answer, CommandError

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


def base_url(registry: str, *, insecure: bool) -> str:
    """Returns the URL of the server that an image's registry names, without a path."""
    host = HUB_SERVER if host_of(registry) == DOCKER_HUB else registry
    return f"{'http' if insecure else 'https'}://{host}"


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
            query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *fields.items()])
            answer = session.request(
                "GET", urlunsplit(parts._replace(query=query)), auth=login and basic(login)
            )
    except (NotFoundError, RefusedError, UnavailableError) as error:
        raise _no_token(error, login) from error
    body = json_object(answer)
    token = body.get("token") or body.get("access_token")
    if not isinstance(token, str) or not _PRINTABLE.fullmatch(token):
        raise UnavailableError(f"{origin(realm)} returns no token.", retryable=False)
    cleaning.hide(token)
    return Bearer(token)


def of_registry(failure: CommandError, registry: str) -> CommandError:
    """Returns the error of a failed request in words about a registry instead of GitLab.

    Args:
        failure: The failure; not a refusal.
        registry: `host[:port]`.
    """
    if isinstance(failure, TimeLimitError):
        return TimeLimitError(
            f"The registry {registry} accepts no more requests now: {failure.message}",
            hint="Try again later, log in to it, or allow more with --retry-for.",
            answer=failure.answer,
        )
    hint = failure.hint
    if failure.why == NO_TLS_WHY:
        hint = f"If it is a registry without TLS, allow that with --insecure-registry {registry}"
    elif not hint or "--base-url" in hint:
        hint = "Check the registry's name, the network and the proxy settings."
    return UnavailableError(
        f"The registry {registry} does not answer as it should: {failure.message}",
        why=failure.why,
        hint=hint,
        answer=failure.answer,
        retryable=False,
    )


def as_refusal(failure: CommandError) -> CommandError:
    """Returns the error of a request with a login: a 400 means that the login is refused.

    Amazon's registry replies so to a password that it cannot read, and to an expired token
    (https://github.com/aws/containers-roadmap/issues/2835); so do token services (RFC 6749,
    section 5.2).
    """
    if failure.answer is not None and failure.answer.status == HTTPStatus.BAD_REQUEST:
        return AuthError(failure.message, answer=failure.answer)
    return failure


def _no_token(failure: CommandError, login: Login | None) -> CommandError:
    refusal = failure if login is None else as_refusal(failure)
    if isinstance(refusal, (NotFoundError, RefusedError)):
        return UnavailableError(f"There are no tokens: {refusal.message}", retryable=False)
    return refusal


def _realm(challenge: Challenge, login: Login | None, *, insecure: bool, registry: str) -> str:
    """Returns the URL of the token service, if it is safe to send a password there.

    Raises:
        UnavailableError: It is not safe, or it is not a URL.
    """
    realm = challenge.parameters.get("realm", "")
    try:
        parts = urlsplit(realm)
        named = origin(realm)
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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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
