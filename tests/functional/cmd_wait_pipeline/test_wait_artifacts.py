"""Artifacts of the pipelines that were waited for, from a storage host of its own."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import NotFoundError
from cmd_trigger_pipeline.cli import cli as trigger
from cmd_wait_pipeline import WaitPolicy, wait_pipeline
from sandbox import Access, Fault, Sandbox, ScriptedJob, ScriptedPipeline
from tests.functional.cmd_wait_pipeline.conftest import RequestClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.model import Project, Token, User
    from tests.functional.cmd_wait_pipeline.conftest import Add, Wait
    from tests.functional.conftest import Invoke, SkippingClock, Start

FILES = {"dist/app.txt": b"app " * 1000, "notes.md": b"notes"}
NOISE = os.urandom(500_000)  # no zip makes it smaller, so that it comes in several parts
CREDENTIALS = {"private-token", "job-token", "authorization", "cookie"}
ARCHIVE = r"/jobs/\d+/artifacts"


@pytest.fixture
def gitlab(clock: SkippingClock) -> Iterator[Sandbox]:
    del clock  # the commands' alone
    time = RequestClock()
    with Sandbox(clock=time, run_jobs=False, object_storage=True) as running:
        time.requests = running.requests
        yield running


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(name: str = "build", **files: bytes) -> ScriptedJob:
    return ScriptedJob(name=name, artifacts=files or FILES)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def test_artifacts_are_in_the_folder_and_the_storage_gets_no_credential(
    gitlab: Sandbox, add: Add, wait: Wait, here: Path
) -> None:
    pipeline = add(jobs=(build(), ScriptedJob(name="lint")))
    ending = wait("--pipeline-id", pipeline.id, "--artifacts", "build=new/out")
    assert (ending.code, len(ending.stdout.splitlines())) == (0, 1)
    assert tree(here) == {f"new/out/{path}": content for path, content in FILES.items()}
    assert "Fetching the artifacts of build (artifacts.zip, " in ending.stderr
    assert "2 files in new/out" in ending.stderr
    [request] = gitlab.storage.requests
    assert not CREDENTIALS & {name.lower() for name in request.headers}
    assert "X-Amz-Signature" not in ending.stderr


def test_without_a_folder_they_are_in_the_working_directory_over_older_ones(
    add: Add, wait: Wait, here: Path
) -> None:
    (here / "notes.md").write_text("old")
    (here / "dist").mkdir()
    (here / "dist/other").write_text("kept")
    assert wait("--pipeline-id", add(jobs=(build(),)).id, "--artifacts", "build").code == 0
    assert tree(here) == FILES | {"dist/other": b"kept"}


@pytest.mark.parametrize(
    "fault",
    [Fault(truncate=True, nth=1), Fault(reset="after", nth=1), Fault(status=503, nth=1)],
    ids=["truncated", "reset", "503"],
)
def test_a_cut_download_continues_where_it_was_cut(
    gitlab: Sandbox, add: Add, wait: Wait, here: Path, fault: Fault
) -> None:
    gitlab.storage.faults.add(fault)
    job = build(noise=NOISE)
    assert wait("--pipeline-id", add(jobs=(job,)).id, "--artifacts", "build").code == 0
    assert tree(here) == {"noise": NOISE}
    whole, rest = [request.headers.get("Range") for request in gitlab.storage.requests]
    assert (whole, bool(rest)) == (None, fault.truncate)
    assert not rest or 0 < int(rest.removeprefix("bytes=").removesuffix("-")) <= 250_100


def test_a_download_begins_again_if_the_rest_is_not_available(
    gitlab: Sandbox, add: Add, wait: Wait, here: Path
) -> None:
    gitlab.storage.faults.add(Fault(truncate=True, nth=1))
    gitlab.storage.faults.add(Fault(status=416, nth=2))
    job = build(noise=NOISE)
    assert wait("--pipeline-id", add(jobs=(job,)).id, "--artifacts", "build").code == 0
    assert tree(here) == {"noise": NOISE}
    assert [request.status for request in gitlab.storage.requests] == [200, 416, 200]


def test_what_stays_cut_ends_with_8_and_leaves_nothing(
    gitlab: Sandbox, add: Add, wait: Wait, here: Path
) -> None:
    gitlab.storage.faults.add(Fault(reset="after"))
    limits = ("--retry-for", "1", "--artifacts", "build=out", "--output", "json")
    ending = wait("--pipeline-id", add(jobs=(build(),)).id, *limits)
    document = json.loads(ending.stdout)
    assert (ending.code, document["error"]["kind"]) == (8, "unavailable")
    assert document["results"][0]["status"] == "success"
    assert list(here.iterdir()) == []


def test_a_damaged_archive_changes_nothing(add: Add, wait: Wait, here: Path) -> None:
    pipeline = add(jobs=(build(), build("docs", page=b"x" * 99)))
    gone = pipeline.jobs[1]
    wait("--pipeline-id", pipeline.id)  # by now the jobs have their archives
    assert gone.artifacts is not None
    gone.artifacts = gone.artifacts.replace(b"page", b"pagf", 1)
    ending = wait("--pipeline-id", pipeline.id, "--artifacts", "build", "--artifacts", "docs")
    assert ending.code == 8
    assert "artifacts of docs" in ending.stderr
    assert "damaged" in ending.stderr
    assert tree(here) == {}


def test_all_jobs_of_a_matrix_are_each_in_a_folder(add: Add, wait: Wait, here: Path) -> None:
    jobs = tuple(build(f"build: [{name}, ../x]", f=name.encode()) for name in ("a", "b"))
    pipeline = add(jobs=(*jobs, build("builder"), build("unit 1/2", f=b"1")))
    wanted = ("--artifacts", "build=out", "--artifacts", "unit=out", "--artifacts", "builder=all")
    assert wait("--pipeline-id", pipeline.id, *wanted).code == 0
    assert tree(here / "out") == {
        "build-a-..-x/f": b"a",
        "build-b-..-x/f": b"b",
        "unit-1-2/f": b"1",
    }
    assert tree(here / "all") == FILES


def test_a_job_of_the_very_name_comes_before_the_parts_of_a_matrix(
    add: Add, wait: Wait, here: Path
) -> None:
    pipeline = add(jobs=(build("build: [a]", f=b"a"), build(f=b"1"), build("build: [b]", f=b"b")))
    assert wait("--pipeline-id", pipeline.id, "--artifacts", "build=out").code == 0
    assert tree(here / "out") == {"f": b"1"}


def test_jobs_of_downstream_pipelines_are_found_at_any_depth(
    add: Add, wait: Wait, here: Path
) -> None:
    inner = ScriptedPipeline(jobs=(build(),))
    middle = ScriptedPipeline(jobs=(ScriptedJob(name="deeper", downstream=inner),))
    pipeline = add(jobs=(ScriptedJob(name="deploy", downstream=middle), ScriptedJob(name="lint")))
    assert wait("--pipeline-id", pipeline.id, "--artifacts", "build").code == 0
    assert tree(here) == FILES


def test_those_of_the_newest_attempt_count(
    gitlab: Sandbox, add: Add, wait: Wait, here: Path, token: Token
) -> None:
    pipeline = add(jobs=(build(),))
    wait("--pipeline-id", pipeline.id)
    old = pipeline.jobs[0]
    new = gitlab.add_pipeline(
        pipeline.project, ScriptedPipeline(jobs=(build(f=b"new"),)), user=token.user
    ).jobs[0]
    wait("--pipeline-id", new.pipeline.id)
    old.retried, new.pipeline = True, pipeline
    pipeline.jobs.append(new)
    assert wait("--pipeline-id", pipeline.id, "--artifacts", "build").code == 0
    assert tree(here) == {"f": b"new"}


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("absent", 4, "has no job absent"),
        ("lint", 4, "Job lint has no artifacts"),
        ("erased", 4, "The artifacts of erased were erased"),
        ("expired", 4, "The artifacts of expired have expired"),
        ("private", 6, "403 Forbidden"),
    ],
)
def test_what_cannot_be_fetched_is_told_apart(
    gitlab: Sandbox, add: Add, wait: Wait, name: str, code: int, words: str
) -> None:
    names = ("erased", "expired", "private")
    pipeline = add(jobs=(ScriptedJob(name="lint"), *map(build, names)))
    wait("--pipeline-id", pipeline.id)
    jobs = {job.name: job for job in pipeline.jobs}
    jobs["erased"].artifacts, jobs["erased"].erased_at = None, gitlab.state.clock.now()
    jobs["expired"].artifacts_expire_at = gitlab.state.clock.now() - timedelta(hours=1)
    jobs["private"].artifacts_access = "none"
    ending = wait("--pipeline-id", pipeline.id, "--artifacts", name, "--output", "json")
    document = json.loads(ending.stdout)
    assert (ending.code, document["error"]["code"]) == (code, code)
    assert words in document["error"]["message"]
    assert document["results"][0]["id"] == pipeline.id


def test_what_is_not_uploaded_yet_is_waited_for(
    gitlab: Sandbox, add: Add, wait: Wait, here: Path
) -> None:
    not_yet = gitlab.fault(Fault(path=ARCHIVE, first=2, status=404, body={"message": "404"}))
    assert wait("--pipeline-id", add(jobs=(build(),)).id, "--artifacts", "build").code == 0
    assert (tree(here), not_yet.fired) == (FILES, 2)


def test_a_pipeline_that_failed_leaves_its_artifacts_where_they_are(
    gitlab: Sandbox, add: Add, wait: Wait, here: Path
) -> None:
    jobs = (build(), ScriptedJob(name="test", timeline=((0, "failed"),)))
    assert wait("--pipeline-id", add(jobs=jobs).id, "--artifacts", "build").code == 1
    assert (tree(here), gitlab.storage.requests) == ({}, [])


def test_a_failure_to_fetch_is_in_the_junit_report(add: Add, wait: Wait, here: Path) -> None:
    ending = wait("--pipeline-id", add(jobs=(build(),)).id, "--artifacts", "x", "--junit", "r.xml")
    assert ending.code == 4
    assert 'errors="1"' in (here / "r.xml").read_text()


def test_a_job_token_is_enough(
    gitlab: Sandbox, add: Add, wait: Wait, here: Path, project: Project, executor: User
) -> None:
    pipeline = add(jobs=(build(),))
    job = gitlab.add_running_job(project, executor)
    ending = wait("--pipeline-id", pipeline.id, "--artifacts", "build", job_token=job.token)
    assert (ending.code, tree(here)) == (0, FILES)
    assert not CREDENTIALS & {name.lower() for name in gitlab.storage.requests[0].headers}


def test_a_job_token_without_the_tier_for_it_is_told_so(
    gitlab: Sandbox, add: Add, wait: Wait, project: Project, executor: User
) -> None:
    answer = {"message": "404 Project Not Found"}
    gitlab.fault(Fault(path=ARCHIVE, status=404, body=answer))
    job = gitlab.add_running_job(project, executor)
    pipeline = add(jobs=(build(),))
    ending = wait("--pipeline-id", pipeline.id, "--artifacts", "build", job_token=job.token)
    assert ending.code == 6
    assert "Premium and Ultimate" in ending.stderr


@pytest.mark.parametrize(
    ("by_job", "text"),
    [(True, "404 Not Found"), (False, "404 Project Not Found"), (False, "404 Not Found")],
    ids=["job token and archive", "access token and project", "access token and archive"],
)
def test_4_artifacts_that_are_not_there_are_no_matter_of_the_tier(
    gitlab: Sandbox,
    add: Add,
    wait: Wait,
    project: Project,
    executor: User,
    text: str,
    *,
    by_job: bool,
) -> None:
    gitlab.fault(Fault(path=ARCHIVE, status=404, body={"message": text}))
    secret = gitlab.add_running_job(project, executor).token if by_job else ""
    pipeline = add(jobs=(build(),))
    ending = wait("--pipeline-id", pipeline.id, "--artifacts", "build", job_token=secret)
    assert ending.code == 4, ending.stderr
    assert "Premium" not in ending.stderr


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/x", "https://[", "https:///x"])
def test_a_redirect_to_anything_but_https_is_refused(
    gitlab: Sandbox, add: Add, wait: Wait, address: str
) -> None:
    gitlab.fault(Fault(path=ARCHIVE, status=302, headers={"Location": address}))
    ending = wait("--pipeline-id", add(jobs=(build(),)).id, "--artifacts", "build")
    assert ending.code == 8
    assert "redirects a download" in ending.stderr


def test_a_second_redirect_is_not_followed(gitlab: Sandbox, add: Add, wait: Wait) -> None:
    gitlab.storage.faults.add(Fault(status=302, headers={"Location": gitlab.url}))
    limits = ("--retry-for", "0", "--artifacts", "build")
    assert wait("--pipeline-id", add(jobs=(build(),)).id, *limits).code == 8


def test_a_folder_is_never_left_by_a_link_in_it(
    add: Add, wait: Wait, here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (here / "dist").symlink_to(elsewhere)
    ending = wait("--pipeline-id", add(jobs=(build(),)).id, "--artifacts", "build")
    assert ending.code == 12
    assert "dist is in the way" in ending.stderr
    assert list(elsewhere.iterdir()) == []
    assert [path.name for path in here.iterdir()] == ["dist"]


def test_two_archives_never_share_a_file(add: Add, wait: Wait, here: Path) -> None:
    jobs = (build("a", f=b"a"), build("b", f=b"b"))
    ending = wait("--pipeline-id", add(jobs=jobs).id, "--artifacts", "a", "--artifacts", "b")
    assert (ending.code, tree(here)) == (12, {})
    assert "The artifacts of a have the same file" in ending.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--artifacts", ""), "'' is not JOB or JOB=DIR"),
        (("--artifacts", "=out"), "is not JOB or JOB=DIR"),
        (("--artifacts", "build="), "is not JOB or JOB=DIR"),
        (("--artifacts", "build", "--artifacts", "build=out"), "named twice"),
        (("--artifacts", "build=file"), "cannot be written"),
        (("--artifacts", "build=file/below"), "cannot be written"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_sent(
    gitlab: Sandbox, wait: Wait, here: Path, options: tuple[str, ...], words: str
) -> None:
    (here / "file").touch()
    ending = wait("--pipeline-id", 1, *options)
    assert ending.code == 2
    assert words in ending.stderr
    assert len(gitlab.requests) == 0


def test_a_lock_fetches_nothing(gitlab: Sandbox, wait: Wait) -> None:
    assert wait("--all-running", "--artifacts", "build").code == 2
    assert len(gitlab.requests) == 0


def test_without_wait_it_has_no_effect(gitlab: Sandbox, invoke: Invoke, token: Token) -> None:
    options = ("--base-url", gitlab.url, "--api-access-token", token.secret, "--project", "a/b")
    ending = invoke(trigger, *options, "--artifacts", "build")
    assert ending.code == 2
    assert "--artifacts has no effect without --wait" in ending.stderr


def test_the_time_limit_holds_for_artifacts_too(
    gitlab: Sandbox, add: Add, wait: Wait, here: Path
) -> None:
    pipeline = add(jobs=(build(),))
    gitlab.storage.faults.add(Fault(delay=60))
    limits = ("--timeout", "2", "--retry-for", "0", "--output", "json")
    ending = wait("--pipeline-id", pipeline.id, "--artifacts", "build", *limits)
    document = json.loads(ending.stdout)
    assert (ending.code, document["results"][0]["status"]) == (7, "success")
    assert "were not fetched within 2 s" in document["error"]["message"]
    assert not [path for path in tree(here) if not path.startswith(".artifacts-")]


def test_a_signal_leaves_nothing_behind(
    gitlab: Sandbox, add: Add, start: Start, token: Token, here: Path
) -> None:
    pipeline = add(jobs=(build(noise=NOISE),))
    gitlab.storage.faults.add(Fault(drip=0.01))
    process = start(
        "cmd_wait_pipeline", str(pipeline.id), "--artifacts", f"build={here / 'out'}",
        CI_SERVER_URL=gitlab.url, CI_PROJECT_PATH="tech-lunch/service-tests",
        COMMANDS_API_TOKEN=token.secret,
    )  # fmt: skip
    gitlab.wait_until(lambda: bool(gitlab.storage.requests))
    gitlab.wait_until(lambda: bool(list(here.iterdir())))
    process.terminate()
    stdout, _ = process.communicate()
    assert (process.returncode, list(here.iterdir())) == (143, [])
    assert f"pipeline {pipeline.id} success" in stdout


def test_a_function_does_it_too(
    gitlab: Sandbox, add: Add, project: Project, token: Token, here: Path
) -> None:
    pipeline = add(jobs=(build(),))
    wait = partial(
        wait_pipeline,
        project=project.path,
        pipeline_id=pipeline.id,
        base_url=gitlab.url,
        api_access_token=token.secret,
    )
    wait(policy=WaitPolicy(artifacts={"build": here / "out"}, realtime=False))
    assert tree(here / "out") == FILES
    with pytest.raises(NotFoundError) as raised:
        wait(policy=WaitPolicy(artifacts={"x": here}, realtime=False))
    assert [getattr(result, "id", None) for result in raised.value.results] == [pipeline.id]


def test_without_a_storage_gitlab_sends_them_itself(here: Path) -> None:
    with Sandbox(run_jobs=False) as gitlab:
        user = gitlab.add_user("dev")
        project = gitlab.add_project("a/b", {"f": ""}, members={user: Access.MAINTAINER})
        pipeline = gitlab.add_pipeline(project, ScriptedPipeline(jobs=(build(),)), user=user)
        gitlab.fault(Fault(path=ARCHIVE, truncate=True, nth=1))
        wait_pipeline(
            project="a/b",
            pipeline_id=pipeline.id,
            policy=WaitPolicy(artifacts={"build": here}, realtime=False),
            base_url=gitlab.url,
            api_access_token=gitlab.add_token(user).secret,
        )
    assert tree(here) == FILES
    assert {path.name for path in here.iterdir()} == {"dist", "notes.md"}
