"""What GitLab tells about the token and a project; each request is sent once, when it is needed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING

from cicd_common.errors import AuthError, CommandError, ForbiddenError, NotFoundError
from cicd_common.gitlab import fields
from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.projects import find_project
from cicd_common.gitlab.tokens import TokenKind

if TYPE_CHECKING:
    from cicd_common.gitlab.connection import Connection
    from cicd_common.gitlab.fields import JsonObject
    from cicd_common.gitlab.projects import Project
    from cicd_doctor.findings import Questions

ADMINISTRATOR = 60
# Answers to a valid token that cannot read about itself: an OAuth token (400, 404), a fine-grained
# one without the permission (403), a server before 15.5 (404).
_NOT_TOLD = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


@dataclass
class TokenFacts:
    """What is known about the server and the token.

    Attributes:
        connection: The server and the credential.
        questions: What the user asked to check, such as projects and a tag's name.
    """

    connection: Connection
    questions: Questions

    @cached_property
    def gitlab(self) -> GitLab:
        """Returns the client; raises `UsageError` if no server was given."""
        return GitLab(self.connection)

    @property
    def is_job_token(self) -> bool:
        """Returns True for a CI job token, which GitLab accepts on few routes."""
        return self.gitlab.token_kind is TokenKind.JOB

    @cached_property
    def job(self) -> JsonObject:
        """Returns the job that the job token belongs to."""
        return self.gitlab.get("job")

    @cached_property
    def version(self) -> str | None:
        """Returns the server's version; None if GitLab does not tell it to this token."""
        if self.is_job_token:
            return None
        try:
            return fields.text(self.gitlab.get("version"), "version")
        except (AuthError, ForbiddenError):
            return None

    @property
    def version_number(self) -> tuple[int, int] | None:
        """Returns the server's major and minor version; None if they are not known."""
        found = re.match(r"(\d{1,4})\.(\d{1,4})", self.version or "")
        return (int(found[1]), int(found[2])) if found else None

    @cached_property
    def description(self) -> JsonObject | None:
        """Returns the access token's name, scopes and expiry; None if GitLab does not tell them."""
        try:
            return self.gitlab.get("personal_access_tokens/self")
        except CommandError as error:
            if error.answer is None or error.answer.status not in _NOT_TOLD:
                raise
            return None

    @cached_property
    def user(self) -> JsonObject:
        """Returns the user that the token belongs to."""
        return fields.record(self.job, "user") if self.is_job_token else self.gitlab.get("user")

    @property
    def username(self) -> str | None:
        """Returns the user's name; None if the token's scopes or permissions hide it."""
        try:
            return fields.text(self.user, "username")
        except AuthError as error:
            if error.answer is None or error.answer.status != HTTPStatus.FORBIDDEN:
                raise
            return None


@dataclass
class ProjectFacts:
    """What GitLab tells this token about a project.

    Attributes:
        token: What is known about the token.
        name: The project as the user named it.
    """

    token: TokenFacts
    name: str

    @property
    def gitlab(self) -> GitLab:
        """Returns the client."""
        return self.token.gitlab

    @property
    def questions(self) -> Questions:
        """Returns what else to check."""
        return self.token.questions

    @cached_property
    def project(self) -> Project:
        """Returns the project; with a job token, as the user named it."""
        return find_project(self.gitlab, self.name)

    @cached_property
    def details(self) -> JsonObject:
        """Returns the project as GitLab describes it to access tokens."""
        return self.gitlab.get(self.route())

    @cached_property
    def role(self) -> int:
        """Returns the access level of the token's user; 0 if the user is not a member."""
        user = self.token.user
        try:
            member = self.gitlab.get(self.route(f"members/all/{fields.number(user, 'id')}"))
        except NotFoundError:
            return ADMINISTRATOR if fields.flag(user, "is_admin") else 0
        return fields.number(member, "access_level")

    def route(self, below: str = "") -> str:
        """Returns the path of an API route of the project."""
        return f"projects/{self.project.id}/{below}".rstrip("/")

    def settings(self, below: str) -> list[JsonObject] | None:
        """Returns a list among the settings; None if the user's role is too low to see it."""
        try:
            return list(self.gitlab.get_all(self.route(below)))
        except ForbiddenError:
            return None

    def is_readable(self, below: str) -> bool:
        """Returns True if GitLab lets the token read a list of the project."""
        try:
            self.gitlab.get_list(self.route(below), per_page=1)
        except (NotFoundError, ForbiddenError):
            return False
        return True

    def is_public(self) -> bool:
        """Returns True if the project can be read without any token."""
        anonymous = GitLab(replace(self.token.connection, token=None))
        try:
            anonymous.get(self.route())
        except CommandError:
            return False
        return True

    def branch(self, name: str) -> JsonObject | None:
        """Returns a branch; None if it does not exist."""
        return self._ref("branches", name)

    def has_tag(self, name: str) -> bool:
        """Returns True if the project has a tag of this name."""
        return self._ref("tags", name) is not None

    def _ref(self, kind: str, name: str) -> JsonObject | None:
        """Finds a ref in its list: servers before 18.8 ignore a job token on a single tag."""
        found = self.gitlab.get_all(self.route(f"repository/{kind}"), search=f"^{name}$")
        return next((each for each in found if fields.text(each, "name") == name), None)
