"""The checks of a project: the role in it, and the settings that forbid something."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cicd_common.errors import ForbiddenError, NotFoundError
from cicd_common.gitlab import fields
from cicd_common.gitlab.projects import parse_project
from cicd_common.gitlab.tokens import job_token_since
from cicd_doctor.facts import ADMINISTRATOR
from cicd_doctor.findings import not_applicable, passed, warning

if TYPE_CHECKING:
    from cicd_common.gitlab.fields import JsonObject
    from cicd_doctor.facts import ProjectFacts
    from cicd_doctor.findings import Outcome

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
    ADMINISTRATOR: "Administrator",
}
DEVELOPER = 30
_BY_NAME = {name.lower(): level for level, name in ROLES.items()}
# On these versions GitLab's own TRIGGER_PAYLOAD counts as a variable that the user set:
# https://gitlab.com/gitlab-org/gitlab/-/issues/557381
PAYLOAD_IS_REFUSED_SINCE = (17, 7)
PAYLOAD_IS_REFUSED_BEFORE = (18, 5)
FOR_MAINTAINERS = "GitLab shows this to Maintainers of the project only."
FOR_ACCESS_TOKENS = "GitLab shows this to access tokens only."


def check_project(facts: ProjectFacts) -> Outcome:
    """Checks that the token sees the project, or that the project allows the job token."""
    if facts.token.is_job_token:
        return _check_lets_job_in(facts)
    if fields.flag(facts.details, "archived"):
        raise ForbiddenError(
            "The project is archived: GitLab refuses every change to it.",
            hint="Unarchive it under Settings > General > Advanced.",
        )
    if fields.optional_text(facts.details, "builds_access_level") == "disabled":
        return warning(
            "CI/CD is disabled in the project: no pipeline starts.",
            "Enable it under Settings > General > Visibility, project features, permissions.",
        )
    return passed(facts.project.web_url)


def _check_lets_job_in(facts: ProjectFacts) -> Outcome:
    """Checks that the project allows the job's token."""
    try:
        facts.gitlab.get_list(facts.route("repository/tags"), per_page=1)
    except (NotFoundError, ForbiddenError):
        # A Guest sees the pipelines but not the repository; only newer servers show the pipelines.
        if not facts.is_readable("pipelines"):
            raise
    if facts.is_public():
        return warning(
            "The project is public: every job's token can read it.",
            "To start pipelines or create releases there, it must be on the allowlist: Settings > "
            "CI/CD > Job token permissions of the project.",
        )
    return passed("allows this job's token")


def check_role(facts: ProjectFacts) -> Outcome:
    """Checks that the token's user can change something in the project."""
    if facts.token.is_job_token:
        return not_applicable(FOR_ACCESS_TOKENS)
    username = fields.text(facts.token.user, "username")
    try:
        role = facts.role
    except ForbiddenError:
        return not_applicable("GitLab does not show the members of the project to the token.")
    if role == ADMINISTRATOR:
        return passed(f"{username} is an administrator.")
    name = ROLES.get(role, f"access level {role}")
    if role >= DEVELOPER:
        return passed(f"{username} is {name}.")
    said = f"{username} is {name if role else 'not a member'} of it."
    why = "Tags, pipelines and commits need the role Developer."
    hint = "Add the token's user under Manage > Members, as Developer or above."
    if not facts.questions.is_change and facts.is_readable("pipelines"):
        return warning(said, hint, f"This is enough for cmd-wait-pipeline only. {why}")
    raise ForbiddenError(said, why=why, hint=hint)


def check_tag(facts: ProjectFacts) -> Outcome:
    """Checks that the rules for protected tags allow the tag to create."""
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
    who = " and ".join(
        sorted({fields.optional_text(level, "access_level_description") for level in levels})
    )
    patterns = ", ".join(fields.text(rule, "name") for rule in hits)
    said = f"{name} is protected by {patterns}, for {who}."
    if any(_admits(level, facts) for level in levels):
        return passed(said)
    hint = "Let the token's role create it under Settings > Repository > Protected tags."
    if any(level.get("group_id") is not None for level in levels):
        return warning(said, hint, why="It is not known here who the members of the group are.")
    raise ForbiddenError(said, hint=hint)


def check_branch(facts: ProjectFacts) -> Outcome:
    """Checks that the rules for protected branches allow a push, or a pipeline."""
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


