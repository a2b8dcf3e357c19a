from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import UsageError
from cmd_trigger_pipeline.variables import parse_inputs

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1.5", -1.5),
        ("true", True),
        ('["a", 1]', ["a", 1]),
        ('"3"', "3"),
        ("v3", "v3"),
        ("True", "True"),
        ("", ""),
        ("a=b", "a=b"),
        ("[a", "[a"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("1e999", "1e999"),
        ("[" * 100_000, "[" * 100_000),
    ],
    ids=lambda value: str(value)[:10],
)
def test_a_value_is_parsed_as_json_if_it_is_valid_json(text: str, value: object) -> None:
    assert parse_inputs([f"key={text}"]) == {"key": value}


@given(JSON)
def test_every_json_value_keeps_its_type(value: object) -> None:
    assert parse_inputs([f"key={json.dumps(value)}"]) == {"key": value}


def test_the_last_input_of_a_name_is_used() -> None:
    assert parse_inputs(["a=1", "b-c=x", "a=2"]) == {"a": 2, "b-c": "x"}


@pytest.mark.parametrize("text", ["secret", "=secret", ""])
def test_an_invalid_input_is_refused_without_showing_its_value(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_inputs([text])
    assert "secret" not in f"{raised.value} {raised.value.why} {raised.value.hint}"
