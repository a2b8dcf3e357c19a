"""hello-world is pushed; its pipeline tags service-tests, whose tag pipeline runs."""

from __future__ import annotations

import re

from sandbox import Sandbox
from sandbox.scenarios import DOCKER_STAND_IN, job, newest_pipeline, push, tech_lunch

IMAGE = "registry.example.com/tech-lunch/ci-cd-commands/cmd-tag-project:0.0.1"


def test_the_chain_runs_through_the_console_script() -> None:
    with Sandbox(job_path=DOCKER_STAND_IN) as gitlab:
        scene = tech_lunch(gitlab, "hello-world", images={"cmd-tag-project": IMAGE})
        service_tests = scene.projects["service-tests"]

        sha = push(scene, "hello-world")
        upstream = newest_pipeline(scene, "hello-world")
        tagging = job(upstream, "trigger-downstream-pipelines")
        trace = tagging.trace.decode()

        assert upstream.status == "success", trace
        tag = f"tech-lunch-hello-world_{sha}_{tagging.id}"
        assert f"tech-lunch/service-tests: tag {tag} created" in trace
        assert scene.token.secret not in trace
        assert gitlab.tags(service_tests) == {tag: gitlab.sha(service_tests)}

        downstream = newest_pipeline(scene, "service-tests")
        assert (downstream.status, downstream.ref, downstream.tag) == ("success", tag, True)
        assert [each.name for each in downstream.jobs] == ["run-on-upstream"]
        ran = job(downstream, "run-on-upstream").trace.decode()
        assert re.search(r"^fake run service tests on upstream change\r?$", ran, re.MULTILINE)
