"""Cleans text for output, files and commit messages of secrets and control characters.

Every output of the commands passes through here as its last step. This is the second guard: the
first is that no message contains a secret, or unchanged text from another system.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# GitLab's tokens have 20 or more characters; replacing short texts would garble the output.
SHORTEST_SECRET = 8
HIDDEN = "[hidden]"

# Variables that hold a secret, whether this command uses it or not.
SECRET_VARIABLES = (
    "COMMANDS_API_TOKEN",
    "GITLAB_TOKEN",
    "CI_JOB_TOKEN",
    "TRIGGER_TOKEN",
    "CI_REGISTRY_PASSWORD",
    "CI_DEPLOY_PASSWORD",
    "CI_DEPENDENCY_PROXY_PASSWORD",
)
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")

_spellings: set[str] = set()


def hide(secret: str) -> None:
    """Hides a secret in everything that this process writes from now on.

    Args:
        secret: The secret; its URL-encoded, base64 and JSON-escaped forms are hidden too. A secret
            shorter than `SHORTEST_SECRET` characters is not hidden.
    """
    if len(secret) >= SHORTEST_SECRET:
        _spellings.update(_spellings_of(secret))


def hide_those_of(environment: Mapping[str, str]) -> None:
    """Hides the secrets in the environment of a GitLab job, including those not used here.

    Args:
        environment: The environment variables.
    """
    for name, value in environment.items():
        if name.upper() in SECRET_VARIABLES or name.lower() in PROXY_VARIABLES:
            hide(_password_of(value) if "://" in value else value)


def forget() -> None:
    """Forgets all hidden secrets; for tests, which share a process."""
    _spellings.clear()


def redacted(text: str) -> str:
    """Replaces every hidden secret in a text with `[hidden]`."""
    for spelling in sorted(_spellings, key=len, reverse=True):
        text = text.replace(spelling, HIDDEN)
    return text


def one_line(text: str) -> str:
    """Makes a text from another system safe to show: on one line, without secrets or controls.

    Control characters, escape sequences and marks that change the writing direction could hide or
    change what the user sees. Each is replaced with `?`, as `ls -q` does.
    """
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in redacted(text))


def lines(text: str) -> str:
    """Makes a text of several lines safe to show; it keeps line ends and tabs."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in redacted(text))


def without_credentials(address: str) -> str:
    """Makes an address safe to show: removes user name, password, query and fragment.

    It accepts any text, because an error also shows an address that cannot be parsed.

    Args:
        address: An address in any form: a URL, or `user@host:path`.
    """
    address = re.split(r"[?#]", address, maxsplit=1)[0]
    return one_line(re.sub(r"^((?:[a-z0-9+.-]*:)*/*)[^/]*@", r"\1", address, flags=re.IGNORECASE))


def _password_of(address: str) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415 - slow to import; --help does not need it

    try:
        return urlsplit(address).password or ""
    except ValueError:
        return address


def _spellings_of(secret: str) -> set[str]:
    # Slow to import, and --help does not need them.
    import json  # noqa: PLC0415
    from urllib.parse import quote, quote_plus  # noqa: PLC0415

    spellings = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    }
    return spellings | _base64_spellings(secret.encode("utf-8", "surrogateescape"))


def _base64_spellings(secret: bytes) -> set[str]:
    """Returns the base64 characters that depend on the secret alone, for all three alignments.

    A secret is usually encoded with other text, such as the `user:` of Basic authentication.
    """
    import base64  # noqa: PLC0415

    spellings = set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret)
        first = -(-before * 8 // 6)  # the first character without a bit of the text before
        whole = (before + len(secret)) * 8 // 6  # the end of those without a bit of the text after
        text = encoded[first:whole].decode()
        spellings |= {text, text.replace("+", "-").replace("/", "_")}
    return {spelling for spelling in spellings if len(spelling) >= SHORTEST_SECRET}
