"""`cmd-trigger-pipeline` against the sandbox, over a real socket: each refusal has its reason."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from sandbox import Access, Fault, Sandbox
from sandbox.model import ProtectedRef
from sandbox.versions import PIPELINES_BY_JOB_TOKEN
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.model import Job, Pipeline, Project, Token, TriggerToken, User
    from tests.functional.conftest import Ending

    Only = Callable[[Project, str], Pipeline]
    Trigger = Callable[..., Ending]

pytestmark = pytest.mark.usefixtures("project")

CREATE = r"/pipeline$"
RULES = 'test: {script: [make], rules: [{if: $CI_PIPELINE_SOURCE == "push"}]}'
WORKFLOW = 'workflow: {rules: [{if: $CI_PIPELINE_SOURCE == "push"}]}\ntest: {script: [make]}'
ERROR = re.compile(r"error: .+\n(  why: .+\n)?   do: .+\n$")


# 6: each rule that says no, and its remedy


@every_server
@pytest.mark.parametrize("kind", ["access", "job", "trigger"])
def test_6_refused_variables_name_the_setting_and_offer_inputs(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    token: Token,
    job: Job,
    trigger_token: TriggerToken,
    kind: str,
) -> None:
    project.pipeline_variables_role = Access.OWNER

    ending = trigger(
        *(["--trigger-token", trigger_token.secret] if kind == "trigger" else []),
        *("--ref", "main", "--variable", "A=1"),
        access=token.secret if kind == "access" else None,
        job=job,
    )

    assert ending.code == 6
    assert "Insufficient permissions to set pipeline variables" in ending.stderr
    assert "Minimum role to use pipeline variables" in ending.stderr
    assert "--input" in ending.stderr
    assert [each.source for each in gitlab.pipelines(project)] == []


@pytest.mark.parametrize("kind", ["access", "trigger"])
def test_6_a_role_that_is_too_low(
    trigger: Trigger,
    project: Project,
    executor: User,
    token: Token,
    trigger_token: TriggerToken,
    kind: str,
) -> None:
    project.members[executor.id] = Access.REPORTER

    ending = trigger(
        *(["--trigger-token", trigger_token.secret] if kind == "trigger" else []),
        *("--ref", "main"),
        access=token.secret if kind == "access" else None,
    )

    assert ending.code == 6
    assert "role" in ending.stderr
    assert "Developer" in ending.stderr


@pytest.mark.parametrize("tag", [True, False])
def test_6_a_protected_ref(
    trigger: Trigger, gitlab: Sandbox, project: Project, executor: User, *, tag: bool
) -> None:
    project.members[executor.id] = Access.DEVELOPER
    if tag:
        gitlab.tag(project, "v1")
        project.protected_tags.append(ProtectedRef("v*"))

    ending = trigger("--ref", "v1" if tag else "main")

    assert ending.code == 6
    assert "You do not have sufficient permission to run a pipeline on" in ending.stderr
    assert "Protected branches or Protected tags" in ending.stderr
    assert "<a " not in ending.stderr


def test_6_ci_that_is_switched_off(trigger: Trigger, project: Project) -> None:
    project.ci_enabled = False

    ending = trigger()

    assert ending.code == 6
    assert "Pipelines are disabled!" in ending.stderr
    assert "switch CI/CD on" in ending.stderr


@every_server
def test_6_an_allowlist_without_this_project(trigger: Trigger, project: Project, job: Job) -> None:
    project.job_token_allowlist = set()

    ending = trigger("--ref", "main", access=None, job=job)

    assert ending.code == 6
    assert "Authentication by CI/CD job token not allowed from hello-world" in ending.stderr
    assert "Job token permissions" in ending.stderr


# 12: GitLab would not create it


@every_server
@pytest.mark.parametrize("config", [RULES, WORKFLOW], ids=["rules", "workflow"])
@pytest.mark.parametrize("kind", ["access", "job", "trigger"])
def test_12_a_filtered_pipeline_names_the_source_that_rules_must_take(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    token: Token,
    job: Job,
    trigger_token: TriggerToken,
    kind: str,
    config: str,
) -> None:
    gitlab.commit(project, {".gitlab-ci.yml": config}, start_pipeline=False)

    ending = trigger(
        *(["--trigger-token", trigger_token.secret] if kind == "trigger" else []),
        *("--ref", "main"),
        access=token.secret if kind == "access" else None,
        job=job,
    )

    source = {"access": "api", "job": "pipeline", "trigger": "trigger"}[kind]
    assert ending.code == 12
    assert f'$CI_PIPELINE_SOURCE == "{source}"' in ending.stderr


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ({".gitlab-ci.yml": "test: {skript: [make]}"}, [], "configuration is not valid"),
        ({".gitlab-ci.yml": "test: ["}, [], "configuration is not valid"),
        ({".gitlab-ci.yml": None}, [], "no .gitlab-ci.yml"),
        ({}, ["--input", "size=3"], "spec:inputs"),
    ],
    ids=["keyword", "syntax", "missing", "input"],
)
def test_12_each_configuration_error_has_its_own_message(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    change: dict[str, str],
    arguments: list[str],
    said: str,
) -> None:
    if change:
        gitlab.commit(project, change, start_pipeline=False)

    ending = trigger(*arguments)

    assert ending.code == 12
    assert said in ending.stderr
    assert gitlab.pipelines(project) == []


def test_12_a_ref_that_is_a_branch_and_a_tag(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    gitlab.tag(project, "v1")
    gitlab.commit(project, {"a": "b"}, branch="v1", start_pipeline=False)

    ending = trigger("--ref", "v1")

    assert ending.code == 12
    assert "refs/heads/NAME" in ending.stderr


@every_server
def test_12_a_pipeline_that_was_saved_and_failed_at_once_is_named(
    trigger: Trigger, gitlab: Sandbox, project: Project, job: Job, tmp_path: Path, only: Only
) -> None:
    gitlab.commit(project, {".gitlab-ci.yml": "test: ["}, start_pipeline=False)

    ending = trigger(
        *("--output", "json", "--dotenv", str(tmp_path / "dotenv")), access=None, job=job
    )

    assert ending.code == 12
    document = json.loads(ending.stdout)
    assert document["error"]["kind"] == "refused"
    saved = only(project, "pipeline")
    if not gitlab.state.version.has(PIPELINES_BY_JOB_TOKEN):
        assert document["results"] == []
        return
    (result,) = document["results"]
    assert (result["id"], result["status"]) == (saved.id, "failed")
    assert result["web_url"] == f"{gitlab.url}/{project.path}/-/pipelines/{saved.id}"
    assert f"PIPELINE_ID={saved.id}\n" in (tmp_path / "dotenv").read_text()


def test_12_a_trigger_token_alone_cannot_name_the_configuration_error(
    trigger: Trigger, gitlab: Sandbox, project: Project, trigger_token: TriggerToken
) -> None:
    gitlab.commit(project, {".gitlab-ci.yml": "test: ["}, start_pipeline=False)

    ending = trigger("--ref", "main", "--trigger-token", trigger_token.secret, access=None)

    assert ending.code == 12
    assert "configuration is not valid" in ending.stderr
    assert ending.stdout == ""


def test_12_a_created_pipeline_with_errors_in_its_configuration(
    trigger: Trigger, gitlab: Sandbox, project: Project
) -> None:
    """As GitLab answers where it creates the pipeline of an invalid configuration after all."""
    answer = {
        "id": 7, "iid": 1, "created_at": "2026-01-05T09:00:00Z", "status": "failed",
        "ref": "main", "sha": gitlab.sha(project),
        "web_url": f"{gitlab.url}/{project.path}/-/pipelines/7",
        "yaml_errors": "jobs config should contain at least one visible job",
    }  # fmt: skip
    gitlab.fault(Fault(path=CREATE, status=201, body=answer))

    ending = trigger()

    assert ending.code == 12
    assert "should contain at least one visible job" in ending.stderr
    assert ending.stdout == f"{project.path}: pipeline 7 failed {answer['web_url']}\n"


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("Pipeline has too many jobs! Requested: 600. Limit: 500", 12, "limits the number of jobs"),
        ("Project has too many active jobs created in the last 24 hours!", 12, "limits the number"),
        ("Identity verification is required in order to run CI jobs", 6, "identity is verified"),
        ("Project is deleted!", 4, "is being deleted"),
        ("Commit not found", 4, "no commit"),
        ("You cannot run pipelines before project import is complete.", 12, "being imported"),
        ("Failed to build the pipeline!", 12, "gives no other reason"),
        ("Duplicate variable name: A", 12, "gives no other reason"),
        ("Something that no one has seen", 12, "gives no other reason"),
        ("jobs:test config contains unknown keys: inputs", 12, "configuration is not valid"),
        ("Local file `ci/a.yml` does not exist!", 12, "configuration is not valid"),
        ("`size` input: required value has not been provided", 12, "spec:inputs"),
        ("unknown input arguments: size", 12, "spec:inputs"),
    ],
)
def test_each_refusal_has_its_own_reason(
    trigger: Trigger, gitlab: Sandbox, text: str, code: int, why: str
) -> None:
    gitlab.fault(Fault(path=CREATE, status=400, body={"message": {"base": [text]}}))

    ending = trigger()

    assert ending.code == code
    assert ending.stderr.startswith(f"error: {text}")
    assert why in ending.stderr


@pytest.mark.parametrize("kind", ["job", "trigger"])
def test_6_refused_variables_that_were_not_given_are_those_of_the_server(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    job: Job,
    trigger_token: TriggerToken,
    kind: str,
) -> None:
    """As GitLab 17.7 to 18.4 answers, for they count TRIGGER_PAYLOAD."""
    text = "Insufficient permissions to set pipeline variables"
    gitlab.fault(Fault(path=CREATE, status=400, body={"message": {"base": [text]}}))

    ending = trigger(
        *(["--trigger-token", trigger_token.secret] if kind == "trigger" else []),
        *("--ref", "main", "--input", "size=1"),
        access=None,
        job=job,
    )

    assert ending.code == 6
    assert "TRIGGER_PAYLOAD" in ending.stderr
    assert "--input" not in ending.stderr
    assert gitlab.pipelines(project) == []
