from __future__ import annotations

import pytest

from cicd_common.errors import UsageError
from cmd_bump_image_tag.images import Bump
from cmd_bump_image_tag.merge_requests import branch_name
from cmd_bump_image_tag.plan import Change
from cmd_bump_image_tag.request import BumpRequest, Destination
from cmd_bump_image_tag.run import BumpResult

CHANGE = Change("a.yaml", 1, "v1", "v2", "example.com/web")


@pytest.mark.parametrize(
    ("destination", "way"),
    [
        (Destination(), "files"),
        (Destination(project="a/b"), "api"),
        (Destination(repository="git@example.com:a/b.git"), "git"),
        (Destination(via="git", project="a/b"), "git"),
    ],
)
def test_the_way_follows_from_where_the_bump_is_to_go(destination: Destination, way: str) -> None:
    destination.check()
    assert destination.way == way


@pytest.mark.parametrize(
    "branch", ["", "-x", "/x", "x/", "x.", "a..b", "a b", "a:b", "x.lock", "refs/heads/x", "a\x00"]
)
def test_a_branch_that_git_would_not_take_is_refused(branch: str) -> None:
    with pytest.raises(UsageError):
        Destination(project="a/b", branch=branch).check()


def test_without_an_image_there_is_nothing_to_do() -> None:
    with pytest.raises(UsageError):
        BumpRequest(()).check()


@pytest.mark.parametrize("tag", ["v1..2", "1.lock", "x" * 128, "A_b.c-d", "1."])
def test_any_tag_makes_a_branch_that_git_takes(tag: str) -> None:
    name = branch_name(BumpRequest((Bump("example.com/web", tag),)), "main")
    Destination(project="a/b", branch=name).check()
    assert len(name) < 100


def test_the_branch_does_not_depend_on_the_order_of_what_is_asked_for() -> None:
    web, api = Bump("example.com/web", "v1"), Bump("example.com/api", "v1")
    names = [
        branch_name(BumpRequest(bumps, patterns), "main")
        for bumps, patterns in (((web, api), ("a", "b")), ((api, web), ("b", "a")))
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
