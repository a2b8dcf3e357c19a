"""What follows when refs have changed: pipelines of source `push`, some time after the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sandbox import git, scripted
from sandbox.ci import create_pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.context import Instance
    from sandbox.model import Project, State, User

_SKIP_CI = re.compile(r"\[(skip[ _-]ci|ci[ _-]skip)\]", re.IGNORECASE)


@dataclass(frozen=True)
class Push:
    """A branch or a tag that now leads to another commit."""

    project: Project
    ref: str  # in full: `refs/tags/v1`
    sha: str  # the commit's, also of an annotated tag
    user: User
    skip_ci: bool = False  # by the push option `ci.skip`; a commit's message may say so, too


def announce(instance: Instance, pushes: Sequence[Push]) -> None:
    """Has the pipelines of pushes started later, one by one, in order."""
    for push in pushes:
        instance.later(partial(_start_pipeline, instance.state, push))


def _start_pipeline(state: State, push: Push) -> None:
    project = push.project
    tag = push.ref.startswith("refs/tags/")
    ref = push.ref.removeprefix("refs/tags/").removeprefix("refs/heads/")
    with state.lock:
        if project.script and project.ci_enabled:
            scripted.create(
                state,
                project.script,
                project,
                ref=ref,
                sha=push.sha,
                tag=tag,
                source="push",
                user=push.user,
                created_at=state.clock.now(),
            )
            return
        message = git.commits(project.repository, [push.sha])[push.sha].message
        create_pipeline(
            state,
            project,
            ref=ref,
            sha=push.sha,
            tag=tag,
            source="push",
            user=push.user,
            skip_ci=push.skip_ci or _SKIP_CI.search(message) is not None,
        )
