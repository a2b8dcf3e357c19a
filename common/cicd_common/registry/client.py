"""Reads a repository of a registry through the registry's HTTP API, with a login if required.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md.
"""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from cicd_common.errors import (
    AuthError,
    CommandError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    TimeLimitError,
    UnavailableError,
)
from cicd_common.registry.access import (
    Bearer,
    RegistrySettings,
    basic,
    challenges_of,
    fetch_token,
    first,
)
from cicd_common.registry.logins import DOCKER_HUB, HUB_SERVER, FoundLogins, Login, host_of
from cicd_common.registry.manifests import (
    MANIFEST_TYPES,
    is_manifest,
    json_object,
    named_digest,
    read_digest,
)

if TYPE_CHECKING:
    import requests

    from cicd_common.errors import Answer
    from cicd_common.registry.challenges import Challenge

MOST_TAGS = 1000
MOST_REDIRECTS = 5


class Repository:
    """Reads one repository of a registry, and logs in if the registry asks for it.

    The first request is anonymous. A login is sent only if the registry asks for one, in the form
    that it asks for; if the registry refuses a login, the next one is tried.

    Args:
        registry: `host[:port]`.
        path: The path of the repository in the registry.
        found: The logins for it.
        settings: The settings for requests.
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
        self._auth: Any = None  # in a form that `requests` accepts
        self._worked: Any = None  # the login of the last successful request
        self._challenges: list[Challenge] = []
        self._untried = list(found.logins)
        self._refused: list[Login] = []
        self._used: Login | None = None

    def digest_of(self, reference: str) -> str:
        """Returns the digest of a manifest in the registry.

        Args:
            reference: A tag, or a digest.

        Returns:
            The digest with its algorithm; for an image of several platforms, that of its index.

        Raises:
            NotFoundError: The registry does not have the manifest, or does not show it.
            AuthError: The registry requires a login, or another one.
            RefusedError: It is a manifest of schema 1, which has no digest to pin.
            TimeLimitError: The registry accepts no more requests for now.
            UnavailableError: The registry cannot be reached, or its response is not a registry's.
        """
        path = f"manifests/{reference}"
        accept = ", ".join(MANIFEST_TYPES)
        try:
            # Registries that limit pulls do not count a HEAD.
            head = self._ask("HEAD", path, accept)
        except CommandError as failure:
            if not _leaves_open(failure):
                raise
        else:
            if is_manifest(head) and (digest := named_digest(head)):
                return digest
        return read_digest(self._ask("GET", path, accept))

    def tags(self) -> list[str]:
        """Returns the tags of the repository; if there are very many, the first ones.

        Raises:
            CommandError: The registry does not list them.
        """
        answer = self._ask("GET", f"tags/list?n={MOST_TAGS}", "application/json", tags=True)
        listed = json_object(answer).get("tags")
        tags = listed if isinstance(listed, list) else []
        return [tag for tag in tags[:MOST_TAGS] if isinstance(tag, str)]

    def who(self) -> str:
        """Returns in words what the registry refused: the logins sent, or an anonymous request."""
        refused = [*self._refused, *([self._used] if self._used else [])]
        return " and ".join(map(str, dict.fromkeys(refused))) or "anyone without a login"

    @property
    def problems(self) -> tuple[str, ...]:
        """Returns why other logins could not be read."""
        return self._found.problems

    def _ask(self, verb: str, path: str, accept: str, *, tags: bool = False) -> requests.Response:
        """Sends a read, and logs in if the registry asks for it.

        Raises:
            CommandError: There is no usable response.
        """
        url = f"{self._base_url}/v2/{self.path}/{path}"
        while True:
            try:
                response = self._send(verb, url, accept)
            except (AuthError, ForbiddenError, NotFoundError) as refusal:
                # With a login, a 404 is final: another login is not tried.
                if self._used is not None and isinstance(refusal, NotFoundError):
                    raise
                if refusal.answer is None or not self._log_in(refusal.answer, tags=tags):
                    raise
            else:
                self._worked = self._auth
                return response

    def _log_in(self, refusal: Answer, *, tags: bool) -> bool:
        """Tries the next login, and returns whether there was one."""
        self._learn_challenges(refusal)
        bearer = first(self._challenges, "bearer")
        if self._auth is not None and self._auth is self._worked:
            # A token expires after minutes, and --retry-for can be longer: get another token.
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
        """Reads which login the registry asks for; if the refusal does not say, asks its root."""
        self._challenges = challenges_of(refusal) or self._challenges
        if self._challenges or not self._untried:
            return
        try:
            self._session.request("GET", f"{self._base_url}/v2/")
        except CommandError as root:
            self._challenges = challenges_of(root.answer)

    def _authorized(self, login: Login, *, tags: bool) -> Any:
        """Returns the credentials that a login gives; None if it is refused or not asked for."""
        bearer = first(self._challenges, "bearer")
        if bearer is not None:
            try:
                return self._token(bearer, login, tags=tags)
            except (AuthError, ForbiddenError):
                self._refused.append(login)
        elif first(self._challenges, "basic") and not login.is_identity_token:
            return basic(login)
        return None

    def _token(self, challenge: Challenge, login: Login | None, *, tags: bool) -> Bearer:
        """Gets a token for this repository alone.

        Raises:
            AuthError: The login is refused.
            UnavailableError: The service gives no token.
        """
        # We set the scope, because the registry could name one of another repository. Azure's
        # registry lists tags only with `metadata_read`.
        actions = "pull,metadata_read" if tags else "pull"
        scope = f"repository:{self.path}:{actions}"
        return fetch_token(
            challenge, login, scope, self._settings, insecure=self._insecure, registry=self.registry
        )

    def _send(self, verb: str, url: str, accept: str) -> requests.Response:
        """Sends a read; follows a redirect to another host without a login.

        Some registries, such as registry.k8s.io, redirect every request.
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
        raise UnavailableError(f"{self.registry} redirects in a loop.", retryable=False)


def _redirected(failure: UnavailableError, url: str) -> str:
    """Returns the URL of a redirect if it is as safe as the old one; otherwise an empty text."""
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
    """Returns the error of a failed request in the words of a user who named an image.

    Args:
        failure: The failure.
        repository: The repository that was asked.
        image: The image, for messages.
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
                f"The registry {registry} accepts no more requests now: {failure.message}",
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


def _leaves_open(failure: CommandError) -> bool:
    """Returns whether to repeat a failed HEAD as a GET, whose response has the reason.

    If the server was busy or the connection failed, a GET would show nothing new.
    """
    if isinstance(failure, UnavailableError):
        answer = failure.answer
        return answer is not None and (answer.status == HTTPStatus.OK or not failure.retryable)
    return not isinstance(failure, TimeLimitError)
