"""One repository of a registry: asked by the registry's own HTTP API, logged in where it must be.

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
            if is_manifest(head) and (digest := named_digest(head)):
                return digest
        return read_digest(self._ask("GET", path, accept))

    def tags(self) -> list[str]:
        """Lists its tags, or the first of very many.

        Raises:
            CommandError: The registry does not list them.
        """
        answer = self._ask("GET", f"tags/list?n={MOST_TAGS}", "application/json", tags=True)
        listed = json_object(answer).get("tags")
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
        bearer = first(self._challenges, "bearer")
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
        self._challenges = challenges_of(refusal) or self._challenges
        if self._challenges or not self._untried:
            return
        try:
            self._session.request("GET", f"{self._base_url}/v2/")
        except CommandError as root:
            self._challenges = challenges_of(root.answer)

    def _authorized(self, login: Login, *, tags: bool) -> Any:
        """What a login opens the repository with; None if it is refused, or not asked for."""
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


def _leaves_open(failure: CommandError) -> bool:
    """Whether a HEAD that failed says little: then one GET decides, and brings the reason.

    After a busy server or a failed connection it would say nothing new.
    """
    if isinstance(failure, UnavailableError):
        answer = failure.answer
        return answer is not None and (answer.status == HTTPStatus.OK or not failure.retryable)
    return not isinstance(failure, TimeLimitError)
