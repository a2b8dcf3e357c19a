"""The endpoints that start a pipeline: GitLab has one for each kind of credential."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cicd_common.gitlab import fields
from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.tokens import TokenKind

if TYPE_CHECKING:
    from cicd_common.gitlab.tokens import Token
    from cmd_trigger_pipeline.request import TriggerRequest

log = logging.getLogger("cicd_common.trigger")


@dataclass(frozen=True)
class Endpoint:
    """An endpoint that starts a pipeline, and the credential for it.

    Attributes:
        sender: The client that sends the request.
        reader: The client that reads; None if no credential can read.
        route: The route below the project.
        source: GitLab's `source` of a pipeline that this endpoint starts.
        token: The credential that is sent in the body, if there is one.
    """

    sender: GitLab
    reader: GitLab | None
    route: Literal["pipeline", "trigger/pipeline"]
    source: Literal["api", "trigger", "pipeline"]
    token: Token | None = None

    def body(self, ref: str, request: TriggerRequest) -> dict[str, object]:
        """Returns the body of the request.

        Args:
            ref: The branch or tag.
            request: The pipeline to start.
        """
        variables: object = [dataclasses.asdict(variable) for variable in request.variables]
        if self.route == "trigger/pipeline":
            variables = {variable.key: variable.value for variable in request.variables}
        body = {
            "token": self.token.secret if self.token else None,
            "ref": ref,
            "variables": variables,
            "inputs": dict(request.inputs),
        }
        return {key: value for key, value in body.items() if value}

    def username(self) -> str | None:
        """Returns the user that the pipeline will belong to; None if that is not known.

        Raises:
            CommandError: GitLab gave no usable response.
        """
        if self.reader is None or self.source == "trigger":
            return None  # the owner of the trigger token, whom GitLab does not tell
        if self.source == "pipeline":
            return fields.text(self.reader.get("job"), "user", "username")
        return fields.text(self.reader.get("user"), "username")


def endpoint_for(gitlab: GitLab, trigger_token: Token | None) -> Endpoint:
    """Returns the endpoint for the given credentials.

    A trigger token is used first; it is sent alone, because the limits of another token would
    count too. Then an access token, then a job token: the client has at most one of them.

    Args:
        gitlab: The client.
        trigger_token: A pipeline trigger token, if there is one.

    Raises:
        AuthError: No credential was given.
    """
    if trigger_token:
        log.debug("%s from %s", trigger_token.kind.value.capitalize(), trigger_token.source)
        sender = GitLab(dataclasses.replace(gitlab.connection, token=None))
        reader = gitlab if gitlab.token_kind else None
        return Endpoint(sender, reader, "trigger/pipeline", "trigger", trigger_token)
    if gitlab.require_token() is TokenKind.JOB:
        return Endpoint(gitlab, gitlab, "trigger/pipeline", "pipeline", gitlab.connection.token)
    return Endpoint(gitlab, gitlab, "pipeline", "api")
