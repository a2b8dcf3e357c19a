"""Downloads of artifacts: by job and by ref, stored elsewhere, expired, erased, forbidden."""

from __future__ import annotations

import io
import zipfile
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import requests

from sandbox import Access, ManualClock, Sandbox, ScriptedJob, ScriptedPipeline, ShiftedClock
from sandbox.testing import Api, outcome, serving

if TYPE_CHECKING:
    from sandbox.model import Job, Project, User

PROJECT = "/projects/tech-lunch%2Fservice-tests"
FILES = {"dist/app.txt": b"app", "notes.md": b"notes"}
SCRIPT = ScriptedPipeline(
    jobs=(ScriptedJob(name="build", artifacts=FILES), ScriptedJob(name="lint"))
)
GONE = (404, {"message": "404 Not Found"})


@pytest.fixture
def build(gitlab: Sandbox, project: Project, executor: User) -> Job:
    return gitlab.add_pipeline(project, SCRIPT, user=executor).jobs[0]


def files(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_job_uploads_an_artifacts_archive(api: Api, build: Job) -> None:
    answer = api.get(f"{PROJECT}/jobs/{build.id}/artifacts")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip")
    assert files(answer.content) == FILES
    shown = api.get(f"{PROJECT}/jobs/{build.id}").json()
    assert shown["artifacts_file"] == {"filename": "artifacts.zip", "size": len(answer.content)}


def test_the_latest_successful_artifacts_of_a_ref_can_be_downloaded(
    gitlab: Sandbox, project: Project, executor: User, api: Api
) -> None:
    gitlab.commit(project, {"f": "1"}, branch="a/b", start_pipeline=False)
    gitlab.add_pipeline(project, SCRIPT, user=executor, ref="a/b")
    failed = ScriptedPipeline(jobs=(ScriptedJob(name="build", timeline=((0, "failed"),)),))
    gitlab.add_pipeline(project, failed, user=executor, ref="a/b")
    for ref in ("a/b", "a%2Fb"):
        answer = api.get(f"{PROJECT}/jobs/artifacts/{ref}/download?job=build")
        assert files(answer.content) == FILES
    for query, error in (("job=absent", "404 Not found"), ("job=lint", "404 Not Found")):
        answer = api.get(f"{PROJECT}/jobs/artifacts/a/b/download?{query}")
        assert outcome(answer) == (404, {"message": error})


def test_a_job_token_can_download_artifacts(
    gitlab: Sandbox, build: Job, project: Project, executor: User
) -> None:
    with Api(gitlab, **{"JOB-TOKEN": gitlab.add_running_job(project, executor).token}) as session:
        assert session.get(f"{PROJECT}/jobs/{build.id}/artifacts").status_code == 200


def test_a_job_without_artifacts_returns_404(api: Api, build: Job) -> None:
    lint = build.pipeline.jobs[1]
    assert outcome(api.get(f"{PROJECT}/jobs/{lint.id}/artifacts")) == GONE


def test_an_erased_job_has_no_artifacts(api: Api, build: Job) -> None:
    erased = api.post(f"{PROJECT}/jobs/{build.id}/erase")
    assert (erased.status_code, bool(erased.json()["erased_at"])) == (201, True)
    assert outcome(api.get(f"{PROJECT}/jobs/{build.id}/artifacts")) == GONE


def test_expired_artifacts_return_404() -> None:
    clock = ManualClock()
    with serving(clock=clock) as world:
        [build, _] = world.gitlab.add_pipeline(world.project, SCRIPT, user=world.executor).jobs
        build.artifacts_expire_at = clock.now() + timedelta(hours=1)
        place = f"{PROJECT}/jobs/{build.id}/artifacts"
        assert world.api.get(place).status_code == 200
        clock.advance(3600)
        assert outcome(world.api.get(place)) == GONE
        assert world.api.get(f"{PROJECT}/jobs/{build.id}").json()["artifacts"] == []


def test_a_user_without_access_to_artifacts_gets_an_error(
    gitlab: Sandbox, project: Project, executor: User, api: Api, build: Job
) -> None:
    place = f"{PROJECT}/jobs/{build.id}/artifacts"
    project.members[executor.id] = Access.REPORTER
    build.artifacts_access = "developer"
    assert outcome(api.get(place)) == (403, {"message": "403 Forbidden"})
    project.members[executor.id] = Access.MAINTAINER
    build.artifacts_access = "none"
    assert api.get(place).status_code == 403
    with Api(gitlab) as anonymous:
        assert anonymous.get(place).status_code == 404


def test_artifacts_can_be_stored_on_another_server_that_takes_no_token() -> None:
    with serving(object_storage=True) as world:
        [build, _] = world.gitlab.add_pipeline(world.project, SCRIPT, user=world.executor).jobs
        answer = world.api.get(f"{PROJECT}/jobs/{build.id}/artifacts", allow_redirects=False)
        assert answer.status_code == 302
        location = answer.headers["Location"]
        assert not location.startswith(world.gitlab.url)
        assert files(requests.get(location, timeout=10).content) == FILES
        leaked = requests.get(location, headers={"PRIVATE-TOKEN": "x"}, timeout=10)
        assert leaked.status_code == 400
        forged = requests.get(location + "0", timeout=10)
        assert forged.status_code == 403
        assert len(world.gitlab.storage.requests) == 3


def test_the_storage_sends_the_rest_of_a_file() -> None:
    with serving(object_storage=True) as world:
        [build, _] = world.gitlab.add_pipeline(world.project, SCRIPT, user=world.executor).jobs
        whole = world.api.get(f"{PROJECT}/jobs/{build.id}/artifacts", allow_redirects=False)
        location = whole.headers["Location"]
        content = requests.get(location, timeout=10).content
        rest = requests.get(location, headers={"Range": "bytes=100-"}, timeout=10)
        assert (rest.status_code, rest.content) == (206, content[100:])
        size = len(content)
        assert rest.headers["Content-Range"] == f"bytes 100-{size - 1}/{size}"
        past = requests.get(location, headers={"Range": f"bytes={size}-"}, timeout=10)
        assert past.status_code == 416


def test_a_real_job_uploads_the_files_that_its_configuration_names() -> None:
    config = """\
    build:
      script: [mkdir dist, echo app > dist/app.txt, touch other]
      artifacts: {paths: [dist], expire_in: 1 hour, access: developer}
    """
    with Sandbox(shell_runner=True) as gitlab:
        user = gitlab.add_user("dev")
        files_ = {".gitlab-ci.yml": config}
        gitlab.add_project("a/b", files_, members={user: Access.MAINTAINER})
        with Api(gitlab, **{"PRIVATE-TOKEN": gitlab.add_token(user).secret}) as api:
            started = api.post("/projects/a%2Fb/pipeline", json={"ref": "main"}).json()
            [job] = gitlab.state.pipelines[started["id"]].jobs
            gitlab.wait_until(lambda: job.status == "success", 60)
            answer = api.get(f"/projects/a%2Fb/jobs/{job.id}/artifacts")
            assert files(answer.content) == {"dist/app.txt": b"app\n"}
            assert api.get(f"/projects/a%2Fb/jobs/{job.id}").json()["artifacts_expire_at"]
        assert job.artifacts_access == "developer"


def test_responses_have_the_date_of_the_servers_clock() -> None:
    with serving(clock=ManualClock()) as world:
        assert world.api.get("/version").headers["Date"] == "Mon, 05 Jan 2026 09:00:00 GMT"


def test_the_servers_clock_can_be_shifted() -> None:
    clock = ShiftedClock(-7200)
    with serving(clock=clock) as world:
        ahead = world.gitlab.add_pipeline(world.project, SCRIPT, user=world.executor).created_at
        assert abs(clock.now() - ahead) < timedelta(minutes=1)
