from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import UsageError
from cmd_trigger_pipeline.variable_files import collect_variables
from cmd_trigger_pipeline.variables import (
    Variable,
    parse_file_variable,
    parse_variable,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("A=b", "A", "b"),
        ("A=", "A", ""),
        ("A=b=c==", "A", "b=c=="),
        ("a_1= b ", "a_1", " b "),
        ("1=digit first", "1", "digit first"),
        ("A=one\ntwo", "A", "one\ntwo"),
    ],
)
def test_a_variable_is_a_key_and_a_value(text: str, key: str, value: str) -> None:
    assert parse_variable(text) == Variable(key, value)


@pytest.mark.parametrize("text", ["", "=", "=b", "secret", "A-B=secret", "Ä=secret", "A =secret"])
def test_an_invalid_variable_is_refused_without_showing_its_value(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_variable(text)
    assert "secret" not in f"{raised.value} {raised.value.why} {raised.value.hint}"


def test_a_key_has_255_characters_at_most() -> None:
    Variable("A" * 255, "")
    with pytest.raises(UsageError):
        Variable("A" * 256, "")


def test_a_file_variable_contains_the_content_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "key=.pem"
    file.write_bytes("-----\r\nü\n".encode())

    assert parse_file_variable(f"KEY={file}") == Variable("KEY", "-----\r\nü\n", "file")


@pytest.mark.parametrize("content", [None, b"\xff\x00"], ids=["missing", "no text"])
def test_the_error_names_an_unreadable_file(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(UsageError, match=str(file)):
        parse_file_variable(f"KEY={file}")


def test_the_last_value_of_a_key_is_used(tmp_path: Path) -> None:
    file = tmp_path / "many.env"
    file.write_text("A=0\nB=0\nC=0\n")
    found = collect_variables(
        [file], [Variable("A", "1", "file"), Variable("B", "2", "file")], [Variable("A", "3")]
    )
    assert found == (Variable("A", "3"), Variable("B", "2", "file"), Variable("C", "0"))


@given(st.text())
def test_a_value_is_not_in_the_representation(value: str) -> None:
    assert repr(Variable("KEY", f"secret{value}")) == "Variable(key='KEY', variable_type='env_var')"
