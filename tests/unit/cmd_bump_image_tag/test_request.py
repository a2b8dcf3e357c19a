from __future__ import annotations

from typing import Any

import pytest

from cicd_common.errors import UsageError
from cicd_common.waiting.policy import WaitPolicy
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


BY_GIT: dict[str, Any] = {"repository": "git@example.com:a/b.git"}
IN_PROJECT: dict[str, Any] = {"project": "a/b"}
WAITING: dict[str, Any] = {"wait": WaitPolicy(), "skip_ci": False}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"branch": "x"}, "--branch makes no sense with --via files."),
        ({"merge_request": True}, "--merge-request makes no sense with --via files."),
        ({**IN_PROJECT, "via": "files"}, "--project makes no sense with --via files."),
        ({**BY_GIT, "via": "api"}, "--repository needs --via git."),
        ({**BY_GIT, "via": "files"}, "--repository needs --via git."),
        ({"via": "api"}, "--via api needs a project."),
        ({"via": "git"}, "--via git needs a project."),
        ({**BY_GIT, "merge_request": True}, "A merge request needs a project."),
        ({**BY_GIT, "auto_merge": True}, "A merge request needs a project."),
        ({**IN_PROJECT, "title": "x"}, "--title needs a merge request."),
        ({**IN_PROJECT, "label": ("x",)}, "--label needs a merge request."),
        ({**IN_PROJECT, "assignee": ("x",)}, "--assignee needs a merge request."),
        ({**IN_PROJECT, "reviewer": ("x",)}, "--reviewer needs a merge request."),
        ({**IN_PROJECT, "merge_request": True, "label": ("a,b",)}, "is not a single name."),
        ({**IN_PROJECT, "merge_request": True, "reviewer": (" ",)}, "is not a single name."),
        ({**IN_PROJECT, "merge_request": True, "title": "{x}"}, "The title has a placeholder {x}"),
        ({**IN_PROJECT, "commit_message": " "}, "The commit message is empty."),
        (WAITING, "--wait needs a project."),
        ({**WAITING, **BY_GIT}, "--wait needs a project."),
        ({**WAITING, **IN_PROJECT, "skip_ci": None}, "--wait needs --no-skip-ci."),
        ({**WAITING, **IN_PROJECT, "skip_ci": True}, "--wait needs --no-skip-ci."),
        ({"verify_image": True, "image": ("$A/web=v2",)}, "No registry can be asked for $A/web."),
        ({"pin_digest": True, "image": (), "tag": "v2", "path": ("a.b",)}, "No registry can be"),
        (
            {"insecure_registry": ("example.com", "a b")},
            "This is not the host of a registry: 'a b'",
        ),
        (
            {"pin_digest": True, "image": (*WEB, "a.b:0/c=v1")},
            "not the host of a registry: 'a.b:0'",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        BumpRequest(**{"image": WEB, **options}).check()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {**BY_GIT, "branch": "x"},
        {**BY_GIT, **IN_PROJECT, "merge_request": True, "title": "x", "label": ("y",)},
        {**IN_PROJECT, "auto_merge": True, "assignee": ("x",), "reviewer": ("y",)},
        {**WAITING, **IN_PROJECT},
        {**WAITING, **IN_PROJECT, "skip_ci": None, "merge_request": True},
        {**WAITING, **IN_PROJECT, "skip_ci": True, "auto_merge": True},
        {"wait": WaitPolicy(), "dry_run": True},
        {"verify_image": True, "path": ("a.b",)},
        {"image": (), "tag": "v2", "path": ("a.b",)},
    ],
)
def test_options_that_fit_together_are_accepted(options: dict[str, Any]) -> None:
    BumpRequest(**{"image": WEB, **options}).check()
