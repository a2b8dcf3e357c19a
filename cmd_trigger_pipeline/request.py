"""The request for a pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cicd_common.errors import AuthError, UsageError
from cicd_common.gitlab.tokens import TokenKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cicd_common.gitlab.tokens import Token
    from cicd_common.waiting.policy import WaitPolicy
    from cmd_trigger_pipeline.variables import Variable


@dataclass(frozen=True)
class TriggerRequest:
    """The request for a pipeline; the same for every project.

    Attributes:
        projects: The projects: each one's path, numeric id, or URL.
        refs: Branches or tags; the first that exists is used; empty for the default branch.
        variables: Its variables, one of each key.
        inputs: Its inputs, by name; never part of the representation.
        trigger_token: A pipeline trigger token, which starts it instead of the connection's token.
        wait: How to wait for the pipeline's end; None not to wait.
        reuse: Whether a retried job uses the pipeline that it started before with this request.
        retry_failed: Whether to retry the failed jobs of that pipeline.
        dry_run: Whether to return what would happen, and to change nothing.
    """

    projects: tuple[str, ...]
    refs: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()
    inputs: Mapping[str, object] = field(default_factory=dict, repr=False)
    trigger_token: Token | None = None
    wait: WaitPolicy | None = None
    reuse: bool = False
    retry_failed: bool = False
    dry_run: bool = False

    def check(self, token: Token | None) -> None:
        """Checks the request before anything is sent.

        Args:
            token: The connection's token, if any.

        Raises:
            AuthError: No credential can read how the pipeline ends or which variables it has, or
                cancel or start its jobs.
            UsageError: The request is not valid, or not with these credentials.
        """
        if "" in self.refs:
            raise UsageError("A ref is empty.", hint="Leave out --ref for the default branch.")
        if self.wait and self.trigger_token and not token:
            raise AuthError(
                "A trigger token is not enough to wait for a pipeline.",
                why="It can start a pipeline, and cannot read one.",
                hint="Give an access token as well (COMMANDS_API_TOKEN), or leave out --wait.",
            )
        if self.wait and token:
            self.wait.check(token.kind)
        if self.trigger_token and not token and not self.refs:
            raise UsageError(
                "A trigger token needs a ref.",
                why="A trigger token cannot read the name of the default branch.",
                hint="Give --ref, or an access token as well.",
            )
        self._check_reuse(token)
        starts = self.trigger_token or token
        if starts and starts.kind in _TAKE_NO_FILES and self._has_files():
            raise UsageError(
                f"A file variable cannot be sent with a {starts.kind.value}.",
                why="The endpoint for this token accepts only plain variables.",
                hint="Use --variable, or an access token (COMMANDS_API_TOKEN).",
            )

    def _check_reuse(self, token: Token | None) -> None:
        if self.retry_failed and not self.reuse:
            raise UsageError(
                "--retry-failed has no effect without --reuse.",
                hint="Add --reuse, or leave it out.",
            )
        given = token or self.trigger_token
        if self.reuse and given and given.kind in _READ_NO_VARIABLES:
            raise AuthError(
                f"A {given.kind.value} is not enough for --reuse.",
                why="It cannot read a pipeline's variables, by which --reuse recognizes the "
                "pipeline.",
                hint="Give an access token (COMMANDS_API_TOKEN), or leave out --reuse.",
            )

    def _has_files(self) -> bool:
        return any(variable.variable_type == "file" for variable in self.variables)


# https://docs.gitlab.com/api/pipeline_triggers/: `variables` is a map of strings.
_TAKE_NO_FILES = frozenset({TokenKind.TRIGGER, TokenKind.JOB})
# GitLab ignores a job token on `pipelines/:id/variables`, and a trigger token can read nothing.
_READ_NO_VARIABLES = frozenset({TokenKind.TRIGGER, TokenKind.JOB})
