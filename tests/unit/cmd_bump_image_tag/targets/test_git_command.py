from __future__ import annotations

import errno
import os
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from cicd_common.errors import Interrupted
from cmd_bump_image_tag.targets import git_command
from cmd_bump_image_tag.targets.git_command import Remote, private_repository

if TYPE_CHECKING:
    from pathlib import Path


def test_a_repository_to_which_a_child_of_git_still_writes_is_removed_after_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, busy = os.rmdir, [True]

    def busy_once(path: Any, **options: Any) -> None:
        if busy:
            busy.clear()
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        remove(path, **options)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(git_command, "REMOVAL_PAUSE", 0)

    def interrupted() -> None:
        with private_repository(Remote("https://h/a.git")):
            monkeypatch.setattr(os, "rmdir", busy_once)
            raise Interrupted(15)

    with pytest.raises(Interrupted):
        interrupted()

    assert not busy
    assert list(tmp_path.iterdir()) == []
