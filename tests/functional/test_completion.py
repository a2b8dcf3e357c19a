from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What the script of each shell defines.
SHELLS = {
    "bash": "_cmd_tag_project_completion() {",
    "zsh": "_cmd_tag_project_completion() {",
    "fish": "function _cmd_tag_project_completion;",
}


def completed(instruction: str, **words: str) -> str:
    """What the console script answers to a shell."""
    done = subprocess.run(
        [Path(sys.executable).with_name("cmd-tag-project")],
        env={"_CMD_TAG_PROJECT_COMPLETE": instruction, "PATH": "/usr/bin:/bin", **words},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_gets_its_script(shell: str) -> None:
    assert SHELLS[shell] in completed(f"{shell}_source")


@pytest.mark.parametrize("shell", SHELLS)
def test_options_are_offered(shell: str) -> None:
    typed = "cmd-tag-project --tag"
    word = {"fish": "--tag"}.get(shell, "1")
    assert "--tag-name" in completed(f"{shell}_complete", COMP_WORDS=typed, COMP_CWORD=word)


def test_the_values_of_an_option_are_offered() -> None:
    words = {"COMP_WORDS": "cmd-tag-project --next ", "COMP_CWORD": "2"}
    assert completed("bash_complete", **words).split() == [
        "plain,major",
        "plain,minor",
        "plain,patch",
        "plain,auto",
    ]


def test_bash_takes_the_script(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(completed("bash_source"))
    typed = f"source {tmp_path}/script; complete -p cmd-tag-project"
    done = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True)
    assert "-F _cmd_tag_project_completion cmd-tag-project" in done.stdout
