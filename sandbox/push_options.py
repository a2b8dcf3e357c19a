"""Push options: what a push asks for in addition to its refs, by `git push -o`.

Source: `Gitlab::PushOptions` in GitLab's source and `doc/topics/git/commit.md`. GitLab ignores an
option that it does not know; the sandbox refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox import git, merge_requests
from sandbox.model import Variable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.model import MergeRequest, Project, State, User
    from sandbox.pushes import Push

_FLAGS = ("ci.skip", "merge_request.create", "merge_request.remove_source_branch")
_TEXTS = ("merge_request.target", "merge_request.title", "merge_request.description")
_LISTS = ("ci.variable", "merge_request.label")


@dataclass
class Options:
    """The options of a push.

    Attributes:
        flags: Those without a value.
        texts: Those with one value, by name.
        lists: Those that can be repeated, by name.
        unknown: Those that the sandbox does not know.
    """

    flags: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def skip_ci(self) -> bool:
        """Whether no pipeline is to run."""
        return "ci.skip" in self.flags

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables for the pipelines."""
        pairs = (text.partition("=") for text in self.lists.get("ci.variable", []))
        return tuple(Variable(key, value) for key, _, value in pairs)


def read_options(given: Iterable[str]) -> Options:
    """Read the options as git sends them: `name` or `name=value`."""
    found = Options()
    for option in given:
        name, equals, value = option.partition("=")
        if name in _FLAGS and not equals:
            found.flags.add(name)
        elif name in _TEXTS and equals:
            found.texts[name] = value
        elif name in _LISTS and equals:
            found.lists.setdefault(name, []).append(value)
        else:
            found.unknown.append(option)
    return found


def follow(state: State, pushes: Iterable[Push], options: Options) -> None:
    """Open or change the merge requests that the options ask for; the lock is held."""
    if (
        not (options.flags | options.texts.keys() | options.lists.keys())
        - {"ci.skip"}
        - {"ci.variable"}
    ):
        return
    for push in pushes:
        if not push.tag:
            _follow(state, push, options)


def _follow(state: State, push: Push, options: Options) -> None:
    project, texts = push.project, options.texts
    target = texts.get("merge_request.target", project.default_branch)
    request = _find(project, push.name, target)
    if request is None and "merge_request.create" in options.flags and target != push.name:
        request = _open(state, project, push.name, target, push.user)
    if request is None:
        return
    request.title = texts.get("merge_request.title", request.title)
    request.description = texts.get("merge_request.description", request.description)
    if "merge_request.remove_source_branch" in options.flags:
        request.remove_source_branch = True
    request.labels = sorted({*request.labels, *options.lists.get("merge_request.label", [])})


def _find(project: Project, source: str, target: str) -> MergeRequest | None:
    branches = (source, target)
    return next(
        (
            request
            for request in project.merge_requests
            if request.state == "opened"
            and (request.source_branch, request.target_branch) == branches
        ),
        None,
    )


def _open(state: State, project: Project, source: str, target: str, user: User) -> MergeRequest:
    """A merge request whose title is the newest commit's."""
    sha = git.resolve(project.repository, f"refs/heads/{source}") or ""
    title = git.commits(project.repository, [sha])[sha].title
    return merge_requests.open_request(
        state, project, title=title, source_branch=source, target_branch=target, author=user
    )
