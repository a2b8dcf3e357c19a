"""The request for a bump: the images, the files and the target."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from cicd_common.errors import UsageError
from cicd_common.registry.logins import checked_host
from cmd_bump_image_tag import DEFAULT_TEMPLATE
from cmd_bump_image_tag.commit_message import check_template
from cmd_bump_image_tag.image_reference import has_variable
from cmd_bump_image_tag.images import Update

if TYPE_CHECKING:
    from cicd_common.waiting.policy import WaitPolicy

Via = Literal["files", "api", "git"]

# git-check-ref-format(1), and the names that git would take for options.
_NO_BRANCH = re.compile(
    r"^$|^[-/]|[/.]$|\.\.|//|@\{|[\x00-\x20\x7f~^:?*\[\\]|(^|/)\.|\.lock(/|$)|^refs/"
)


@dataclass(frozen=True)
class BumpRequest:
    """The request for a bump: the command's options, by their names.

    Attributes:
        image: The images: `registry:port/path`, `NAME=TAG` or `NAME=TAG@DIGEST`.
        tag: The tag of images that come without one.
        digest: The digest of images that come without one.
        file: Files, folders or globs; empty for every YAML and JSON file.
        exclude: Files, folders or globs to leave out.
        path: Keys to edit as well, such as `spec.values.image.tag`.
        via: The target of the edit; None for the one that follows from the other options.
        project: The project's path, numeric id or URL.
        repository: The address of a repository that git reaches.
        branch: The branch; None for the default branch.
        merge_request: Whether to write to a new branch, and open a merge request.
        auto_merge: Whether to have the merge request merged once its checks have passed.
        title: The template of the merge request's title; None for the commit's subject.
        label: Labels of the merge request.
        assignee: User names of its assignees.
        reviewer: User names of its reviewers.
        wait: How to wait until it is merged, or until the commit's pipeline has ended; None not
            to wait.
        commit_message: The template of the commit's message.
        skip_ci: Whether GitLab starts no pipeline for the commit; None for the default, which is
            to start one only in a merge request.
        upstream: The URL of the pipeline that bumps; empty outside a GitLab job.
        verify_image: Whether the images' registries must have the new tags or digests.
        pin_digest: Whether to set the digest that the registry has for a tag, which verifies too.
        insecure_registry: Registries that are reached over plain HTTP, as `host[:port]`.
        allow_downgrade: Whether a lower version can replace a higher one.
        allow_older_pipeline: Whether an older pipeline can overwrite the bump of a newer one.
        strict: Whether to refuse an edit that leaves a mention of the old reference behind.
        directory: The working directory.
        dry_run: Whether only to return what would change.
    """

    image: tuple[str, ...] = ()
    tag: str | None = None
    digest: str | None = None
    file: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    via: Via | None = None
    project: str | None = None
    repository: str | None = None
    branch: str | None = None
    merge_request: bool = False
    auto_merge: bool = False
    title: str | None = None
    label: tuple[str, ...] = ()
    assignee: tuple[str, ...] = ()
    reviewer: tuple[str, ...] = ()
    wait: WaitPolicy | None = None
    commit_message: str = DEFAULT_TEMPLATE
    skip_ci: bool | None = None
    upstream: str = ""
    verify_image: bool = False
    pin_digest: bool = False
    insecure_registry: tuple[str, ...] = ()
    allow_downgrade: bool = False
    allow_older_pipeline: bool = False
    strict: bool = False
    directory: Path = Path()
    dry_run: bool = False

    @cached_property
    def updates(self) -> tuple[Update, ...]:
        """Returns the updates, one for each image; without an image, one for each path.

        Raises:
            UsageError: A name, a tag or a digest is wrong.
        """
        if not self.image:
            return tuple(Update(path, self.tag, self.digest, is_path=True) for path in self.path)
        return tuple(Update.parse(name, self.tag, self.digest) for name in self.image)

    @property
    def target(self) -> Via:
        """Returns the target: the given one, or the one that follows from the options."""
        if self.via is not None:
            return self.via
        if self.repository is not None:
            return "git"
        return "api" if self.project is not None else "files"

    @property
    def opens_merge_request(self) -> bool:
        """Returns True if the bump opens a merge request."""
        return self.merge_request or self.auto_merge

    @property
    def skips_ci(self) -> bool:
        """Returns True if GitLab is to start no pipeline for the commit."""
        # In a merge request, [skip ci] would prevent the checks of the merge request.
        return not self.opens_merge_request if self.skip_ci is None else self.skip_ci

    def check(self) -> None:
        """Checks the request before anything is read or sent.

        Raises:
            UsageError: A value is wrong, or options contradict each other.
        """
        if not self.updates:
            raise UsageError("There is no image to bump.", hint="Give --image, or --path.")
        self._check_registries()
        check_template(self.commit_message)
        self._check_target()
        self._check_merge_request()
        self._check_wait()
        if self.branch is not None and _NO_BRANCH.search(self.branch):
            raise UsageError(f"{self.branch!r} cannot be a branch's name.")
        if self.repository is not None:
            _check_repository(self.repository)

    def _check_registries(self) -> None:
        for name in self.insecure_registry:
            checked_host(name)
        if not (self.verify_image or self.pin_digest):
            return
        for update in self.updates:
            if update.is_path or has_variable(update.name):
                raise UsageError(
                    f"No registry can be asked for {update.name}.",
                    why="Its name is not known.",
                    hint="Leave out --verify-image and --pin-digest, or name the image.",
                )
            checked_host(update.reference.domain)

    def _check_target(self) -> None:
        remote = {
            "--project": self.project is not None,
            "--branch": self.branch is not None,
            "--merge-request": self.opens_merge_request,
        }
        for option, is_given in remote.items():
            if is_given and self.target == "files":
                raise UsageError(
                    f"{option} makes no sense with --via files.",
                    why="The edit goes to the working directory, and is not committed.",
                    hint="Give --project, and --via api or git.",
                )
        if self.repository is not None and self.target != "git":
            raise UsageError("--repository needs --via git.")
        if self.target != "files" and self.project is None and self.repository is None:
            raise UsageError(
                f"--via {self.target} needs a project.",
                hint="Give --project" + (", or --repository." if self.target == "git" else "."),
            )
        if self.project is None and self.opens_merge_request:
            raise UsageError(
                "A merge request needs a project.",
                why="A repository's address does not tell in which GitLab project to open it.",
                hint="Give --project in addition to --repository.",
            )

    def _check_merge_request(self) -> None:
        """Checks that options for merge requests are given only with a merge request."""
        if self.title is not None:
            check_template(self.title, "title")
        given = {
            "--title": self.title,
            "--label": self.label,
            "--assignee": self.assignee,
            "--reviewer": self.reviewer,
        }
        for option, value in given.items():
            if value and not self.opens_merge_request:
                raise UsageError(f"{option} needs a merge request.", hint="Add --merge-request.")
        for name in (*self.label, *self.assignee, *self.reviewer):
            if not name.strip() or "," in name:
                raise UsageError(
                    f"{name!r} is not a single name.", hint="Repeat the option for each name."
                )

    def _check_wait(self) -> None:
        """Checks that --wait has a merge request or a pipeline to wait for."""
        if self.wait is None or self.dry_run:
            return
        if self.target == "files" or self.project is None:
            raise UsageError(
                "--wait needs a project.",
                why="Only GitLab has a merge request or a pipeline to wait for.",
                hint="Give --project.",
            )
        if self.skips_ci and not self.opens_merge_request:
            raise UsageError(
                "--wait needs --no-skip-ci.",
                why="With [skip ci] the commit starts no pipeline to wait for.",
                hint="Add --no-skip-ci, or leave out --wait.",
            )


# Addresses that git takes: https://git-scm.com/docs/git-fetch#_git_urls
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>.*)", re.IGNORECASE)
_HOST = re.compile(
    r"(?:(?P<user>[^@:/]*)@)?(?:\[[0-9a-f:.]+\]|[^@:/]*)(?::\d+)?(?:/.*)?", re.IGNORECASE
)
_OTHER = re.compile(r"-|[^/\[]*::|(?:https?|ssh|git|ftps?|file):", re.IGNORECASE)
_BY_SSH = ("ssh", "git+ssh", "ssh+git")


def _check_repository(address: str) -> None:
    """Checks that git accepts an address, and that it holds no secret.

    Raises:
        UsageError: The address is not valid, or holds a secret. The message does not show it.
    """
    url = _URL.match(address)
    if not address or not address.isprintable() or (url is None and _OTHER.match(address)):
        raise UsageError(
            "--repository is not the address of a repository.",
            why="It is neither a URL, nor a path, nor HOST:PATH by SSH.",
            hint="Write it as https://HOST/PATH.git or git@HOST:PATH.git",
        )
    if _holds_secret(address, url):
        raise UsageError(
            "The repository's address holds a user name, a password or a query.",
            why="An address ends up in logs; credentials belong in a token option.",
            hint="Leave it out, and give --api-access-token or --job-token.",
        )


def _holds_secret(address: str, url: re.Match[str] | None) -> bool:
    """Returns True if an address has more than the user name of SSH, which is not a secret."""
    if url is None:
        return re.match(r"[^/@]*(:|%3a)[^/]*@", address, re.IGNORECASE) is not None
    scheme = url["scheme"].lower()
    if scheme == "file":
        return False
    host = _HOST.fullmatch(url["rest"])
    if host is None or "?" in address or "#" in address:
        return True
    return ":" in unquote(host["user"] or "") if scheme in _BY_SSH else "@" in address
