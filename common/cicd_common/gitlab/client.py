"""The client all commands share: python-gitlab on a safe session, with errors that explain.

Nothing above this module knows python-gitlab or requests. Paths are those below `/api/v4/`.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

import gitlab

from cicd_common import __version__
from cicd_common.errors import AuthError, CommandError, ForbiddenError, UnavailableError
from cicd_common.gitlab.connection import parse_base_url
from cicd_common.gitlab.responses import explain_auth, explain_forbidden
from cicd_common.gitlab.retry import Backoff
from cicd_common.gitlab.session import SafeSession
from cicd_common.gitlab.tokens import TokenKind, takes_job_token
from cicd_common.gitlab.writes import reconcile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from cicd_common.gitlab.connection import Connection

T = TypeVar("T")
log = logging.getLogger(__name__)

PER_PAGE = 100  # the most that GitLab gives at once


class GitLab:
    """A client for one server with one credential; safe to share between threads.

    Args:
        connection: Which server, with which credential, and how patiently.

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
        """What kind of credential this client has, if any."""
        return self.connection.token.kind if self.connection.token else None

    def get(self, path: str, /, **query: object) -> Any:
        """Reads JSON.

        Raises:
            CommandError: There was no usable answer within the limits.
        """
        return _json(self._request("GET", path, query=query))

    def get_text(self, path: str, /, **query: object) -> str:
        """Reads text, such as a job's log.

        Raises:
            CommandError: There was no usable answer within the limits.
        """
        return self.get_bytes(path, **query).decode("utf-8", "replace")

    def get_bytes(self, path: str, /, **query: object) -> bytes:
        """Reads bytes, such as a file's.

        Raises:
            CommandError: There was no usable answer within the limits.
        """
        return self._request("GET", path, query=query).content

    def get_all(self, path: str, /, **query: object) -> Iterator[Any]:
        """Reads a list, page by page as it is consumed.

        The next page is asked for at the address of the first: GitLab builds its `Link` from its
        external URL, which may be another host, so that only its query is taken over.

        Raises:
            CommandError: There was no usable answer within the limits.
        """
        page: dict[str, object] = {"per_page": PER_PAGE, **query}
        while True:
            response = self._request("GET", path, query=page)
            yield from _json(response)
            following = response.links.get("next", {}).get("url", "")
            if number := response.headers.get("X-Next-Page"):
                page["page"] = number
            elif following:
                page |= dict(parse_qsl(urlsplit(following).query))
            else:
                return

    def write(
        self,
        method: str,
        path: str,
        body: dict[str, object],
        *,
        read: Callable[[Any], T],
        find: Callable[[], T | None],
        check: str,
        second_is_refused: bool = True,
    ) -> T:
        """Changes something exactly once.

        Args:
            method: `POST` or `PUT`.
            path: The route.
            body: What to send, as JSON.
            read: Takes the result out of the answer; `UnavailableError` if it is not there.
            find: Reads whether it happened: the same result, or None.
            check: What the user should check if the outcome stays unknown.
            second_is_refused: Whether GitLab refuses the same write once it has happened.

        Returns:
            The result, as `read` or `find` gave it.

        Raises:
            CommandError: It did not happen; or, as `UnavailableError`, nobody knows.
        """
        return reconcile(
            lambda: read(_json(self._request(method, path, body=body))),
            find,
            backoff=Backoff(self.connection.retry_for),
            check=check,
            second_is_refused=second_is_refused,
        )

    def require_token(self) -> TokenKind:
        """Makes sure that there is a credential, before anything is sent.

        Raises:
            AuthError: There is none.
        """
        if self.token_kind is None:
            raise AuthError(
                "No token was given.",
                why="No option and no variable gave one, or what they gave is empty.",
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
    ) -> requests.Response:
        if self.token_kind is TokenKind.JOB and not takes_job_token(method, path):
            raise AuthError(
                f"GitLab ignores a CI job token here ({method} {path}).",
                why="The request would be anonymous; GitLab takes job tokens on few routes.",
                hint="Give an access token: --api-access-token or COMMANDS_API_TOKEN.",
            )
        try:
            return self._api.http_request(
                method.lower(),
                f"/{path}",
                query_data=query,
                post_data=body,
                # The session retries, and knows what may be sent again; python-gitlab does not.
                max_retries=0,
                obey_rate_limit=False,
                retry_transient_errors=False,
            )
        except AuthError as error:
            raise explain_auth(error, self.connection.token, self._token_description) from error
        except ForbiddenError as error:
            raise explain_forbidden(
                error, self.connection.token, self._token_description
            ) from error

    @functools.cached_property
    def _token_description(self) -> dict[str, Any] | None:
        """What GitLab tells about the token; None where it does not. Asked for at most once."""
        if self.token_kind not in {TokenKind.ACCESS, TokenKind.OAUTH}:
            return None
        try:
            answer = self._api.http_request(
                "get", "/personal_access_tokens/self", max_retries=0, obey_rate_limit=False
            ).json()
        except CommandError:
            return None
        return answer if isinstance(answer, dict) else None


def _json(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise UnavailableError(
            f"The answer is no JSON ({urlsplit(response.url).path}).",
            why="Something else than GitLab's API seems to answer at this address.",
        ) from error


def field(answer: Any, *names: str) -> Any:
    """A value deep in an answer, or an error that says what the answer lacks.

    Args:
        answer: What GitLab sent.
        names: The keys that lead to the value.

    Raises:
        UnavailableError: The answer has no such value, so that it is none of GitLab's.
    """
    value = answer
    for name in names:
        if not isinstance(value, dict) or name not in value:
            raise UnavailableError(
                f"GitLab's answer lacks {'.'.join(names)}.",
                why="Something else than GitLab's API seems to answer at this address.",
            )
        value = value[name]
    return value


def quoted(text: str | int) -> str:
    """A path, ref or name as one segment of an address: `/` becomes `%2F`."""
    return quote(str(text), safe="")
