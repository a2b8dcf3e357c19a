"""Unpacking archives safely: nothing outside the folder, nothing but files and folders."""

from __future__ import annotations

import io
import stat
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import RefusedError
from cicd_common.waiting import unpacking
from cicd_common.waiting.unpacking import in_units, unpack


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3  # Unix
    info.external_attr = mode << 16
    return info


def archive(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for info, content in entries:
            made.writestr(info, content)
    return target.getvalue()


def unpacked(folder: Path, content: bytes) -> dict[str, bytes]:
    """Unpacks into `folder/in`; returns what is there, and checks that nothing is beside it."""
    (folder / "zip").write_bytes(content)
    (folder / "in").mkdir()
    try:
        unpack(folder / "zip", folder / "in", lambda: None)
    finally:
        assert sorted(path.name for path in folder.iterdir()) == ["in", "zip"]
        assert not any(path.is_symlink() for path in folder.rglob("*"))
    files = [path for path in (folder / "in").rglob("*") if path.is_file()]
    return {str(path.relative_to(folder / "in")): path.read_bytes() for path in files}


def test_files_are_unpacked_with_their_modes(tmp_path: Path) -> None:
    content = archive(
        (entry("bin/", stat.S_IFDIR | 0o755), b""),
        (entry("bin/run", stat.S_IFREG | 0o4755), b"#!"),
        (entry("./a//b", stat.S_IFREG | 0o400), b"b"),
        (entry("plain", 0), b""),
        (entry("empty/", stat.S_IFDIR | 0o755), b""),
    )
    assert unpacked(tmp_path, content) == {"bin/run": b"#!", "a/b": b"b", "plain": b""}
    modes = {
        path: stat.S_IMODE((tmp_path / "in" / path).stat().st_mode) for path in ("bin/run", "a/b")
    }
    assert modes == {"bin/run": 0o755, "a/b": 0o600}
    assert (tmp_path / "in/empty").is_dir()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ((entry("/etc/passwd"),), "is an absolute path"),
        ((entry("../x"),), "leads out of the folder"),
        ((entry("a/../../x"),), "leads out of the folder"),
        ((entry("a/..", stat.S_IFREG),), "leads out of the folder"),
        ((entry("../", stat.S_IFDIR),), "leads out of the folder"),
        ((entry("link", stat.S_IFLNK | 0o777),), "is a link"),
        ((entry("link/", stat.S_IFLNK | 0o777),), "is a link"),
        ((entry("device", stat.S_IFBLK | 0o666),), "is not a file or a folder"),
        ((entry("device", stat.S_IFCHR | 0o666),), "is not a file or a folder"),
        ((entry("pipe", stat.S_IFIFO | 0o666),), "is not a file or a folder"),
        ((entry("socket", stat.S_IFSOCK | 0o666),), "is not a file or a folder"),
        ((entry("folder", stat.S_IFDIR | 0o755),), "is not a file or a folder"),
        ((entry("a"), entry("./a")), "twice"),
        ((entry("a"), entry("a/", stat.S_IFDIR)), "twice"),
        ((entry("a"), entry("a/b")), "is a file and a folder"),
        ((entry("."),), "is not a file or a folder"),
        ((entry("\0x"),), "has no name"),
        ((entry("a\x1b[2J/../../x"),), "leads out"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_not_safe_is_refused_whole(
    tmp_path: Path, entries: tuple[zipfile.ZipInfo, ...], words: str
) -> None:
    content = archive((entry("good"), b"good"), *((each, b"evil") for each in entries))
    with pytest.raises(RefusedError, match=words) as raised:
        unpacked(tmp_path, content)
    assert raised.value.message.isprintable()
    assert list((tmp_path / "in").iterdir()) == []


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "SMALL", 1000)
    with pytest.raises(RefusedError, match="it would unpack"):
        unpacked(tmp_path, archive(("zeros", b"\0" * 1_000_000)))


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_ENTRIES", 2)
    with pytest.raises(RefusedError, match="more than 2 entries"):
        unpacked(tmp_path, archive(("a", b""), ("b", b""), ("c", b"")))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_compression_is_refused(tmp_path: Path, method: int) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as made:
        made.writestr("a", b"a" * 100)
    with pytest.raises(RefusedError, match="compressed in another way"):
        unpacked(tmp_path, target.getvalue())


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"PK\x05\x06" + b"\xff" * 18, archive(("a", b"aaa"))[:-30]],
    ids=["empty", "html", "end alone", "cut"],  # an archive has the time in it
)
def test_what_is_no_archive_is_damaged(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(zipfile.BadZipFile):
        unpacked(tmp_path, content)


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), min_size=1, max_size=6),
    st.text(max_size=8),
)
def test_any_damage_ends_with_one_of_two_errors_or_the_very_files(
    changes: list[tuple[int, int]], name: str
) -> None:
    files = {"dir/" + "a" * 8: b"some content " * 20, "b": b"b" * 300}
    content = bytearray(archive(*files.items(), (entry(f"x{name}"), b"")))
    for place, value in changes:
        content[place % len(content)] = value
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = unpacked(Path(folder), bytes(content))
        except (RefusedError, zipfile.BadZipFile):
            return
    originals = {*files.values(), b""}
    assert set(found.values()) <= originals


@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(st.lists(st.text("ab./\\\0é", min_size=1, max_size=8), max_size=5, unique=True))
def test_no_name_leads_out_of_the_folder(names: list[str]) -> None:
    content = archive(*((entry(name), b"") for name in names))
    with tempfile.TemporaryDirectory() as folder:
        try:
            unpacked(Path(folder), content)
        except (RefusedError, zipfile.BadZipFile):
            return


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 KB"),
        (12_345_678, "12.3 MB"),
        (10**9, "1.0 GB"),
        (10**12, "1000.0 GB"),
    ],
)
def test_a_size_is_in_the_unit_that_suits_it(size: int, words: str) -> None:
    assert in_units(size) == words
