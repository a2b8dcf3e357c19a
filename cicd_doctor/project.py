"""What concerns a project: the role in it, and the settings that say no."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cicd_common.errors import ForbiddenError, NotFoundError
from cicd_common.gitlab import fields
from cicd_common.gitlab.projects import parse_project
from cicd_doctor.model import not_applicable, passed, warning

if TYPE_CHECKING:
    from cicd_doctor.facts import ProjectFacts
    from cicd_doctor.model import Opinion

# https://docs.gitlab.com/api/access_requests/#valid-access-levels
ROLES = {
    0: "no one",
    5: "Minimal Access",
    10: "Guest",
    15: "Planner",
    20: "Reporter",
    30: "Developer",
    40: "Maintainer",
    50: "Owner",
    60: "Administrator",
}
DEVELOPER = 30
_BY_NAME = {name.lower(): level for level, name in ROLES.items()}
FOR_MAINTAINERS = "GitLab shows this to Maintainers of the project alone."
FOR_ACCESS_TOKENS = "GitLab shows this to access tokens alone."


def check_project(facts: ProjectFacts) -> Opinion:
    """Whether the token sees the project; of a job token, whether it is let in."""
    project = facts.project
    if not facts.token.is_job_token:
        return passed(project.web_url)
    facts.gitlab.get_list(facts.route("pipelines"), per_page=1)
    return passed("lets this job's token in")


def check_role(facts: ProjectFacts) -> Opinion:
    """Whether the token's user may change anything in the project."""
    if facts.token.is_job_token:
        return not_applicable(FOR_ACCESS_TOKENS)
    name = fields.text(facts.token.user, "username")
    if facts.role is None and fields.flag(facts.token.user, "is_admin"):
        return passed(f"{name} is an administrator.")
    role = ROLES.get(facts.role or 0, f"access level {facts.role}")
    if facts.role is None or facts.role < DEVELOPER:
        raise ForbiddenError(
            f"{name} is {role if facts.role else 'no member'} of it.",
            why="Tags, pipelines and commits need the role Developer.",
            hint="Add the token's user under Manage > Members, as Developer or above.",
        )
    return passed(f"{name} is {role}.")


def check_tag(facts: ProjectFacts) -> Opinion:
    """Whether a protected tag stands in the way of the one that is to be created."""
    if facts.token.is_job_token:
        return not_applicable(FOR_ACCESS_TOKENS)
    rules = facts.settings("protected_tags")
    if rules is None:
        return not_applicable(FOR_MAINTAINERS)
    name = facts.questions.tag_name
    if name is None:
        patterns = ", ".join(fields.text(rule, "name") for rule in rules) or "none"
        return not_applicable(f"--tag-name was not given; protected: {patterns}")
    hits = [rule for rule in rules if _matches(fields.text(rule, "name"), name)]
    if not hits:
        return passed(f"No rule protects {name}.")
    levels = [level for rule in hits for level in fields.records(rule, "create_access_levels")]
    who = " and ".join(sorted({fields.text(level, "access_level_description") for level in levels}))
    said = f"{name} is protected by {', '.join(str(rule['name']) for rule in hits)}, for {who}."
    if not any(_admits(level, facts) for level in levels):
        raise ForbiddenError(
            said,
            hint="Let the token's role create it under Settings > Repository > Protected tags.",
        )
    return passed(said)


def check_branch(facts: ProjectFacts) -> Opinion:
    """Whether a protected branch stands in the way of a push or a pipeline."""
    name = facts.questions.ref
    if name is None:
        return not_applicable("--ref was not given.")
    branch = facts.branch(name)
    if branch is None:
        if facts.has_tag(name):
            return passed(f"{name} is a tag.")
        raise NotFoundError(f"There is no branch or tag {name}.", hint="Check --ref.")
    if not fields.flag(branch, "protected"):
        return passed(f"No rule protects {name}.")
    if fields.flag(branch, "can_push"):
        return passed(f"{name} is protected; this token may push to it.")
    raise ForbiddenError(
        f"{name} is protected, and this token may not push to it.",
        hint="Allow its role under Settings > Repository > Protected branches, or have "
        "cmd-bump-image-tag open a merge request: --merge-request.",
    )


def check_variables(facts: ProjectFacts) -> Opinion:
    """Whether the token may give a pipeline variables."""
    if facts.token.is_job_token:
        return not_applicable(FOR_ACCESS_TOKENS)
    least = fields.optional_text(facts.answer, "ci_pipeline_variables_minimum_override_role")
    if not least:
        return not_applicable("GitLab does not show this to the token.")
    if (facts.role or 0) >= _BY_NAME.get(least, max(ROLES) + 1):
        return passed(f"may pass variables, from the role {least} on")
    return warning(
        f"Pipeline variables are for {least.replace('_', ' ')}.",
        "Use --input, or lower Settings > CI/CD > Variables > Minimum role to use pipeline "
        "variables.",
    )


def check_allowlist(facts: ProjectFacts) -> Opinion:
    """Whether another project's job tokens may come in."""
    if facts.token.is_job_token:
        return not_applicable("This job's own token was tried above.")
    source = facts.questions.source_project
    if source is None:
        return not_applicable("--source-project was not given.")
    wanted = parse_project(source, facts.gitlab.base_url)
    projects = facts.settings("job_token_scope/allowlist")
    groups = facts.settings("job_token_scope/groups_allowlist")
    if projects is None or groups is None:
        return not_applicable(FOR_MAINTAINERS)
    if not fields.flag(facts.gitlab.get(facts.route("job_token_scope")), "inbound_enabled"):
        return passed("Any project's job token is let in.")
    if _listed(wanted, projects, groups):
        return passed(f"lets the job tokens of {wanted} in")
    raise ForbiddenError(
        f"The allowlist lacks {wanted}.",
        hint="Add it under Settings > CI/CD > Job token permissions.",
    )


def _matches(pattern: str, name: str) -> bool:
    """Whether a rule is for a name: in GitLab `*` alone is a wildcard (`RefMatcher`)."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


def _admits(level: dict[str, Any], facts: ProjectFacts) -> bool:
    """Whether one line of a rule is for the token's user.

    Who belongs to a group that is named there is not known here: it is taken to admit.
    """
    if level.get("user_id") is not None:
        return fields.number(level, "user_id") == fields.number(facts.token.user, "id")
    if level.get("group_id") is not None:
        return True
    least = fields.optional_number(level, "access_level") or 0
    return 0 < least <= (facts.role or 0)


def _listed(wanted: str, projects: list[dict[str, Any]], groups: list[dict[str, Any]]) -> bool:
    """Whether an allowlist has a project, or a group above it."""
    named = {str(fields.number(project, "id")) for project in projects}
    named |= {fields.text(project, "path_with_namespace") for project in projects}
    paths = [fields.url(group, "web_url").partition("/groups/")[2] for group in groups]
    return wanted in named or any(wanted.startswith(f"{path}/") for path in paths if path)
