"""Provides the client that all commands share: python-gitlab on a safe session.

Nothing above this module knows python-gitlab or requests. Paths are those below `/api/v4/`.
"""

from __future__ import annotations

import functools
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

import gitlab

from cicd_common import __version__
from cicd_common.errors import (
    AuthError,
    CommandError,
    ForbiddenError,
    NotFoundError,
    UnavailableError,
)
from cicd_common.gitlab import fields
from cicd_common.gitlab.connection import parse_base_url
from cicd_common.gitlab.fields import NOT_GITLAB
from cicd_common.gitlab.responses import explain_auth, explain_forbidden, explain_ignored
from cicd_common.gitlab.retry import Backoff
from cicd_common.gitlab.session import SafeSession
from cicd_common.gitlab.tokens import TokenKind, job_token_since, takes_job_token
from cicd_common.gitlab.writes import reconcile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from typing import BinaryIO

    import requests

    from cicd_common.gitlab.connection import Connection
    from cicd_common.gitlab.fields import JsonObject

T = TypeVar("T")
log = logging.getLogger(__name__)

PER_PAGE = 100  # the most records that GitLab puts on a page
MOST_PAGES = 5_000  # half a million records: with more, the server's pages probably never end


class GitLab:
    """Sends requests to one server with one token; threads can share it safely.

    Args:
        connection: The server, the token and the time limits.

    Raises:
        UsageError: No server was given.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.base_url = parse_base_url(connection.base_url)
        token = connection.token
        self._session = SafeSession(
            connection.base_url,
            request_timeout=connection.request_timeout,
            retry_for=connection.retry_for,
            ca_file=connection.ca_file,
        )

        def secret(kind: TokenKind) -> str | None:
            return token.secret if token and token.kind is kind else None

        self._api = gitlab.Gitlab(
            connection.base_url,
            session=self._session,
            user_agent=f"ci-cd-commands/{__version__} python-gitlab/{gitlab.__version__}",
            private_token=secret(TokenKind.ACCESS),
            job_token=secret(TokenKind.JOB),
            oauth_token=secret(TokenKind.OAUTH),
        )
        if token:
            log.debug("Server: %s; %s from %s", self.base_url, token.kind.value, token.source)

    @property
    def token_kind(self) -> TokenKind | None:
        """Returns the kind of the client's token; None without a token."""
        return self.connection.token.kind if self.connection.token else None

    def now(self) -> datetime:
        """Returns the server's time from its last response, or this machine's before the first."""
        return self._session.now()

    def get(self, path: str, /, **query: object) -> JsonObject:
        """Reads a JSON object; use `fields` to read its values.

        Raises:
            CommandError: GitLab gave no usable response within the limits.
        """
        return fields.record(_json(self._request("GET", path, query=query)))

    def get_list(self, path: str, /, **query: object) -> list[JsonObject]:
        """Reads one page of a list of objects.

        Raises:
            CommandError: GitLab gave no usable response within the limits.
        """
        return fields.records(_json(self._request("GET", path, query=query)))

    def get_tail(self, path: str, /) -> str:
        """Reads the end of a text that can be very long, such as a job log.

        Raises:
            CommandError: GitLab gave no usable response within the limits.
        """
        return self._request("GET", path, tail=True).content.decode("utf-8", "replace")

    def get_bytes(self, path: str, /, **query: object) -> bytes:
        """Reads bytes, such as the content of a file.

        Raises:
            CommandError: GitLab gave no usable response within the limits.
        """
        return self._request("GET", path, query=query).content

    def download(self, path: str, target: BinaryIO, check: Callable[[int], None]) -> None:
        """Downloads a file of any size, such as an archive of artifacts.

        Args:
            path: The route.
            target: The file to write to; empty.
            check: Called with the size so far before each part is written; an exception ends the
                download.

        Raises:
            CommandError: The file was not downloaded.
        """
        token = self.connection.token
        headers = {"User-Agent": str(self._api.headers["User-Agent"])}
        with self._explaining("GET", path):
            self._session.download(
                f"{self.base_url}/api/v4/{path}",
                headers | (token.headers if token else {}),
                target,
                check,
            )

    def get_all(self, path: str, /, **query: object) -> Iterator[JsonObject]:
        """Reads a list of objects; it requests each page only when the caller needs it.

        The next page is requested at the address of the first: GitLab builds its `Link` header from
        its external URL, which can be another host, so that only the query of the link is used.

        Raises:
            CommandError: GitLab gave no usable response within the limits, or the pages do not end.
        """
        page: dict[str, object] = {"per_page": PER_PAGE, **query}
        asked: list[JsonObject] = []
        content = b""
        for _ in range(MOST_PAGES):
            response = self._request("GET", path, query=page)
            yield from fields.records(_json(response))
            following = _next_page(response)
            if not following:
                return
            # A cache or a proxy that ignores the parameter returns the same page again and again.
            if following in asked or response.content == content:
                break
            asked.append(following)
            content = response.content
            page |= following
        raise UnavailableError(
            f"The pages of a list do not end ({path}).", why=NOT_GITLAB, retryable=False
        )

    def count(self, path: str, /, **query: object) -> int | None:
        """Returns how many records a list has; None if GitLab does not say it.

        Raises:
            CommandError: GitLab gave no usable response within the limits.
        """
        response = self._request("GET", path, query={"per_page": 1, **query})
        fields.records(_json(response))
        total = response.headers.get("X-Total", "")
        return int(total) if total.isascii() and total.isdigit() else None

    def write(
        self,
        method: str,
        path: str,
        body: dict[str, object],
        *,
        read: Callable[[JsonObject], T],
        find: Callable[[], T | None],
        check: str,
        second_is_refused: bool = True,
    ) -> T:
        """Changes something exactly once.

        Args:
            method: `POST` or `PUT`.
            path: The API path.
            body: What to send, as JSON.
            read: Reads the result from the response; raises `UnavailableError` if it is not there.
            find: Checks whether the write happened: returns the same result, or None.
            check: What the user should check if the outcome stays unknown.
            second_is_refused: Whether GitLab refuses the same write once it has happened.

        Returns:
            The result of `read` or `find`.

        Raises:
            CommandError: The write did not happen.
            UnavailableError: It is unknown whether the write happened.
        """
        return reconcile(
            lambda: read(fields.record(_json(self._request(method, path, body=body)))),
            find,
            backoff=Backoff(self.connection.retry_for),
            check=check,
            second_is_refused=second_is_refused,
        )

    def require_token(self) -> TokenKind:
        """Checks, before anything is sent, that there is a token.

        Raises:
            AuthError: There is no token.
        """
        if self.token_kind is None:
            raise AuthError(
                "No token was given.",
                why="No option and no variable has one, or its value is empty.",
                hint="Give --api-access-token, or pass COMMANDS_API_TOKEN on "
                "(docker run -e COMMANDS_API_TOKEN).",
            )
        return self.token_kind

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, object] | None = None,
        body: dict[str, object] | None = None,
        tail: bool = False,
    ) -> requests.Response:
        with self._explaining(method, path):
            return self._api.http_request(
                method.lower(),
                f"/{path}",
                query_data=query,
                post_data=body,
                streamed=tail,
                # The session retries: it knows which requests are safe to repeat.
                max_retries=0,
                obey_rate_limit=False,
                retry_transient_errors=False,
            )

    @contextmanager
    def _explaining(self, method: str, path: str) -> Iterator[None]:
        """Refuses a request that GitLab would treat as anonymous; explains GitLab's refusals."""
        if self.token_kind is TokenKind.JOB and not takes_job_token(method, path):
            raise AuthError(
                f"GitLab ignores a CI job token for this request ({method} {path}).",
                why="GitLab accepts job tokens only for some requests.",
                hint="Give an access token: --api-access-token or COMMANDS_API_TOKEN.",
            )
        try:
            yield
        except AuthError as error:
            raise explain_auth(error, self.connection.token, self._token_description) from error
        except (ForbiddenError, NotFoundError) as error:
            if self.token_kind is TokenKind.JOB and (since := job_token_since(method, path)):
                raise explain_ignored(error, since) from error
            if isinstance(error, NotFoundError):
                raise
            raise explain_forbidden(
                error, self.connection.token, self._token_description
            ) from error

    @functools.cached_property
    def _token_description(self) -> JsonObject | None:
        """Returns what GitLab says about the token, or None; it sends at most one request."""
        if self.token_kind not in {TokenKind.ACCESS, TokenKind.OAUTH}:
            return None
        try:
            return fields.record(
                _json(
                    self._api.http_request(
                        "get", "/personal_access_tokens/self", max_retries=0, obey_rate_limit=False
                    )
                )
            )
        except CommandError:
            return None


def _next_page(response: requests.Response) -> dict[str, object]:
    """Returns the query parameters that select the next page; empty after the last page."""
    if number := response.headers.get("X-Next-Page"):
        return {"page": number}
    try:
        address = response.links.get("next", {}).get("url", "")
        return dict(parse_qsl(urlsplit(address).query))
    except ValueError as error:
        raise UnavailableError("The address of the next page is not a URL.") from error


def _json(response: requests.Response) -> Any:
    return fields.parse(response.content, urlsplit(response.url).path)


def quoted(text: str | int) -> str:
    """Returns a path, ref or name as one URL path segment: `/` becomes `%2F`."""
    return quote(str(text), safe="")
