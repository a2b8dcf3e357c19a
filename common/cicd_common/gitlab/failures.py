"""Says why an exchange with a server failed, and whether the server can have the request."""

from __future__ import annotations

import re
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import LocationValueError, ProxyError

from cicd_common.errors import UnavailableError, UsageError
from cicd_common.gitlab.addresses import origin, shown
from cicd_common.gitlab.responses import is_temporary
from cicd_common.gitlab.transport import causes, is_loopback, proxy_for, was_never_sent

# Raised by requests and urllib3 before they connect; a SOCKS proxy needs another library.
BAD_ADDRESS = (
    LocationValueError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
)
# Docker and Podman make these files: https://docs.podman.io/en/latest/markdown/podman-run.1.html
CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))
IMAGE_PREFIX = "/opt/ci-cd-commands"  # the folder of Python in our images: dockerfiles/Dockerfile
NO_TLS_WHY = "The server, or the proxy, at this port does not use TLS."
# OpenSSL's names of a response in plain HTTP, in different versions.
NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})


class TooLargeError(requests.RequestException):
    """Reports that a response is too large."""


def failure_of(
    error: Exception, request: str, base_url: str, limit: float
) -> UnavailableError | UsageError:
    """Returns the error of a failed exchange, which says whether GitLab can have the request."""
    where = origin(base_url)
    inner = list(causes(error))
    if was_never_sent(error) or isinstance(error, requests.ConnectTimeout):
        return _unreachable(inner, request, base_url)
    if any(isinstance(each, (requests.Timeout, TimeoutError)) for each in inner):
        return UnavailableError(
            f"{where} did not respond within {limit:g} s ({request})",
            hint="Allow more with --request-timeout, or check the server's load.",
        )
    if isinstance(error, TooLargeError):
        return UnavailableError(f"{where} cannot be used: {error} ({request})", retryable=False)
    if any(isinstance(each, BAD_ADDRESS) for each in inner):
        # The text holds the address, maybe with a password.
        return UnavailableError(
            f"The address of {where}, or of the proxy before it, cannot be used ({request})",
            sent=False,
            retryable=False,
            hint="Check --base-url, HTTPS_PROXY and HTTP_PROXY.",
        )
    if type(error) is OSError:  # from requests: the CA bundle is missing
        return UsageError(str(error), hint="Check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.")
    return UnavailableError(f"The connection to {where} was lost: {_words(inner)} ({request})")


def _unreachable(inner: list[BaseException], request: str, base_url: str) -> UnavailableError:
    """Returns the error of a connection that could not be made."""
    where, root = origin(base_url), _words(inner)
    if tls := next((each for each in inner if isinstance(each, ssl.SSLError)), None):
        why, hint = _explain_tls(tls, where)
        return UnavailableError(
            f"The TLS connection to {where} failed: {root} ({request})",
            sent=False,
            retryable=isinstance(tls, ssl.SSLEOFError),
            why=why,
            hint=hint,
        )
    if any(isinstance(each, ProxyError) for each in inner):
        proxy = shown(proxy_for(base_url) or "")
        refused = re.search(r"Tunnel connection failed: (\d+)", str(inner[-1]))
        return UnavailableError(
            f"{where} cannot be reached by the proxy {proxy}: {root} ({request})",
            sent=False,
            retryable=refused is None or is_temporary(int(refused[1])),
            hint="Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY.",
        )
    hint = "Check --base-url, the network and the proxy settings."
    if is_loopback(urlsplit(base_url).hostname or "") and any(map(Path.exists, CONTAINER_FILES)):
        root = f"{root}; in a container, this address is the container itself"
        hint = "Give the host's address in --base-url, or run the container with --network host."
    return UnavailableError(f"{where} cannot be reached: {root} ({request})", sent=False, hint=hint)


def is_image_itself(failure: UnavailableError | UsageError, base_url: str) -> bool:
    """Returns whether one of our images gets no response from itself: no GitLab will run there."""
    return (
        isinstance(failure, UnavailableError)
        and not failure.sent
        and sys.prefix == IMAGE_PREFIX
        and is_loopback(urlsplit(base_url).hostname or "")
    )


def _explain_tls(error: ssl.SSLError, where: str) -> tuple[str, str]:
    """Returns why there is no TLS connection, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "Its certificate is from an unknown authority, or for another host name.",
            "Give the authority's certificate with --ca-file.",
        )
    if error.reason in NO_TLS:
        return (
            NO_TLS_WHY,
            f"Check the port, or give --base-url {where.replace('https://', 'http://')}",
        )
    return (
        "The server, or a proxy in front of it, does not use TLS as expected.",
        "Check the scheme and the port in --base-url.",
    )


def _words(inner: list[BaseException]) -> str:
    """Returns the innermost reason, which says more than the others, without credentials."""
    root = inner[-1]
    words = getattr(root, "strerror", None) or str(root).split(": ", 1)[-1] or type(root).__name__
    return re.sub(r"//[^/@\s]*@", "//", words)
