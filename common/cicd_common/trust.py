"""Whom to trust and by which way to go: the same for requests and for GitLab's push."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.util import create_urllib3_context

from cicd_common.errors import UsageError

if TYPE_CHECKING:
    from ssl import SSLContext


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
