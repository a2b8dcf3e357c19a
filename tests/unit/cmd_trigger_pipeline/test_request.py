from __future__ import annotations

import pytest

from cicd_common.errors import AuthError, UsageError
from cicd_common.gitlab.tokens import Token, TokenKind
from cicd_common.waiting.policy import WaitPolicy
from cmd_trigger_pipeline.request import TriggerRequest
from cmd_trigger_pipeline.variables import Variable

TOKENS = {kind: Token(kind, "--token", "x" * 20) for kind in TokenKind}
PROJECTS = ("group/name",)
FILE = Variable("KEY", "content", "file")


def test_a_request_asks_for_nothing_that_is_not_given() -> None:
    request = TriggerRequest(PROJECTS)

    request.check(TOKENS[TokenKind.ACCESS])
    assert [request.reuse, request.retry_failed, request.dry_run] == [False] * 3
    assert request.wait is None


@pytest.mark.parametrize("kind", [TokenKind.ACCESS, TokenKind.OAUTH, TokenKind.JOB])
@pytest.mark.parametrize("with_trigger_token", [True, False])
def test_with_a_token_that_can_read_no_ref_is_needed_and_a_wait_is_possible(
    kind: TokenKind, *, with_trigger_token: bool
) -> None:
    trigger_token = TOKENS[TokenKind.TRIGGER] if with_trigger_token else None
    request = TriggerRequest(PROJECTS, trigger_token=trigger_token, wait=WaitPolicy())

    request.check(TOKENS[kind])


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, UsageError),
        ({"refs": ("main",), "wait": WaitPolicy()}, AuthError),
        ({"refs": ("main",), "reuse": True}, AuthError),
        ({"refs": ("main",), "retry_failed": True}, UsageError),
        ({"refs": ("main",), "variables": (FILE,)}, UsageError),
        ({"refs": ("main", "")}, UsageError),
    ],
    ids=["no ref", "wait", "reuse", "retry without reuse", "file", "empty ref"],
)
def test_what_a_trigger_token_alone_cannot_do_is_refused(
    given: dict[str, object], error: type[Exception]
) -> None:
    allowed = TriggerRequest(PROJECTS, ("main",), trigger_token=TOKENS[TokenKind.TRIGGER])
    allowed.check(None)

    request = TriggerRequest(PROJECTS, trigger_token=TOKENS[TokenKind.TRIGGER], **given)  # type: ignore[arg-type] # each has its own type
    with pytest.raises(error):
        request.check(None)


@pytest.mark.parametrize("kind", [TokenKind.ACCESS, TokenKind.OAUTH])
def test_an_access_token_sends_file_variables_and_reuses(kind: TokenKind) -> None:
    TriggerRequest(PROJECTS, variables=(FILE,), reuse=True, retry_failed=True).check(TOKENS[kind])


def test_a_file_variable_goes_by_the_trigger_token_if_there_is_one() -> None:
    request = TriggerRequest(
        PROJECTS, ("main",), variables=(FILE,), trigger_token=TOKENS[TokenKind.TRIGGER]
    )

    with pytest.raises(UsageError, match="trigger token"):
        request.check(TOKENS[TokenKind.ACCESS])
