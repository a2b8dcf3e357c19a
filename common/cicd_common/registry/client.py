"""One repository of a registry: asked by the registry's own HTTP API, logged in where it must be.

Sources: https://github.com/opencontainers/distribution-spec/blob/main/spec.md for the requests,
https://distribution.github.io/distribution/spec/auth/token/ and
https://distribution.github.io/distribution/spec/auth/oauth/ for the tokens.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from cicd_common import cleaning
from cicd_common.errors import (
    AuthError,
    CommandError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    TimeLimitError,
    UnavailableError,
)
from cicd_common.gitlab.session import SafeSession, origin
from cicd_common.gitlab.transport import is_loopback
from cicd_common.registry.challenges import Challenge, parse_challenges
from cicd_common.registry.logins import DOCKER_HUB, HUB_SERVER, FoundLogins, Login, host_of

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from cicd_common.errors import Answer

# Of an index too: the digest to pin is the one that serves every platform.
MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
# Old registries send it unasked. Its digest is not that of the bytes that are sent.
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
MOST_TAGS = 1000
MOST_REDIRECTS = 5
CLIENT_ID = "ci-cd-commands"


@dataclass(frozen=True)
class RegistrySettings:
    """How to ask registries.

    Attributes:
        request_timeout: Seconds that one request may take.
        retry_for: Seconds that temporary failures are retried.
        ca_file: A certificate authority to trust in addition to the usual ones.
        insecure: The registries, as `host[:port]`, that are asked over plain HTTP.
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
        """Whether a registry is asked over plain HTTP: by name, or on this machine without TLS."""
        if host_of(registry) in map(host_of, self.insecure):
            return True
        host = urlsplit(f"//{registry}").hostname or ""
        return is_loopback(host) and not _speaks_tls(registry, self.request_timeout)


