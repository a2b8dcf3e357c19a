"""How GitLab writes a project's settings in JSON; named after its `API::Entities`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

from sandbox.entities import user_basic
from sandbox.model import Access

if TYPE_CHECKING:
    from sandbox.model import ProtectedRef, State, User

_LEVELS = {Access.NONE: "No one", Access.DEVELOPER: "Developers + Maintainers"}


def member(state: State, user: User, role: Access) -> dict[str, Any]:
    """A member of a project."""
    return {
        **user_basic(state, user),
        "access_level": int(role),
        "expires_at": None,
        "membership_state": "active",
    }


def basic_group(state: State, path: str) -> dict[str, Any]:
    """A group as others are told of it."""
    return {
        "id": crc32(path.encode()),  # groups are no records here
        "name": path.rpartition("/")[2],
        "web_url": f"{state.external_url}/groups/{path}",
    }


def _protected_level(level: Access) -> dict[str, Any]:
    return {
        "id": int(level) + 1,
        "access_level": int(level),
        "access_level_description": _LEVELS.get(level, "Maintainers"),
        "deploy_key_id": None,
        "user_id": None,
        "group_id": None,
    }


def _protected_levels(record: ProtectedRef) -> list[dict[str, Any]]:
    """A rule's lines; source of a deploy key's: `doc/api/protected_tags.md`."""
    levels = [_protected_level(record.level)]
    if record.deploy_key:
        key = {"access_level_description": "Deploy key", "deploy_key_id": 1}
        levels.append({**_protected_level(Access.MAINTAINER), **key})
    return levels


def protected_tag(record: ProtectedRef) -> dict[str, Any]:
    """A rule for tags."""
    return {
        "name": record.pattern,
        "create_access_levels": _protected_levels(record),
    }


def protected_branch(record: ProtectedRef) -> dict[str, Any]:
    """A rule for branches."""
    return {
        "id": crc32(record.pattern.encode()),
        "name": record.pattern,
        "push_access_levels": _protected_levels(record),
        "merge_access_levels": [_protected_level(record.level)],
        "allow_force_push": False,
        "code_owner_approval_required": False,
        "inherited": False,
    }
