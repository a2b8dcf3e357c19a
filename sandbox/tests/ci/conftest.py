from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from sandbox import git
from sandbox.ci import Scheduler, create_pipeline
from sandbox.model import ENDED, NO_COMMIT, Access, Project, State, User
from sandbox.world import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sandbox.model import Job, Pipeline, Variable


class World:
    """A few projects with real repositories, and what drives their pipelines."""

    def __init__(self, root: Path) -> None:
        self.state = State(root, external_url="http://gitlab.example:8080")
        self.user = self.add_user("dev")
        self.scheduler = Scheduler(self.state)

    def add_user(self, name: str) -> User:
        user = User(next(self.state.ids), name, name.title(), f"{name}@example.com")
        self.state.users[user.id] = user
        return user

    def project(self, path: str, config: str, files: Mapping[str, str] | None = None) -> Project:
        number = next(self.state.ids)
        project = Project(
            number,
            path,
            self.state.root / f"{number}.git",
            members={self.user.id: Access.MAINTAINER},
        )
        git.init(project.repository, project.default_branch)
        self.state.projects[number] = project
        self.commit(project, {".gitlab-ci.yml": dedent(config), **(files or {})})
        return project

    def commit(self, project: Project, files: Mapping[str, str], branch: str = "main") -> str:
        return git.write_commit(
            project.repository,
            branch,
            files,
            message="Change something\n",
            author=self.user,
            when=self.state.clock.now(),
            parent=git.resolve(project.repository, branch)
            or git.resolve(project.repository, "main"),
        )

    def start(
        self,
        project: Project,
        *,
        ref: str = "main",
        source: str = "api",
        tag: bool = False,
        variables: Sequence[Variable] = (),
        inputs: Mapping[str, object] | None = None,
    ) -> Pipeline:
        pipeline = self.try_start(project, ref, source, tag, variables, inputs)
        assert pipeline is not None
        return pipeline

    def push(
        self, project: Project, ref: str = "main", *, tag: bool = False, before: str = NO_COMMIT
    ) -> Pipeline | None:
        return self.try_start(project, ref, "push", tag, (), None, before)

    def try_start(
        self,
        project: Project,
        ref: str,
        source: str,
        tag: bool,
        variables: Sequence[Variable],
        inputs: Mapping[str, object] | None,
        before: str = NO_COMMIT,
    ) -> Pipeline | None:
        sha = git.resolve(project.repository, "main" if tag else ref)
        assert sha is not None
        return create_pipeline(
            self.state,
            project,
            ref=ref,
            sha=sha,
            tag=tag,
            source=source,
            user=self.user,
            variables=variables,
            inputs=inputs,
            before=before,
        )

    def wait(self, subject: Pipeline | Job, *statuses: str) -> None:
        wanted = statuses or ENDED
        with self.state.changed:
            reached = self.state.changed.wait_for(lambda: subject.status in wanted, PATIENCE)
        assert reached, f"{subject.status}, not {', '.join(wanted)}"

    def wait_for_log(self, pipeline: Pipeline, name: str, text: str) -> None:
        with self.state.changed:
            assert self.state.changed.wait_for(lambda: text in self.log(pipeline, name), PATIENCE)

    def run(self, project: Project, *, source: str = "api") -> Pipeline:
        pipeline = self.start(project, source=source)
        self.wait(pipeline)
        return pipeline

    def job(self, pipeline: Pipeline, name: str) -> Job:
        return next(job for job in pipeline.jobs if job.name == name and not job.retried)

    def log(self, pipeline: Pipeline, name: str) -> str:
        return self.job(pipeline, name).trace.decode()


@pytest.fixture
def still(tmp_path: Path) -> World:
    """A world in which nothing runs."""
    return World(tmp_path)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world that runs its jobs."""
    world = World(tmp_path)
    world.scheduler.start()
    yield world
    world.scheduler.stop()