def check_variables(facts: ProjectFacts) -> Outcome:
    """Checks that the token can set variables of a pipeline."""
    if facts.token.is_job_token:
        return not_applicable(FOR_ACCESS_TOKENS)
    setting = "ci_pipeline_variables_minimum_override_role"
    least = fields.optional_text(facts.details, setting)
    if not least:
        return not_applicable("GitLab does not show this to the token.")
    if facts.role >= _BY_NAME.get(least, ADMINISTRATOR + 1):
        return passed(f"may pass variables, from the role {least} on")
    why = ""
    number = facts.token.version_number
    if number and PAYLOAD_IS_REFUSED_SINCE <= number < PAYLOAD_IS_REFUSED_BEFORE:
        why = (
            "GitLab 17.7 to 18.4 adds a variable of its own, TRIGGER_PAYLOAD, to what a job token "
            "or a trigger token starts, so that the same roles cannot start any pipeline by them."
        )
    return warning(
        f"Pipeline variables are for {least.replace('_', ' ')}.",
        "Use --input and an access token, or lower Settings > CI/CD > Variables > Minimum role to "
        "use pipeline variables."
        if why
        else "Use --input, or lower Settings > CI/CD > Variables > Minimum role to use pipeline "
        "variables.",
        why,
    )


def check_job_token(facts: ProjectFacts) -> Outcome:
    """Checks what job tokens can do in the project: this job's own, or those of another project."""
    if facts.token.is_job_token:
        return _check_own_job_token(facts)
    source = facts.questions.source_project
    if source is None:
        return not_applicable("--source-project was not given.")
    wanted = parse_project(source, facts.gitlab.base_url)
    projects = facts.settings("job_token_scope/allowlist")
    groups = facts.settings("job_token_scope/groups_allowlist")
    if projects is None or groups is None:
        return not_applicable(FOR_MAINTAINERS)
    if not fields.flag(facts.gitlab.get(facts.route("job_token_scope")), "inbound_enabled"):
        return passed("Any project's job token is allowed.")
    if _listed(wanted, projects, groups):
        return passed(f"allows the job tokens of {wanted}")
    if wanted.isdecimal() and groups:
        return not_applicable("The allowlist has groups: give --source-project as a path.")
    raise ForbiddenError(
        f"The allowlist lacks {wanted}.",
        hint="Add it under Settings > CI/CD > Job token permissions.",
    )


def _check_own_job_token(facts: ProjectFacts) -> Outcome:
    """Checks that the job token can read pipelines, which a wait needs."""
    route = facts.route("pipelines")
    said = "This job's token cannot read the list of pipelines"
    try:
        facts.gitlab.get_list(route, per_page=1)
    except NotFoundError as error:
        # The project exists and allows the job, so the server must have ignored the token.
        return warning(
            f"{said}: {error.message}",
            "To wait for pipelines, use an access token with the read_api scope.",
            f"GitLab before {job_token_since('GET', route)} ignores job tokens for this request.",
        )
    except ForbiddenError as error:
        return warning(f"{said}: {error.message}", error.hint or error.remedy, error.why)
    return passed("This job's token can read pipelines.")


def _matches(pattern: str, name: str) -> bool:
    """Returns True if a rule is for a name: GitLab's only wildcard is `*` (`RefMatcher`)."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


def _admits(level: JsonObject, facts: ProjectFacts) -> bool:
    """Returns True if one line of a rule allows the token's user.

    A deploy key's line has the access level of a Maintainer and allows no token:
    https://docs.gitlab.com/api/protected_tags/
    """
    if level.get("deploy_key_id") is not None or level.get("group_id") is not None:
        return False
    if level.get("user_id") is not None:
        return fields.number(level, "user_id") == fields.number(facts.token.user, "id")
    least = fields.optional_number(level, "access_level") or 0
    return 0 < least <= facts.role


def _listed(wanted: str, projects: list[JsonObject], groups: list[JsonObject]) -> bool:
    """Returns True if an allowlist has the project, or a group above it."""
    named = {str(fields.number(each, "id")) for each in projects}
    named |= {fields.text(each, "path_with_namespace") for each in projects}
    paths = [fields.url(group, "web_url").partition("/groups/")[2] for group in groups]
    return wanted in named or any(wanted.startswith(f"{path}/") for path in paths if path)