class Repository:
    """One repository of a registry, and the way in.

    The first request is anonymous. A login is sent only if the registry asks for one, in the way
    that it asks for; if it refuses one, the next is tried.

    Args:
        registry: `host[:port]`.
        path: The repository within it.
        found: The logins for it.
        settings: How to ask.
    """

    def __init__(
        self, registry: str, path: str, found: FoundLogins, settings: RegistrySettings
    ) -> None:
        self.registry = registry
        self.path = path
        self._found = found
        self._settings = settings
        self._insecure = settings.is_insecure(registry)
        host = HUB_SERVER if host_of(registry) == DOCKER_HUB else registry
        self._base_url = f"{'http' if self._insecure else 'https'}://{host}"
        self._session = settings.session(self._base_url)
        self._auth: Any = None  # as `requests` takes it
        self._worked: Any = None  # what the last request that was answered had
        self._challenges: list[Challenge] = []
        self._untried = list(found.logins)
        self._refused: list[Login] = []
        self._used: Login | None = None

    def digest_of(self, reference: str) -> str:
        """Finds the digest under which the registry has a manifest.

        Args:
            reference: A tag, or a digest.

        Returns:
            The digest with its algorithm; of an image for several platforms that of its index.

        Raises:
            NotFoundError: The registry does not have it, or does not show it.
            AuthError: The registry wants a login, or another one.
            RefusedError: It is a manifest of schema 1, which has no digest to pin.
            TimeLimitError: The registry takes no more requests for now.
            UnavailableError: It cannot be reached, or does not answer as a registry.
        """
        path = f"manifests/{reference}"
        accept = ", ".join(MANIFEST_TYPES)
        try:
            # It costs no pull at registries that count them.
            head = self._ask("HEAD", path, accept)
        except CommandError as failure:
            if not _leaves_open(failure):
                raise
        else:
            if _is_manifest(head) and (digest := _named_digest(head)):
                return digest
        return _digest_of(self._ask("GET", path, accept))

    def tags(self) -> list[str]:
        """Lists its tags, or the first of very many.

        Raises:
            CommandError: The registry does not list them.
        """
        answer = self._ask("GET", f"tags/list?n={MOST_TAGS}", "application/json", tags=True)
        listed = _object(answer).get("tags")
        tags = listed if isinstance(listed, list) else []
        return [tag for tag in tags[:MOST_TAGS] if isinstance(tag, str)]

    def who(self) -> str:
        """Whom the registry refused: the logins that were sent, or nobody."""
        refused = [*self._refused, *([self._used] if self._used else [])]
        return " and ".join(map(str, dict.fromkeys(refused))) or "anyone without a login"

    @property
    def problems(self) -> tuple[str, ...]:
        """Why other logins could not be read."""
        return self._found.problems

    def _ask(self, verb: str, path: str, accept: str, *, tags: bool = False) -> requests.Response:
        """Sends a read, and logs in where the registry asks for it.

        Raises:
            CommandError: There is no usable answer.
        """
        url = f"{self._base_url}/v2/{self.path}/{path}"
        while True:
            try:
                response = self._send(verb, url, accept)
            except (AuthError, ForbiddenError, NotFoundError) as refusal:
                # What is missing for a login is missing.
                if self._used is not None and isinstance(refusal, NotFoundError):
                    raise
                if refusal.answer is None or not self._log_in(refusal.answer, tags=tags):
                    raise
            else:
                self._worked = self._auth
                return response

    def _log_in(self, refusal: Answer, *, tags: bool) -> bool:
        """Takes the next way in; whether there was one."""
        self._learn_challenges(refusal)
        bearer = _first(self._challenges, "bearer")
        if self._auth is not None and self._auth is self._worked:
            # A token lives for minutes, and --retry-for may be longer: one more, of the same login.
            self._worked = None
            if bearer is not None:
                with contextlib.suppress(AuthError, ForbiddenError):
                    self._auth = self._token(bearer, self._used, tags=tags)
                    return True
        if self._used is not None:
            self._refused.append(self._used)
            self._used = None
        while self._untried:
            login = self._untried.pop(0)
            auth = self._authorized(login, tags=tags)
            if auth is not None:
                self._auth, self._used = auth, login
                return True
        if bearer is None or self._auth is not None or self._refused:
            return False
        self._auth = self._token(bearer, None, tags=tags)
        return True

    def _learn_challenges(self, refusal: Answer) -> None:
        """Learns what the registry asks for; where it only hides things, its root is asked."""
        self._challenges = _challenges_of(refusal) or self._challenges
        if self._challenges or not self._untried:
            return
        try:
            self._session.request("GET", f"{self._base_url}/v2/")
        except CommandError as root:
            self._challenges = _challenges_of(root.answer)

    def _authorized(self, login: Login, *, tags: bool) -> Any:
        """What a login opens the repository with; None if it is refused, or not asked for."""
        bearer = _first(self._challenges, "bearer")
        if bearer is not None:
            try:
                return self._token(bearer, login, tags=tags)
            except (AuthError, ForbiddenError):
                self._refused.append(login)
        elif _first(self._challenges, "basic") and not login.is_identity_token:
            return _basic(login)
        return None

    def _token(self, challenge: Challenge, login: Login | None, *, tags: bool) -> _Bearer:
        """Gets a token for this repository alone.

        Raises:
            AuthError: The login is refused.
            UnavailableError: There are no tokens.
        """
        # Asked for by us: the registry could name a scope of another repository. Azure's lists
        # tags for `metadata_read` only.
        actions = "pull,metadata_read" if tags else "pull"
        scope = f"repository:{self.path}:{actions}"
        return fetch_token(
            challenge, login, scope, self._settings, insecure=self._insecure, registry=self.registry
        )

    def _send(self, verb: str, url: str, accept: str) -> requests.Response:
        """Sends a read; where the registry points elsewhere, it goes there without a login.

        Some registries, such as registry.k8s.io, do nothing else.
        """
        headers = {"Accept": accept}
        session, auth = self._session, self._auth
        for _ in range(MOST_REDIRECTS):
            try:
                response = session.request(verb, url, headers=headers, auth=auth)
            except UnavailableError as failure:
                target = _redirected(failure, url)
                if not target:
                    raise
                url, auth = target, None
                session = self._settings.session(url)
            except AuthError as refusal:
                if session is self._session:
                    raise
                # The login is not for another host.
                raise ForbiddenError(refusal.message) from refusal
            else:
                return response
        raise UnavailableError(f"{self.registry} redirects in circles.", retryable=False)


