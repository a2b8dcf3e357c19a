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

from cicd_common import errors
from cicd_common.errors import *  # noqa: F403 - every exception, for those who catch it
from cicd_common.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from cicd_common.gitlab.connection import ConnectionOptions
    from cicd_common.waiting.pipelines import WaitResult
    from cicd_common.waiting.policy import WaitPolicy
    from cmd_tag_project.request import Next
    from cmd_tag_project.result import TagResult

__all__ = ["TagResult", "WaitPolicy", "WaitResult", "tag_project"]
__all__ += errors.__all__

# What sends requests is slow to import, and the console script's --help does not need it.
__getattr__ = lazily(
    __name__,
    TagResult="cmd_tag_project.result",
    WaitPolicy="cicd_common.waiting.policy",
    WaitResult="cicd_common.waiting.pipelines",
)


def tag_project(
    *,
    project: str,
    tag_name: str | None = None,
    next: Next | None = None,  # noqa: A002 - the option's name
    prefix: str | None = None,
    within: str | None = None,
    ref: str | None = None,
    message: str = "",
    release: bool = False,
    release_notes: str | None = None,
    assets: Mapping[str, str] | None = None,
    wait: bool | WaitPolicy = False,
    dry_run: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> TagResult:
    """Creates a tag in a project, unless it exists; prints nothing.

    Args:
        project: Its path (`group/sub/name`), numeric id, or the URL of its page.
        tag_name: The tag's name. Exactly one of `tag_name` and `next` is needed.
        next: Names the tag after the version that follows the project's highest: `major`, `minor`
            or `patch` is the part to raise; `auto` reads it from the commits since then.
        prefix: The text before the version; default: that of the project's own versions, or `v`.
        within: Only versions of this line count, such as `1.4`; default: all.
        ref: The branch, tag or SHA to tag; default: the project's default branch.
        message: The message of an annotated tag; empty for a lightweight tag.
        release: Whether to create the release as well.
        release_notes: The release's description, in Markdown; implies `release`.
        assets: The release's links: URLs by name; implies `release`.
        wait: True or a policy to wait for the end of the tag's pipeline.
        dry_run: True to return what would happen, and to change nothing.
        connection: `base_url`; `api_access_token` or `job_token`; `ca_file`; `request_timeout`
            and `retry_for`, in seconds.

    Returns:
        The tag; after a wait, with its pipeline. `created` is False if the tag existed at the
        same commit.

    Raises:
        CommandError: The tag was not created, or its pipeline did not succeed; the subclass says
            why, and its `results` hold what exists.
    """
    from cicd_common.gitlab.connection import connection_from  # noqa: PLC0415
    from cicd_common.parallel import results_of  # noqa: PLC0415
    from cicd_common.waiting.policy import policy_of  # noqa: PLC0415
    from cmd_tag_project.request import TagRequest  # noqa: PLC0415
    from cmd_tag_project.run import run  # noqa: PLC0415

    request = TagRequest(
        projects=(project,),
        tag_name=tag_name,
        next=next,
        prefix=prefix,
        within=within,
        ref=ref,
        message=message,
        release=release,
        release_notes=release_notes,
        assets=tuple((assets or {}).items()),
        wait=policy_of(wait),
        dry_run=dry_run,
    )
    [result] = results_of(run(request, connection_from(connection)))
    return result
