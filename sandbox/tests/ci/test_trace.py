from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox.ci.trace import Trace

if TYPE_CHECKING:
    from sandbox.tests.ci.conftest import World


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"nothing"], b"nothing"),
        ([b"a secret-value b"], b"a [MASKED] b"),
        ([b"sec", b"ret-va", b"lue"], b"[MASKED]"),
        ([b"sec", b"ond"], b"second"),
        ([b"secret-value-longer"], b"[MASKED]"),
        ([b"secret-valuesecret-value"], b"[MASKED][MASKED]"),
        ([b"secret-value", b"-longer"], b"[MASKED]"),
        ([b"secret-value", b"-lone"], b"[MASKED]-lone"),
        ([b"ends in secret-v"], b"ends in secret-v"),
        ([b"xyx", b"yx."], b"[MASKED]yx."),
    ],
)
def test_secrets_split_across_writes_are_masked(
    still: World, pieces: list[bytes], expected: bytes
) -> None:
    pipeline = still.start(still.project("group/name", "job: {script: a}"))
    trace = Trace(still.state, pipeline.jobs[0], ["secret-value", "secret-value-longer", "xyx", ""])
    for piece in pieces:
        trace.write(piece)
    trace.flush()
    assert bytes(pipeline.jobs[0].trace) == expected


def test_without_secrets_all_output_is_written_at_once(still: World) -> None:
    pipeline = still.start(still.project("group/name", "job: {script: a}"))
    Trace(still.state, pipeline.jobs[0], []).write(b"text")
    assert bytes(pipeline.jobs[0].trace) == b"text"
