"""`cmd-bump-image-tag`: set an image's tag in the YAML files of a repository.

From Python:

    from cmd_bump_image_tag import bump_image_tag

    result = bump_image_tag(
        image="registry.example.com/group/web", tag="v1.2.3", project="group/deployment",
        base_url="https://gitlab.example.com", api_access_token=token,
    )
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cicd_common.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Unpack

    from cicd_common.gitlab.connection import ConnectionOptions
    from cicd_common.waiting.policy import WaitPolicy
    from cmd_bump_image_tag.request import Via
    from cmd_bump_image_tag.result import BumpResult, Change, Skipped

__all__ = ["BumpResult", "Change", "Skipped", "bump_image_tag"]

# What bumps is slow to import, and the console script's --help does not need it.
__getattr__ = lazily(
    __name__,
    BumpResult="cmd_bump_image_tag.result",
    Change="cmd_bump_image_tag.result",
    Skipped="cmd_bump_image_tag.result",
)
DEFAULT_TEMPLATE = "Update image tag to {tag}"


def bump_image_tag(
    *,
    image: str | Sequence[str] = (),
    tag: str | None = None,
    digest: str | None = None,
    file: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    path: str | Sequence[str] = (),
    via: Via | None = None,
    project: str | None = None,
    repository: str | None = None,
    branch: str | None = None,
    merge_request: bool = False,
    auto_merge: bool = False,
    title: str | None = None,
    label: str | Sequence[str] = (),
    assignee: str | Sequence[str] = (),
    reviewer: str | Sequence[str] = (),
    wait: bool | WaitPolicy = False,
    commit_message: str = DEFAULT_TEMPLATE,
    skip_ci: bool | None = None,
    upstream: str = "",
    verify_image: bool = False,
    pin_digest: bool = False,
    insecure_registry: str | Sequence[str] = (),
    allow_downgrade: bool = False,
    allow_older_pipeline: bool = False,
    strict: bool = False,
    directory: Path | str = ".",
    dry_run: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> BumpResult:
    """Sets the tags of images in the YAML files of a repository, and changes no other byte.

    Prints nothing; the diff goes to the logger `cicd_common.bump`.

    Args:
        image: The image, or several: `registry:port/path`, `NAME=TAG` or `NAME=TAG@DIGEST`.
        tag: The tag of images that come without one.
        digest: The digest of images that come without one.
        file: Files, folders or globs within the repository; default: every YAML and JSON file.
        exclude: Files, folders or globs to leave out.
        path: Keys to edit as well, such as `spec.values.image.tag`; without an image, the keys
            whose values are set.
        via: `files`, `api` or `git`; default: `api` with a project, `git` with a repository,
            else `files`.
        project: The project's path (`group/sub/name`), numeric id, or the URL of its page.
        repository: The address of a repository for git.
        branch: The branch to write to; default: the default branch.
        merge_request: Whether to write to a new branch, and open a merge request.
        auto_merge: Whether to have that merge request merged once its checks have passed.
        title: The merge request's title, with the placeholders of `commit_message`; default: the
            commit's subject.
        label: Labels of the merge request.
        assignee: User names of its assignees.
        reviewer: User names of its reviewers.
        wait: Whether to wait until it is merged; or, without one, for the commit's pipeline. A
            policy sets the time limit.
        commit_message: The commit's message, with the placeholders `{image}`, `{old}`, `{tag}`,
            `{digest}`, `{files}`, `{upstream}`.
        skip_ci: Whether GitLab starts no pipeline for the commit; default: it starts none, but in
            a merge request.
        upstream: The URL of the pipeline that bumps, which becomes a trailer of the commit.
        verify_image: Whether the registries must have the new tags or digests; the credentials
            are those of `docker login`, or `CI_REGISTRY_USER` and `CI_REGISTRY_PASSWORD`.
        pin_digest: Whether to set the digest that the registry has for a tag, which verifies too.
        insecure_registry: A registry that is reached over plain HTTP, as `host[:port]`, or several.
        allow_downgrade: Whether a lower version can replace a higher one.
        allow_older_pipeline: Whether an older pipeline can overwrite the bump of a newer one.
        strict: Whether to refuse an edit that leaves a mention of the old reference behind.
        directory: The working directory, for `files`.
        dry_run: Whether only to return what would change.
        connection: `base_url`; `api_access_token` or `job_token`; `ca_file`; `request_timeout`
            and `retry_for`, in seconds. Not needed for `files`.

    Returns:
        The changes; none if everything was up to date.

    Raises:
        cicd_common.errors.CommandError: The bump failed; the subclass says why.
    """
    # Imported here, so that the console script can show its help without python-gitlab.
    from pathlib import Path  # noqa: PLC0415

    from cicd_common.gitlab.connection import connection_from  # noqa: PLC0415
    from cicd_common.waiting.policy import policy_of  # noqa: PLC0415
    from cmd_bump_image_tag.request import BumpRequest  # noqa: PLC0415
    from cmd_bump_image_tag.run import bump  # noqa: PLC0415

    request = BumpRequest(
        image=_several(image),
        tag=tag,
        digest=digest,
        file=_several(file),
        exclude=_several(exclude),
        path=_several(path),
        via=via,
        project=project,
        repository=repository,
        branch=branch,
        merge_request=merge_request,
        auto_merge=auto_merge,
        title=title,
        label=_several(label),
        assignee=_several(assignee),
        reviewer=_several(reviewer),
        wait=policy_of(wait),
        commit_message=commit_message,
        skip_ci=skip_ci,
        upstream=upstream,
        verify_image=verify_image,
        pin_digest=pin_digest,
        insecure_registry=_several(insecure_registry),
        allow_downgrade=allow_downgrade,
        allow_older_pipeline=allow_older_pipeline,
        strict=strict,
        directory=Path(directory),
        dry_run=dry_run,
    )
    return bump(request, connection_from(connection, needs_server=project is not None))


def _several(values: str | Sequence[str]) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(values)
