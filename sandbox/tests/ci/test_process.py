from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sandbox.ci.process import Process

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_unwanted_before_it_runs_is_ended(tmp_path: Path) -> None:
    process = Process(lambda _: None)
    unwanted = threading.Event()
    unwanted.set()
    process.terminate()  # as a job is canceled before its script has begun

    code = process.run(["sleep", "600"], env={}, cwd=tmp_path, timeout=600, unwanted=unwanted)

    assert code == 128 + 15
