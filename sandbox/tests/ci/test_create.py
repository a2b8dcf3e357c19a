from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox import git
from sandbox.ci import PipelineRefused, create_pipeline
from sandbox.ci.progress import plan_of
from sandbox.ci.variables import as_values
from sandbox.model import Variable

if TYPE_CHECKING:
    from sandbox.tests.ci.conftest import World

# The two configurations of the tutorial that the project starts from.
SERVICE_TESTS = """
stages:
    - service tests
run-on-upstream:
    stage: service tests
    only:
        - tags
    script:
        - echo tag
run-on-commit:
    stage: service tests
    only:
        - branches
    script:
        - echo commit
"""


def chosen(world: World, job: str, **request: object) -> bool:
    """Whether a job is part of a pipeline that has another job, too."""
    project = world.project(
        "group/name", f"job: {job}\nother: {{script: a, rules: [when: always]}}"
    )
    pipeline = world.start(project, **request)  # type: ignore[arg-type] # by the table below
    return "job" in [job.name for job in pipeline.jobs]


@pytest.mark.parametrize(("tag", "job"), [(True, "run-on-upstream"), (False, "run-on-commit")])
def test_only_distinguishes_tags_from_branches(still: World, tag: bool, job: str) -> None:
    project = still.project("group/name", SERVICE_TESTS)
    pipeline = still.push(project, "v1" if tag else "main", tag=tag)
    assert pipeline
    assert [job.name for job in pipeline.jobs] == [job]
    assert (pipeline.status, pipeline.stages) == ("created", ["service tests"])


@pytest.mark.parametrize(
    ("job", "request_", "expected"),
    [
        ("{script: a, only: [main]}", {}, True),
        ("{script: a, only: [main@group/name]}", {}, True),
        ("{script: a, only: [main@group/fork]}", {}, False),
        ("{script: a, only: [other]}", {}, False),
        ("{script: a, only: [/^MA/i]}", {}, True),
        ("{script: a, only: [api]}", {"source": "api"}, True),
        ("{script: a, only: [pushes]}", {"source": "push"}, True),
        ("{script: a, only: [pushes]}", {"source": "api"}, False),
        ("{script: a, only: [triggers]}", {"source": "trigger"}, True),
        ("{script: a, only: [pipelines]}", {"source": "pipeline"}, True),
        ("{script: a, except: [main]}", {}, False),
        ("{script: a, except: [triggers]}", {"source": "trigger"}, False),
        ("{script: a, except: [tags]}", {}, True),
        (
            "{script: a, only: {variables: ['$X == \"1\"']}}",
            {"variables": [Variable("X", "1")]},
            True,
        ),
        ("{script: a, only: {variables: ['$X == \"1\"']}}", {}, False),
        ("{script: a, rules: []}", {}, False),
        ("{script: a, rules: [when: always]}", {}, True),
        ("{script: a, rules: [{if: $X}]}", {"variables": [Variable("X", "1")]}, True),
        ("{script: a, rules: [{if: $CI_COMMIT_TAG}]}", {"tag": True, "ref": "v1"}, True),
        ("{script: a, rules: [{if: $CI_COMMIT_TAG}]}", {}, False),
        ("{script: a, rules: [{if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH}]}", {}, True),
        (
            "{script: a, rules: [{if: $CI_PIPELINE_SOURCE == 'api', when: never}, {when: always}]}",
            {},
            False,
        ),
        ("{script: a, rules: [{exists: ['*.yaml']}]}", {}, False),
        ("{script: a, rules: [{exists: ['.gitlab*']}]}", {}, True),
        ("{script: a, rules: [{exists: ['**/*.{yml,yaml}']}]}", {}, True),
        ("{script: a, rules: [{exists: [Dockerfile]}]}", {}, False),
        ("{script: a, rules: [{changes: [nothing]}]}", {"source": "api"}, True),
        ("{script: a, when: never}", {}, False),
    ],
)
def test_rules_only_and_except_select_jobs(
    still: World, job: str, request_: dict[str, object], expected: bool
) -> None:
    assert chosen(still, job, **request_) is expected


CHANGES = """
    docs: {script: a, rules: [{changes: ["docs/**/*"]}]}
    code: {script: a, rules: [{changes: {paths: ["src/*"]}}]}
"""


def test_changes_covers_all_commits_of_a_push(still: World) -> None:
    project = still.project("group/name", CHANGES)
    before = git.resolve(project.repository, "main") or ""
    still.commit(project, {"docs/deep/page.md": "text"})
    still.commit(project, {"README": "text"})
    pipeline = still.push(project, before=before)
    assert pipeline
    assert [job.name for job in pipeline.jobs] == ["docs"]


@pytest.mark.parametrize(("ref", "tag"), [("feature", False), ("v1", True)])
def test_a_new_branch_or_a_tag_counts_every_file_as_changed(
    still: World, ref: str, *, tag: bool
) -> None:
    project = still.project("group/name", CHANGES)
    still.commit(project, {"README": "text"}, branch="feature")
    pipeline = still.push(project, ref, tag=tag)
    assert pipeline
    assert [job.name for job in pipeline.jobs] == ["docs", "code"]


