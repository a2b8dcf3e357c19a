"""Reads a repository of a registry through the registry's HTTP API, with a login if required.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md.
"""

from __future__ import annotations

import contextlib
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
from cicd_common.gitlab import retry
from cicd_common.gitlab.addresses import origin
from cicd_common.registry.access import (
    Bearer,
    RegistrySettings,
    as_refusal,
    base_url,
    basic,
    challenges_of,
    fetch_token,
    first,
    of_registry,
)
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
    from cicd_common.registry.logins import FoundLogins, Login

MOST_TAGS = 1000  # on a page
MOST_PAGES = 10
MOST_REDIRECTS = 5
NEW_FOR = 1.0  # seconds for which a token is not taken for an expired one


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
        self._base_url = base_url(registry, insecure=self._insecure)
        self._session = settings.session(self._base_url)
        self._auth: Any = None  # in a form that `requests` accepts
        self._worked: Any = None  # what the last request had, if it was allowed
        self._granted_at = 0.0  # when the token was granted, by the clock of the retries
        self._is_renewed = False
        self._challenges: list[Challenge] = []
        self._untried = list(found.logins)
        self._refused: list[Login] = []
        self._used: Login | None = None
        self._refusal: CommandError | None = None  # of the token service, if it was the last one

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
            UnavailableError: The registry cannot be reached, or its response is not a registry's or
                of another manifest.
        """
        path = f"manifests/{reference}"
        wanted = reference if ":" in reference else ""  # a tag has no colon
        accept = ", ".join(MANIFEST_TYPES)
        try:
            # Registries that limit pulls do not count a HEAD.
            head = self._ask("HEAD", path, accept)
        except CommandError as failure:
            if not _leaves_open(failure):
                raise
            if isinstance(failure, TimeLimitError):
                self._session.retry_for = 0  # the HEAD has used that time
        else:
            digest = named_digest(head)
            if is_manifest(head) and digest and wanted in {"", digest}:
                return digest
        return read_digest(self._ask("GET", path, accept), wanted)

    def tags(self) -> list[str]:
        """Returns the tags of the repository; if there are more than ten pages, the first ones.

        Raises:
            CommandError: The registry does not list them.
        """
        tags: list[str] = []
        path = f"tags/list?n={MOST_TAGS}"
        for _ in range(MOST_PAGES):
            answer = self._ask("GET", path, "application/json", tags=True)
            listed = json_object(answer).get("tags")
            page = listed if isinstance(listed, list) else []
            tags += [tag for tag in page if isinstance(tag, str)]
            # The link's address can be that of another host: only its query counts.
            query = answer.links.get("next", {}).get("url", "").partition("?")[2]
            if not query:
                break
            path = f"tags/list?{query}"
        return tags

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
                if self._auth is not None and isinstance(refusal, NotFoundError):
                    self._worked = self._auth
                    raise  # the login was accepted: another one is not tried
                if self._used and verb == "HEAD" and isinstance(refusal, ForbiddenError):
                    raise  # the GET decides whether another login is needed
                if refusal.answer is None or not self._log_in(refusal.answer, tags=tags):
                    raise self._refusal or refusal from refusal
            else:
                self._worked = self._auth
                return response

    def _log_in(self, refusal: Answer, *, tags: bool) -> bool:
        """Tries the next login, and returns whether there was one."""
        self._learn_challenges(refusal)
        bearer = first(self._challenges, "bearer")
        if self._can_be_renewed():
            self._worked, self._is_renewed = None, True
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
                self._auth, self._used, self._refusal = auth, login, None
                self._is_renewed = False
                return True
        if bearer is None or self._auth is not None or self._refused:
            return False
        self._auth = self._token(bearer, None, tags=tags)
        return True

    def _can_be_renewed(self) -> bool:
        """Returns whether the refused token was valid before, or can have been.

        Tokens expire after a minute or more, and retries with --retry-for can take longer.
        """
        if self._auth is None:
            return False
        is_old = retry.CLOCK.now() - self._granted_at > NEW_FOR
        return self._auth is self._worked or (is_old and not self._is_renewed)

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
            except (AuthError, ForbiddenError) as refusal:
                self._refused.append(login)
                self._refusal = refusal
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
        self._granted_at = retry.CLOCK.now()
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
                # The response to a HEAD does not say what is wrong: the GET decides.
                if not target and auth and self._used and verb == "GET":
                    raise as_refusal(failure) from failure
                if not target:
                    raise
                url, auth = target, None
                session = self._settings.session(url)
            except (AuthError, ForbiddenError) as refusal:
                if session is self._session:
                    raise
                # Without its response: a login is not for another host.
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
        parts = urlsplit(origin(target))
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
                "CI_REGISTRY_PASSWORD on. Check the name too: many registries do not say that "
                "a repository is missing.",
                answer=failure.answer,
            )
        case RefusedError() if failure.answer is None:
            return failure
        case _:
            return of_registry(failure, registry)


def _leaves_open(failure: CommandError) -> bool:
    """Returns whether to repeat a failed HEAD as a GET, whose response has the reason.

    If the server failed or the connection was lost, a GET would show nothing new.
    """
    if isinstance(failure, UnavailableError):
        return failure.answer is not None and not failure.retryable
    return True
