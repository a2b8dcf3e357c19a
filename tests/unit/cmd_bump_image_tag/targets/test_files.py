"""The files of a working directory, on a real file system."""

import contextlib
import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cicd_common.errors import ConflictError, NotFoundError, RefusedError
from cmd_bump_image_tag.targets import LostRaceError
from cmd_bump_image_tag.targets.directory import Directory
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
def test_patterns_select_files(patterns: tuple[str, ...], chosen: str) -> None:
    paths = select(REPOSITORY, patterns).paths
    assert sorted(paths) == sorted(REPOSITORY[int(index)] for index in chosen.split())


def test_only_a_path_without_a_pattern_counts_as_named() -> None:
    selection = select(REPOSITORY, ["./README.md", "*.json", "apps"])
    assert selection.named == {"README.md"}


@pytest.mark.parametrize("pattern", ["nowhere.yaml", "nowhere", "*.toml", "apps/*.yaml"])
def test_a_pattern_that_matches_no_file_is_not_found(pattern: str) -> None:
    with pytest.raises(NotFoundError):
        select(REPOSITORY, [pattern])


def test_a_repository_without_yaml_selects_no_files() -> None:
    assert select(["README.md"], []).paths == ()


@pytest.mark.parametrize("pattern", ["../x.yaml", "..", "a/../../x.yaml", "/etc/x.yaml"])
def test_a_pattern_outside_the_repository_is_refused(pattern: str, tmp_path: Path) -> None:
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


def test_files_are_found_except_those_of_git(root: Path) -> None:
    assert find(root, []).paths == ("a.yaml", "b/c.yml")
    assert find(root, [str(root / "b")]).paths == ("b/c.yml",)
    assert read(root, find(root, []).paths) == {"a.yaml": b"a.yaml", "b/c.yml": b"b/c.yml"}


