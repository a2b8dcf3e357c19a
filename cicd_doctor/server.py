"""What concerns the server and the token, whatever the project."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cicd_common.errors import AuthError
from cicd_common.gitlab import fields
from cicd_doctor.model import not_applicable, passed, warning

if TYPE_CHECKING:
    from cicd_doctor.facts import TokenFacts
    from cicd_doctor.model import Opinion

SOON = 30  # days
# How GitLab names the users of such tokens: https://docs.gitlab.com/user/project/settings/
# project_access_tokens/#bot-users-for-projects, and the same for groups and service accounts.
_KINDS = (
    (re.compile(r"project_\d+_bot"), "project access token"),
    (re.compile(r"group_\d+_bot"), "group access token"),
    (re.compile(r"service_account"), "service account's access token"),
)


def check_server(token: TokenFacts) -> Opinion:
    """Whether GitLab answers, and which version."""
    where = token.gitlab.base_url
    try:
        answer = token.gitlab.get("job" if token.is_job_token else "version")
    except AuthError:  # whoever says so is a GitLab; the next check tells about the token
        return passed(f"{where} answers.")
    if token.is_job_token:
        return passed(f"{where} answers; it tells its version to access tokens alone.")
    return passed(f"GitLab {fields.text(answer, 'version')} at {where}")


def check_token(token: TokenFacts) -> Opinion:
    """Whether the token is one that GitLab takes, and of which kind."""
    token.gitlab.require_token()
    credential = token.gitlab.connection.token
    source = f"from {credential.source}" if credential else ""
    if token.is_job_token:
        job = fields.number(token.job, "id")
        return passed(
            f"CI job token {source} of job {job}, of {fields.text(token.user, 'username')}"
        )
    if token.description is None:
        return passed(f"access token {source} of {fields.text(token.user, 'username')}")
    name = fields.optional_text(token.description, "name")
    try:
        user = fields.text(token.user, "username")
    except AuthError:  # its scopes do not reach as far, which the next check says
        return passed(f"access token {name!r} {source}")
    kind = next((kind for pattern, kind in _KINDS if pattern.match(user)), "personal access token")
    return passed(f"{kind} {name!r} {source}, of {user}")


def check_scopes(token: TokenFacts) -> Opinion:
    """Whether the token's scopes do."""
    if token.is_job_token:
        return not_applicable("A job token has none: it tags by releases, triggers, and reads.")
    if token.description is None:
        return not_applicable("GitLab does not tell the scopes of this token.")
    scopes = fields.texts(token.description, "scopes")
    if "api" in scopes:
        return passed(", ".join(scopes))
    raise AuthError(
        f"The token has {', '.join(scopes) or 'no scope'}, not api.",
        why="read_api is enough for cmd-wait-pipeline alone; every change needs api.",
        hint="Make a token with the scope api.",
    )


def check_expiry(token: TokenFacts) -> Opinion:
    """Whether the token lasts."""
    if token.is_job_token:
        return not_applicable("A job token ends with its job.")
    if token.description is None:
        return not_applicable("GitLab does not tell when this token expires.")
    last = fields.optional_time(token.description, "expires_at")
    if last is None:
        return passed("never expires")
    expires_at = last.date()
    left = (expires_at - token.gitlab.now().date()).days
    if left < SOON:
        return warning(
            f"The token expires on {expires_at}, in {left} days.",
            "Rotate it under Settings > Access tokens, and change COMMANDS_API_TOKEN.",
        )
    return passed(f"expires on {expires_at}, in {left} days")
