"""The version that follows a project's highest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cicd_common.semver import SemVer

if TYPE_CHECKING:
    from cicd_common.client import GitLab
    from cicd_common.projects import Project
    from cmd_tag_project.request import TagRequest


def next_tag_name(gitlab: GitLab, project: Project, request: TagRequest) -> str:
    """Works out the next version's tag name from the tags that the project has now.

    Args:
        gitlab: The client.
        project: The project.
        request: Which part to count up, and the prefix.

    Returns:
        The prefix and the version; counted from 0.0.0 where there is none yet.

    Raises:
        CommandError: There was no usable answer.
    """
    assert request.next is not None  # noqa: S101 - for the type checker; TagRequest.check saw to it
    tags = gitlab.get_all(
        f"projects/{project.id}/repository/tags",
        # `^` is GitLab's own way to search for names that start with a text.
        **({"search": f"^{request.prefix}"} if request.prefix else {}),
    )
    versions = (
        SemVer.parse(tag["name"].removeprefix(request.prefix))
        for tag in tags
        if tag["name"].startswith(request.prefix)
    )
    highest = max(filter(None, versions), default=SemVer(0, 0, 0))
    return f"{request.prefix}{highest.next(request.next)}"
