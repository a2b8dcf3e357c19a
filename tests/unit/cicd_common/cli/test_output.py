"""stdout and the dotenv file."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from cicd_common.cli import console
from cicd_common.cli.output import Outcome, Output, write_file
from cicd_common.errors import Interrupted, NotFoundError, RefusedError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Pipeline:
    id: int
    project: str = "a/b"
    duration: float = 0.0

    def text(self) -> str:
        return f"{self.project}: pipeline {self.id}"

    def dotenv(self) -> dict[str, str]:
        return {"PIPELINE_ID": str(self.id), "PIPELINE_PROJECT": self.project}


def variables(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "result.env"


def test_an_old_dotenv_file_is_emptied_first(file: Path) -> None:
    file.write_text("PIPELINE_ID=1\n")
    Output(dotenv=file).prepare()
    assert file.read_text() == ""


def test_variable_numbers_follow_the_order_of_the_projects(file: Path) -> None:
    output = Output(dotenv=file)
    failed = RefusedError("No.", results=[Pipeline(2)])
    assert output.finish([NotFoundError("None."), failed, Pipeline(3)], asked=["a", "b", "c"]) == 4
    assert variables(file) == {
        "PIPELINE_ID_2": "2",
        "PIPELINE_PROJECT_2": "a/b",
        "PIPELINE_ID_3": "3",
        "PIPELINE_PROJECT_3": "a/b",
        "PIPELINE_IDS": "- 2 3",
    }


def test_a_prefix_distinguishes_the_variables_of_two_jobs(file: Path) -> None:
    Output(dotenv=file, dotenv_prefix="API_").finish([Pipeline(1)])
    assert variables(file) == {"API_PIPELINE_ID": "1", "API_PIPELINE_PROJECT": "a/b"}


@pytest.mark.parametrize("prefix", ["A-", "Ä", "A B"])
def test_an_invalid_variable_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError):
        Output(dotenv_prefix=prefix).prepare()


def test_a_dry_run_writes_no_variable(file: Path) -> None:
    Output(dotenv=file, dry_run=True).finish([Pipeline(1)])
    assert not file.exists()


def test_a_line_break_in_a_value_adds_no_variable(file: Path) -> None:
    Output(dotenv=file).finish([Pipeline(1, "a/b\nINJECTED=1\r\u2028X=2")])
    assert variables(file) == {"PIPELINE_ID": "1", "PIPELINE_PROJECT": "a/b INJECTED=1  X=2"}


@pytest.mark.parametrize(
    ("count", "each", "warned"), [(1, 20, False), (1, 21, True), (4, 5, True), (3, 5, False)]
)
def test_too_many_variables_cause_a_warning_before_anything_is_sent(
    file: Path, count: int, each: int, caplog: pytest.LogCaptureFixture, *, warned: bool
) -> None:
    Output(dotenv=file).expect(count, each)
    Output().expect(count, each)
    assert bool(caplog.records) is warned


def test_a_dotenv_file_that_is_too_large_causes_a_warning(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Output(dotenv=file).finish([Pipeline(1, "a" * 5100)])
    assert "bytes" in caplog.text


@pytest.mark.parametrize("value", ["v1$HOME", "v1${HOME}", "%HOME%"])
def test_a_value_that_gitlab_expands_causes_a_warning(
    file: Path, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    Output(dotenv=file).finish([Pipeline(1, value)])
    assert "PIPELINE_PROJECT" in caplog.text


def test_the_result_is_printed_even_if_the_dotenv_file_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    gone = tmp_path / "gone" / "result.env"
    assert Output("json", gone).finish([Pipeline(1)]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == 1
    assert "was not written" in caplog.text


def test_the_result_is_written_to_stderr_if_stdout_is_full(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device", text)

    monkeypatch.setattr("sys.stdout", Full())
    assert Output(dotenv=file).finish([Pipeline(1)]) == 0
    assert "a/b: pipeline 1" in capsys.readouterr().err
    assert variables(file)["PIPELINE_ID"] == "1"


def test_the_dotenv_file_is_written_even_if_stdout_is_closed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Left(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(text)

    monkeypatch.setattr("sys.stdout", Left())
    with pytest.raises(BrokenPipeError):
        Output(dotenv=file).finish([Pipeline(1)])
    assert variables(file)["PIPELINE_ID"] == "1"


def test_the_document_contains_every_failure(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes: list[Outcome] = [
        NotFoundError("None."),
        Pipeline(2),
        RefusedError("No.", results=[Pipeline(3)]),
    ]
    assert Output("json").finish(outcomes, asked=["a", "b", "c"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert [(each["project"], each["place"]) for each in document["errors"]] == [
        ("a", 1),
        ("c", 3),
    ]
    assert document["error"] == document["errors"][0]
    assert [each["id"] for each in document["results"]] == [2, 3]


def test_results_before_a_signal_are_printed(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = Output("json", file).finish([Pipeline(7)], interrupted=Interrupted(15))
    document = json.loads(capsys.readouterr().out)
    assert (code, document["error"]["code"]) == (143, 143)
    assert document["results"] == [{"id": 7, "project": "a/b", "duration": 0.0}]
    assert variables(file)["PIPELINE_ID"] == "7"


def test_seconds_are_rounded_to_milliseconds(capsys: pytest.CaptureFixture[str]) -> None:
    Output("json").finish([Pipeline(1, duration=0.6000000000000001)])
    assert json.loads(capsys.readouterr().out)["duration"] == 0.6


def test_a_text_that_stdout_cannot_hold_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Output().finish([Pipeline(1, "v2-é")])
    assert raw.getvalue() == b"v2-\\xe9: pipeline 1\n"


def test_escape_sequences_of_a_result_are_not_written_to_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output().finish([Pipeline(1, "\x1b[31ma\x1b[2J\nb")])
    assert capsys.readouterr().out == "?[31ma?[2J b: pipeline 1\n"


def test_only_our_own_text_styles_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("\x1b[31m\x1b[1mfailed\x1b[0m \x1b[8mconcealed \x1b]0;title\x07")
    assert capsys.readouterr().err == ("\x1b[31m\x1b[1mfailed\x1b[0m ?[8mconcealed ?]0;title?\n")


def test_a_file_is_replaced_atomically_and_keeps_its_mode(file: Path) -> None:
    file.write_text("old")
    file.chmod(0o640)
    write_file(file, b"new")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o640)
    assert list(file.parent.iterdir()) == [file]


def test_a_write_to_a_link_writes_its_target(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    write_file(link, b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
