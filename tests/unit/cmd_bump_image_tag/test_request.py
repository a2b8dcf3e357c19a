from __future__ import annotations

from typing import Any

import pytest

from cicd_common.errors import UsageError
from cmd_bump_image_tag.merge_requests import branch_name
from cmd_bump_image_tag.request import BumpRequest
from cmd_bump_image_tag.result import BumpResult, Change

WEB = ("example.com/web=v2",)
CHANGE = Change("a.yaml", 1, "v1", "v2", "example.com/web")


@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({}, "files"),
        ({"project": "a/b"}, "api"),
        ({"repository": "git@example.com:a/b.git"}, "git"),
        ({"via": "git", "project": "a/b"}, "git"),
    ],
)
def test_the_target_follows_from_the_other_options(options: dict[str, Any], target: str) -> None:
    request = BumpRequest(image=WEB, **options)
    request.check()
    assert request.target == target


@pytest.mark.parametrize(
    "branch", ["", "-x", "/x", "x/", "x.", "a..b", "a b", "a:b", "x.lock", "refs/heads/x", "a\x00"]
)
def test_a_branch_name_that_git_rejects_is_refused(branch: str) -> None:
    with pytest.raises(UsageError):
        BumpRequest(image=WEB, project="a/b", branch=branch).check()


def test_a_run_without_an_image_or_a_path_is_refused() -> None:
    with pytest.raises(UsageError):
        BumpRequest().check()


@pytest.mark.parametrize("tag", ["v1..2", "1.lock", "x" * 128, "A_b.c-d", "1."])
def test_any_tag_makes_a_valid_branch_name(tag: str) -> None:
    name = branch_name(BumpRequest(image=("example.com/web",), tag=tag), "main")
    BumpRequest(image=WEB, project="a/b", branch=name).check()
    assert len(name) < 100


def test_the_branch_does_not_depend_on_the_order_of_the_images() -> None:
    web, api = "example.com/web=v1", "example.com/api=v1"
    names = [
        branch_name(BumpRequest(image=image, file=file), "main")
        for image, file in (((web, api), ("a", "b")), ((api, web), ("b", "a")))
    ]
    assert len({name.rpartition("-")[2] for name in names}) == 1


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (BumpResult(changed=False), "up to date"),
        (BumpResult(changed=True, files=(CHANGE,)), "made 1 change in 1 file"),
        (
            BumpResult(changed=True, files=(CHANGE, CHANGE), commit="0123456789"),
            "made 2 changes in 1 file: commit 01234567",
        ),
        (
            BumpResult(changed=False, files=(CHANGE,), would_change=True),
            "would make 1 change in 1 file",
        ),
    ],
)
def test_a_result_is_one_short_line(result: BumpResult, text: str) -> None:
    assert result.text() == text
