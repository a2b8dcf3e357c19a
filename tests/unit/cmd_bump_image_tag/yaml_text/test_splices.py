"""Which tags YAML would read as something else, held against parsers of both its versions."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from cmd_bump_image_tag.yaml_text.edit import is_string


@pytest.mark.parametrize(
    "text",
    [
        *("1", "0", "007", "08", "1_000", "0x1F", "0o17", "0b101", "1.0", "1.", "1e3", "12e4"),
        *("1.5e3", "1234e56", "2024-01-02", "2024-1-2", "12:30", "1:30:59.5"),
        *("null", "Null", "~", "true", "False", "yes", "No", "ON", "off", "y", "N"),
    ],
)
def test_a_value_that_some_yaml_versions_read_as_another_type_is_not_a_string(text: str) -> None:
    assert not is_string(text)


@pytest.mark.parametrize(
    "text",
    ["1.2.3", "v1", "1.0-rc.1", "latest", "deadbeef", "1a2b3c4", "2024.01.02", "20240102-1",
     "e3", "nope", "web:1.0", "_", "0xfg", "2024-01-02T10"],
)  # fmt: skip
def test_a_value_that_every_yaml_version_reads_as_a_string_is_a_string(text: str) -> None:
    assert is_string(text)


@given(st.from_regex(r"[0-9A-Fa-fx_.oebnyNY+:-]{1,12}", fullmatch=True))
@example("1_0.5_0")
@example("0_1")
def test_pyyaml_reads_every_plain_value_as_a_string(text: str) -> None:
    if is_string(text) and not text.startswith(("-", ":", ".", "+")) and not text.endswith(":"):
        assert yaml.safe_load(f"a: {text}") == {"a": text}
