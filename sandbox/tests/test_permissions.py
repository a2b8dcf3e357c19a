from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import permissions
from sandbox.model import Access, Project, ProtectedRef, State, User

MEMBER = User(1, "member", "Member", "member@example.com")
STRANGER = User(2, "stranger", "Stranger", "stranger@example.com")


def project(**settings: object) -> Project:
    return Project(id=7, path="group/name", repository=Path("unused"), **settings)  # type: ignore[arg-type]  # as each test needs


@pytest.mark.parametrize(
    "name", ["v1.0.0", "release/1", "@", "a@b", "ünïcode", "v1-rc.1", "lock", "a.lock.b"]
)
def test_a_name_that_git_accepts_is_valid(name: str) -> None:
    assert permissions.valid_ref_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "HEAD", "-v1", "refs/heads/v1", "refs/remotes/v1", "a b", "a\tb", "a\x7f"),
        *("a~", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a..b", "a//b", "a@{b", "a/", "a."),
        *(".a", "a/.b", "a.lock", "a.lock/b", "/a"),
    ],
)
def test_a_name_that_git_or_gitlab_rejects_is_invalid(name: str) -> None:
    assert not permissions.valid_ref_name(name)


@pytest.mark.parametrize(
    ("visibility", "user", "sees", "reads"),
    [
        ("public", None, True, True),
        ("internal", None, False, False),
        ("internal", STRANGER, True, True),
        ("private", STRANGER, False, False),
        ("private", MEMBER, True, True),
    ],
)
def test_membership_and_visibility_decide_who_sees_a_project(
    visibility: str, user: User | None, sees: bool, reads: bool
) -> None:
    subject = project(visibility=visibility, members={MEMBER.id: Access.REPORTER})
    assert permissions.may_see(subject, user) == sees
    assert permissions.may_read_code(subject, user) == reads


def test_a_guest_of_a_private_project_does_not_read_its_code() -> None:
    subject = project(members={MEMBER.id: Access.GUEST})
    assert permissions.may_see(subject, MEMBER)
    assert not permissions.may_read_code(subject, MEMBER)


@pytest.mark.parametrize(
    ("name", "role", "exists", "refusal"),
    [
        ("v1", Access.DEVELOPER, False, None),
        ("main", Access.OWNER, False, "You cannot use default branch name to create a tag"),
        (
            "a" * 40,
            Access.OWNER,
            False,
            "You cannot create a tag with a SHA-1 or SHA-256 tag name.",
        ),
        ("refs/tags/v1", Access.OWNER, False, "You cannot create a tag with a prohibited pattern."),
        (
            "release-1",
            Access.DEVELOPER,
            False,
            "You are not allowed to create this tag as it is protected.",
        ),
        ("release-1", Access.MAINTAINER, False, None),
        ("release-1", Access.MAINTAINER, True, "Protected tags cannot be updated."),
    ],
)
def test_a_refused_tag_has_gitlabs_reason(
    name: str, role: Access, exists: bool, refusal: str | None
) -> None:
    subject = project(protected_tags=[ProtectedRef("release-*")])
    assert permissions.tag_refusal(subject, role, name, exists=exists) == refusal


def test_a_hook_can_refuse_without_a_message() -> None:
    assert permissions.tag_refusal(project(hook_message=""), Access.OWNER, "v1", exists=False) == ""


def test_the_more_permissive_of_two_rules_applies() -> None:
    rules = [ProtectedRef("*"), ProtectedRef("v*", Access.DEVELOPER)]
    assert permissions.may_update(rules, "v1", Access.DEVELOPER)
    assert not permissions.may_update(rules, "main", Access.DEVELOPER)


def test_a_project_is_found_by_id_path_and_former_path(tmp_path: Path) -> None:
    state = State(root=tmp_path)
    subject = state.projects[7] = project(old_paths={"old/name"})
    for named in ("7", "group/name", "old/name"):
        assert permissions.find_project(state, named) is subject
    assert permissions.find_project(state, "group/other") is None