def test_rules_set_when_allow_failure_and_variables(still: World) -> None:
    project = still.project(
        "group/name",
        """
        a: {script: a, rules: [{when: manual}]}
        b: {script: a, when: manual}
        c: {script: a, when: manual, rules: [{when: on_success, allow_failure: true}]}
        d: {script: a, when: manual, allow_failure: false}
        e:
          script: a
          variables: {KIND: job}
          rules: [{when: on_success, variables: {KIND: branch}}]
        """,
    )
    jobs = still.start(project).jobs
    assert [(job.when, job.allow_failure) for job in jobs] == [
        ("manual", False),
        ("manual", True),
        ("on_success", True),
        ("manual", False),
        ("on_success", False),
    ]
    assert as_values(plan_of(jobs[-1]).variables) == {"KIND": "branch"}


def test_stages_keep_their_order_and_empty_stages_are_left_out(still: World) -> None:
    project = still.project(
        "group/name",
        """
        stages: [a, b, c]
        last: {stage: .post, script: x}
        two: {stage: c, script: x}
        one: {stage: a, script: x}
        """,
    )
    pipeline = still.start(project)
    assert pipeline.stages == ["a", "c", ".post"]
    assert [job.name for job in pipeline.jobs] == ["one", "two", "last"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("job: {script: a, only: [tags]}", "Pipeline will not run for the selected trigger."),
        ("job: {script: a, stage: .pre}", "Pipeline will not run for the selected trigger."),
        ("{workflow: {rules: [{if: $X}]}, job: {script: a}}", "filtered out by workflow rules"),
    ],
)
def test_a_request_for_a_pipeline_without_jobs_fails_and_a_push_creates_none(
    still: World, config: str, message: str
) -> None:
    project = still.project("group/name", config)
    assert still.push(project) is None
    with pytest.raises(PipelineRefused, match=message):
        still.start(project)
    assert not still.state.pipelines


@pytest.mark.parametrize(("source", "saved"), [("push", True), ("trigger", True), ("api", False)])
def test_an_invalid_configuration_makes_a_failed_pipeline_where_gitlab_saves_it(
    still: World, source: str, saved: bool
) -> None:
    project = still.project("group/name", "job: {script: a, stage: nowhere}")
    if source == "push":
        pipeline = still.push(project)
    else:
        with pytest.raises(PipelineRefused) as refusal:
            still.start(project, source=source)
        pipeline = refusal.value.pipeline
        assert "chosen stage nowhere does not exist" in refusal.value.messages[0]
    assert (pipeline is not None) is saved
    assert list(still.state.pipelines.values()) == ([pipeline] if saved else [])
    if pipeline:
        assert pipeline.status == "failed"
        assert "chosen stage nowhere" in (pipeline.yaml_errors or "")


def test_a_needed_job_that_rules_leave_out_is_an_error(still: World) -> None:
    project = still.project(
        "group/name",
        "{build: {script: a, only: [tags]}, test: {script: a, needs: [build]}}",
    )
    with pytest.raises(PipelineRefused, match="'test' job needs 'build' job, but 'build' does not"):
        still.start(project)


def test_a_project_without_configuration_has_no_pipeline(still: World) -> None:
    project = still.project("group/name", "job: {script: a}")
    sha = git.write_commit(
        project.repository,
        "empty",
        {"README": "text"},
        message="Start\n",
        author=still.user,
        when=still.state.clock.now(),
        parent=None,
    )
    assert sha
    assert still.push(project, "empty") is None
    with pytest.raises(PipelineRefused, match="Missing CI config file"):
        still.start(project, ref="empty")


def test_skip_ci_makes_a_skipped_pipeline_without_jobs(still: World) -> None:
    project = still.project("group/name", "job: {script: a}")
    sha = git.resolve(project.repository, "main")
    assert sha
    pipeline = create_pipeline(
        still.state,
        project,
        ref="main",
        sha=sha,
        tag=False,
        source="push",
        user=still.user,
        skip_ci=True,
    )
    assert pipeline
    assert (pipeline.status, pipeline.jobs) == ("skipped", [])


def test_workflow_names_the_pipeline_and_sets_variables(still: World) -> None:
    project = still.project(
        "group/name",
        """
        variables: {KIND: none, OTHER: x}
        workflow:
          name: Build $KIND of $CI_COMMIT_BRANCH
          rules: [{if: $CI_COMMIT_BRANCH, variables: {KIND: branch, OWN: workflow}}]
        job: {script: a, variables: {OWN: job}}
        """,
    )
    pipeline = still.start(project)
    assert pipeline.name == "Build branch of main"
    assert as_values(plan_of(pipeline.jobs[0]).variables) == {
        "KIND": "branch",
        "OTHER": "x",
        "OWN": "job",
    }


def test_start_in_is_allowed_only_for_a_delayed_job(still: World) -> None:
    project = still.project("group/name", "a: {script: a, start_in: 5 minutes}")
    pipeline = still.push(project)
    assert pipeline
    assert pipeline.yaml_errors == "jobs:a start in must be blank"


def test_the_job_named_in_on_stop_must_exist(still: World) -> None:
    project = still.project("group/name", "a: {script: a, environment: {name: x, on_stop: b}}")
    pipeline = still.push(project)
    assert pipeline
    assert pipeline.yaml_errors == "a job: on_stop job b is not defined"


def test_a_wildcard_includes_all_files_that_match(still: World) -> None:
    project = still.project(
        "group/name",
        "include: {local: ci/*.yml}",
        {"ci/a.yml": "a: {script: a}", "ci/b.yml": "b: {script: b}", "ci/deep/c.yml": "c: 1"},
    )
    pipeline = still.push(project)
    assert pipeline
    assert [job.name for job in pipeline.jobs] == ["a", "b"]
