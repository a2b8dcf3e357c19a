"""The limits that are part of the behaviour: what is just within one, and what is just beyond."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from cicd_common.errors import RefusedError, UnavailableError
from cicd_common.registry.logins import Logins
from cmd_bump_image_tag.images import Update
from cmd_bump_image_tag.matching import read_file
from cmd_bump_image_tag.merge_requests import branch_name
from cmd_bump_image_tag.request import BumpRequest
from cmd_bump_image_tag.result import BumpResult
from cmd_bump_image_tag.targets import files
from cmd_bump_image_tag.targets.git_command import Git, Remote, private_repository
from cmd_bump_image_tag.yaml_text.scan import NotYamlError
from tests.unit.cmd_bump_image_tag.conftest import plan, sides

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The timeouts of the programs that are run, each of which hangs."""
    given: list[float] = []

    def run(command: list[str], *, timeout: float, **_: Any) -> None:
        given.append(timeout)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    return given


def test_git_gets_ten_times_the_time_of_a_request(tmp_path: Path, timeouts: list[float]) -> None:
    git = Git(tmp_path, Remote("https://git.example.com/a.git", request_timeout=3))
    with pytest.raises(UnavailableError, match="within 30 s"):
        git.run("fetch")
    assert timeouts == [30]


def test_a_credential_helper_gets_half_a_minute(tmp_path: Path, timeouts: list[float]) -> None:
    (tmp_path / "config.json").write_text('{"credsStore": "test"}')
    found = Logins({"DOCKER_CONFIG": str(tmp_path)}).find("registry.example.com")
    assert "within 30 s" in found.problems[0]
    assert timeouts == [30]


def test_git_that_hangs_over_the_ignored_files_is_done_without(
    tmp_path: Path, timeouts: list[float]
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.yaml").touch()
    assert files.find(tmp_path, ()).paths == ("a.yaml",)
    assert timeouts == [60]


@pytest.mark.parametrize(("refused", "remains"), [(3, False), (19, False), (20, True)])
def test_a_private_repository_is_removed_even_if_git_still_writes_to_it(
    monkeypatch: pytest.MonkeyPatch, refused: int, *, remains: bool
) -> None:
    pauses: list[float] = []
    remove = shutil.rmtree

    def removed(folder: Path, **_: Any) -> None:
        if len(pauses) >= refused:
            remove(folder)

    with private_repository(Remote("https://git.example.com/a.git")) as git:
        monkeypatch.setattr(shutil, "rmtree", removed)
        monkeypatch.setattr(time, "sleep", pauses.append)
    assert git.folder.exists() == remains
    assert pauses == [0.05] * refused
    remove(git.folder, ignore_errors=True)


def test_links_are_followed_as_far_as_linux_follows_them() -> None:
    links = {str(number): str(number + 1) for number in range(50)}
    assert files.follow("11", links) == "50"
    with pytest.raises(RefusedError, match="leads back to itself"):
        files.follow("10", links)


def test_the_readable_part_of_a_branch_has_at_most_60_characters() -> None:
    request = BumpRequest(image=(f"registry.example.com/{'web-' * 29}web",), tag="v1")
    name = branch_name(request, "main")
    assert name.rpartition("-")[0] == f"bump-image-tag/{'web-' * 14}web"
    assert name != branch_name(request, "other")


def test_a_key_of_more_than_64_characters_names_no_part_of_an_image() -> None:
    within, beyond = "x" * 54, "x" * 55
    text = f"{within}Repository: web\n{within}Tag: ⟦v1→v2⟧\n"
    text += f"{beyond}Repository: web\n{beyond}Tag: v1\n"
    old, new = sides(text)
    assert plan({"a.yaml": old}, [Update("web", "v2")]).contents == {"a.yaml": new}


def test_a_file_of_more_than_64_megabytes_is_not_parsed() -> None:
    with pytest.raises(NotYamlError, match="is larger than 64 MB"):
        read_file("a.yaml", bytes(64 * 2**20 + 1))


def test_a_message_shows_three_of_the_mentions_that_are_left() -> None:
    text = "image: web:v1\n" + "".join(f"a{number}: web:v1\n" for number in range(5))
    with pytest.raises(RefusedError, match="5 mentions") as caught:
        plan({"a.yaml": text.encode()}, [Update("web", "v2")], strict=True)
    assert caught.value.why.count("Left behind") == 3
    [result] = caught.value.results
    assert isinstance(result, BumpResult)
    assert len(result.skipped) == 5


def test_a_mention_can_have_the_longest_name_that_an_image_has() -> None:
    name = "registry.example.com/" + "/".join(["abcdefgh"] * 26)
    text = f"image: {name}:v1\nnote: {name}:v1\n"
    [left] = plan({"a.yaml": text.encode()}, [Update(name, "v2")]).skipped
    assert left.line == 2
