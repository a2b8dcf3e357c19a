"""The check of the login to a container registry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cicd_common.errors import AuthError, ForbiddenError, NotFoundError
from cicd_common.registry.access import RegistrySettings
from cicd_common.registry.check import check_login
from cicd_common.registry.logins import Logins, host_of
from cicd_doctor.findings import not_applicable, passed, warning

if TYPE_CHECKING:
    from cicd_doctor.facts import TokenFacts
    from cicd_doctor.findings import Outcome


def check_registry(facts: TokenFacts) -> Outcome:
    """Checks that there is a login for the container registry, and that the registry accepts it.

    Args:
        facts: What the earlier checks found, with the registry to check.

    Raises:
        NotFoundError: There is no login for it.
        AuthError: It refuses every login.
        TimeLimitError: It accepts no more requests for now.
        UnavailableError: It cannot be reached, is busy, or is not a registry.
    """
    named = facts.questions.registry
    if named is None:
        return not_applicable("Neither --registry nor CI_REGISTRY was given.")
    registry = host_of(named)
    connection = facts.connection
    settings = RegistrySettings(
        connection.request_timeout,
        connection.retry_for,
        connection.ca_file,
        facts.questions.insecure_registry,
    )
    found = Logins(os.environ).find(registry)
    problems = " ".join(f"{problem}." for problem in found.problems)
    if not found.logins:
        raise NotFoundError(
            f"There is no login for {registry}.",
            why=problems or "Neither the variables of a job nor `docker login` give one.",
            hint=f"docker login {registry}",
        )
    refused: list[str] = []
    for login in found.logins:
        try:
            if not check_login(registry, login, settings):
                return not_applicable(f"{registry} asks for no login; none was checked.")
        except (AuthError, ForbiddenError) as error:
            refused.append(f"{login} ({error.message})")
        else:
            break
    else:
        raise AuthError(
            f"{registry} refuses the login of {', and of '.join(refused)}.",
            why=problems,
            hint=f"docker login {registry}, or pass CI_REGISTRY_USER and CI_REGISTRY_PASSWORD on.",
        )
    if refused:
        return warning(
            f"{registry} accepts the login of {login}, but not of {', and of '.join(refused)}.",
            "Remove the login that is refused: it is tried first.",
        )
    return passed(f"{registry} accepts the login of {login}.")
