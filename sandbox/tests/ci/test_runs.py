from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from sandbox import git
from sandbox.ci import Scheduler
from sandbox.model import TestCounts, Variable

if TYPE_CHECKING:
    import pytest

    from sandbox.model import Pipeline
    from sandbox.tests.ci.conftest import World


def statuses(pipeline: Pipeline) -> dict[str, str]:
    return {job.name: job.status for job in pipeline.jobs if not job.retried}


def test_a_job_runs_its_scripts_in_a_clone_of_the_commit(world: World) -> None:
    project = world.project(
        "top/group/name",
        """
        before_script: [echo before]
        after_script: ['echo "after: $CI_JOB_STATUS"']
        job:
          variables: {GREETING: "hello $CI_PROJECT_NAME, ${CI_JOB_NAME}"}
          script:
            - echo "$GREETING"
            - test "$(git rev-parse HEAD)" = "$CI_COMMIT_SHA"
            - test "$PWD" = "$CI_PROJECT_DIR"
            - git remote get-url origin
            - |
              echo several
              echo lines
        """,
    )
    pipeline = world.run(project)
    log = world.log(pipeline, "job")
    assert statuses(pipeline) == {"job": "success"}
    lines = [line for line in log.splitlines() if line and not line.startswith(("section", "\x1b"))]
    assert lines == [
        "Running with sandbox-runner",
        "Using Shell (bash) executor...",
        f"Checking out {pipeline.sha[:8]} as detached HEAD (ref is main)...",
        "before",
        "hello name, job",
        "http://gitlab.example:8080/top/group/name.git",
        "several",
        "lines",
        "after: success",
    ]
    assert "\x1b[32;1m$ echo before\x1b[0;m\n" in log
    assert "$ echo several # collapsed multi-line command" in log
    assert re.search(r"section_start:\d+:step_script\r\x1b\[0K", log)
    assert re.search(r"section_end:\d+:after_script\r\x1b\[0K", log)
    assert log.endswith("\x1b[32;1mJob succeeded\x1b[0;m\n")
    assert pipeline.started_at
    assert pipeline.finished_at


def test_the_first_failing_command_fails_the_job_and_skips_later_stages(world: World) -> None:
    project = world.project(
        "group/name",
        """
        stages: [a, b]
        after_script: ['echo "after: $CI_JOB_STATUS"']
        bad: {stage: a, script: ["(exit 3) | cat", echo never]}
        good: {stage: a, script: "true"}
        later: {stage: b, script: echo later}
        mend: {stage: b, script: echo mend, when: on_failure}
        report: {stage: b, script: echo report, when: always}
        """,
    )
    pipeline = world.run(project)
    bad = world.job(pipeline, "bad")
    assert pipeline.status == "failed"
    assert statuses(pipeline) == {
        "bad": "failed",
        "good": "success",
        "later": "skipped",
        "mend": "success",
        "report": "success",
    }
    assert (bad.failure_reason, bad.exit_code) == ("script_failure", 3)
    assert "\nnever" not in world.log(pipeline, "bad")
    assert "after: failed" in world.log(pipeline, "bad")
    assert "ERROR: Job failed: exit status 3" in world.log(pipeline, "bad")


def test_a_pipeline_with_an_allowed_failure_succeeds(world: World) -> None:
    project = world.project(
        "group/name",
        """
        a: {script: exit 1, allow_failure: true}
        b: {script: exit 4, allow_failure: {exit_codes: 4}}
        c: {stage: deploy, script: "true"}
        """,
    )
    pipeline = world.run(project)
    assert statuses(pipeline) == {"a": "failed", "b": "failed", "c": "success"}
    assert pipeline.status == "success"
    assert world.job(pipeline, "b").allow_failure


def test_no_variable_of_the_sandboxs_own_environment_reaches_a_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITLAB_TOKEN", "glpat-of-the-developer")
    project = world.project("group/name", "job: {script: env}")
    log = world.log(world.run(project), "job")
    assert "CI_JOB_NAME=job" in log
    assert "GITLAB_TOKEN" not in log
    assert "glpat-of-the-developer" not in log