class _Bearer:
    """Puts a token into a request, as `requests` has it done."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def check_login(registry: str, login: Login, settings: RegistrySettings) -> bool:
    """Makes sure that a registry takes a login; changes nothing.

    Args:
        registry: `host[:port]`.
        login: The login.
        settings: How to ask.

    Returns:
        Whether it was checked: False if the registry's root asks for no login.

    Raises:
        AuthError: The registry refuses it.
        TimeLimitError: It takes no more requests for now.
        UnavailableError: It cannot be reached, is busy, or is not a registry.
    """
    insecure = settings.is_insecure(registry)
    host = HUB_SERVER if host_of(registry) == DOCKER_HUB else registry
    root = f"{'http' if insecure else 'https'}://{host}/v2/"
    session = settings.session(root)
    try:
        answer = session.request("GET", root)
    except AuthError as refusal:
        challenges = _challenges_of(refusal.answer)
    except (NotFoundError, ForbiddenError, RefusedError) as error:
        raise _not_a_registry(registry, error.message) from error
    else:
        if not _is_registry(answer):
            raise _not_a_registry(registry, "It answers, but not as a registry does.")
        return False
    bearer = _first(challenges, "bearer")
    if bearer is not None:
        auth: Any = fetch_token(bearer, login, None, settings, insecure=insecure, registry=registry)
    elif _first(challenges, "basic") and not login.is_identity_token:
        auth = _basic(login)
    else:
        raise _not_a_registry(registry, "It asks for no login that container tools know.")
    answer = session.request("GET", root, auth=auth)
    if not _is_registry(answer):
        raise _not_a_registry(registry, "It answers, but not as a registry does.")
    return True


def fetch_token(
    challenge: Challenge,
    login: Login | None,
    scope: str | None,
    settings: RegistrySettings,
    *,
    insecure: bool,
    registry: str,
) -> _Bearer:
    """Gets a token from where a registry says.

    Args:
        challenge: The registry's Bearer challenge.
        login: The login; None for an anonymous token.
        scope: What the token is for; None for nothing but the login.
        settings: How to ask.
        insecure: Whether the registry itself is asked over plain HTTP.
        registry: `host[:port]`.

    Raises:
        AuthError: The login is refused.
        UnavailableError: There are no tokens, or the address is not safe for a password.
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
                "GET", urlunsplit(parts._replace(query=query)), auth=login and _basic(login)
            )
    except (NotFoundError, RefusedError) as error:
        raise UnavailableError(f"There are no tokens: {error.message}", retryable=False) from error
    body = _object(answer)
    token = body.get("token") or body.get("access_token")
    if not isinstance(token, str) or not _PRINTABLE.fullmatch(token):
        raise UnavailableError(f"{origin(realm)} gives no token.", retryable=False)
    cleaning.hide(token)
    return _Bearer(token)


def _realm(challenge: Challenge, login: Login | None, *, insecure: bool, registry: str) -> str:
    """Where tokens come from, if a password may go there.

    Raises:
        UnavailableError: It may not, or it is not an address.
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
            f"The registry {registry} does not say where its tokens are: {realm!r}.",
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
    """Whether a server on this machine speaks TLS, as Docker finds out too."""
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


def _basic(login: Login) -> tuple[bytes, bytes]:
    """A login as `requests` takes it; as bytes, for it would encode texts as Latin-1."""
    return login.user.encode(), login.password.encode()


def _challenges_of(answer: Answer | None) -> list[Challenge]:
    return parse_challenges(answer.headers.get("WWW-Authenticate", "")) if answer else []


def _first(challenges: list[Challenge], scheme: str) -> Challenge | None:
    return next((each for each in challenges if each.scheme == scheme), None)


def _leaves_open(failure: CommandError) -> bool:
    """Whether a HEAD that failed says little: then one GET decides, and brings the reason.

    After a busy server or a failed connection it would say nothing new.
    """
    if isinstance(failure, UnavailableError):
        answer = failure.answer
        return answer is not None and (answer.status == HTTPStatus.OK or not failure.retryable)
    return not isinstance(failure, TimeLimitError)


def _object(response: requests.Response) -> dict[str, Any]:
    """The JSON object of an answer; an empty one where there is none."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _is_registry(answer: requests.Response) -> bool:
    """Whether a 2xx of /v2/ comes from a registry: by its header, or by its JSON."""
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


