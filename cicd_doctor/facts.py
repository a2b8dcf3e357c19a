"""What GitLab tells about the token and a project, each asked for once and only when wanted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cicd_common.errors import ForbiddenError, NotFoundError
from cicd_common.gitlab import fields
from cicd_common.gitlab.client import quoted
from cicd_common.gitlab.projects import find_project
from cicd_common.gitlab.tokens import TokenKind

if TYPE_CHECKING:
    from cicd_common.gitlab.client import GitLab
    from cicd_common.gitlab.projects import Project
    from cicd_doctor.model import Questions


@dataclass
class TokenFacts:
    """What is known of the token.

    Attributes:
        gitlab: The client.
        questions: What a person wants to know.
    """

    gitlab: GitLab
    questions: Questions

    @property
    def is_job_token(self) -> bool:
        """Whether it is a CI job token, which opens few routes."""
        return self.gitlab.token_kind is TokenKind.JOB

    @cached_property
    def job(self) -> dict[str, Any]:
        """The job whose token it is."""
        return self.gitlab.get("job")

    @cached_property
    def description(self) -> dict[str, Any] | None:
        """Name, scopes and expiry of an access token; None where the server does not tell."""
        try:
            return self.gitlab.get("personal_access_tokens/self")
        except NotFoundError:  # before GitLab 15.5, and for an OAuth token
            return None

    @cached_property
    def user(self) -> dict[str, Any]:
        """The user that the token acts as."""
        return fields.record(self.job, "user") if self.is_job_token else self.gitlab.get("user")


@dataclass
class ProjectFacts:
    """What is known of a project, as far as GitLab tells this token.

    Attributes:
        token: What is known of the token.
        name: The project as a person named it.
    """

    token: TokenFacts
    name: str

    @property
    def gitlab(self) -> GitLab:
        """The client."""
        return self.token.gitlab

    @property
    def questions(self) -> Questions:
        """What a person wants to know."""
        return self.token.questions

    @cached_property
    def project(self) -> Project:
        """The project; with a job token as it was named."""
        return find_project(self.gitlab, self.name)

    @cached_property
    def answer(self) -> dict[str, Any]:
        """The project as GitLab describes it to access tokens."""
        return self.gitlab.get(self.route())

    @cached_property
    def role(self) -> int | None:
        """The access level of the token's user; None for no member."""
        try:
            user = fields.number(self.token.user, "id")
            member = self.gitlab.get(self.route(f"members/all/{user}"))
        except NotFoundError:
            return None
        return fields.number(member, "access_level")

    def route(self, below: str = "") -> str:
        """A route of the project."""
        return f"projects/{self.project.id}/{below}".rstrip("/")

    def settings(self, below: str) -> list[dict[str, Any]] | None:
        """A list among the settings; None where the role is too low to see it."""
        try:
            return list(self.gitlab.get_all(self.route(below)))
        except ForbiddenError:
            return None

    def branch(self, name: str) -> dict[str, Any] | None:
        """A branch, None if there is none; from the list, which takes a job token, too."""
        found = self.gitlab.get_all(self.route("repository/branches"), search=f"^{name}$")
        return next((each for each in found if fields.text(each, "name") == name), None)

    def has_tag(self, name: str) -> bool:
        """Whether there is such a tag."""
        try:
            self.gitlab.get(self.route(f"repository/tags/{quoted(name)}"))
        except NotFoundError:
            return False
        return True
