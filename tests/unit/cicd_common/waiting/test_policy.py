from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cicd_common.errors import AuthError
from cicd_common.gitlab.tokens import TokenKind
from cicd_common.waiting.policy import WaitPolicy, default_timeout

NOW = datetime(2026, 1, 5, 9, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("started", "limit", "expected"),
    [
        ("2026-01-05T09:00:00Z", "3600", 3600 - 600 - 60),
        ("2026-01-05T10:00:00+01:00", "3600", 3600 - 600 - 60),
        ("2026-01-05T08:00:00Z", "3600", 1),
        ("2026-01-05T09:00:00", "3600", 3600),
        ("yesterday", "3600", 3600),
        ("2026-01-05T09:00:00Z", "an hour", 3600),
    ],
)
def test_in_a_job_the_default_timeout_is_the_remaining_job_time_minus_a_minute(
    started: str, limit: str, expected: float
) -> None:
    environment = {"CI_JOB_STARTED_AT": started, "CI_JOB_TIMEOUT": limit}
    assert default_timeout(environment, NOW) == expected


def test_outside_a_job_the_default_timeout_is_an_hour() -> None:
    assert default_timeout({}, NOW) == 3600


@pytest.mark.parametrize(
    "policy",
    [WaitPolicy(on_manual="play"), WaitPolicy(cancel_on=frozenset({"signal"}))],
    ids=["play", "cancel"],
)
def test_an_option_that_a_job_token_cannot_use_is_refused_before_anything_is_sent(
    policy: WaitPolicy,
) -> None:
    policy.check(TokenKind.ACCESS)
    with pytest.raises(AuthError):
        policy.check(TokenKind.JOB)
