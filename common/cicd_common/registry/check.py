"""Checks that a registry accepts a login, as `docker login` does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cicd_common.errors import (
    AuthError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    TimeLimitError,
    UnavailableError,
)
from cicd_common.registry.access import (
    RegistrySettings,
    as_refusal,
    base_url,
    basic,
    challenges_of,
    fetch_token,
    first,
    of_registry,
)

if TYPE_CHECKING:
    import requests

    from cicd_common.gitlab.session import SafeSession
    from cicd_common.registry.challenges import Challenge
    from cicd_common.registry.logins import Login

_NO_REGISTRY = "It responds, but not as a registry does."


class _NotARegistryError(UnavailableError):
    """Reports that a server is not a registry.

    Args:
        registry: `host[:port]`.
        why: What shows it.
    """

    def __init__(self, registry: str, why: str) -> None:
        super().__init__(
            f"{registry} is not a container registry.",
            why=why,
            hint="Name the registry as host[:port], as images are named.",
            retryable=False,
        )


def check_login(registry: str, login: Login, settings: RegistrySettings) -> bool:
    """Checks that a registry accepts a login, without changing anything.

    Args:
        registry: `host[:port]`.
        login: The login.
        settings: The settings for requests.

    Returns:
        True if the login was checked; False if the registry's root asks for no login.

    Raises:
        AuthError: The registry refuses the login.
        ForbiddenError: The same, without asking for another login.
        TimeLimitError: The registry accepts no more requests for now.
        UnavailableError: The registry cannot be reached, is busy, or is not a registry.
    """
    insecure = settings.is_insecure(registry)
    root = f"{base_url(registry, insecure=insecure)}/v2/"
    session = settings.session(root)
    try:
        challenges = _read_challenges(session, root, registry)
        if challenges is None:
            return False
        bearer = first(challenges, "bearer")
        if bearer is not None:
            auth: Any = fetch_token(
                bearer, login, None, settings, insecure=insecure, registry=registry
            )
        else:
            auth = _password(challenges, login, registry)
        _send_login(session, root, registry, auth)
    except _NotARegistryError:
        raise
    except (TimeLimitError, UnavailableError) as failure:
        raise of_registry(failure, registry) from failure
    return True


def _read_challenges(session: SafeSession, root: str, registry: str) -> list[Challenge] | None:
    """Returns how the registry's root asks for a login; None if it asks for none.

    Raises:
        CommandError: There is no registry, or it cannot be reached.
    """
    try:
        answer = session.request("GET", root)
    except AuthError as refusal:
        return challenges_of(refusal.answer)
    except (NotFoundError, ForbiddenError, RefusedError) as error:
        raise _NotARegistryError(registry, error.message) from error
    if not _is_registry(answer):
        raise _NotARegistryError(registry, _NO_REGISTRY)
    return None


def _password(challenges: list[Challenge], login: Login, registry: str) -> tuple[bytes, bytes]:
    """Returns the login for a registry without a token service.

    Raises:
        UnavailableError: The registry does not ask for a password, or the login is an identity
            token.
    """
    if first(challenges, "basic") and not login.is_identity_token:
        return basic(login)
    raise _NotARegistryError(registry, "It asks for no login that container tools support.")


def _send_login(session: SafeSession, root: str, registry: str, auth: Any) -> None:
    """Requests the registry's root with a login.

    Raises:
        CommandError: The login is refused, there is no registry, or it cannot be reached.
    """
    try:
        answer = session.request("GET", root, auth=auth)
    except NotFoundError as error:
        raise _NotARegistryError(registry, error.message) from error
    except UnavailableError as failure:
        raise as_refusal(failure) from failure
    if not _is_registry(answer):
        raise _NotARegistryError(registry, _NO_REGISTRY)


def _is_registry(answer: requests.Response) -> bool:
    """Returns whether a 2xx of /v2/ is from a registry, which its header or its JSON shows."""
    if "Docker-Distribution-Api-Version" in answer.headers:
        return True
    kind = answer.headers.get("Content-Type", "").lower()
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        return False
    return "json" in kind and isinstance(body, dict) and "errors" not in body
