"""Compares addresses, and makes them safe to show."""

from __future__ import annotations

from urllib.parse import urlsplit

from cicd_common import cleaning

LONGEST_ADDRESS = 200  # in a message


def origin(url: str) -> str:
    """Returns `scheme://host:port` of a URL, in lower case, without a default port."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:  # IPv6
        host = f"[{host}]"
    port = parts.port
    if port is None or port == {"http": 80, "https": 443}.get(parts.scheme):
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{port}"


def same_origin(url: str, other: str) -> bool:
    """Returns whether two URLs have the same scheme, host and port (RFC 6454)."""
    try:
        return origin(url) == origin(other)
    except ValueError:  # one of them is not a URL
        return False


def shown(url: str) -> str:
    """Returns an address that is safe to print: without credentials and query, on one line."""
    return cleaning.without_credentials(url)[:LONGEST_ADDRESS]
