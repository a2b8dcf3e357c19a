"""Sends all HTTP requests, with a `requests.Session` that python-gitlab can use safely.

It adds what neither library does (`docs/design.md` says which others were considered; httpx and
aiohttp have none of these guards either, and python-gitlab needs a requests session):

- every request has a time limit, from sending it to the last byte of the response, and every
  response has a size limit;
- reads, and only reads, are retried after temporary failures;
- credentials never follow a redirect to another origin, and a write is never redirected;
- netrc and cookies are not used: the given token is the only credential;
- everything except a usable response is raised as one of `cicd_common.errors`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from datetime import datetime, timedelta
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests

from cicd_common.errors import CommandError, UnavailableError
from cicd_common.gitlab import fields, retry
from cicd_common.gitlab.addresses import origin, same_origin, shown
from cicd_common.gitlab.failures import TooLargeError, failure_of, is_image_itself
from cicd_common.gitlab.responses import error_of, parse_date, read_answer
from cicd_common.gitlab.transport import (
    Adapter,
    is_loopback,
    limit_stalls,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO


log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
READS = frozenset({"GET", "HEAD"})
MOST_REDIRECTS = 5
# A page of 100 jobs has about 0.5 MB; repository files are read raw, not as JSON.
LARGEST_JSON = 32 * 2**20
LARGEST = 2**30  # an archive of a repository
LONGEST_TAIL = 2**20
TAIL = "tail"
PART = 2**16  # bytes of a download in memory


class SafeSession(requests.Session):
    """Sends requests to one GitLab server.

    Args:
        base_url: The only server that gets the token.
        request_timeout: Seconds that one request can take.
        retry_for: Seconds for which temporary failures of reads are retried.
        ca_file: A certificate authority to trust in addition to the usual ones.
    """

    def __init__(
        self,
        base_url: str,
        *,
        request_timeout: float,
        retry_for: float,
        ca_file: Path | None = None,
    ) -> None:
        super().__init__()
        self.base_url = base_url
        self.retry_for = retry_for
        self.timeouts = (min(CONNECT_TIMEOUT, request_timeout), request_timeout)
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._ahead = timedelta()
        self._was_reached = False
        adapter = Adapter(ca_file)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def now(self) -> datetime:
        """Returns the time in the `Date` of the last response; before the first, this machine's."""
        return retry.CLOCK.time() + self._ahead

    def merge_environment_settings(self, url: Any, *arguments: Any, **settings: Any) -> Any:
        """Reads proxies and CA files from the environment; loopback addresses use no proxy."""
        merged = super().merge_environment_settings(url, *arguments, **settings)
        if is_loopback(urlsplit(_text(url)).hostname or ""):
            merged["proxies"] = {}
        return merged

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        """Yields nothing: `_follow` handles redirects; `requests` would parse each address."""
        return iter(())

    def request(  # type: ignore[override] # the other arguments are passed on
        self, method: str | bytes, url: str | bytes, **options: Any
    ) -> requests.Response:
        """Sends one request; a read is retried while `retry_for` lasts.

        Args:
            method: The HTTP method.
            url: The address; an origin other than the base URL's is a bug and is refused.
            options: The arguments of `requests.Session.request`, without timeouts and redirects.

        Returns:
            A 2xx response whose body is complete.

        Raises:
            CommandError: There is no such response.
        """
        verb, address = _text(method).upper(), _text(url)
        if not same_origin(address, self.base_url):
            raise UnavailableError(
                f"A request to {shown(address)} was stopped.",
                sent=False,
                retryable=False,
                why=f"Credentials are sent only to {origin(self.base_url)}.",
            )
        # python-gitlab asks for a stream when only the end is wanted, such as of a log.
        stream = TAIL if options.get("stream") else True
        options |= {"timeout": self.timeouts, "allow_redirects": False, "stream": stream}
        # Without this no-op, requests would search ~/.netrc for other credentials.
        options["auth"] = options.get("auth") or _anonymous
        if verb not in READS:
            return self._send_once(verb, address, options)
        return retry.retry(
            lambda: self._follow(verb, address, options), retry.Backoff(self.retry_for)
        )

    def _follow(self, verb: str, url: str, options: dict[str, Any]) -> requests.Response:
        """Sends a read, and follows redirects within the same origin."""
        for _ in range(MOST_REDIRECTS):
            response = self._send_once(verb, url, options)
            if not response.is_redirect:
                return response
            url = urljoin(url, response.headers["Location"])
            options = options | {"params": None}  # the new address has its own query
        raise UnavailableError(f"{origin(self.base_url)} redirects in a loop.", retryable=False)

    def _send_once(self, verb: str, url: str, options: dict[str, Any]) -> requests.Response:
        request = f"{verb} {urlsplit(url).path}"
        started = time.monotonic()
        try:
            response = super().request(verb, url, **options)
            _read_body(response, tail=options["stream"] is TAIL)
        except (OSError, ValueError) as error:  # requests.RequestException is an OSError
            log.debug("%s failed after %.0f ms: %s", request, _ms(started), type(error).__name__)
            failure = failure_of(error, request, self.base_url, self.timeouts[1])
            if not self._was_reached and is_image_itself(failure, self.base_url):
                failure.retryable = False
            raise failure from error
        self._was_reached = True
        log.debug("%s %d %.0f ms", request, response.status_code, _ms(started))
        self._note_time(response)
        if response.is_redirect:
            self._guard_redirect(verb, url, response)
        elif response.status_code // 100 != 2:  # noqa: PLR2004 - 2xx
            raise error_of(read_answer(response), request)
        elif _is_nonsense(response):
            raise UnavailableError(
                f"The response is not JSON that an API would send ({request}).",
                why="A proxy, a login page or another server seems to be at this address.",
                hint=f"Check --base-url: {self.base_url}",
                answer=read_answer(response),
            )
        return response

    def _guard_redirect(self, verb: str, url: str, response: requests.Response) -> None:
        """Allows a read to be redirected within its origin; raises an error for other redirects."""
        target = response.headers["Location"]
        with contextlib.suppress(ValueError):  # otherwise it is not a URL
            target = urljoin(url, target)
        if verb in READS and same_origin(target, self.base_url):
            return
        raise UnavailableError(
            f"{origin(self.base_url)} redirects to {shown(target)} ({verb}).",
            sent=False,
            retryable=False,
            why="Credentials are not sent to another address, and a write is not redirected.",
            hint="If you trust the new address, give it as --base-url.",
            answer=read_answer(response),
        )

    def download(
        self, url: str, headers: dict[str, str], target: BinaryIO, check: Callable[[int], None]
    ) -> None:
        """Downloads a file of any size; after a lost connection continues it, or begins again.

        One redirect, such as to an object storage, is followed without `headers`. The time of
        `retry_for` starts again whenever a part has arrived.

        Args:
            url: The file's address on the base URL's server.
            headers: The headers for that server alone, such as the credential.
            target: The file to write to; empty.
            check: Called with the size so far before each part is written; an exception ends the
                download.

        Raises:
            CommandError: The file was not downloaded.
        """
        backoff = retry.Backoff(self.retry_for)
        while True:
            size = target.tell()
            try:
                self._download_once(url, headers, target, check)
            except CommandError as failure:
                if not failure.retryable:
                    raise
                if target.tell() > size:
                    backoff = retry.Backoff(self.retry_for)
                backoff.wait(failure)
            else:
                return

    def _download_once(
        self, url: str, headers: dict[str, str], target: BinaryIO, check: Callable[[int], None]
    ) -> None:
        plain = {"Accept-Encoding": "identity"}
        if size := target.tell():
            plain["Range"] = f"bytes={size}-"
        response = self._open(url, plain | headers)
        if response.is_redirect:
            response.close()
            self._note_time(response)
            url = _storage_address(url, response.headers["Location"])
            response = self._open(url, plain)
            if response.status_code // 100 != 2:  # noqa: PLR2004 - 2xx
                response.close()
                if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    _start_over(target)
                # Its own text can contain the signature. A new redirect has a new signature.
                raise UnavailableError(
                    f"The storage of files, {origin(url)}, answered {response.status_code}.",
                    hint="See the object storage's settings and logs.",
                )
        with contextlib.closing(response):
            limit_stalls(response, self.timeouts[1])
            try:
                self._save(response, target, check)
            except (OSError, ValueError) as error:
                if not isinstance(error, requests.RequestException):
                    raise  # an error of the disk
                raise failure_of(error, _request_line(url), url, self.timeouts[1]) from error

    def _open(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Sends one GET with no credential but those in the headers; does not read the body."""
        started = time.monotonic()
        try:
            response = super().request(
                "GET",
                url,
                headers=headers,
                auth=_anonymous,
                timeout=self.timeouts,
                allow_redirects=False,
                stream=True,
            )
        except (OSError, ValueError) as error:
            raise failure_of(error, _request_line(url), url, self.timeouts[1]) from error
        log.debug("%s %d %.0f ms", _request_line(url), response.status_code, _ms(started))
        return response

    def _save(
        self, response: requests.Response, target: BinaryIO, check: Callable[[int], None]
    ) -> None:
        kind = response.headers.get("Content-Type", "").lower()
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _start_over(target)
            raise UnavailableError(f"{origin(response.url)} does not have the rest of the file.")
        if response.status_code // 100 != 2:  # noqa: PLR2004 - 2xx
            _read_body(response, tail=False)
            raise error_of(read_answer(response), _request_line(response.url))
        if "html" in kind or "json" in kind:
            raise UnavailableError(
                f"The answer is not a file ({_request_line(response.url)}).",
                why="A proxy, a login page or another server seems to be at this address.",
            )
        place = response.headers.get("Content-Range", "")
        if response.status_code != HTTPStatus.PARTIAL_CONTENT or not place.startswith(
            f"bytes {target.tell()}-"
        ):
            _start_over(target)
        if response.status_code == HTTPStatus.PARTIAL_CONTENT and not target.tell():
            raise UnavailableError(f"{origin(response.url)} sent another part of the file.")
        for part in response.iter_content(PART):
            check(target.tell() + len(part))
            target.write(part)

    def _note_time(self, response: requests.Response) -> None:
        # A response from a cache has the time at which it was stored.
        date = parse_date(response.headers.get("Date"))
        if date is not None and "Age" not in response.headers:
            self._ahead = date - retry.CLOCK.time()


def _request_line(url: str) -> str:
    """Returns a GET for messages, without the query, which can contain a signature."""
    return f"GET {urlsplit(url).path}"


def _start_over(target: BinaryIO) -> None:
    target.seek(0)
    target.truncate()


def _storage_address(url: str, location: str) -> str:
    """Returns the address that a download is redirected to; http only if the server uses it."""
    try:
        address = urljoin(url, location)
        parts = urlsplit(address)
        is_allowed = bool(parts.hostname) and parts.scheme in {"https", urlsplit(url).scheme}
    except ValueError:
        address, is_allowed = location, False
    if not is_allowed:
        raise UnavailableError(
            f"{origin(url)} redirects a download to {shown(address)}.",
            retryable=False,
            why="A download is redirected to https addresses only.",
            hint="Have the administrator check the object storage's settings.",
        )
    return address


class _Bounded:
    """Reads a response body as it arrives, and stops with an error if it is too large."""

    def __init__(self, raw: Any, most: int) -> None:
        self._raw = raw
        self._most = most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amount: int, *, decode_content: bool) -> Iterator[bytes]:
        """Yields the parts of the body; `requests` calls this to read it."""
        size = 0
        for part in self._raw.stream(amount, decode_content=decode_content):
            size += len(part)
            if size > self._most:
                raise TooLargeError(f"its response is larger than {self._most // 2**20} MB")
            yield part


class _Tail(_Bounded):
    """Reads a response body, and keeps only its end."""

    def stream(self, amount: int, *, decode_content: bool) -> Iterator[bytes]:
        """Yields the end of the body; `requests` calls this to read it."""
        end = b""
        for part in self._raw.stream(amount, decode_content=decode_content):
            end = (end + part)[-self._most :]
        yield end


def _read_body(response: requests.Response, *, tail: bool) -> None:
    kind = response.headers.get("Content-Type", "").lower()
    is_short = not response.ok or "json" in kind or "html" in kind
    if tail and not is_short:
        response.raw = _Tail(response.raw, LONGEST_TAIL)
    else:
        response.raw = _Bounded(response.raw, LARGEST_JSON if is_short else LARGEST)
    try:
        response.content  # noqa: B018 - reads and keeps it
    except BaseException:
        response.close()
        raise


def _is_nonsense(response: requests.Response) -> bool:
    """Returns whether a 2xx is not an API response: an HTML page, or JSON that is not complete."""
    kind = response.headers.get("Content-Type", "").lower()
    if response.request.method == "HEAD":  # it has no body
        return False
    if "html" in kind:
        return True
    if "json" not in kind:
        return False
    try:
        fields.parse(response.content, response.url)
    except UnavailableError:
        return True
    return False


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def _ms(started: float) -> float:
    return (time.monotonic() - started) * 1000
