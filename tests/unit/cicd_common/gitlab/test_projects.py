from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import UsageError
from cicd_common.gitlab.projects import parse_project

BASE = "https://example.com/gitlab"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("group/name", "group/name"),
        ("/group/sub/name/", "group/sub/name"),
        ("group/name.git", "group/name"),
        ("group_x/.dot-name", "group_x/.dot-name"),
        ("123", "123"),
        (f"{BASE}/group/name", "group/name"),
        (f"{BASE}/group/name.git", "group/name"),
        (f"{BASE}/group/name/-/pipelines/7?x=1#top", "group/name"),
        ("https://EXAMPLE.com:443/gitlab/group/name", "group/name"),
    ],
)
def test_a_project_is_a_path_an_id_or_a_url(text: str, name: str) -> None:
    assert parse_project(text, BASE) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "group//name",
        "group/na me",
        "../x/y?",
        "-group/name",
        "https://example.com/group/name",
        "https://elsewhere.com/gitlab/group/name",
        "http://example.com/gitlab/group/name",
        "https://example.com.evil.com/gitlab/group/name",
        "https://example.com/gitlabx/group/name",
        "https://[::1/x",
        "git@example.com:group/name.git",
        "--ref",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_project(text, BASE)


@given(st.text())
def test_any_text_is_a_name_or_a_clear_error(text: str) -> None:
    try:
        name = parse_project(text, BASE)
    except UsageError:
        return
    assert name
    assert "//" not in name
