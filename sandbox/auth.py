"""Who a request comes from, by its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.context import Caller
from sandbox.model import JOB_TOKEN_PREFIX
from sandbox.web import ApiError, unauthorized

if TYPE_CHECKING:
    from sandbox.model import Job, State, Token
    from sandbox.routes import Route
    from sandbox.web import Request

_EXPIRED = "Token is expired. You can either do re-authorization or token refresh."
_REVOKED = "Token was revoked. You have to re-authorize from the user."
_TOO_SMALL = "The request requires higher privileges than provided by the access token."


def find_job(state: State, secret: str) -> Job | None:
    """The job that a CI job token was made for, be it running or not."""
    if not secret:
        return None
    return next((job for job in state.jobs.values() if job.token == secret), None)


def is_live(job: Job) -> bool:
    """Whether a job's token still opens anything."""
    return job.status in ("running", "canceling")


def live_job(state: State, secret: str) -> Job | None:
    """The running job of a CI job token."""
    job = find_job(state, secret)
    return job if job and is_live(job) else None


def authenticate(state: State, request: Request, route: Route) -> Caller:
    """Finds out who is asking.

    A job token on a route that does not take it is no token at all.

    Raises:
        ApiError: 401 for a token that is unknown, expired or revoked, or of a job that has ended;
            403 for one whose scopes are not enough.
    """
    bearer = request.headers.get("Authorization", "").partition("Bearer ")[2].strip()
    secret = bearer or request.headers.get("PRIVATE-TOKEN", "")
    job_secret = request.headers.get("JOB-TOKEN", "")
    if secret.startswith(JOB_TOKEN_PREFIX):
        # Only `Bearer` brings a job token; in PRIVATE-TOKEN GitLab ignores it.
        secret, job_secret = "", bearer
    if secret:
        token = state.tokens.get(secret)
        if token is None or (token.kind == "oauth" and not bearer):
            raise unauthorized()
        _check(state, token, request, route)
        return Caller(user=token.user, token=token)
    if job_secret and route.job_token and state.version.has(route.job_token):
        job = live_job(state, job_secret)
        if job is None:
            raise unauthorized()
        return Caller(user=job.user, job=job)
    if route.authenticated:
        raise unauthorized()
    return Caller()


def token_problem(state: State, token: Token) -> str | None:
    """Why a token opens nothing any more; None if it does."""
    if token.expires_at and token.expires_at <= state.clock.now():
        return _EXPIRED
    return _REVOKED if token.revoked else None


def _check(state: State, token: Token, request: Request, route: Route) -> None:
    problem = token_problem(state, token)
    if problem:
        raise ApiError(401, {"error": "invalid_token", "error_description": problem})
    if token.permissions is not None:
        _check_permission(token.permissions, route)
        return
    accepted = {"api", *route.scopes}
    if request.method in ("GET", "HEAD"):
        accepted.add("read_api")
    if "*" not in accepted and not accepted & token.scopes:
        raise ApiError(
            403,
            {
                "error": "insufficient_scope",
                "error_description": _TOO_SMALL,
                "scope": " ".join(sorted(accepted)),
            },
        )


def _check_permission(granted: frozenset[str], route: Route) -> None:
    """Hold a fine-grained token against the route: `authorize_granular_scopes_service.rb`."""
    if route.permission not in granted:
        action, _, resource = route.permission.replace("_", " ").title().partition(" ")
        boundary = "project" if route.template.startswith("/projects/") else "user"
        raise ApiError(
            403,
            {
                "error": "insufficient_granular_scope",
                "error_description": "Access denied: This operation requires a fine-grained "
                f"personal access token with the following {boundary} permissions: "
                f"[{resource}: {action}].",
            },
        )
