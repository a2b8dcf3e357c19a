"""The list of checks and the function that runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cicd_common.errors import CommandError
from cicd_common.gitlab.projects import parse_project
from cicd_common.gitlab.responses import lacks_permission
from cicd_doctor import project, server
from cicd_doctor.facts import ProjectFacts, TokenFacts
from cicd_doctor.findings import Finding, Outcome, Verdict, blocked, failed, not_applicable
from cicd_doctor.registry import check_registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from cicd_common.gitlab.connection import Connection
    from cicd_doctor.findings import Questions

    # Returns what it found, or raises the error that a command would end with.
    Check = tuple[str, Callable[[Any], Outcome]]


OF_THE_SERVER: tuple[Check, ...] = (
    ("server", server.check_server),
    ("token", server.check_token),
    ("scopes", server.check_scopes),
    ("expiry", server.check_expiry),
    ("inputs", server.check_inputs),
)
OF_A_PROJECT: tuple[Check, ...] = (
    ("project", project.check_project),
    ("role", project.check_role),
    ("protected tag", project.check_tag),
    ("protected branch", project.check_branch),
    ("pipeline variables", project.check_variables),
    ("job token", project.check_job_token),
)
OF_A_REGISTRY: tuple[Check, ...] = (("registry", check_registry),)

# If one of these fails, the later checks of its list, and those of the projects, are not made.
GATES = frozenset({"server", "token", "project"})


def run_checks(connection: Connection, questions: Questions) -> list[Finding]:
    """Runs the checks one after the other; changes nothing.

    Args:
        connection: The server and the credential; if the server is missing, that is a finding.
        questions: What the user asked to check, such as projects and a tag's name.

    Returns:
        What each check found.

    Raises:
        UsageError: A project's name is not one of this server; nothing was sent.
    """
    url = connection.base_url
    names = [parse_project(name, url) if url else name for name in questions.projects]
    facts = TokenFacts(connection, questions)
    findings = _run(OF_THE_SERVER, facts)
    gate = _failed_gate(findings)
    for name in names:
        findings += _run(OF_A_PROJECT, ProjectFacts(facts, name), name, gate)
    return findings + _run(OF_A_REGISTRY, facts)


def _run(
    checks: tuple[Check, ...], subject: object, project: str | None = None, gate: str = ""
) -> list[Finding]:
    findings: list[Finding] = []
    for name, check in checks:
        by = gate or _failed_gate(findings)
        outcome = blocked(by) if by else _attempt(name, check, subject)
        findings.append(Finding(name, project, *outcome))
    return findings


def _failed_gate(findings: list[Finding]) -> str:
    names = [each.check for each in findings if each.verdict is Verdict.FAILED]
    return next((name for name in names if name in GATES), "")


def _attempt(name: str, check: Callable[[Any], Outcome], subject: object) -> Outcome:
    try:
        return check(subject)
    except CommandError as error:
        # No command sends the request of such a check, so no command fails because of it.
        if lacks_permission(error) and name not in GATES:
            return not_applicable(f"GitLab does not show this to the token: {error.message}")
        return failed(error)
