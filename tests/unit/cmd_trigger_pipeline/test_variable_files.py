from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import UsageError
from cmd_trigger_pipeline.variable_files import read_variables

if TYPE_CHECKING:
    from pathlib import Path


def read(folder: Path, name: str, content: str) -> dict[str, str]:
    (folder / name).write_bytes(content.encode())
    return {variable.key: variable.value for variable in read_variables(folder / name)}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("K=v", "v"),
        ("K=", ""),
        ("  K = v  ", "v"),
        ("export K=v", "v"),
        ("K=a b", "a b"),
        ("K=a=b", "a=b"),
        ("K=a # comment", "a"),
        ("K=a#b", "a#b"),
        ("K=$HOME/${X}", "$HOME/${X}"),
        ("K='a # \\n b' # comment", "a # \\n b"),
        ('K="a # b" # comment', "a # b"),
        (r'K="a\n\t\"b\"\\c"', 'a\n\t"b"\\c'),
        ('K="one\ntwo # three\n"', "one\ntwo # three\n"),
        ("K='one\ntwo'", "one\ntwo"),
        ('K="a\r\nb"', "a\r\nb"),
        ('K="$HOME"', "$HOME"),
        ("K= # comment", ""),
        ("K=''", ""),
        ("K=v\r", "v"),
        ("\ufeffK=v", "v"),
        ("# comment\n\nK=v\n", "v"),
        ("K=1\nK=2", "2"),
    ],
)
def test_env_lines_are_read_in_shell_syntax(tmp_path: Path, line: str, value: str) -> None:
    assert read(tmp_path, "deploy.env", line) == {"K": value}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.json", '{"A": "x", "B": 1.10, "C": 7, "D": true}'),
        ("noending", '\n {"A": "x", "B": 1.10, "C": 7, "D": true}'),
        ("v.yaml", "A: x\nB: 1.10\nC: 7\nD: true\n"),
        ("v.YML", "{A: x, B: '1.10', C: 7, D: 'true'}"),
    ],
)
def test_json_and_yaml_values_stay_as_they_are_written(
    tmp_path: Path, name: str, content: str
) -> None:
    assert read(tmp_path, name, content) == {"A": "x", "B": "1.10", "C": "7", "D": "true"}


@pytest.mark.parametrize(
    "value", ["no", "2026-01-05", "0o17", "1_000", "~", "0x1F", "1:30", ".5", "null"]
)
def test_yaml_values_are_not_converted_to_numbers_dates_or_booleans(
    tmp_path: Path, value: str
) -> None:
    assert read(tmp_path, "v.yaml", f"K: {value}") == {"K": value}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("v.env", "A=1\nsecret", "line 2"),
        ("v.env", 'A="secret', "line 1"),
        ("v.env", '\n\nA="one\ntwo"\n\n# comment\nsecret\n', "line 7"),
        ("v.env", "A=1\n=secret", "line 2"),
        ("v.env", "A B=secret", "line 1"),
        ("v.env", "A='x' secret", "line 1"),
        ("v.env", "A-B=secret", "A-B"),
        ("v.json", "{secret", "line 1"),
        ("v.json", '["secret"]', "keys"),
        ("v.json", '{"A": {"B": "secret"}}', "'A'"),
        ("v.json", '{"A": ["secret"]}', "'A'"),
        ("v.json", '{"A": null}', "'A'"),
        ("v.json", '{"A":' + "[" * 100_000, "nested"),
        ("v.yaml", "A: 1\n: secret: [", "line 2"),
        ("v.yaml", "A: {B: secret}", "'A'"),
        ("v.yaml", "- secret", "keys"),
        ("v.yaml", "A: 1\n---\nB: secret", "document"),
        ("v.yaml", "", "keys"),
        ("v.yaml", "A: &x [*x]", "recursive"),
        ("v.yaml", "A: \x07secret", "not YAML"),
        ("v.yaml", "A: " + "[" * 5_000, "nested"),
        ("v.yaml", "? [secret]\n: x", "not YAML"),
    ],
)
def test_an_invalid_variables_file_is_refused_without_showing_its_values(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, name, content)
    text = f"{raised.value} {raised.value.why} {raised.value.hint}"
    assert said in text
    assert "secret" not in text


def test_the_error_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"v\.env cannot be read: No such file"):
        read_variables(tmp_path / "v.env")