@pytest.fixture
def repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with what git ignores, and with another repository in it."""
    (root / ".git" / "config.yaml").unlink()
    (root / ".git").rmdir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    for path in ("build/out.yaml", "node_modules/x/chart.yaml", "sub/deploy.yaml", "new.yaml"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    subprocess.run(["git", "init", "-q", str(root / "sub")], check=True)
    (root / ".gitignore").write_text("build/\nnode_modules\n")
    monkeypatch.setenv("GIT_DIR", str(root / "sub" / ".git"))  # as in a hook of another one
    return root


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ([], {"a.yaml", "b/c.yml", "new.yaml"}),
        (["**/*.yaml"], {"a.yaml", "new.yaml"}),
        (["build"], {"build/out.yaml"}),
        (["build/*.yaml", "a.yaml"], {"build/out.yaml", "a.yaml"}),
        (["node_modules/x/chart.yaml"], {"node_modules/x/chart.yaml"}),
    ],
    ids=["no pattern", "glob", "folder", "glob and file", "file"],
)
def test_an_ignored_file_is_selected_only_if_it_is_named(
    repository: Path, patterns: list[str], chosen: set[str]
) -> None:
    assert set(find(repository, patterns).paths) == chosen


def test_a_nested_repository_is_not_searched(repository: Path) -> None:
    with pytest.raises(NotFoundError):
        find(repository, ["sub"])
    with pytest.raises(NotFoundError):
        find(repository, ["sub/deploy.yaml"])


def test_files_are_selected_if_git_ignores_the_working_directory_itself(repository: Path) -> None:
    assert find(repository / "build", []).paths == ("out.yaml",)


def test_without_git_only_node_modules_is_excluded(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert find(repository, []).paths == ("a.yaml", "b/c.yml", "build/out.yaml", "new.yaml")


def test_no_program_that_a_folders_configuration_names_is_run(
    repository: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    git = ["git", "--git-dir", str(repository / ".git"), "config"]
    subprocess.run([*git, "core.fsmonitor", str(program)], check=True)

    assert find(repository, []).paths
    assert not ran.exists()


def test_a_glob_with_many_double_stars_is_fast() -> None:
    pattern = "**/" * 20 + "x.yaml"
    deep = "a/" * 40
    assert select([f"{deep}x.yaml"], [pattern]).paths == (f"{deep}x.yaml",)
    with pytest.raises(NotFoundError):
        select([f"{deep}y.yaml"], [pattern])


def test_links_are_not_followed_in_a_scan(root: Path) -> None:
    (root / "link.yaml").symlink_to("a.yaml")
    (root / "out.yaml").symlink_to("../outside.yaml")
    (root / "up").symlink_to("..")
    (root / "round").symlink_to(".")
    os.mkfifo(root / "pipe.yaml")
    assert find(root, []).paths == ("a.yaml", "b/c.yml")


def test_a_named_link_counts_as_its_target(root: Path) -> None:
    (root / "link.yaml").symlink_to("a.yaml")
    (root / "folder").symlink_to("b")
    assert find(root, ["link.yaml"]).named == {"a.yaml"}
    assert find(root, ["folder/c.yml"]).named == {"b/c.yml"}


@pytest.mark.parametrize("pattern", ["out.yaml", "up/outside.yaml", "up/*.yaml", "up"])
def test_a_link_to_a_file_outside_the_repository_is_refused(pattern: str, root: Path) -> None:
    (root / "out.yaml").symlink_to("../outside.yaml")
    (root / "up").symlink_to("..")
    with pytest.raises(RefusedError, match="leads out"):
        find(root, [pattern])


def test_a_link_loop_is_refused_or_not_found(root: Path) -> None:
    (root / "circle.yaml").symlink_to("circle.yaml")
    with pytest.raises((RefusedError, NotFoundError)):
        find(root, ["circle.yaml"])


def test_a_replaced_file_keeps_its_mode(root: Path) -> None:
    (root / "a.yaml").chmod(0o640)
    before = read(root, ["a.yaml", "b/c.yml"])
    replace(root, before, {"a.yaml": b"new"})
    assert (root / "a.yaml").read_bytes() == b"new"
    assert (root / "a.yaml").stat().st_mode & 0o7777 == 0o640
    assert sorted(path.name for path in root.iterdir()) == [".git", "a.yaml", "b"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_replaced_file_keeps_its_owner(root: Path) -> None:
    os.chown(root / "a.yaml", 1234, 4321)
    replace(root, read(root, ["a.yaml"]), {"a.yaml": b"new"})
    status = (root / "a.yaml").stat()
    assert (status.st_uid, status.st_gid) == (1234, 4321)


def test_no_file_is_written_if_one_has_changed_since_it_was_read(root: Path) -> None:
    before = read(root, ["a.yaml", "b/c.yml"])
    (root / "b/c.yml").write_text("somebody else's")
    with pytest.raises(ConflictError, match=r"b/c\.yml"):
        replace(root, before, {"a.yaml": b"new", "b/c.yml": b"new"})
    assert (root / "a.yaml").read_text() == "a.yaml"
    assert not list(root.rglob("*.tmp"))


def test_a_file_replaced_by_a_link_since_it_was_read_is_not_written(root: Path) -> None:
    before = read(root, ["a.yaml"])
    (root / "a.yaml").unlink()
    (root / "a.yaml").symlink_to("../outside.yaml")
    with pytest.raises(RefusedError, match="leads out"):
        replace(root, before, {"a.yaml": b"new"})


def test_a_full_disk_changes_no_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RefusedError, match=r"Cannot write .*/a\.yaml"):
        replace(root, read(root, ["a.yaml"]), {"a.yaml": b"new"})
    assert sorted(path.name for path in root.iterdir()) == [".git", "a.yaml", "b"]
    assert (root / "a.yaml").read_text() == "a.yaml"


@pytest.mark.parametrize("step", ["open", "fchmod"])
@pytest.mark.parametrize(
    ("number", "is_writable", "in_place"),
    [
        (errno.EACCES, True, True),
        (errno.EPERM, True, True),
        (errno.EACCES, False, False),
        (errno.ENOSPC, True, False),
        (errno.EROFS, True, False),
    ],
)
def test_a_file_is_written_in_place_only_if_no_new_one_is_allowed(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    number: int,
    *,
    is_writable: bool,
    in_place: bool,
) -> None:
    path = root / "a.yaml"
    inode = path.stat().st_ino
    real = getattr(os, step)

    def refuse(what: Any, how: int, *more: Any, **options: Any) -> Any:
        if step == "open" and not how & os.O_WRONLY:
            return real(what, how, *more, **options)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, step, refuse)
    monkeypatch.setattr(os, "access", lambda *_: is_writable)
    if in_place:
        replace(root, read(root, ["a.yaml"]), {"a.yaml": b"new"})
    else:
        with pytest.raises(RefusedError, match=r"Cannot write .*/a\.yaml"):
            replace(root, read(root, ["a.yaml"]), {"a.yaml": b"new"})
    assert path.read_bytes() == (b"new" if in_place else b"a.yaml")
    assert path.stat().st_ino == inode
    assert sorted(each.name for each in root.iterdir()) == [".git", "a.yaml", "b"]


@pytest.mark.parametrize("fault", ["none", "full", "changed"])
@pytest.mark.parametrize("nameless", [True, False], ids=["nameless", "named"])
def test_no_file_and_no_folder_stays_open_whatever_happens(
    root: Path, monkeypatch: pytest.MonkeyPatch, fault: str, *, nameless: bool
) -> None:
    target = Directory(root, (), 0)
    before = target.read()
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    if fault == "full":
        monkeypatch.setattr(os, "fsync", lambda _: os.open("/no/such/file", os.O_RDONLY))
    if fault == "changed":
        (root / "b/c.yml").write_text("theirs")
    with contextlib.suppress(RefusedError, LostRaceError):
        target.write(before, dict.fromkeys(before.contents, b"new"), "")
    opened = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # another thread has closed it
            opened.append(descriptor.readlink())
    assert [path for path in opened if path.is_relative_to(root)] == []
    assert not list(root.rglob("*.tmp"))


@pytest.mark.parametrize("nameless", [True, False], ids=["nameless", "named"])
def test_a_new_file_is_not_visible_before_it_is_complete(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, nameless: bool
) -> None:
    """What a process that is killed would leave: the folder while the new content is written."""
    seen: list[str] = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        real(descriptor)
        seen.extend(path.name for path in root.glob(".a.yaml.*"))

    monkeypatch.setattr(os, "fsync", spy)
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    replace(root, read(root, ["a.yaml"]), {"a.yaml": b"new"})
    assert len(seen) == (0 if nameless else 1)
    assert (root / "a.yaml").read_bytes() == b"new"
    assert sorted(path.name for path in root.iterdir()) == [".git", "a.yaml", "b"]


def test_only_temporary_files_of_a_killed_run_are_removed(root: Path) -> None:
    others = [".a.yaml.tmp", ".a.yaml.0123456.tmp", ".b.yaml.01234567.tmp", ".a.yaml.0123456g.tmp"]
    for name in [".a.yaml.01234567.tmp", ".a.yaml.89abcdef.tmp", *others]:
        (root / name).write_text("left")
    replace(root, read(root, ["a.yaml"]), {"a.yaml": b"new"})
    assert {path.name for path in root.glob(".*.tmp")} == set(others)


def test_more_files_than_the_open_file_limit_are_replaced(root: Path) -> None:
    for number in range(1100):
        (root / f"{number}.yaml").write_text("old")
    before = read(root, find(root, ["*.yaml"]).paths)
    replace(root, before, dict.fromkeys(before, b"new"))
    assert set(read(root, before).values()) == {b"new"}
    assert not list(root.glob(".*.tmp"))


def test_the_error_for_an_unreadable_file_names_the_user_to_run_as(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bytes:  # root may read everything
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(RefusedError, match="Cannot read") as raised:
        read(root, ["a.yaml"])
    assert "--user" in raised.value.hint


def test_a_file_that_cannot_be_read_or_written_is_refused(root: Path) -> None:
    with pytest.raises(RefusedError, match="Cannot read"):
        read(root, ["missing.yaml"])
    before = read(root, ["a.yaml"])
    (root / "a.yaml").unlink()
    with pytest.raises(RefusedError, match="Cannot write"):
        replace(root, before, {"a.yaml": b"new"})


@pytest.fixture
def closed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with three folders that cannot be listed; root could list every folder."""
    scan = os.scandir

    def refuse(folder: Path) -> Any:
        if folder.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(folder)

    for folder in ("closed", "b/closed", "build/closed"):
        (repository / folder).mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    return repository


