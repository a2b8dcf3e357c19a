"""Who may do what: visibility, roles, protected refs, the names that refs may have."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sandbox.model import Access

if TYPE_CHECKING:
    from sandbox.model import Job, Project, ProtectedRef, State, User


def find_project(state: State, named: str) -> Project | None:
    """A project by its numeric id, its path or a path that it once had."""
    if named.isdigit():
        return state.projects.get(int(named))
    by_path = [project for project in state.projects.values() if project.path == named]
    moved = [project for project in state.projects.values() if named in project.old_paths]
    return next(iter(by_path + moved), None)


def access(project: Project, user: User | None) -> Access:
    """A user's role in a project."""
    if user is None:
        return Access.NONE
    return Access.OWNER if user.admin else project.members.get(user.id, Access.NONE)


def may_see(project: Project, user: User | None) -> bool:
    """Whether a user, or nobody in particular, can see that the project exists."""
    return (
        project.visibility == "public"
        or (project.visibility == "internal" and user is not None)
        or access(project, user) > Access.NONE
    )


def may_read_code(project: Project, user: User | None) -> bool:
    """Whether the repository can be read: a private project hides it from its Guests."""
    return may_see(project, user) and (
        project.visibility != "private" or access(project, user) >= Access.REPORTER
    )


def takes_job_token_of(project: Project, job: Job) -> bool:
    """Whether the project's job token allowlist has the job's project, or a group above it."""
    allowlist = project.job_token_allowlist
    source = job.pipeline.project
    if allowlist is None or source is project:
        return True
    return any(f"{source.path}/".startswith(f"{entry}/") for entry in allowlist)


def protection(rules: list[ProtectedRef], name: str) -> ProtectedRef | None:
    """The mildest of the rules that match a name."""
    matching = [rule for rule in rules if fnmatchcase(name, rule.pattern)]
    return min(matching, key=lambda rule: rule.level or Access.OWNER + 1, default=None)


def may_update(rules: list[ProtectedRef], name: str, role: Access) -> bool:
    """Whether a role, a Developer's at least, may write a branch or create a tag."""
    rule = protection(rules, name)
    level = rule.level if rule else Access.DEVELOPER
    return level is not Access.NONE and role >= level


_BAD_NAME = re.compile(
    r"""^(-|refs/heads/|refs/remotes/)   # prefixes that GitLab reserves
    |^$|^HEAD$
    |[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{
    |[/.]$|^/
    |(^|/)\.|\.lock(/|$)""",
    re.VERBOSE,
)
_STARTS_LIKE_SHA = re.compile(r"[0-9a-fA-F]{40}")


def valid_ref_name(name: str) -> bool:
    """Whether GitLab takes a name for a branch or a tag.

    The rules are those of `git check-ref-format` and GitLab's own in `Gitlab::GitRefValidator`.
    """
    return _BAD_NAME.search(name) is None


def tag_refusal(project: Project, role: Access, name: str, *, exists: bool) -> str | None:
    """What GitLab's checks say against writing a tag, in its words; None if nothing.

    The texts and their order are those of `Gitlab::Checks::TagCheck`.
    """
    protected = protection(project.protected_tags, name) is not None
    if not exists and name == project.default_branch:
        return "You cannot use default branch name to create a tag"
    if name.startswith("refs/tags/"):
        return "You cannot create a tag with a prohibited pattern."
    if _STARTS_LIKE_SHA.match(name):
        return "You cannot create a tag with a SHA-1 or SHA-256 tag name."
    if protected and exists:
        return "Protected tags cannot be updated."
    if protected and not may_update(project.protected_tags, name, role):
        return "You are not allowed to create this tag as it is protected."
    return project.hook_message
