"""`cmd-tag-project`: create a tag in another GitLab project.

From Python:

    from cmd_tag_project import tag_project

    result = tag_project(
        project="group/name", tag_name="v1.2.3",
        base_url="https://gitlab.example.com", api_access_token=token,
    )
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Unpack

    from cicd_common.gitlab.connection import ConnectionOptions
    from cicd_common.semver import Part
    from cicd_common.waiting.policy import WaitPolicy
    from cmd_tag_project.run import TagResult

__all__ = ["tag_project"]


def tag_project(
    *,
    project: str,
    tag_name: str | None = None,
    next: Part | None = None,  # noqa: A002 - the option's name
    prefix: str = "v",
    ref: str | None = None,
    message: str = "",
    release: bool = False,
    release_notes: str = "",
    wait: WaitPolicy | None = None,
    dry_run: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> TagResult:
    """Creates a tag in a project, unless it is there already; prints nothing.

    Args:
        project: Its path (`group/sub/name`), numeric id, or the URL of its page.
        tag_name: The tag's name; or else
        next: `major`, `minor` or `patch`: the version that follows the project's highest.
        prefix: What stands before the version.
        ref: The branch, tag or SHA to tag; default: the project's default branch.
        message: Makes the tag annotated, unless it is empty.
        release: Whether to create the release as well.
        release_notes: The release's description, in Markdown.
        wait: How to wait for the end of the tag's pipeline; None not to wait.
        dry_run: Whether to change nothing.
        connection: `base_url`; `api_access_token` or `job_token`; `ca_file`; `request_timeout`
            and `retry_for`, in seconds.

    Returns:
        The tag, after a wait with its pipeline; `created` is False if it was there, at the same
        commit.

    Raises:
        cicd_common.errors.CommandError: It is not there, or its pipeline did not end well; the
            subclass says why, and its `results` hold what is there.
    """
    # Imported here, so that the console script can show its help without python-gitlab.
    from cicd_common.errors import CommandError  # noqa: PLC0415
    from cicd_common.gitlab.client import GitLab  # noqa: PLC0415
    from cicd_common.gitlab.connection import connection_from  # noqa: PLC0415
    from cicd_common.waiting.wait import wait_for  # noqa: PLC0415
    from cmd_tag_project.request import TagRequest  # noqa: PLC0415
    from cmd_tag_project.run import create_tag  # noqa: PLC0415

    request = TagRequest(tag_name, next, prefix, ref, message, release, release_notes, dry_run)
    request.check()
    gitlab = GitLab(connection_from(connection))
    if wait is None or dry_run:
        return create_tag(gitlab, project, request)
    wait.check(gitlab.require_token())
    tag = create_tag(gitlab, project, request)
    [end] = wait_for(gitlab, [tag.target()], wait)
    done = tag.ended(end)
    if isinstance(done, CommandError):
        raise done
    return done
