"""The one place where HTTP happens: a `requests.Session` that is safe to hand to python-gitlab.

What it adds, because neither library does it (see `docs/design.md`):

- every request has a time limit;
- reads, and only reads, are tried again after failures that may pass;
- credentials never follow a redirect to another origin, and a write is never redirected;
- netrc and cookies play no part: the token given is the only credential;
- whatever is not a usable answer is raised as one of `cicd_common.errors`.
"""

from __future__ import annotations

import logging
import time
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.exceptions import NewConnectionError, ProxyError
from urllib3.util import create_urllib3_context

from cicd_common.errors import UnavailableError, UsageError
from cicd_common.gitlab import fields
from cicd_common.gitlab.responses import error_of, read_answer
from cicd_common.gitlab.retry import Backoff, retry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLContext


log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
READS = frozenset({"GET", "HEAD"})
MOST_REDIRECTS = 5
# As many as the most projects handled side by side: a few dozen of them take one round, not two.
POOL_SIZE = 32


class SafeSession(requests.Session):
    """A session for one GitLab server.

    Args:
        base_url: The server that may get the credentials.
        request_timeout: Seconds that one request may take.
        retry_for: Seconds that failures of reads are ridden out.
        ca_file: A certificate authority to trust beside the usual ones.
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
        adapter = Adapter(ca_file)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def request(  # type: ignore[override] # the rest of the signature passes through unseen
        self, method: str | bytes, url: str | bytes, **options: Any
    ) -> requests.Response:
        """Sends one request; a read is tried again while `retry_for` lasts.

        Args:
            method: The HTTP method.
            url: Where to; another origin than the base URL's is a bug, and refused.
            options: What `requests.Session.request` takes; timeouts and redirects are set here.

        Returns:
            An answer of 2xx whose body arrived whole.

        Raises:
            CommandError: There is no such answer.
        """
        verb, address = _text(method).upper(), _text(url)
        if not same_origin(address, self.base_url):
            raise UnavailableError(
                f"A request to {origin(address)} was stopped.",
                sent=False,
                retryable=False,
                why=f"Credentials are for {origin(self.base_url)} alone.",
            )
        options |= {"timeout": self.timeouts, "allow_redirects": False, "stream": True}
        # An explicit no-op keeps requests from looking for other credentials in ~/.netrc.
        options["auth"] = options.get("auth") or _anonymous
        if verb not in READS:
            return self._send_once(verb, address, options)
        return retry(lambda: self._follow(verb, address, options), Backoff(self.retry_for))

    def _follow(self, verb: str, url: str, options: dict[str, Any]) -> requests.Response:
        """Sends a read, and follows where it is redirected within the same origin."""
        for _ in range(MOST_REDIRECTS):
            response = self._send_once(verb, url, options)
            if not response.is_redirect:
                return response
            url = urljoin(url, response.headers["Location"])
            options = options | {"params": None}  # the new address has its own
        raise UnavailableError(f"{origin(self.base_url)} redirects in circles.", retryable=False)

    def _send_once(self, verb: str, url: str, options: dict[str, Any]) -> requests.Response:
        request = f"{verb} {urlsplit(url).path}"
        started = time.monotonic()
        try:
            response = super().request(verb, url, **options)
            _read_body(response, started + self.timeouts[1])
        except (requests.RequestException, ValueError) as error:  # ValueError: a broken Location
            log.debug("%s failed after %.0f ms: %s", request, _ms(started), type(error).__name__)
            raise _failure(error, request, self.base_url, self.timeouts[1]) from error
        log.debug("%s %d %.0f ms", request, response.status_code, _ms(started))
        if response.is_redirect:
            self._guard_redirect(verb, url, response)
        elif response.status_code // 100 != 2:  # noqa: PLR2004 - 2xx
            raise error_of(read_answer(response), request)
        elif _is_nonsense(response):
            raise UnavailableError(
                f"The answer is no JSON that an API would send ({request}).",
                why="A proxy, a login page or another server seems to stand at this address.",
                hint=f"Check --base-url: {self.base_url}",
            )
        return response

    def _guard_redirect(self, verb: str, url: str, response: requests.Response) -> None:
        """Lets a read stay within its origin; refuses everything else by name."""
        target = urljoin(url, response.headers["Location"])
        if verb in READS and same_origin(target, self.base_url):
            return
        raise UnavailableError(
            f"{origin(self.base_url)} redirects to {target.split('?', 1)[0]} ({verb}).",
            sent=False,
            retryable=False,
            why="A redirect is not followed with credentials to another address, nor with a write.",
            hint="If you trust the new address, give it as --base-url.",
            answer=read_answer(response),
        )


class Adapter(HTTPAdapter):
    """Trusts one more certificate authority beside the usual ones.

    Args:
        ca_file: Its certificates; None for the usual ones alone.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        super().__init__(pool_maxsize=POOL_SIZE)

    def _context(self) -> dict[str, Any]:
        return {} if self._ca_file is None else {"ssl_context": context_with(self._ca_file)}

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Makes the connections' pool; what `HTTPAdapter` calls."""
        super().init_poolmanager(*args, **(options | self._context()))

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Makes the pool of those by a proxy; what `HTTPAdapter` calls."""
        return super().proxy_manager_for(proxy, **(options | self._context()))


def origin(url: str) -> str:
    """`scheme://host:port` of a URL, in lower case, a scheme's own port left out."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port
    if port is None or port == {"http": 80, "https": 443}.get(parts.scheme):
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{port}"