def test_masked_values_and_the_job_token_do_not_show_in_the_log(world: World) -> None:
    project = world.project(
        "group/name",
        """
        job:
          script:
            - echo "password=$SECRET."
            - printf 'ab%s' 'cd'; sleep 0.05; printf 'efgh\\n'
            - echo "token=$CI_JOB_TOKEN"
        """,
    )
    project.variables.append(Variable("SECRET", "abcdefgh", masked=True))
    pipeline = world.run(project)
    log = world.log(pipeline, "job")
    assert "password=[MASKED].\n" in log
    assert "token=[MASKED]\n" in log
    assert "\n[MASKED]\n" in log
    assert world.job(pipeline, "job").token.startswith("glcbt-")
    assert world.job(pipeline, "job").token not in log


def test_a_file_variable_is_a_file(world: World) -> None:
    project = world.project(
        "group/name",
        "job: {variables: {ALSO: $CONFIG}, script: ['cat $CONFIG', 'test $ALSO = $CONFIG']}",
    )
    project.variables.append(Variable("CONFIG", "the $content\n", kind="file"))
    assert "\nthe $content\n" in world.log(world.run(project), "job")


def test_variables_override_each_other_in_gitlabs_order(world: World) -> None:
    project = world.project(
        "group/name",
        """
        variables: {A: global, B: global, C: global, D: global, E: global, CI_JOB_STAGE: global}
        first:
          stage: build
          script: [echo B=dotenv > x.env, echo C=dotenv >> x.env, echo D=dotenv >> x.env]
          artifacts: {reports: {dotenv: x.env}}
        job:
          variables: {A: job, B: job}
          script: ['echo "<$A $B $C $D $E $CI_JOB_STAGE>"']
        """,
    )
    world.state.group_variables["group"] = [Variable("C", "group"), Variable("D", "group")]
    project.variables.append(Variable("D", "project"))
    pipeline = world.start(project, variables=[Variable("E", "pipeline")])
    world.wait(pipeline)
    assert "<job dotenv group project pipeline global>" in world.log(pipeline, "job")


def test_later_jobs_get_the_artifacts_of_earlier_jobs(world: World) -> None:
    project = world.project(
        "group/name",
        """
        make:
          stage: build
          script: [mkdir -p out/deep, echo made > out/deep/file, echo KEY=value > x.env]
          artifacts: {paths: [out], reports: {dotenv: [x.env]}}
        by-stage: {script: ['cat out/deep/file', 'echo "<$KEY>"']}
        by-need: {script: [cat out/deep/file], needs: [make]}
        without:
          script: ['test ! -e out', 'test -z "$KEY"']
          needs: [{job: make, artifacts: false}]
        none: {script: ['test ! -e out'], dependencies: []}
        """,
    )
    pipeline = world.run(project)
    assert set(statuses(pipeline).values()) == {"success"}
    assert "<value>" in world.log(pipeline, "by-stage")


def test_an_invalid_report_fails_a_job_with_a_successful_script(world: World) -> None:
    project = world.project(
        "group/name",
        "job: {script: echo nonsense > x, artifacts: {reports: {dotenv: x}}}",
    )
    pipeline = world.run(project)
    log = world.log(pipeline, "job")
    assert "status=400: Invalid Format" in log
    assert "FATAL: invalid argument" in log
    assert (pipeline.status, world.job(pipeline, "job").failure_reason) == (
        "failed",
        "script_failure",
    )


def test_a_missing_report_does_not_fail_the_job(world: World) -> None:
    project = world.project(
        "group/name", "job: {script: 'true', artifacts: {reports: {dotenv: x}}}"
    )
    pipeline = world.run(project)
    assert "WARNING: x: no matching files." in world.log(pipeline, "job")
    assert pipeline.status == "success"


def test_later_jobs_expand_the_values_of_a_dotenv_report(world: World) -> None:
    project = world.project(
        "group/name",
        """
        a:
          stage: build
          script: echo 'TAG=v1-$CI_COMMIT_REF_NAME' > x
          artifacts: {reports: {dotenv: x}}
        b: {script: 'echo "tag $TAG"'}
        """,
    )
    assert "tag v1-main" in world.log(world.run(project), "b")


def test_junit_reports_are_counted(world: World) -> None:
    project = world.project(
        "group/name",
        "job: {script: 'true', artifacts: {reports: {junit: report.xml}}}",
        {
            "report.xml": "<testsuites><testsuite><testcase/><testcase><failure/></testcase>"
            "<testcase><skipped/></testcase></testsuite></testsuites>"
        },
    )
    counts = world.job(world.run(project), "job").tests
    assert counts == TestCounts(success=1, failed=1, skipped=1)