def _kind(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _is_manifest(response: requests.Response) -> bool:
    return _kind(response) in MANIFEST_TYPES


def _named_digest(response: requests.Response) -> str:
    """The digest that a registry names, also twice, quoted, or in capitals; empty if none."""
    named = response.headers.get("Docker-Content-Digest", "").split(",")
    digests = {each.strip().strip('"').lower() for each in named}
    digest = digests.pop() if len(digests) == 1 else ""
    return digest if _DIGEST.fullmatch(digest) else ""


def _digest_of(response: requests.Response) -> str:
    """The digest of a manifest that was read whole.

    Raises:
        RefusedError: It is of schema 1.
        UnavailableError: It is not a manifest, or the digest named does not fit it.
    """
    if _kind(response).startswith(SCHEMA_1):
        raise RefusedError(
            "The image's manifest is of schema 1.",
            why="Its digest is not that of what the registry sends.",
            hint="Push the image again with a current tool, or leave out --pin-digest.",
        )
    if not _is_manifest(response) or not _object(response):
        raise UnavailableError(
            "The registry did not send a manifest.",
            why=f"It sent {_kind(response) or 'something without a type'}.",
            retryable=False,
        )
    computed = {
        f"{name}:{hashlib.new(name, response.content).hexdigest()}"
        for name in ("sha256", "sha384", "sha512")
    }
    named = response.headers.get("Docker-Content-Digest")
    if named is None:
        return next(digest for digest in computed if digest.startswith("sha256:"))
    digest = _named_digest(response)
    if digest not in computed:
        raise UnavailableError(
            "The digest that the registry names is not that of the manifest that it sent.",
            retryable=False,
        )
    return digest


def _redirected(failure: UnavailableError, url: str) -> str:
    """Where a registry points instead of answering, if that is no less safe; else nothing."""
    if failure.answer is None or failure.answer.status // 100 != 3:  # noqa: PLR2004 - 3xx
        return ""
    location = failure.answer.headers.get("Location", "")
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        safe = parts.scheme in {"https", urlsplit(url).scheme} and bool(parts.hostname)
    except ValueError:
        return ""
    return target if safe and location else ""


def explained(failure: CommandError, repository: Repository, image: str) -> CommandError:
    """What a failed request means for someone who named an image.

    Args:
        failure: The failure.
        repository: The repository that was asked.
        image: The image, for people.
    """
    registry = repository.registry
    problems = "".join(f" {each}." for each in repository.problems)
    match failure:
        case AuthError() | ForbiddenError():
            return AuthError(
                f"The registry {registry} does not show {image} to {repository.who()}.",
                why=f"{failure.message}{problems}",
                hint=f"docker login {registry}, or pass CI_REGISTRY_USER and "
                "CI_REGISTRY_PASSWORD on.",
                answer=failure.answer,
            )
        case TimeLimitError():
            return TimeLimitError(
                f"The registry {registry} takes no more requests for now: {failure.message}",
                hint="Try again later, log in to it, or allow more with --retry-for.",
                answer=failure.answer,
            )
        case RefusedError() if failure.answer is None:
            return failure
        case _:
            return UnavailableError(
                f"The registry {registry} does not answer as it should: {failure.message}",
                why=failure.why,
                hint=failure.hint
                if "--ca-file" in failure.hint
                else ("Check the image's name, the network and the proxy settings."),
                answer=failure.answer,
                retryable=False,
            )
