"""`--dotenv-from`: the variables that a job of the other project left in its artifacts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from cicd_common.waiting import reported_variables
from cmd_wait_pipeline import UsageError, WaitPolicy, wait_pipeline
from sandbox import Fault, ScriptedJob
from tests.functional.cmd_wait_pipeline.test_wait_artifacts import gitlab, here, tree

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox import Sandbox
    from sandbox.model import Pipeline, Project, Token, User
    from tests.functional.cmd_wait_pipeline.conftest import Add, Wait

__all__ = ["gitlab", "here"]

ENV = "VERSION=1.2.3\nEMPTY=\n\n IMAGE =reg/app:1=2 \r\n"
FILE = r"/artifacts/meta/build.env$"


def job(name: str = "build", env: str | bytes = ENV) -> ScriptedJob:
    content = env if isinstance(env, bytes) else env.encode()
    return ScriptedJob(name=name, artifacts={"meta/build.env": content, "app": b"app"})


def variables(file: Path) -> dict[str, str]:
    lines = file.read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines)
    return {key: value for key, value in found.items() if not key.startswith("PIPELINE_")}


def test_the_variables_are_in_the_dotenv_file_and_in_the_result(
    add: Add, wait: Wait, here: Path
) -> None:
    options = ("--dotenv-from", "build=./meta/build.env", "--dotenv", "p.env", "-o", "json")
    pipeline = add(jobs=(job(),))
    ending = wait(pipeline.id, *options)
    assert ending.code == 0, ending.stderr
    expected = {"VERSION": "1.2.3", "EMPTY": "", "IMAGE": "reg/app:1=2"}
    assert variables(here / "p.env") == json.loads(ending.stdout)["variables"] == expected
    assert f"PIPELINE_ID={pipeline.id}\n" in (here / "p.env").read_text()
    assert "Read from meta/build.env in the artifacts of build: VERSION, EMPTY" in ending.stderr
    assert "1.2.3" not in ending.stderr
    assert [path.name for path in here.iterdir()] == ["p.env"]  # the archive was not fetched


def test_it_goes_with_artifacts_and_with_a_prefix(add: Add, wait: Wait, here: Path) -> None:
    options = ("--artifacts", "build=out", "--dotenv-from", "build=meta/build.env")
    prefix = ("--dotenv", "p.env", "--dotenv-prefix", "APP_")
    assert wait(add(jobs=(job(env="A=1"),)).id, *options, *prefix).code == 0
    assert (here / "p.env").read_text().splitlines()[-1] == "APP_A=1"
    assert set(tree(here / "out")) == {"meta/build.env", "app"}


def test_a_job_token_is_enough(
    gitlab: Sandbox, add: Add, wait: Wait, here: Path, project: Project, executor: User
) -> None:
    token = gitlab.add_running_job(project, executor).token
    options = ("--dotenv-from", "build=meta/build.env", "--dotenv", "p.env")
    ending = wait(add(jobs=(job(),)).id, *options, "-v", job_token=token)
    assert ending.code == 0, ending.stderr
    assert variables(here / "p.env")["VERSION"] == "1.2.3"


def test_what_a_later_job_must_not_get_is_cleaned(
    add: Add, wait: Wait, here: Path, token: Token
) -> None:
    env = f"A=a\x1b[2Jb\nB=x{token.secret}y\nA=last\x07"
    options = ("--dotenv-from", "build=meta/build.env", "--dotenv", "p.env", "-o", "json")
    ending = wait(add(jobs=(job(env=env),)).id, *options)
    assert ending.code == 0
    assert variables(here / "p.env") == {"A": "last?", "B": "x[hidden]y"}
    assert json.loads(ending.stdout)["variables"] == {"A": "last?", "B": "x[hidden]y"}


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ("A=1\nnothing", "Line 2 of meta/build.env in the artifacts of build is not KEY=value"),
        ("A B=1", "is not KEY=value"),
        ("=1", "is not KEY=value"),
        ("é=1", "is not KEY=value"),
        (f"{'A' * 256}=1", "is not KEY=value"),
        ("# a comment=1", "is not KEY=value"),
        ("PIPELINE_ID=1", "sets PIPELINE_ID"),
        ("PIPELINE_ID_2=1", "sets PIPELINE_ID_2"),
        ("TAG_NAMES=1", "sets TAG_NAMES"),
        (b"A=\xff", "is not UTF-8 text"),
        ("A=" + "x" * reported_variables.LARGEST_FILE, "is larger than 65.5 KB"),
    ],
)
def test_12_a_file_that_is_not_valid_is_refused_without_its_values(
    add: Add, wait: Wait, here: Path, env: str | bytes, words: str
) -> None:
    options = ("--artifacts", "build", "--dotenv-from", "build=meta/build.env")
    ending = wait(add(jobs=(job(env=env),)).id, *options, "--dotenv", "p.env")
    assert ending.code == 12
    assert words in ending.stderr
    assert tree(here).keys() == {"p.env"}  # no artifact was moved to its place
    assert variables(here / "p.env") == {}


@pytest.mark.parametrize("names", [("build: [a]", "build: [b]"), ("build", "other")])
def test_12_no_two_files_share_a_variable(add: Add, wait: Wait, names: tuple[str, str]) -> None:
    wanted = {name.partition(":")[0] for name in names}
    options = [text for name in wanted for text in ("--dotenv-from", f"{name}=meta/build.env")]
    pipeline = add(jobs=tuple(map(job, names)))
    ending = wait(pipeline.id, *options)
    assert ending.code == 12
    assert "The variable EMPTY is in several files" in ending.stderr
    assert wait(pipeline.id, "--dotenv-from", f"{names[0]}=meta/build.env").code == 0


def test_4_a_file_that_is_not_there(gitlab: Sandbox, add: Add, wait: Wait) -> None:
    pipeline = add(jobs=(job(), ScriptedJob(name="lint")))
    for named, words in (
        ("build=x.env", "There is no file x.env in the artifacts of build"),
        ("lint=x.env", "Job lint has no artifacts"),
        ("x=x.env", "has no job x"),
    ):
        ending = wait(pipeline.id, "--dotenv-from", named)
        assert (ending.code, words in ending.stderr) == (4, True), ending.stderr
    # GitLab can list an archive before all servers have it.
    gitlab.fault(Fault(path=FILE, first=2, status=404, body={"message": "404 Not found"}))
    assert wait(pipeline.id, "--dotenv-from", "build=meta/build.env").code == 0


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(path=FILE, truncate=True, nth=1), 0),
        (Fault(path=FILE, reset="after", nth=1), 0),
        (Fault(path=FILE, status=503, nth=1), 0),
        (Fault(path=FILE, status=403), 6),
        (Fault(path=FILE, status=404, body={"message": "404 Not found"}), 4),
        (Fault(path=FILE, status=302, headers={"Location": "ftp://127.0.0.1/x"}), 8),
        (Fault(path=FILE, status=200, body={"a": "b"}), 8),
    ],
    ids=["truncated", "reset", "503", "403", "404", "redirect", "JSON"],
)
def test_a_fault_is_retried_or_named(
    gitlab: Sandbox, add: Add, wait: Wait, here: Path, fault: Fault, code: int
) -> None:
    gitlab.fault(fault)
    options = ("--dotenv-from", "build=meta/build.env", "--dotenv", "p.env", "--retry-for", "20")
    ending = wait(add(jobs=(job(),)).id, *options)
    assert ending.code == code, ending.stderr
    assert ("VERSION" in variables(here / "p.env")) == (code == 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--dotenv-from", "build"), "is not JOB=FILE"),
        (("--dotenv-from", "build="), "is not JOB=FILE"),
        (("--dotenv-from", "=x"), "is not JOB=FILE"),
        (("--dotenv-from", "a=x", "--dotenv-from", "a=y"), "named twice"),
        (("--dotenv-from", "a=."), "is not a path within the artifacts"),
        (("--dotenv-from", "a=/x"), "is not a path within the artifacts"),
        (("--dotenv-from", "a=b/../../x"), "is not a path within the artifacts"),
        (("--all-running", "--dotenv-from", "a=x"), "--dotenv-from does not go with --all-running"),
    ],
)
def test_2_a_wrong_option_is_refused_before_anything_is_sent(
    gitlab: Sandbox, wait: Wait, options: tuple[str, ...], words: str
) -> None:
    number = () if "--all-running" in options else (1,)
    ending = wait(*number, *options)
    assert ending.code == 2
    assert words in ending.stderr
    assert len(gitlab.requests) == 0


def test_a_function_returns_them(gitlab: Sandbox, add: Add, project: Project, token: Token) -> None:
    pipeline: Pipeline = add(jobs=(job(),))
    result = wait_pipeline(
        project=project.path,
        pipeline_id=pipeline.id,
        policy=WaitPolicy(dotenv_from={"build": "meta/build.env"}, realtime=False),
        base_url=gitlab.url,
        api_access_token=token.secret,
    )
    assert result.variables["VERSION"] == "1.2.3"


@pytest.mark.parametrize("file", ["", "/x", "b/../../x"])
def test_2_a_function_reads_nothing_outside_of_the_artifacts(
    gitlab: Sandbox, add: Add, project: Project, token: Token, file: str
) -> None:
    pipeline: Pipeline = add(jobs=(job(),))
    with pytest.raises(UsageError, match="is not a path within the artifacts"):
        wait_pipeline(
            project=project.path,
            pipeline_id=pipeline.id,
            policy=WaitPolicy(dotenv_from={"build": file}),
            base_url=gitlab.url,
            api_access_token=token.secret,
        )
    assert len(gitlab.requests) == 0