def test_needs_take_precedence_over_stages(world: World) -> None:
    project = world.project(
        "group/name",
        """
        stages: [a, b]
        bad: {stage: a, script: "false"}
        good: {stage: a, script: "true"}
        free: {stage: b, script: "true", needs: [good]}
        now: {stage: b, script: "true", needs: []}
        bound: {stage: b, script: "true", needs: [good, bad]}
        maybe: {stage: b, script: "true", needs: [{job: absent, optional: true}]}
        absent: {stage: a, script: "true", only: [tags]}
        """,
    )
    assert statuses(world.run(project)) == {
        "bad": "failed",
        "good": "success",
        "free": "success",
        "now": "success",
        "bound": "skipped",
        "maybe": "success",
    }


def test_a_job_that_exceeds_its_timeout_is_stopped(world: World) -> None:
    project = world.project("group/name", "job: {script: sleep 60, timeout: 0.2 seconds}")
    pipeline = world.run(project)
    job = world.job(pipeline, "job")
    assert (job.status, job.failure_reason) == ("failed", "job_execution_timeout")
    assert "execution took longer than 0.2 seconds" in world.log(pipeline, "job")


def test_a_job_is_retried_as_often_as_its_configuration_allows(world: World) -> None:
    project = world.project("group/name", "job: {script: exit 7, retry: {max: 1, exit_codes: 7}}")
    pipeline = world.run(project)
    assert [(job.status, job.retried) for job in pipeline.jobs] == [
        ("failed", True),
        ("failed", False),
    ]


def test_a_delayed_job_is_scheduled_and_then_runs(world: World) -> None:
    project = world.project(
        "group/name", "job: {script: 'true', when: delayed, start_in: 0.2 seconds}"
    )
    pipeline = world.start(project)
    world.wait(pipeline, "scheduled")
    world.wait(pipeline, "success")


def test_jobs_of_a_resource_group_run_one_after_another(world: World) -> None:
    lock = world.state.root / "lock"
    take = f"set -o noclobber; echo mine > {lock}; sleep 0.1; rm {lock}"
    project = world.project(
        "group/name", f"job: {{script: '{take}', parallel: 3, resource_group: one}}"
    )
    assert world.run(project).status == "success"


def test_a_deleted_repository_is_a_runner_system_failure(still: World) -> None:
    project = still.project("group/name", "job: {script: 'true'}")
    pipeline = still.start(project)
    shutil.rmtree(project.repository)
    still.scheduler.start()
    still.wait(pipeline, "failed")
    still.scheduler.stop()
    assert pipeline.jobs[0].failure_reason == "runner_system_failure"
    assert "ERROR: Job failed (system failure): fatal:" in still.log(pipeline, "job")


def test_a_pipeline_stays_created_if_the_sandbox_runs_no_jobs(still: World) -> None:
    scheduler = Scheduler(still.state, run_jobs=False)
    scheduler.start()
    pipeline = still.start(still.project("group/name", "job: {script: 'true'}"))
    assert pipeline.status == "created"
    scheduler.cancel(pipeline)
    assert (pipeline.status, pipeline.jobs[0].status) == ("canceled", "canceled")
    scheduler.stop()


def test_stopping_the_sandbox_stops_running_jobs_at_once(still: World) -> None:
    still.scheduler.start()
    pipeline = still.start(still.project("group/name", "job: {script: sleep 600}"))
    still.wait(pipeline, "running")
    still.scheduler.stop()
    assert pipeline.jobs[0].status == "canceled"


RELEASING = """\
release:
  script: echo "what is new" > notes.md
  release: {tag_name: "$VERSION", description: notes.md}
  variables: {VERSION: "1.0.0"}
"""


def test_a_job_creates_a_release_with_the_description_from_a_file(world: World) -> None:
    project = world.project("group/name", RELEASING)
    sha = world.commit(project, {"a": "b"})
    author, now = world.user, world.state.clock.now()
    git.write_tag(project.repository, "1.0.0", sha, message="", author=author, when=now)
    first, second = world.run(project), world.run(project)
    release = project.releases["1.0.0"]
    assert (first.status, release.name) == ("success", "1.0.0")
    assert release.description == "what is new\n"
    assert second.status == "failed"
    assert "Release 1.0.0 already exists." in world.log(second, "release")


def test_a_job_cannot_create_a_release_of_a_missing_tag(world: World) -> None:
    project = world.project("group/name", RELEASING)
    assert world.run(project).status == "failed"
    assert project.releases == {}
