"""The diff, against the judgement of git, which must be able to apply it."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmd_bump_image_tag.result import unified_diff


def test_a_change_shows_with_its_context() -> None:
    old = "".join(f"line {number}\n" for number in range(1, 11))
    assert unified_diff("a.yaml", old.encode(), old.replace("5", "five").encode()) == (
        "--- a/a.yaml\n+++ b/a.yaml\n@@ -2,7 +2,7 @@\n"
        " line 2\n line 3\n line 4\n-line 5\n+line five\n line 6\n line 7\n line 8\n"
    )


def test_no_change_is_no_diff() -> None:
    assert unified_diff("a.yaml", b"a\n", b"a\n") == ""


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("changed", [[0], [1, 2], [0, 7], [0, 8], [29], [26], [0, 15, 29]])
def test_git_applies_the_diff(changed: list[int], end: str, tmp_path: Path) -> None:
    old = [f"line {number}" for number in range(30)]
    new = [line + "!" * (number in changed) for number, line in enumerate(old)]
    _applies(tmp_path, ("\n".join(old) + end).encode(), ("\n".join(new) + end).encode())


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.sampled_from("ab\r"), st.booleans()), min_size=1, max_size=30),
    st.booleans(),
)
def test_git_applies_the_diff_of_any_change(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, bool]], ends: bool
) -> None:
    old = "\n".join(line for line, _ in lines) + "\n" * ends
    new = "\n".join("x" if changes else line for line, changes in lines) + "\n" * ends
    _applies(tmp_path_factory.mktemp("diff"), old.encode(), new.encode())


def _applies(folder: Path, old: bytes, new: bytes) -> None:
    (folder / "a.yaml").write_bytes(old)
    patch = unified_diff("a.yaml", old, new)
    if patch:
        subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=folder, check=True)
    assert (folder / "a.yaml").read_bytes() == new
