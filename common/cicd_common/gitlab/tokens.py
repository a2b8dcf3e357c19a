"""Defines the kinds of tokens, and which routes accept a CI job token."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from cicd_common import cleaning
from cicd_common.errors import UsageError
from cicd_common.files import UnreadableError, read_text

if TYPE_CHECKING:
    from pathlib import Path


class TokenKind(Enum):
    """Names the kinds of tokens as GitLab's documentation does."""

    ACCESS = "access token"  # personal, project or group: header PRIVATE-TOKEN
    JOB = "CI job token"  # header JOB-TOKEN
    OAUTH = "OAuth token"  # header Authorization: Bearer
    TRIGGER = "pipeline trigger token"  # in the body of the one request that accepts it


@dataclass(frozen=True)
class Token:
    """Holds a token and where it came from.

    Attributes:
        kind: The kind, which decides how it is sent.
        source: The option, variable or file that it came from, for messages.
        secret: The token itself; never part of the representation.
    """

    kind: TokenKind
    source: str
    secret: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Returns the request headers that hold the token; empty for a trigger token."""
        match self.kind:
            case TokenKind.ACCESS:
                return {"PRIVATE-TOKEN": self.secret}
            case TokenKind.JOB:
                return {"JOB-TOKEN": self.secret}
            case TokenKind.OAUTH:
                return {"Authorization": f"Bearer {self.secret}"}
        return {}

    def __post_init__(self) -> None:
        """Hides the secret in everything that this process writes."""
        cleaning.hide(self.secret)


def token_of(kind: TokenKind, secret: str, source: str) -> Token:
    """Makes a token after a check that the text can be one.

    Raises:
        UsageError: The text is empty, looks like an option or an unexpanded variable (which happens
            if a protected variable is missing on an unprotected branch), or cannot be a header.
    """
    secret = secret.strip()
    problem = ""
    if not secret:
        problem = "it is empty"
    elif secret.startswith("--"):
        problem = "it looks like an option"
    elif secret.startswith("$"):
        problem = "it looks like a variable that was not expanded"
    elif not re.fullmatch(r"[\x21-\x7e]+", secret):
        problem = "it has characters that a token cannot have"
    if problem:
        raise UsageError(
            f"The {kind.value} from {source} is not valid: {problem}.",
            hint="Check that the CI/CD variable is set and visible to this branch (protected "
            "variables are missing on unprotected branches).",
        )
    return Token(kind, source, secret)


def read_token_file(path: Path, source: str) -> Token:
    """Reads an access token from a file, such as a Docker secret or a GitLab file variable.

    Raises:
        UsageError: The file cannot be read, or its content cannot be a token.
    """
    try:
        secret = read_text(path)
    except UnreadableError as error:
        raise UsageError(f"The token file {path} from {source} cannot be read: {error}.") from error
    return token_of(TokenKind.ACCESS, secret, source)


# The routes that accept a job token, each with its first version if not all servers do:
# https://docs.gitlab.com/ci/jobs/ci_job_token/, and `route_setting :authentication` in GitLab's
# source. On any other route GitLab ignores a job token and the request is anonymous, which ends in
# a puzzling 404 or 401.
_PROJECT = r"projects/[^/]+"
_JOB_TOKEN_ROUTES = (
    (r"GET job", ""),
    (rf"GET {_PROJECT}/repository/(tags|branches|commits/[^/]+|files/[^/]+/raw)", ""),
    (rf"GET {_PROJECT}/repository/tags/[^/]+", "18.8"),
    (rf"GET {_PROJECT}/pipelines/\d+/jobs", "18.4"),
    (rf"GET {_PROJECT}/jobs/\d+/artifacts(/.+)?", ""),
    (rf"GET {_PROJECT}/pipelines(/\d+(/bridges|/trigger_jobs)?)?", "19.0"),
    (rf"GET {_PROJECT}/merge_requests", "18.3"),
    (rf"GET {_PROJECT}/releases(/[^/]+)?", ""),
    (rf"POST {_PROJECT}/(releases|trigger/pipeline)", ""),
    (rf"PUT {_PROJECT}/releases/[^/]+", ""),
    (rf"(POST|PUT) {_PROJECT}/releases/[^/]+/assets/links(/\d+)?", ""),
)


def takes_job_token(method: str, path: str) -> bool:
    """Returns whether GitLab accepts a job token on a route; on others it ignores the token.

    Args:
        method: The HTTP method.
        path: The path below `/api/v4/`.
    """
    return _route(method, path) is not None


def job_token_since(method: str, path: str) -> str:
    """Returns the first version that accepts a job token on a route; empty if all versions do.

    Args:
        method: The HTTP method.
        path: The path below `/api/v4/`.
    """
    return _route(method, path) or ""


def _route(method: str, path: str) -> str | None:
    request = f"{method} {path}"
    found = (since for pattern, since in _JOB_TOKEN_ROUTES if re.fullmatch(pattern, request))
    return next(found, None)
