"""Whether a registry has an image, and under which digest: asked by the registry's own HTTP API.

Sources: https://github.com/opencontainers/distribution-spec/blob/main/spec.md for the requests,
https://distribution.github.io/distribution/spec/auth/token/ for the tokens.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from cicd_common.errors import (
    AuthError,
    CommandError,
    ForbiddenError,
    NotFoundError,
    TimeLimitError,
    UnavailableError,
)
from cicd_common.gitlab.session import SafeSession, origin
from cicd_common.parallel import side_by_side
from cicd_common.registry_login import find_login, place_to_log_in, registry_url
from cmd_bump_image_tag.image_reference import is_digest, is_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import requests

    from cicd_common.errors import Answer
    from cicd_common.gitlab.connection import Connection
    from cicd_common.registry_login import Login
    from cmd_bump_image_tag.image_reference import ImageReference
    from cmd_bump_image_tag.images import Update

# Of an index too: the digest to pin is the one that serves every platform.
MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_HEADERS = {"Accept": ", ".join(MANIFEST_TYPES)}
# To compare one tag with this many takes a few hundredths of a second.
MOST_TAGS = 1000


def verify(
    updates: Sequence[Update], *, pin: bool, connection: Connection, environ: Mapping[str, str]
) -> tuple[Update, ...]:
    """Makes sure that registries have the tags and digests that are to be set.

    Args:
        updates: What is to be set.
        pin: Whether an update without a digest has to get the one found.
        connection: How patiently to ask, and which authority to trust; its token is GitLab's,
            and stays here.
        environ: The environment, for the credentials: `registry_login.find_login`.

    Returns:
        The updates, with the digests found if these shall be pinned.

    Raises:
        CommandError: As `resolve` and `find_login` do, for the first of them.
    """

    def verified(update: Update) -> Update:
        ask = partial(
            resolve,
            login=find_login(update.reference.domain, environ),
            request_timeout=connection.request_timeout,
            retry_for=connection.retry_for,
            ca_file=connection.ca_file,
        )
        found = ask(replace(update.reference, digest=None)) if update.tag else None
        if update.digest:
            ask(replace(update.reference, tag=None))
        return replace(update, digest=update.digest or found) if pin else update

    outcomes = side_by_side(updates, verified)
    for outcome in outcomes:
        if isinstance(outcome, CommandError):
            raise outcome
    return tuple(outcome for outcome in outcomes if not isinstance(outcome, CommandError))


def resolve(
    reference: ImageReference,
    login: Login | None,
    *,
    request_timeout: float,
    retry_for: float,
    ca_file: Path | None = None,
) -> str:
    """Finds the digest under which a registry has an image.

    Args:
        reference: The image, by its tag or, without one, by its digest.
        login: The credentials for its registry, if there are any.
        request_timeout: Seconds that one request may take.
        retry_for: Seconds that failures which may pass are ridden out.
        ca_file: A certificate authority to trust beside the usual ones.

    Returns:
        The digest, with its algorithm; of an image for several platforms that of its index.

    Raises:
        NotFoundError: The registry does not have it, or does not show it.
        AuthError: The registry wants a login, or another one.
        TimeLimitError: It takes no more requests for now.
        UnavailableError: It cannot be reached, or does not answer as a registry.
    """
    open_session = partial(
        SafeSession, request_timeout=request_timeout, retry_for=retry_for, ca_file=ca_file
    )
    repository = _Repository(reference, login, open_session)
    path = f"manifests/{reference.tag or reference.digest}"
    try:
        digest = repository.ask("HEAD", path).headers.get("Docker-Content-Digest", "")
        if not digest:  # registries should send it, and need not
            digest = f"sha256:{hashlib.sha256(repository.ask('GET', path).content).hexdigest()}"
    except NotFoundError as missing:
        raise _missing(repository) from missing
    except CommandError as failure:
        raise _explained(failure, reference, login) from failure
    if not is_digest(digest):
        raise UnavailableError(
            f"The registry {reference.domain} names no digest of {reference.familiar}.",
            why="What it sends in its place is none.",
            retryable=False,
        )
    return digest


class _Repository:
    """One repository of a registry, and the way in.

    Args:
        reference: An image of the repository.
        login: The credentials for the registry, if there are any.
        open_session: Makes a session for one server.
    """

    def __init__(
        self,
        reference: ImageReference,
        login: Login | None,
        open_session: Callable[[str], SafeSession],
    ) -> None:
        self.reference = reference
        self._login = login
        self._open_session = open_session
        self._base_url = registry_url(reference.domain)
        self._session = open_session(self._base_url)
        self._auth: Any = None  # as `requests` takes it

    def ask(self, verb: str, path: str, **query: int) -> requests.Response:
        """Sends a read; logs in where that is asked for.

        Raises:
            CommandError: There is no usable answer.
        """
        url = f"{self._base_url}/v2/{self.reference.path}/{path}"
        try:
            return self._send(verb, url, query)
        except AuthError as refusal:
            if self._auth is not None or refusal.answer is None:
                raise
            self._auth = self._log_in(refusal.answer)
            if self._auth is None:
                raise
        return self._send(verb, url, query)

    def tags(self) -> list[str]:
        """Its tags, or the first of very many."""
        listed = _object(self.ask("GET", "tags/list", n=MOST_TAGS)).get("tags")
        tags = listed if isinstance(listed, list) else []
        return [tag for tag in tags[:MOST_TAGS] if isinstance(tag, str) and is_tag(tag)]

    def _send(self, verb: str, url: str, query: Mapping[str, int]) -> requests.Response:
        """Sends a read, and without credentials where the registry points elsewhere.

        Some registries, such as registry.k8s.io, do nothing else.
        """
        try:
            return self._session.request(verb, url, params=query, headers=_HEADERS, auth=self._auth)
        except UnavailableError as failure:
            target = _redirected(failure, url)
            if not target:
                raise
        try:
            return self._open_session(origin(target)).request(verb, target, headers=_HEADERS)
        except AuthError as refusal:  # no reason to send the login where another host wants it
            raise ForbiddenError(refusal.message, answer=refusal.answer) from refusal

    def _log_in(self, refusal: Answer) -> Any:
        """What opens the repository, by the way that the registry asks for; None if nothing."""
        basic = None
        if self._login is not None:
            basic = (self._login.user.encode(), self._login.password.encode())
        # Asked for by us: the registry could name a scope of somebody else's.
        scope = f"repository:{self.reference.path}:pull"
        where = place_to_log_in(refusal.headers.get("WWW-Authenticate", ""), scope=scope)
        if not where:
            return basic
        try:
            answer = _object(self._open_session(origin(where)).request("GET", where, auth=basic))
        except NotFoundError as error:
            raise UnavailableError(f"There are no tokens: {error}", retryable=False) from error
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise UnavailableError(f"{origin(where)} gives no token.", retryable=False)
        return _Bearer(token)


class _Bearer:
    """Puts a token into a request, as `requests` has it done."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _object(response: requests.Response) -> dict[str, Any]:
    """The JSON object of an answer; an empty one where there is none."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _redirected(failure: UnavailableError, url: str) -> str:
    """Where a registry points instead of answering, if that is no less safe; else nothing."""
    if failure.answer is None or failure.answer.status // 100 != 3:  # noqa: PLR2004 - 3xx
        return ""
    target = urljoin(url, failure.answer.headers.get("Location", ""))
    return target if urlsplit(target).scheme in {"https", urlsplit(url).scheme} else ""


def _missing(repository: _Repository) -> NotFoundError:
    """That the registry does not have the image, with the tags that are like it."""
    reference = repository.reference
    try:
        near = get_close_matches(reference.tag or "", repository.tags(), n=3)
        why = f"The nearest: {', '.join(near)}." if near else ""
    except NotFoundError:
        why = "It has no such repository, or does not show it to this login."
    except CommandError:  # not every registry lets its tags be listed
        why = ""
    return NotFoundError(
        f"The registry {reference.domain} has no {reference.path}{reference.suffix}.",
        why=why,
        hint="Check the name and the tag, and whether the image has been pushed.",
    )


def _explained(
    failure: CommandError, reference: ImageReference, login: Login | None
) -> CommandError:
    """What a failed request means for somebody who named an image."""
    registry = reference.domain
    match failure:
        case AuthError() | ForbiddenError():
            who = f"{login.user} from {login.source}" if login else "anybody without a login"
            return AuthError(
                f"The registry {registry} does not show {reference.path} to {who}.",
                why=failure.message,
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
        case _:
            return UnavailableError(
                failure.message,
                why=f"The registry {registry} does not answer as it should.",
                hint="Check the image's name, the network and the proxy settings.",
                answer=failure.answer,
            )
