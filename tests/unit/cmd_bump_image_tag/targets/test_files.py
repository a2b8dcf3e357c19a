"""The files of a working directory, on a real file system."""

import errno
import os
from pathlib import Path

import pytest

from cicd_common.errors import ConflictError, NotFoundError, RefusedError
from cmd_bump_image_tag.targets.files import find, read, replace, select

REPOSITORY = (
    ".gitlab-ci.yml",
    "README.md",
    "apps/web/values.yaml",
    "apps/web/values-prod.yml",
    "apps/web/notes.txt",
    "apps/api/values.yaml",
    "apps/[x]/a.yaml",
    "chart.json",
    "templates/pod.yaml.tmpl",
)


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ((), "0 2 3 5 6 7"),
        (("",), "0 2 3 5 6 7"),
        ((".",), "0 2 3 5 6 7"),
        (("apps",), "2 3 5 6"),
        (("apps/web/",), "2 3"),
        (("./apps/../apps/api",), "5"),
        (("*",), "0 7"),
        (("*.yml",), "0"),
        (("**/*.yaml",), "2 5 6"),
        (("apps/**",), "2 3 5 6"),
        (("apps/*/values.yaml",), "2 5"),
        (("**/values*",), "2 3 5"),
        (("apps/w?b/values.yaml", "chart.json"), "2 7"),
        (("apps/[!w]*/values.yaml",), "5"),
        (("**/*.tmpl",), "8"),
        (("README.md",), "1"),
        (("apps/[x]/a.yaml",), "6"),
    ],
)
def test_patterns_choose_files(patterns: tuple[str, ...], chosen: str) -> None:
    paths = select(REPOSITORY, patterns).paths
    assert sorted(paths) == sorted(REPOSITORY[int(index)] for index in chosen.split())


def test_only_what_is_named_outright_is_named() -> None:
    selection = select(REPOSITORY, ["./README.md", "*.json", "apps"])
    assert selection.named == {"README.md"}


@pytest.mark.parametrize("pattern", ["nowhere.yaml", "nowhere", "*.toml", "apps/*.yaml"])
def test_a_pattern_that_chooses_nothing_is_not_found(pattern: str) -> None:
    with pytest.raises(NotFoundError):
        select(REPOSITORY, [pattern])


def test_a_repository_without_yaml_is_an_empty_choice() -> None:
    assert select(["README.md"], []).paths == ()


@pytest.mark.parametrize("pattern", ["../x.yaml", "..", "a/../../x.yaml", "/etc/x.yaml"])
def test_a_pattern_that_leads_out_is_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        select(REPOSITORY, [pattern])
    with pytest.raises(RefusedError):
        find(tmp_path, [pattern])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for path in ("a.yaml", "b/c.yml", ".git/config.yaml", "b/d.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    (tmp_path / "outside.yaml").write_text("outside")
    return root


def test_files_are_found_but_not_gits_own(root: Path) -> None:
    assert find(root, []).paths == ("a.yaml", "b/c.yml")
    assert find(root, [str(root / "b")]).paths == ("b/c.yml",)
    assert read(root, find(root, []).paths) == {"a.yaml": b"a.yaml", "b/c.yml": b"b/c.yml"}


def test_links_are_not_followed_in_a_scan(root: Path) -> None:
    (root / "link.yaml").symlink_to("a.yaml")
    (root / "out.yaml").symlink_to("../outside.yaml")
    (root / "up").symlink_to("..")
    (root / "round").symlink_to(".")
    os.mkfifo(root / "pipe.yaml")
    assert find(root, []).paths == ("a.yaml", "b/c.yml")


def test_a_link_that_is_named_counts_as_what_it_leads_to(root: Path) -> None:
    (root / "link.yaml").symlink_to("a.yaml")
    (root / "folder").symlink_to("b")
    assert find(root, ["link.yaml"]).named == {"a.yaml"}
    assert find(root, ["folder/c.yml"]).named == {"b/c.yml"}


@pytest.mark.parametrize("pattern", ["out.yaml", "up/outside.yaml", "up/*.yaml", "up"])
def test_a_link_that_leads_out_is_refused(pattern: str, root: Path) -> None:
    (root / "out.yaml").symlink_to("../outside.yaml")
    (root / "up").symlink_to("..")
    with pytest.raises(RefusedError, match="leads out"):
        find(root, [pattern])


def test_a_link_that_leads_in_a_circle_is_refused_or_not_found(root: Path) -> None:
    (root / "circle.yaml").symlink_to("circle.yaml")
    with pytest.raises((RefusedError, NotFoundError)):
        find(root, ["circle.yaml"])


def test_a_file_is_replaced_with_its_mode(root: Path) -> None:
    (root / "a.yaml").chmod(0o640)
    before = read(root, ["a.yaml", "b/c.yml"])
    replace(root, before, {"a.yaml": b"new"})
    assert (root / "a.yaml").read_bytes() == b"new"
    assert (root / "a.yaml").stat().st_mode & 0o7777 == 0o640
    assert sorted(path.name for path in root.iterdir()) == [".git", "a.yaml", "b"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_is_replaced_with_its_owner(root: Path) -> None:
    os.chown(root / "a.yaml", 1234, 4321)
    replace(root, read(root, ["a.yaml"]), {"a.yaml": b"new"})
    status = (root / "a.yaml").stat()
    assert (status.st_uid, status.st_gid) == (1234, 4321)


def test_a_file_that_changed_meanwhile_is_left_alone_with_all_others(root: Path) -> None:
    before = read(root, ["a.yaml", "b/c.yml"])
    (root / "b/c.yml").write_text("somebody else's")
    with pytest.raises(ConflictError, match=r"b/c\.yml"):
        replace(root, before, {"a.yaml": b"new", "b/c.yml": b"new"})
    assert (root / "a.yaml").read_text() == "a.yaml"
    assert not list(root.rglob("*.tmp"))


def test_a_link_that_came_meanwhile_is_not_written_through(root: Path) -> None:
    before = read(root, ["a.yaml"])
    (root / "a.yaml").unlink()
    (root / "a.yaml").symlink_to("../outside.yaml")
    with pytest.raises(RefusedError, match="leads out"):
        replace(root, before, {"a.yaml": b"new"})


def test_a_full_disk_leaves_all_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RefusedError, match=r"Cannot write .*/a\.yaml"):
        replace(root, read(root, ["a.yaml"]), {"a.yaml": b"new"})
    assert sorted(path.name for path in root.iterdir()) == [".git", "a.yaml", "b"]
    assert (root / "a.yaml").read_text() == "a.yaml"


def test_what_cannot_be_read_or_written_is_refused(root: Path) -> None:
    with pytest.raises(RefusedError, match="Cannot read"):
        read(root, ["missing.yaml"])
    before = read(root, ["a.yaml"])
    (root / "a.yaml").unlink()
    with pytest.raises(RefusedError, match="Cannot write"):
        replace(root, before, {"a.yaml": b"new"})
