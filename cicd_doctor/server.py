"""The checks of the server and the token, which do not depend on a project."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cicd_common.errors import AuthError, ForbiddenError, NotFoundError
from cicd_common.gitlab import fields
from cicd_common.gitlab.tokens import TokenKind
from cicd_doctor.findings import not_applicable, passed, warning

if TYPE_CHECKING:
    from cicd_doctor.facts import TokenFacts
    from cicd_doctor.findings import Outcome

OLDEST_SUPPORTED = (17, 0)
# https://docs.gitlab.com/ci/inputs/: `POST …/pipeline` has them since 17.11, which access tokens
# use; `POST …/trigger/pipeline` since 18.1. Older servers ignore the parameter.
INPUTS_SINCE = (17, 11)
TRIGGER_INPUTS_SINCE = (18, 1)
SOON = 30  # days
# How GitLab names the users of such tokens: https://docs.gitlab.com/user/project/settings/
# project_access_tokens/#bot-users-for-projects, and the same for groups and service accounts.
_KINDS = (
    (re.compile(r"project_\d+_bot"), "project access token"),
    (re.compile(r"group_\d+_bot"), "group access token"),
    (re.compile(r"service_account"), "service account's access token"),
)


def check_server(facts: TokenFacts) -> Outcome:
    """Checks that GitLab answers, and that its version is supported."""
    where = facts.gitlab.base_url
    try:
        version = None if facts.is_job_token and facts.job else facts.version
    except (AuthError, ForbiddenError):
        # The server works; the next check says what is wrong with the token.
        return passed(f"{where} answers.")
    except NotFoundError as error:
        raise NotFoundError(
            error.message,
            why="Every GitLab server has this route: another server, or GitLab below another "
            "path, is at this address.",
            hint=f"Check --base-url: {where}",
            answer=error.answer,
        ) from error
    if facts.is_job_token:
        return passed(f"{where} answers; GitLab shows its version to access tokens only.")
    if version is None:
        return passed(f"{where} answers.")
    number = facts.version_number
    if number is not None and number < OLDEST_SUPPORTED:
        return warning(
            f"GitLab {version} at {where} is older than 17.0.",
            "Update GitLab: the commands are tested with 17.0 and later.",
        )
    return passed(f"GitLab {version} at {where}")


def check_token(facts: TokenFacts) -> Outcome:
    """Checks that GitLab accepts the token, and says which kind it is."""
    facts.gitlab.require_token()
    credential = facts.connection.token
    source = f"from {credential.source}" if credential else ""
    if facts.is_job_token:
        job = fields.number(facts.job, "id")
        return passed(f"CI job token {source} of job {job}, of {facts.username}")
    username = facts.username
    owner = f", of {username}" if username else ""
    if facts.description is None:
        is_oauth = facts.gitlab.token_kind is TokenKind.OAUTH
        return passed(f"{'OAuth' if is_oauth else 'access'} token {source}{owner}")
    name = fields.optional_text(facts.description, "name")
    kind = "access token"
    if username:
        found = (kind for pattern, kind in _KINDS if pattern.match(username))
        kind = next(found, "personal access token")
    return passed(f"{kind} {name!r} {source}{owner}")


def check_scopes(facts: TokenFacts) -> Outcome:
    """Checks that the token's scopes are enough for the commands."""
    if facts.is_job_token:
        return not_applicable(
            "A job token has none: it creates releases, starts pipelines, and reads."
        )
    if facts.description is None:
        return not_applicable("GitLab does not show the scopes of this token.")
    scopes = fields.texts(facts.description, "scopes")
    if "api" in scopes:
        return passed(", ".join(scopes))
    if "granular" in scopes:
        return not_applicable("GitLab does not show the permissions of a fine-grained token.")
    said = f"The token has {', '.join(scopes) or 'no scope'}, not api."
    why = "read_api is enough for cmd-wait-pipeline only; every change needs api."
    hint = "Create a token with the scope api."
    if "read_api" in scopes and not facts.questions.is_change:
        return warning(said, hint, why)
    raise AuthError(said, why=why, hint=hint)


def check_expiry(facts: TokenFacts) -> Outcome:
    """Checks that the token does not expire soon."""
    if facts.is_job_token:
        return not_applicable("A job token expires with its job.")
    if facts.description is None:
        return not_applicable("GitLab does not show when this token expires.")
    last = fields.optional_time(facts.description, "expires_at")
    if last is None:
        return passed("never expires")
    expires_at = last.date()
    left = (expires_at - facts.gitlab.now().date()).days
    if left < SOON:
        return warning(
            f"The token expires on {expires_at}, in {left} days.",
            "Rotate it under Settings > Access tokens, and change COMMANDS_API_TOKEN.",
        )
    return passed(f"expires on {expires_at}, in {left} days")


def check_inputs(facts: TokenFacts) -> Outcome:
    """Checks that the server passes inputs to pipelines: older ones ignore them silently."""
    number = facts.version_number
    if number is None:
        return not_applicable("The server's version is not known; --input needs GitLab 18.1.")
    if number >= TRIGGER_INPUTS_SINCE:
        return passed("The server accepts --input with every token.")
    if number >= INPUTS_SINCE:
        return warning(
            f"GitLab {facts.version} ignores --input with a job token or a trigger token.",
            "Use an access token, or --variable; both tokens pass inputs since GitLab 18.1.",
        )
    return warning(
        f"GitLab {facts.version} ignores --input.",
        "Use --variable; inputs work since GitLab 17.11, with every token since 18.1.",
    )
