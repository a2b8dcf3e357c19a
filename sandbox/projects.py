"""Projects come to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sandbox import git
from sandbox.model import Project, ProtectedRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.model import Access, State, User


def create(
    state: State,
    path: str,
    *,
    default_branch: str,
    visibility: Literal["private", "internal", "public"],
    members: Mapping[User, Access],
) -> Project:
    """Makes a project with an empty repository.

    Args:
        state: The records, their lock held.
        path: `group/sub/name`.
        default_branch: Its name. As on GitLab it is protected: Maintainers push to it.
        visibility: Who sees the project.
        members: Roles by user.
    """
    project_id = next(state.ids)
    project = Project(
        id=project_id,
        path=path,
        repository=state.root / "repositories" / f"{project_id}.git",
        default_branch=default_branch,
        visibility=visibility,
        members={user.id: role for user, role in members.items()},
        protected_branches=[ProtectedRef(default_branch)],
    )
    git.init(project.repository, default_branch)
    state.projects[project.id] = project
    return project