def same_origin(url: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port (RFC 6454)."""
    try:
        return origin(url) == origin(other)
    except ValueError:  # one of them is no URL
        return False


class _Timed:
    """A response's body, read as it arrives and given up at a deadline.

    The timeout of a socket starts anew with every byte, so that a server that drips would hold
    the command for ever.
    """

    def __init__(self, raw: Any, deadline: float) -> None:
        self._raw = raw
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amount: int, *, decode_content: bool) -> Iterator[bytes]:
        """The body's parts; what `requests` reads a body by."""
        while part := self._raw.read1(amount, decode_content=decode_content):
            if time.monotonic() > self._deadline:
                self._raw.close()
                raise requests.ReadTimeout("the body took too long")
            yield part


def _read_body(response: requests.Response, deadline: float) -> None:
    response.raw = _Timed(response.raw, deadline)
    try:
        response.content  # noqa: B018 - reads and keeps it
    except BaseException:
        response.close()
        raise


def _failure(error: Exception, request: str, base_url: str, limit: float) -> UnavailableError:
    """What a failed exchange means: what happened, and whether GitLab may have got the request."""
    where = origin(base_url)
    if isinstance(error, requests.exceptions.SSLError):
        return UnavailableError(
            f"The TLS connection to {where} failed: {_root(error)} ({request})",
            sent=False,
            retryable=False,
            why="Its certificate is from an authority unknown here, or for another name.",
            hint="Give the authority's certificate with --ca-file.",
        )
    if _was_not_sent(error):
        return UnavailableError(
            f"{where} cannot be reached: {_root(error)} ({request})",
            sent=False,
            hint="Check --base-url, the network and the proxy settings.",
        )
    if isinstance(error, requests.Timeout):
        return UnavailableError(
            f"{where} did not answer within {limit:g} s ({request})",
            hint="Allow more with --request-timeout, or look at the server's load.",
        )
    return UnavailableError(f"{where} broke off: {_root(error)} ({request})")


def _was_not_sent(error: Exception) -> bool:
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.ProxyError)):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, (NewConnectionError, ProxyError))


def _root(error: BaseException) -> str:
    """The innermost reason, which says more than the layers around it."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (arg for arg in reversed(error.args) if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException) or inner is error:
            break
        error = inner
    return getattr(error, "strerror", None) or str(error).split(": ", 1)[-1] or type(error).__name__


def _is_nonsense(response: requests.Response) -> bool:
    """Whether a 2xx is no answer of an API: an HTML page, or JSON that is cut or broken."""
    kind = response.headers.get("Content-Type", "").lower()
    if "html" in kind:
        return True
    if "json" not in kind or response.request.method == "HEAD":  # which has no body
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


def context_with(ca_file: Path | None) -> SSLContext:
    """A TLS context that trusts one authority alone, for a session that adds the usual ones.

    Args:
        ca_file: Its certificates in PEM form; None trusts nobody yet.

    Raises:
        UsageError: The file holds none.
    """
    context = create_urllib3_context()
    if ca_file is None:
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"{ca_file} cannot be used as a certificate authority: {error}",
            hint="--ca-file takes a file of certificates in PEM form.",
        ) from error
    return context


def whole_context(url: str, ca_file: Path | None) -> SSLContext:
    """A TLS context that trusts whom a session trusts, `REQUESTS_CA_BUNDLE` included.

    Args:
        url: Where to.
        ca_file: A certificate authority to trust beside the usual ones.

    Raises:
        UsageError: The file holds none.
        OSError: The usual ones cannot be read.
    """
    context = context_with(ca_file)
    bundle = requests.Session().merge_environment_settings(url, {}, None, None, None)["verify"]
    usual = Path(bundle if isinstance(bundle, str) else DEFAULT_CA_BUNDLE_PATH)
    if usual.is_dir():
        context.load_verify_locations(capath=usual)
    else:
        context.load_verify_locations(cafile=usual)
    return context


def proxy_for(url: str) -> str | None:
    """The proxy that a session takes to a URL, by the usual environment variables."""
    settings = requests.Session().merge_environment_settings(url, {}, None, None, None)
    return select_proxy(url, settings["proxies"])
