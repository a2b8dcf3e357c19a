"""The documents say what the code does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_generated_parts_are_as_the_code_is() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "run `make docs`"


def test_the_readme_can_be_taken_in() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


def test_every_example_is_explained_and_run() -> None:
    explained = (ROOT / "examples/tutorials.md").read_text()
    tests = [*ROOT.glob("tests/*/test_examples.py"), *ROOT.glob("tests/*/test_seed_chain.py")]
    run = "".join(path.read_text() for path in tests)
    for example in (path for path in (ROOT / "examples").iterdir() if path.is_dir()):
        assert f"`examples/{example.name}`" in explained
        assert f'"{example.name}"' in run
