"""The sandbox as tests and the demo hold it: start it, fill it, look into it, stop it."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from sandbox import background, git, git_http, projects, pushes, scripted
from sandbox.agenda import INSTANT
from sandbox.application import Application
from sandbox.cable import Cable
from sandbox.ci import Scheduler
from sandbox.ci.environment import variables_of
from sandbox.ci.variables import as_values, expand_all
from sandbox.clocks import WallClock
from sandbox.context import Instance
from sandbox.model import (
    NO_COMMIT,
    Access,
    Project,
    ScriptedJob,
    ScriptedPipeline,
    State,
    Timeline,
    Token,
    TriggerToken,
    User,
)
from sandbox.server import Server
from sandbox.storage import Storage
from sandbox.versions import DEFAULT, FINE_GRAINED_TOKENS, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from sandbox.agenda import Slow
    from sandbox.clocks import Clock
    from sandbox.faults import Fault
    from sandbox.model import Job, Pipeline, TokenKind
    from sandbox.server import RecordedRequest

# A scripted pipeline changes by the clock, which notifies nobody.
_LOOK_AGAIN_SECONDS = 0.02

# Seconds that only what hangs takes, on a machine however busy.
PATIENCE = 300


class Sandbox:
    """An embedded GitLab, which serves while its `with` block runs.

    Args:
        clock: Where it gets the time; None is the machine's clock.
        run_jobs: Whether the jobs of pipelines really run.
        root: Where its files go; None makes a temporary folder and removes it in the end.
        host: The address to listen at.
        port: The port; 0 takes a free one.
        relative_root: The path that everything is below, such as `/gitlab`.
        job_environment: Variables for every job beside its own.
        job_path: A folder whose programs jobs find first.
        shell_runner: Whether jobs run in this machine's shell even where there is Docker: as by a
            runner with the shell executor, which ignores `image` and `services`.
        version: The version of GitLab that it plays, such as `18.2`; `sandbox/versions.py` has
            what differs.
        slow: How long its background workers take; they take no time unless told otherwise.
        object_storage: Whether artifacts are downloaded from a server of their own, by a redirect.

    Attributes:
        url: Where it serves.
        state: Its records; whoever reads or changes them holds `state.lock`.
        cable: Its push of pipeline changes, what went over it, and what goes wrong with it.
        storage: The server of the object storage, with its requests and faults.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        run_jobs: bool = True,
        root: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        relative_root: str = "",
        job_environment: Mapping[str, str] | None = None,
        job_path: Path | None = None,
        shell_runner: bool = False,
        version: str = DEFAULT,
        slow: Slow = INSTANT,
        object_storage: bool = False,
    ) -> None:
        self._temporary = root is None
        self.state = State(
            root=root or Path(tempfile.mkdtemp(prefix="gitlab-")),
            clock=clock or WallClock(),
            version=Version.parse(version),
            slow=slow,
        )
        self._scheduler = Scheduler(
            self.state,
            catch_up=background.catch_up,
            run_jobs=run_jobs,
            extra_env=job_environment or {},
            path_prepend=job_path,
            shell_runner=shell_runner,
        )
        self._storage = Storage()
        self.storage = Server(self._storage.answer, host, 0, self.state.clock.now, self._later)
        self._instance = Instance(
            self.state,
            self._scheduler,
            scripted.Director(self.state),
            self._store if object_storage else None,
        )
        git_http.install_hooks(self.state.root)
        self.cable = Cable(self.state)
        application = Application(self._instance, self.cable, relative_root)
        self._server = Server(application.answer, host, port, self.state.clock.now, self._later)
        self._host = host
        self.url = f"http://{host}:{self._server.port}{relative_root}"
        self.state.external_url = self.url

    def __enter__(self) -> Self:
        """Begins to serve."""
        self._scheduler.start()
        self.storage.start()
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends every connection, thread and job, and removes the temporary folder."""
        self._server.stop()
        self.storage.stop()
        self._scheduler.stop()
        if self._temporary:
            shutil.rmtree(self.state.root, ignore_errors=True)
        if self.state.problems and not any(exception):
            raise AssertionError("\n".join(self.state.problems))

    def _later(self, work: Callable[[], object], seconds: float) -> None:
        """Have work done some seconds later, by the sandbox's clock."""
        with self.state.changed:
            self.state.agenda.add(work, seconds)
            self.state.changed.notify_all()

    def _store(self, archive: bytes) -> str:
        """Keep an archive in the object storage. Return its address."""
        return f"http://{self._host}:{self.storage.port}{self._storage.address(archive)}"

    # Records

    def add_user(self, username: str, *, name: str = "", admin: bool = False) -> User:
        """A user, whose e-mail address is made up of the name."""
        with self.state.lock:
            user = User(
                id=next(self.state.ids),
                username=username,
                name=name or username,
                email=f"{username}@example.com",
                admin=admin,
            )
            self.state.users[user.id] = user
        return user

    def add_token(
        self,
        user: User,
        *,
        kind: TokenKind = "personal",
        scopes: Collection[str] = ("api",),
        name: str = "ci-cd-execution",
        expires_at: datetime | None = None,
        revoked: bool = False,
        permissions: Collection[str] | None = None,
    ) -> Token:
        """Make an access token; its `secret` is what a client sends.

        Args:
            user: Whose token.
            kind: Its kind.
            scopes: Its scopes.
            name: Its name.
            expires_at: When it expires; None is never.
            revoked: Whether it is revoked.
            permissions: What a fine-grained token may do, in place of scopes; None makes another
                kind of token.

        Raises:
            ValueError: The version does not have fine-grained tokens.
        """
        if permissions is not None and not self.state.version.has(FINE_GRAINED_TOKENS):
            raise ValueError(f"GitLab {self.state.version} has no fine-grained tokens")
        token = Token(
            id=next(self.state.ids),
            secret=f"glpat-{secrets.token_urlsafe(20)}",
            kind=kind,
            name=name,
            user=user,
            scopes=frozenset(scopes) if permissions is None else frozenset({"granular"}),
            created_at=self.state.clock.now(),
            expires_at=expires_at,
            revoked=revoked,
            permissions=None if permissions is None else frozenset(permissions),
        )
        with self.state.lock:
            self.state.tokens[token.secret] = token
            user.bot = user.bot or kind in ("project", "group")  # whose tokens GitLab gives to bots
        return token

    def add_project(
        self,
        path: str,
        files: Mapping[str, str | bytes] | None = None,
        *,
        default_branch: str = "main",
        visibility: Literal["private", "internal", "public"] = "private",
        members: Mapping[User, Access] | None = None,
    ) -> Project:
        """A project with a first commit, which starts no pipeline.

        Args:
            path: `group/sub/name`.
            files: The first commit's, content by path; None leaves the repository empty.
            default_branch: Its name. As on GitLab it is protected: Maintainers push to it.
            visibility: Who sees the project.
            members: Roles by user.
        """
        with self.state.lock:
            project = projects.create(
                self.state,
                path,
                default_branch=default_branch,
                visibility=visibility,
                members=members or {},
            )
        if files is not None:
            self.commit(project, files, message="Initial commit", start_pipeline=False)
        return project

    def commit(
        self,
        project: Project,
        files: Mapping[str, str | bytes | None],
        *,
        branch: str | None = None,
        message: str = "Change files",
        start_pipeline: bool = True,
    ) -> str:
        """Commits as the project's first member.

        Args:
            project: Where.
            files: What changes, content by path; None removes a file.
            branch: The branch, which is made from the default branch if it does not exist; None
                is the default branch.
            message: The commit's message.
            start_pipeline: Whether it counts as a push.

        Returns:
            The commit's SHA.
        """
        branch = branch or project.default_branch
        with self.state.changed:
            author = self._someone_of(project)
            before = git.resolve(project.repository, f"refs/heads/{branch}")
            parent = before or git.resolve(
                project.repository, f"refs/heads/{project.default_branch}"
            )
            sha = git.write_commit(
                project.repository,
                branch,
                files,
                message=message,
                author=author,
                when=self.state.clock.now(),
                parent=parent,
            )
            push = pushes.Push(
                project,
                f"refs/heads/{branch}",
                sha,
                author,
                before=before or NO_COMMIT,
                starts_pipelines=start_pipeline,
            )
            pushes.announce(self.state, [push])
            self.state.changed.notify_all()
        return sha

    def tag(self, project: Project, name: str, ref: str | None = None, message: str = "") -> str:
        """Tags a ref, the default branch if None; starts no pipeline; the commit's SHA."""
        sha = self.sha(project, ref)
        with self.state.lock:
            git.write_tag(
                project.repository,
                name,
                sha,
                message=message,
                author=self._someone_of(project),
                when=self.state.clock.now(),
            )
        return sha

    def _someone_of(self, project: Project) -> User:
        member = next(iter(project.members), None)
        return self.state.users[member] if member else User(0, "root", "root", "root@example.com")

    def rename(self, project: Project, path: str) -> None:
        """Gives a project another path; the old one leads to it."""
        with self.state.lock:
            project.old_paths.add(project.path)
            project.path = path

    def add_trigger_token(self, project: Project, owner: User) -> TriggerToken:
        """A pipeline trigger token; its `secret` is what a client sends."""
        token = TriggerToken(next(self.state.ids), f"glptt-{secrets.token_hex(20)}", owner)
        with self.state.lock:
            project.trigger_tokens.append(token)
        return token

    def add_pipeline(
        self,
        project: Project,
        script: ScriptedPipeline,
        *,
        user: User,
        ref: str | None = None,
        sha: str | None = None,
        source: str = "push",
        after: float = 0,
    ) -> Pipeline:
        """A pipeline whose statuses follow a script, by the clock.

        Args:
            project: Whose pipeline.
            script: Its timeline and its jobs.
            user: Who started it.
            ref: A branch or a tag; None is the default branch.
            sha: The commit; None is the newest of the ref.
            source: GitLab's word for what caused it.
            after: Seconds from now when it comes to be; before that nobody sees it. Less than 0
                is in the past.

        Raises:
            LookupError: There is no such ref.
        """
        ref = ref or project.default_branch
        with self.state.changed:
            pipeline = scripted.create(
                self.state,
                script,
                project,
                ref=ref,
                sha=sha or self.sha(project, ref),
                tag=f"refs/tags/{ref}" in git.refs(project.repository, "refs/tags/"),
                source=source,
                user=user,
                created_at=self.state.clock.now() + timedelta(seconds=after),
            )
            self.state.changed.notify_all()
        return pipeline

    def add_running_job(self, project: Project, user: User) -> Job:
        """A job that runs until `finish`; its `token` is a live CI_JOB_TOKEN."""
        job = ScriptedJob(name="job", timeline=((0, "running"),))
        return self.add_pipeline(project, ScriptedPipeline(jobs=(job,)), user=user).jobs[0]

    def finish(self, job: Job, status: str = "success") -> None:
        """Ends a job of `add_running_job`, and with it its token."""
        with self.state.changed:
            job.timeline = Timeline(self.state.clock.now(), ((0, status),))
            background.catch_up(self.state)
            self.state.changed.notify_all()

    # Looking

    def sha(self, project: Project, ref: str | None = None) -> str:
        """The commit of a ref, of the default branch if None.

        Raises:
            LookupError: There is none.
        """
        found = git.resolve(project.repository, ref or f"refs/heads/{project.default_branch}")
        if found is None:
            raise LookupError(f"{project.path} has no {ref or project.default_branch}")
        return found

    def tags(self, project: Project) -> dict[str, str]:
        """The commits of a project's tags by name."""
        return {tag.name: tag.sha for tag in git.tags(project.repository)}

    def pipelines(self, project: Project) -> list[Pipeline]:
        """A project's pipelines as they are now, oldest first."""
        with self.state.lock:
            background.catch_up(self.state)
            return [
                pipeline
                for pipeline in self.state.pipelines.values()
                if pipeline.project is project
            ]

    def job_variables(self, job: Job) -> dict[str, str]:
        """The variables that a job has, or would have, their references resolved."""
        with self.state.lock:
            return as_values(expand_all(variables_of(self.state, job)))

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests that came in, oldest first; `clear()` forgets them."""
        return self._server.requests

    def fault(self, fault: Fault) -> Fault:
        """Makes a fault happen from now on; returns it, so that `fired` can be read."""
        self._server.faults.add(fault)
        return fault

    def wait_until(self, holds: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Waits for something to become true of the records.

        Args:
            holds: Says whether it is; called with the lock held.
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: It did not.
        """
        deadline = time.monotonic() + timeout
        with self.state.changed:
            background.catch_up(self.state)
            while not holds():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"not within {timeout} seconds")
                self.state.changed.wait(min(left, _LOOK_AGAIN_SECONDS))
                background.catch_up(self.state)
