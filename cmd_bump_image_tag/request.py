"""What is to be bumped, in which files, and where it is to go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cicd_common.errors import UsageError
from cmd_bump_image_tag.commit_message import DEFAULT_TEMPLATE, check_template

if TYPE_CHECKING:
    from cmd_bump_image_tag.images import Bump

Via = Literal["files", "api", "git"]

# git-check-ref-format(1), and the names that git would take for options.
_NO_BRANCH = re.compile(
    r"^$|^[-/]|[/.]$|\.\.|//|@\{|[\x00-\x20\x7f~^:?*\[\\]|(^|/)\.|\.lock(/|$)|^refs/"
)


@dataclass(frozen=True)
class BumpRequest:
    """What is to be bumped.

    Attributes:
        bumps: The images, and what each is set to.
        patterns: Which files; none at all are every YAML and JSON file.
        paths: Keys to edit as well, such as `spec.values.image.tag`.
        commit_message: The template of the commit's message.
        skip_ci: Whether GitLab shall start no pipeline for the commit.
        upstream: The URL of the pipeline that bumps; empty outside a GitLab job.
        verify_image: Whether the images' registries must have what is to be set.
        pin_digest: Whether to set the digest that the registry has for a tag, which verifies too.
        allow_downgrade: Whether a lower SemVer may replace a higher, an older pipeline's a newer's.
        dry_run: Whether to change nothing.
    """

    bumps: tuple[Bump, ...]
    patterns: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    commit_message: str = DEFAULT_TEMPLATE
    skip_ci: bool = True
    upstream: str = ""
    verify_image: bool = False
    pin_digest: bool = False
    allow_downgrade: bool = False
    dry_run: bool = False

    def check(self) -> None:
        """Finds what can be known to be wrong before anything is read.

        Raises:
            UsageError: Nothing is to be bumped, or the message cannot be made.
        """
        if not self.bumps:
            raise UsageError("There is no image to bump.", hint="Give --image.")
        check_template(self.commit_message)


@dataclass(frozen=True)
class Destination:
    """Where a bump is to go.

    Attributes:
        via: The way; None for the one that follows from the rest.
        project: The project's path, numeric id or URL.
        repository: The address of a repository that git reaches.
        branch: The branch; None for the default branch.
        merge_request: Whether to write to a branch of its own, and open a merge request.
        auto_merge: Whether to have the merge request merged once its checks have passed.
        directory: The working directory.
    """

    via: Via | None = None
    project: str | None = None
    repository: str | None = None
    branch: str | None = None
    merge_request: bool = False
    auto_merge: bool = False
    directory: Path = Path()

    @property
    def way(self) -> Via:
        """The way: what was asked for, or what follows from the rest."""
        if self.via is not None:
            return self.via
        if self.repository is not None:
            return "git"
        return "api" if self.project is not None else "files"

    def check(self) -> None:
        """Finds what makes no sense together.

        Raises:
            UsageError: Something does.
        """
        remote = {
            "--project": self.project is not None,
            "--branch": self.branch is not None,
            "--merge-request": self.merge_request or self.auto_merge,
        }
        for option, given in remote.items():
            if given and self.way == "files":
                raise UsageError(
                    f"{option} makes no sense with --via files.",
                    why="The edit goes to the working directory, and is not committed.",
                    hint="Give --project, and --via api or git.",
                )
        if self.repository is not None and self.way != "git":
            raise UsageError("--repository is for --via git alone.")
        if self.way != "files" and self.project is None and self.repository is None:
            raise UsageError(
                f"--via {self.way} needs a project.",
                hint="Give --project" + (", or --repository." if self.way == "git" else "."),
            )
        if self.project is None and (self.merge_request or self.auto_merge):
            raise UsageError(
                "A merge request needs a project.",
                why="git alone does not tell in which project GitLab is to open it.",
                hint="Give --project beside --repository.",
            )
        if self.branch is not None and _NO_BRANCH.search(self.branch):
            raise UsageError(f"{self.branch!r} cannot be a branch's name.")
        if self.repository is not None:
            _check_repository(self.repository)


def _check_repository(address: str) -> None:
    if address.startswith("-"):
        raise UsageError(f"{address!r} is no address of a repository.")
    if re.match(r"https?://[^/]*@", address):
        raise UsageError(
            "The repository's address holds a user name or a password.",
            why="An address ends up in logs; credentials belong in a token option.",
            hint="Leave it out, and give --api-access-token or --job-token.",
        )
