"""The ways to start a pipeline: GitLab has an endpoint for each kind of credential."""

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
class Way:
    """One way to start a pipeline.

    Attributes:
        sender: The client that asks for it.
        reader: The client that reads; None where no credential can.
        endpoint: The route below the project.
        source: GitLab's word for the source of a pipeline that starts this way.
        token: The credential that goes into the body, if one does.
    """

    sender: GitLab
    reader: GitLab | None
    endpoint: Literal["pipeline", "trigger/pipeline"]
    source: Literal["api", "trigger", "pipeline"]
    token: Token | None = None

    def body(self, ref: str, request: TriggerRequest) -> dict[str, object]:
        """What to send.

        Args:
            ref: The branch or tag.
            request: What pipeline is wanted.
        """
        variables: object = [dataclasses.asdict(variable) for variable in request.variables]
        if self.endpoint == "trigger/pipeline":
            variables = {variable.key: variable.value for variable in request.variables}
        body = {
            "token": self.token.secret if self.token else None,
            "ref": ref,
            "variables": variables,
            "inputs": dict(request.inputs),
        }
        return {key: value for key, value in body.items() if value}

    def username(self) -> str | None:
        """Whose pipeline it will be; None if that cannot be known.

        Raises:
            CommandError: There was no usable answer.
        """
        if self.reader is None or self.source == "trigger":
            return None  # the one who made the trigger token, which GitLab tells nobody
        if self.source == "pipeline":
            return fields.text(self.reader.get("job"), "user", "username")
        return fields.text(self.reader.get("user"), "username")


def way_of(gitlab: GitLab, trigger_token: Token | None) -> Way:
    """The way that the credentials at hand take.

    A trigger token comes first; it is sent without any other, whose limits would count too. Then
    an access token, then a job token: the client has at most one of them.

    Args:
        gitlab: The client.
        trigger_token: A pipeline trigger token, if there is one.

    Raises:
        AuthError: There is no credential at all.
    """
    if trigger_token:
        log.debug("%s from %s", trigger_token.kind.value.capitalize(), trigger_token.source)
        sender = GitLab(dataclasses.replace(gitlab.connection, token=None))
        reader = gitlab if gitlab.token_kind else None
        return Way(sender, reader, "trigger/pipeline", "trigger", trigger_token)
    if gitlab.require_token() is TokenKind.JOB:
        return Way(gitlab, gitlab, "trigger/pipeline", "pipeline", gitlab.connection.token)
    return Way(gitlab, gitlab, "pipeline", "api")
