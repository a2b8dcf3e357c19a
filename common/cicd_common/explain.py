"""Why GitLab said 401 or 403, in terms of the token in hand: its scopes, its expiry, its kind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cicd_common.errors import AuthError, CommandError, ForbiddenError
from cicd_common.tokens import Token, TokenKind

if TYPE_CHECKING:
    from collections.abc import Mapping

# What GitLab calls them: https://docs.gitlab.com/security/tokens/
WRITE_SCOPE = "api"


def explain_auth(
    error: AuthError, token: Token | None, description: Mapping[str, Any] | None
) -> AuthError:
    """Says why a 401, or a scope that is too small, happened.

    Args:
        error: What GitLab said.
        token: The credential, if any.
        description: What `/personal_access_tokens/self` tells of it, where it does.
    """
    if error.why and description is None:
        return error
    why, hint = _why_unauthorized(error.message, token, description)
    return AuthError(error.message, why=why, hint=hint, answer=error.answer)


def explain_forbidden(
    error: ForbiddenError, token: Token | None, description: Mapping[str, Any] | None
) -> CommandError:
    """Says why a 403 happened; a token without the scope to write makes it an `AuthError`.

    Args:
        error: What GitLab said.
        token: The credential, if any.
        description: What `/personal_access_tokens/self` tells of it, where it does.
    """
    if "CI/CD job token not allowed" in error.message:
        return ForbiddenError(
            error.message,
            why="The other project does not allow this project's job token.",
            hint="There, under Settings > CI/CD > Job token permissions, add this project.",
            answer=error.answer,
        )
    if permission := re.search(r"token permission is required: (\w+)", error.message):
        return ForbiddenError(
            error.message,
            why=f"This project's job token lacks the permission {permission[1]} there.",
            hint="There, under Settings > CI/CD > Job token permissions, add it.",
            answer=error.answer,
        )
    if token is not None and token.kind is TokenKind.JOB:
        why = "The person who started this job may not do it there."
        hint = "Have a Developer of the other project start the job, or use an access token."
    else:
        who = f"{_name(description)} is not allowed to" if description else "The token may not"
        why = f"{who} do this in the project: the role is too low, or a rule protects it."
        hint = "Give the token's user at least the Developer role in the project."
    return ForbiddenError(error.message, why=why, hint=hint, answer=error.answer)


def _why_unauthorized(
    message: str, token: Token | None, description: Mapping[str, Any] | None
) -> tuple[str, str]:
    if token is None:
        return (
            "No token was sent, and this needs one.",
            "Give --api-access-token, or pass COMMANDS_API_TOKEN on.",
        )
    if token.kind is TokenKind.JOB:
        return (
            "A job token is valid while its job runs, and on few routes.",
            "Use the CI_JOB_TOKEN of the running job, or an access token.",
        )
    if description is not None:
        scopes = ", ".join(map(str, description.get("scopes") or ())) or "none"
        expiry = description.get("expires_at") or "never"
        return (
            f"{_name(description)} from {token.source} has the scopes {scopes}; expiry: {expiry}.",
            f"Make one with the {WRITE_SCOPE} scope.",
        )
    if "expired" in message:
        why = f"The token from {token.source} has expired."
    elif "revoked" in message:
        why = f"The token from {token.source} was revoked."
    else:
        why = f"GitLab does not know the token from {token.source}."
    return why, f"Make a new access token with the {WRITE_SCOPE} scope."


def _name(description: Mapping[str, Any]) -> str:
    return f"The token {description.get('name')!r}"
