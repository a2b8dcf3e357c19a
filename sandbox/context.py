"""What the handlers of the API work with: the caller, and one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sandbox import permissions
from sandbox.model import Access
from sandbox.web import ApiError, forbidden, not_found, unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sandbox.model import Job, Pipeline, Project, State, Token, User
    from sandbox.web import Params, Request


class Steering(Protocol):
    """What a person does to pipelines and jobs; called with the lock held."""

    def cancel(self, pipeline: Pipeline) -> None:
        """Cancels what has not ended."""

    def cancel_job(self, job: Job) -> None:
        """Cancels one job."""

    def retry(self, pipeline: Pipeline, user: User) -> None:
        """Runs the failed and canceled jobs again."""

    def retry_job(self, job: Job, user: User) -> Job:
        """Puts a new job in the place of one that has ended."""

    def play(self, job: Job, user: User) -> None:
        """Starts a manual job."""


@dataclass(frozen=True)
class Instance:
    """The running server's parts that handlers reach for."""

    state: State
    scheduler: Steering  # of pipelines whose jobs run
    director: Steering  # of scripted ones
    # Keeps an archive in the object storage, and says where; None: GitLab answers with it itself.
    storage: Callable[[bytes], str] | None = None

    def steering(self, pipeline: Pipeline) -> Steering:
        """What acts on a pipeline."""
        return self.director if pipeline.scripted else self.scheduler


@dataclass(frozen=True)
class Caller:
    """Who is asking; all None is an anonymous request."""

    user: User | None = None
    token: Token | None = None
    job: Job | None = None  # whose CI_JOB_TOKEN it is


@dataclass(frozen=True)
class Call:
    """One request on its way through a handler."""

    instance: Instance
    request: Request
    caller: Caller
    params: Params

    @property
    def state(self) -> State:
        """The records."""
        return self.instance.state

    @property
    def now(self) -> datetime:
        """The sandbox's time."""
        return self.state.clock.now()

    @property
    def user(self) -> User:
        """Who is asking.

        Raises:
            ApiError: 401, if nobody says.
        """
        if self.caller.user is None:
            raise unauthorized()
        return self.caller.user

    def access(self, project: Project) -> Access:
        """The caller's role in a project."""
        return permissions.access(project, self.caller.user)

    def project(self, least: Access = Access.NONE) -> Project:
        """The project of the path, by id or by path.

        Args:
            least: The role that the caller must have in it.

        Raises:
            ApiError: 404 if it does not exist or the caller may not see it; 403 without the role
                or if its job token allowlist says no; 301 or 405 if it has moved.
        """
        named = self.params.text("id")
        project = permissions.find_project(self.state, named)
        if project is None:
            raise not_found("Project")
        self._check_visible(project)
        if named in project.old_paths:
            raise self._moved(project, named)
        if self.access(project) < least:
            raise forbidden()
        return project

    def code(self, least: Access = Access.NONE) -> Project:
        """The project of the path, if the caller may read its repository.

        Raises:
            ApiError: As `project`; 403 for a Guest of one that is not public.
        """
        project = self.project()
        if not permissions.may_read_code(project, self.caller.user) or self.access(project) < least:
            raise forbidden()
        return project

    def _check_visible(self, project: Project) -> None:
        visible = permissions.may_see(project, self.caller.user)
        job = self.caller.job
        if job is None:
            if not visible:
                raise not_found("Project")
            return
        # Anybody may read what is public, a job token that is not on the allowlist, too.
        public = project.visibility == "public" and self._reading
        if not public and not (visible and permissions.takes_job_token_of(project, job)):
            source = job.pipeline.project.path.rpartition("/")[2]
            raise forbidden(
                "Authentication by CI/CD job token not allowed from "
                f"{source} to project #{project.id}."
            )

    @property
    def _reading(self) -> bool:
        return self.request.method in ("GET", "HEAD")

    def _moved(self, project: Project, named: str) -> ApiError:
        if not self._reading:
            return ApiError(405, {"message": "Non GET methods are not allowed for moved projects"})
        segment = named.replace("/", "%2F")
        target = self.request.target.replace(segment, str(project.id), 1)
        location = self.state.origin + target
        return ApiError(
            301,
            {"message": f"This resource has been moved permanently to {location}"},
            {"Location": location},
        )
