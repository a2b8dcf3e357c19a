from __future__ import annotations

import string
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cicd_common.errors import UsageError
from cmd_tag_project.request import TagRequest, check_tag_name


@pytest.mark.parametrize(
    "name",
    [
        "v1.2.3",
        "a/b",
        "@",
        "ü",
        "v1@x",
        "a-",
        "group-x_0123456789abcdef_77",
        "release/2026.01",
        "{}",
    ],
)
def test_a_valid_tag_name_is_accepted(name: str) -> None:
    check_tag_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "HEAD", "-v1", "refs/heads/x", "refs/remotes/x", "a b", "a\tb", "a\x7f", "a~1", "a^",
        "a:b", "a?", "a*", "a[b", "a\\b", "a..b", "a//b", "a@{1}", "a/", "a.", ".a", "a/.b",
        "a.lock", "a.lock/b", "/a", "0" * 40, "A" * 64, "\ud800",
    ],
)  # fmt: skip
def test_a_tag_name_that_git_or_gitlab_rejects_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_tag_name(name)


@settings(max_examples=settings().max_examples)
@given(st.text(alphabet=string.ascii_letters + "./@{}~^:?*[\\-_ \x01\x7fé", max_size=12))
def test_git_accepts_every_tag_name_that_we_accept(name: str) -> None:
    try:
        check_tag_name(name)
    except UsageError:
        return
    done = subprocess.run(["git", "check-ref-format", f"refs/tags/{name}"], check=False)
    assert done.returncode == 0


def test_a_request_asks_for_nothing_that_is_not_given() -> None:
    request = TagRequest(("group/name",), tag_name="v1")

    request.check(None)
    assert not request.wants_release
    assert not request.dry_run
    assert request.wait is None
