"""The release of a tag: its notes and its links to assets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cicd_common.gitlab import fields
from cicd_common.gitlab.client import quoted

if TYPE_CHECKING:
    from cicd_common.gitlab.client import GitLab
    from cicd_common.gitlab.fields import JsonObject
    from cicd_common.gitlab.projects import Project
    from cmd_tag_project.request import TagRequest


def update_release(gitlab: GitLab, project: Project, name: str, request: TagRequest) -> str:
    """Brings the notes and the assets of a release up to date.

    Args:
        gitlab: The client.
        project: The project.
        name: The tag.
        request: The requested notes and assets; the others stay as they are.

    Returns:
        The state of the release: `exists`, `updated` or `would be updated`.

    Raises:
        CommandError: GitLab did not update it, or gave no usable response.
    """
    if request.release_notes is None and not request.assets:
        return "exists"
    route = f"projects/{project.id}/releases/{quoted(name)}"
    check = f"{project.web_url}/-/releases/{quoted(name)}"
    release = gitlab.get(route)
    links = _links(release)
    notes = request.release_notes
    has_other_notes = notes is not None and _notes(release) != notes.rstrip()
    assets = [(title, url) for title, url in request.assets if links.get(title, ("",))[0] != url]
    if not has_other_notes and not assets:
        return "exists"
    if request.dry_run:
        return "would be updated"
    if has_other_notes and notes is not None:
        gitlab.write(
            "PUT",
            route,
            {"description": notes},
            read=bool,
            find=lambda: _notes(gitlab.get(route)) == notes.rstrip() or None,
            check=check,
        )
    for title, url in assets:
        method, link = "POST", f"{route}/assets/links"
        if title in links:
            method, link = "PUT", f"{link}/{links[title][1]}"

        def find(title: str = title, url: str = url) -> bool | None:
            return _links(gitlab.get(route)).get(title, ("",))[0] == url or None

        body: dict[str, object] = {"name": title, "url": url}
        gitlab.write(method, link, body, read=bool, find=find, check=check)
    return "updated"


def _notes(release: JsonObject) -> str:
    return fields.optional_text(release, "description").rstrip()


def _links(release: JsonObject) -> dict[str, tuple[str, int]]:
    """Returns the URL and the id of each link, by its name."""
    return {
        fields.text(link, "name"): (fields.text(link, "url"), fields.number(link, "id"))
        for link in fields.records(release, "assets", "links")
    }
