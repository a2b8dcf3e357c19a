from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.registry.challenges import Challenge, parse_challenges

TOKENS = {"realm": "http://h/token?host=a", "service": "docker"}


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", []),
        ('Basic realm="registry"', [Challenge("basic", {"realm": "registry"})]),
        (
            'Bearer realm="http://h/token?host=a",service="docker"',
            [Challenge("bearer", TOKENS)],
        ),
        (
            'Bearer realm="http://h/token?host=a",service="docker", Basic realm="A Realm"',
            [Challenge("bearer", TOKENS), Challenge("basic", {"realm": "A Realm"})],
        ),
        (
            'Basic realm="x", Bearer Realm = "http://h/token?host=a" , SERVICE=docker',
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", TOKENS)],
        ),
        (
            'Bearer realm=http://h/token?host=a,service=docker,scope=""',
            [Challenge("bearer", {**TOKENS, "scope": ""})],
        ),
        (r'Basic realm="a \"b\", c"', [Challenge("basic", {"realm": 'a "b", c'})]),
        ("Negotiate, NTLM", [Challenge("negotiate"), Challenge("ntlm")]),
        (
            "Negotiate YWJj==, Basic realm=x",
            [Challenge("negotiate"), Challenge("basic", {"realm": "x"})],
        ),
        (", ,Basic", [Challenge("basic")]),
    ],
)
def test_challenges_are_parsed(header: str, challenges: list[Challenge]) -> None:
    assert parse_challenges(header) == challenges


@given(header=st.text())
def test_any_challenge_header_can_be_read(header: str) -> None:
    assert all(challenge.scheme for challenge in parse_challenges(header))
