from sandbox import Access, Sandbox
from sandbox.model import ENDED


def test_a_job_fetches_from_its_origin_with_its_token() -> None:
    with Sandbox() as gitlab:
        user = gitlab.add_user("dev")
        script = "git fetch origin && git ls-remote --heads origin && git config --get-regexp url"
        project = gitlab.add_project(
            "group/name",
            files={".gitlab-ci.yml": f"job: {{script: [{script}]}}"},
            members={user: Access.MAINTAINER},
        )
        gitlab.commit(project, {"file": "text"}, start_pipeline=True)
        gitlab.wait_until(
            lambda: [pipeline.status in ENDED for pipeline in gitlab.pipelines(project)] == [True]
        )
        [job] = gitlab.pipelines(project)[0].jobs
        log = job.trace.decode()
    assert job.status == "success", log
    assert "refs/heads/main" in log
    assert f"remote.origin.url {gitlab.url}/group/name.git" in log
    assert job.token not in log
