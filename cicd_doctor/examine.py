"""The table of checks, and their run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cicd_common.errors import AuthError, CommandError, ForbiddenError, NotFoundError
from cicd_common.gitlab.projects import parse_project
from cicd_common.registry.access import RegistrySettings, check_login
from cicd_common.registry.logins import Logins, host_of
from cicd_doctor import project, server
from cicd_doctor.facts import ProjectFacts, TokenFacts
from cicd_doctor.model import (
    Finding,
    Opinion,
    Verdict,
    failed,
    not_applicable,
    passed,
    warning,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cicd_common.gitlab.client import GitLab
    from cicd_doctor.model import Questions

    # Says what it found, or raises what a command would end with.
    Check = tuple[str, Callable[[Any], Opinion]]


def check_registry(token: TokenFacts) -> Opinion:
    """Whether the container registry takes a login that exists."""
    named = token.questions.registry
    if named is None:
        return not_applicable("Neither --registry nor CI_REGISTRY was given.")
    registry = host_of(named)
    connection = token.gitlab.connection
    settings = RegistrySettings(
        connection.request_timeout, connection.retry_for, connection.ca_file
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
            f"{registry} refuses the login of {', and of '.join(refused)}",
            why=problems,
            hint=f"docker login {registry}, or pass CI_REGISTRY_USER and CI_REGISTRY_PASSWORD on.",
        )
    if refused:
        return warning(
            f"{registry} takes the login of {login}, but not of {', and of '.join(refused)}.",
            "Remove the login that is refused: it is tried first.",
        )
    return passed(f"{registry} takes the login of {login}.")


OF_THE_TOKEN: tuple[Check, ...] = (
    ("server", server.check_server),
    ("token", server.check_token),
    ("scopes", server.check_scopes),
    ("expiry", server.check_expiry),
)
OF_A_PROJECT: tuple[Check, ...] = (
    ("project", project.check_project),
    ("role", project.check_role),
    ("protected tag", project.check_tag),
    ("protected branch", project.check_branch),
    ("pipeline variables", project.check_variables),
    ("job token", project.check_allowlist),
)
ELSEWHERE: tuple[Check, ...] = (("registry", check_registry),)

# If one of these fails, those after it in its table, and in the projects', make no sense.
GATES = frozenset({"server", "token", "project"})


def examine(gitlab: GitLab, questions: Questions) -> list[Finding]:
    """Runs the checks, one after the other; changes nothing.

    Args:
        gitlab: The client.
        questions: What else a person wants to know.

    Returns:
        What each check came to.

    Raises:
        UsageError: What was asked for is no project of this server; nothing was sent.
    """
    names = [parse_project(name, gitlab.base_url) for name in questions.projects]
    token = TokenFacts(gitlab, questions)
    findings = _run(OF_THE_TOKEN, token)
    closed = _closed(findings)
    for name in names:
        findings += _run(OF_A_PROJECT, ProjectFacts(token, name), name, closed)
    return findings + _run(ELSEWHERE, token)


def _run(
    checks: tuple[Check, ...], subject: object, project: str | None = None, closed: str = ""
) -> list[Finding]:
    findings: list[Finding] = []
    for name, check in checks:
        gate = closed or _closed(findings)
        opinion = (
            not_applicable(f"Not checked: {gate} failed.") if gate else _attempt(check, subject)
        )
        findings.append(Finding(name, project, *opinion))
    return findings


def _closed(findings: list[Finding]) -> str:
    """The gate that failed, if one did."""
    names = [each.check for each in findings if each.verdict is Verdict.FAILED]
    return next((name for name in names if name in GATES), "")


def _attempt(check: Callable[[Any], Opinion], subject: object) -> Opinion:
    try:
        return check(subject)
    except CommandError as error:
        return failed(error)
