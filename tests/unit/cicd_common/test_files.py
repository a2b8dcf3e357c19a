"""Files that the user names never hang a command, and never fill the memory."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from cicd_common import files
from cicd_common.files import UnreadableError, read_text


def test_a_regular_file_is_read_completely(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("ü\r\n".encode())
    assert read_text(tmp_path / "a") == "ü\r\n"


def test_a_pipe_that_is_open_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"K=v")
    os.close(writer)
    try:
        assert read_text(Path(f"/dev/fd/{reader}")) == "K=v"
    finally:
        os.close(reader)


def test_a_dash_is_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"notes")))
    assert read_text(Path("-")) == "notes"


def test_endless_files_and_pipes_without_a_writer_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), Path("/dev/tty"), tmp_path):
        with pytest.raises(UnreadableError):
            read_text(path)


def test_a_file_that_is_too_large_or_not_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST", 4)
    (tmp_path / "a").write_bytes(b"1234")
    (tmp_path / "b").write_bytes(b"12345")
    (tmp_path / "c").write_bytes(b"\xff")
    assert read_text(tmp_path / "a") == "1234"
    for name, reason in (("b", "larger"), ("c", "UTF-8"), ("d", "No such file"), ("\0", "UTF-8")):
        with pytest.raises(UnreadableError, match=reason):
            read_text(tmp_path / name)
