"""How the reasons of failed jobs are worded."""

from __future__ import annotations

import pytest

from cicd_common.waiting.reasons import reason_in_words


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("script_failure", "script failure"),
        ("stuck_or_timeout_failure", "stuck, or over its time limit"),
        ("downstream_pipeline_failed", "the downstream pipeline failed"),
        ("something_new", "something new"),
    ],
)
def test_a_failure_reason_is_shown_as_text(reason: str, words: str) -> None:
    assert reason_in_words(reason) == words
