"""Checks that registries have the tags and digests to set, and finds the digests."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError, NotFoundError
from cicd_common.parallel import side_by_side
from cicd_common.registry.access import RegistrySettings
from cicd_common.registry.client import Repository, explained
from cicd_common.registry.logins import Logins
from cmd_bump_image_tag.image_reference import is_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cicd_common.gitlab.connection import Connection
    from cmd_bump_image_tag.image_reference import ImageReference
    from cmd_bump_image_tag.images import Update


def verify(
    updates: Sequence[Update],
    *,
    pin: bool,
    connection: Connection,
    environ: Mapping[str, str],
    insecure: tuple[str, ...] = (),
) -> tuple[Update, ...]:
    """Checks that registries have the tags and digests to set.

    Args:
        updates: The updates to make.
        pin: Whether an update without a digest gets the one found.
        connection: Time limits and the authority to trust; its token is GitLab's, and is not sent.
        environ: The environment, for the logins.
        insecure: The registries that are reached over plain HTTP, as `host[:port]`.

    Returns:
        The updates, with the digests found if they are to be pinned.

    Raises:
        CommandError: The first error that `resolve` raises.
    """
    logins = Logins(environ)
    settings = RegistrySettings(
        connection.request_timeout, connection.retry_for, connection.ca_file, insecure
    )

    def verified(update: Update) -> Update:
        reference = update.reference
        found = None
        if update.tag:
            found = resolve(replace(reference, digest=None), logins, settings)
        if update.digest:
            resolve(replace(reference, tag=None), logins, settings)
        return replace(update, digest=update.digest or found) if pin else update

    outcomes = side_by_side(updates, verified)
    for outcome in outcomes:
        if isinstance(outcome, CommandError):
            raise outcome
    return tuple(outcome for outcome in outcomes if not isinstance(outcome, CommandError))


def resolve(reference: ImageReference, logins: Logins, settings: RegistrySettings) -> str:
    """Returns the digest of an image in its registry.

    Args:
        reference: The image with its tag or, without one, with its digest.
        logins: The logins that exist.
        settings: Time limits, CA file and the registries without TLS.

    Returns:
        The digest, with its algorithm; for an image of several platforms, that of its index.

    Raises:
        NotFoundError: The registry does not have it, or does not show it.
        AuthError: The registry needs a login, or another one.
        RefusedError: The image has no digest that can be pinned.
        TimeLimitError: The registry limits requests for now.
        UnavailableError: It cannot be reached, or does not answer as a registry.
    """
    found = logins.find(reference.domain, reference.path)
    repository = Repository(reference.domain, reference.path, found, settings)
    try:
        return repository.digest_of(reference.tag or reference.digest or "")
    except NotFoundError as missing:
        raise _missing(repository, reference) from missing
    except CommandError as failure:
        raise explained(failure, repository, reference.path) from failure


def _missing(repository: Repository, reference: ImageReference) -> NotFoundError:
    """Returns the error for a missing image, with similar tags."""
    why = "The registry does not list its tags."
    try:
        tags = [tag for tag in repository.tags() if is_tag(tag)]
        near = get_close_matches(reference.tag or "", tags, n=3)
        why = f"The nearest: {', '.join(near)}." if near else "It has no similar tag."
    except NotFoundError:
        why = f"The registry has no such repository, or does not show it to {repository.who()}."
    except CommandError:  # not every registry lists its tags
        pass
    return NotFoundError(
        f"The registry {reference.domain} has no {reference.path}{reference.suffix}.",
        why=why,
        hint="Check the name and the tag, and whether the image has been pushed.",
    )
