"""Archives and links, as a repository that is not on disk has them."""

from __future__ import annotations

import contextlib
import io
import tarfile

import pytest

from cicd_common.errors import RefusedError, UnavailableError
from cmd_bump_image_tag.targets.commits_api import Archive, is_blob
from cmd_bump_image_tag.targets.files import follow

LINKS = {
    "link.yaml": "apps/web.yaml",
    "apps/up.yaml": "../web.yaml",
    "current": "releases/v2",
    "releases/v2": "v3",
    "out.yaml": "../../etc/passwd",
    "absolute.yaml": "/etc/passwd",
    "a": "b",
    "b": "a",
}


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("web.yaml", "web.yaml"),
        ("./link.yaml", "apps/web.yaml"),
        ("apps/up.yaml", "web.yaml"),
        ("current/web.yaml", "releases/v3/web.yaml"),
        ("current/*.yaml", "releases/v3/*.yaml"),
        ("currently", "currently"),
    ],
)
def test_a_link_counts_as_its_target(pattern: str, path: str) -> None:
    assert follow(pattern, LINKS) == path


@pytest.mark.parametrize("pattern", ["out.yaml", "absolute.yaml", "a", "b/web.yaml"])
def test_a_link_to_the_outside_or_to_itself_is_refused(pattern: str) -> None:
    with pytest.raises(RefusedError):
        follow(pattern, LINKS)


def archive(**files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"project-main-0123/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("project-main-0123/link.yaml")
        link.type, link.linkname = tarfile.SYMTYPE, "web.yaml"
        tar.addfile(link)
    return made.getvalue()


def test_files_and_links_are_read_from_the_archive() -> None:
    found = Archive.read(archive(**{"a/web.yaml": b"\r\n", "empty": b""}))
    assert found.files == {"a/web.yaml": b"\r\n", "empty": b""}
    assert found.links == {"link.yaml": "web.yaml"}
    assert (found.commit, found.entries) == ("", 3)


@pytest.mark.parametrize(
    ("object_id", "same"),
    [
        ("", True),
        ("ce013625030ba8dba906f756967f9e9ca394464a", True),
        ("2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4", True),
        ("ce013625030ba8dba906f756967f9e9ca394464b", False),
    ],
)
def test_the_id_of_a_git_object_is_computed_from_its_bytes(object_id: str, *, same: bool) -> None:
    """The ids are those that `git hash-object` prints for this content."""
    assert is_blob(b"hello\n", object_id) == same


@pytest.mark.parametrize("length", [*range(20), 60, 100])
def test_a_truncated_archive_is_an_error(length: int) -> None:
    data = archive(web=bytes(range(256)) * 40)
    with pytest.raises(UnavailableError):
        Archive.read(data[:length])


def test_a_damaged_archive_is_an_error_or_one_with_other_bytes() -> None:
    data = archive(web=bytes(range(256)))
    for position in range(len(data)):
        for byte in (0, 0x30, 0xFF):
            with contextlib.suppress(UnavailableError):
                Archive.read(data[:position] + bytes([byte]) + data[position + 1 :])