@pytest.mark.parametrize(
    ("patterns", "reported"),
    [
        ([], {"closed/", "b/closed/"}),
        (["."], {"closed/", "b/closed/"}),
        (["a.yaml"], set()),
        (["*.yaml"], set()),
        (["b"], {"b/closed/"}),
        (["b/*.yml"], set()),
        (["**/*.yaml"], {"closed/", "b/closed/"}),
        (["*/*.yml"], {"closed/"}),
        (["b/**/*.yml", "a.yaml"], {"b/closed/"}),
    ],
)
def test_a_folder_that_cannot_be_read_is_reported_if_it_is_selected(
    closed: Path, patterns: list[str], reported: set[str]
) -> None:
    found = find(closed, patterns)
    assert found.paths
    assert found.unreadable == dict.fromkeys(reported, "Permission denied")


@pytest.mark.parametrize("pattern", ["closed", "closed/a.yaml", "closed/*.yaml", "build/closed"])
def test_a_folder_that_a_pattern_names_must_be_readable(closed: Path, pattern: str) -> None:
    with pytest.raises(RefusedError, match=r"Cannot read the folder (build/)?closed\.") as raised:
        find(closed, ["a.yaml", pattern])
    assert raised.value.why == "Permission denied."
    assert "--user" in raised.value.hint


def test_a_directory_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="Cannot read the folder") as caught:
        find(tmp_path / "nowhere", [])
    assert caught.value.why == "No such file or directory."
    assert not caught.value.hint
