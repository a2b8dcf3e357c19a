"""`cmd-trigger-pipeline` against the sandbox, over a real socket: what it does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sandbox import Fault
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox import Sandbox
    from sandbox.model import Job, Pipeline, Project, Token, TriggerToken, User
    from tests.functional.conftest import Ending

    Only = Callable[[Project, str], Pipeline]
    Trigger = Callable[..., Ending]

pytestmark = pytest.mark.usefixtures("project")

INPUTS = """
spec:
  inputs:
    replicas: {type: number, default: 1}
    regions: {type: array, default: []}
    dry: {type: boolean, default: false}
    version: {default: "0"}
---
test:
  script: ["echo $[[ inputs.replicas ]] $[[ inputs.dry ]] $[[ inputs.version ]]"]
"""


def bodies(gitlab: Sandbox) -> list[dict[str, object]]:
    return [json.loads(request.body) for request in gitlab.requests if request.method == "POST"]


# Which endpoint


def test_an_access_token_starts_a_pipeline_of_the_default_branch(
    trigger: Trigger, gitlab: Sandbox, project: Project, executor: User, only: Only
) -> None:
    ending = trigger()

    assert ending.code == 0, ending.stderr
    started = only(project, "api")
    url = f"{gitlab.url}/{project.path}/-/pipelines/{started.id}"
    assert ending.stdout == f"{project.path}: pipeline {started.id} {started.status} {url}\n"
    assert (started.ref, started.sha, started.user) == ("main", gitlab.sha(project), executor)
    assert [request.path for request in gitlab.requests][-1].endswith(f"/{project.id}/pipeline")


@every_server
def test_a_job_token_takes_the_trigger_endpoint(
    trigger: Trigger, gitlab: Sandbox, project: Project, job: Job, only: Only
) -> None:
    ending = trigger("-v", access=None, job=job)

    assert ending.code == 0, ending.stderr
    started = only(project, "pipeline")
    assert (started.ref, started.user) == ("main", job.user)
    assert bodies(gitlab) == [{"token": job.token, "ref": "main"}]
    assert "CI job token from CI_JOB_TOKEN" in ending.stderr


def test_a_trigger_token_needs_one_request_and_no_other_token(
    trigger: Trigger, gitlab: Sandbox, project: Project, trigger_token: TriggerToken, only: Only
) -> None:
    ending = trigger("--trigger-token", trigger_token.secret, "--ref", "main", access=None)

    assert ending.code == 0, ending.stderr
    assert only(project, "trigger").user is trigger_token.owner
    assert len(gitlab.requests) == 1


def test_a_trigger_token_comes_before_an_access_token_and_goes_without_it(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    trigger_token: TriggerToken,
    monkeypatch: pytest.MonkeyPatch,
    only: Only,
) -> None:
    monkeypatch.setenv("TRIGGER_TOKEN", trigger_token.secret)

    ending = trigger("-v")

    assert ending.code == 0, ending.stderr
    assert only(project, "trigger").ref == "main"
    assert "Pipeline trigger token from TRIGGER_TOKEN" in ending.stderr
    (write,) = [request for request in gitlab.requests if request.method == "POST"]
    assert write.headers["PRIVATE-TOKEN"] is None


def test_a_trigger_token_works_beside_a_token_that_cannot_read(
    trigger: Trigger, gitlab: Sandbox, project: Project, trigger_token: TriggerToken, only: Only
) -> None:
    elsewhere = gitlab.add_token(gitlab.add_user("stranger")).secret

    ending = trigger(
        "--ref", "main", "--trigger-token", trigger_token.secret, "--api-access-token", elsewhere
    )

    assert ending.code == 0, ending.stderr
    assert only(project, "trigger").ref == "main"


# Variables and inputs


def test_variables_of_every_form_arrive(
    trigger: Trigger, project: Project, tmp_path: Path, only: Only
) -> None:
    (tmp_path / "a.env").write_text("FROM_ENV=1\nSHARED=env\nOVER=env\n")
    (tmp_path / "b.json").write_text('{"FROM_JSON": 1.10, "SHARED": "json", "OVER": "json"}')
    (tmp_path / "c.yaml").write_text("FROM_YAML: no\nSHARED: yaml\n")
    (tmp_path / "key.pem").write_text("-----BEGIN\n")

    ending = trigger(
        *(part for name in ("a.env", "b.json", "c.yaml")
          for part in ("--variables-from", str(tmp_path / name))),
        *("--variable", "OVER=first", "--variable", "OVER=a=b", "--variable", "EMPTY="),
        *("--variable-file", f"KEY={tmp_path / 'key.pem'}"),
    )  # fmt: skip

    assert ending.code == 0, ending.stderr
    arrived = {
        variable.key: (variable.value, variable.kind) for variable in only(project, "api").variables
    }
    assert arrived == {
        "FROM_ENV": ("1", "env_var"),
        "FROM_JSON": ("1.10", "env_var"),
        "FROM_YAML": ("no", "env_var"),
        "SHARED": ("yaml", "env_var"),
        "OVER": ("a=b", "env_var"),
        "EMPTY": ("", "env_var"),
        "KEY": ("-----BEGIN\n", "file"),
    }


@every_server
@pytest.mark.parametrize("with_trigger_token", [True, False])
def test_variables_go_to_the_trigger_endpoint_as_a_map(
    trigger: Trigger,
    project: Project,
    job: Job,
    trigger_token: TriggerToken,
    only: Only,
    *,
    with_trigger_token: bool,
) -> None:
    arguments = ["--trigger-token", trigger_token.secret] if with_trigger_token else []

    ending = trigger(*arguments, "--variable", "A=1", "--ref", "main", access=None, job=job)

    assert ending.code == 0, ending.stderr
    started = only(project, "trigger" if with_trigger_token else "pipeline")
    given, payload = started.variables
    assert (given.key, given.value) == ("A", "1")
    assert payload.key == "TRIGGER_PAYLOAD"  # GitLab's own


@pytest.mark.parametrize("kind", ["access", "job", "trigger"])
def test_inputs_have_the_types_of_json(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    token: Token,
    job: Job,
    trigger_token: TriggerToken,
    kind: str,
) -> None:
    gitlab.commit(project, {".gitlab-ci.yml": INPUTS}, start_pipeline=False)
    ending = trigger(
        *(["--trigger-token", trigger_token.secret] if kind == "trigger" else []),
        *("--ref", "main", "--input", "replicas=3", "--input", 'regions=["eu", "us"]'),
        *("--input", "dry=true", "--input", 'version="1.10"'),
        access=token.secret if kind == "access" else None,
        job=job,
    )

    assert ending.code == 0, ending.stderr
    (body,) = bodies(gitlab)
    assert body["inputs"] == {
        "replicas": 3,
        "regions": ["eu", "us"],
        "dry": True,
        "version": "1.10",
    }


def test_neither_tokens_nor_values_are_ever_shown(
    trigger: Trigger,
    gitlab: Sandbox,
    trigger_token: TriggerToken,
    tmp_path: Path,
) -> None:
    (tmp_path / "v.env").write_text("PASSWORD=hunter2-env\n")
    arguments = [
        *("--variables-from", str(tmp_path / "v.env"), "--variable", "P=hunter2-option"),
        *("--trigger-token", trigger_token.secret, "-vv"),
    ]
    gitlab.fault(Fault(path="/trigger/pipeline", nth=2, status=400, body={"error": "no"}))

    for extra in ([], ["--ref", "main"], ["--dry-run"]):
        ending = trigger(*arguments, *extra, "--output", "json")
        said = ending.stdout + ending.stderr
        assert "hunter2" not in said
        assert trigger_token.secret not in said
        assert trigger_token.secret not in "".join(request.path for request in gitlab.requests)


# Refs


@every_server
@pytest.mark.parametrize("kind", ["access", "job", "trigger"])
def test_the_first_ref_that_exists_is_used(
    trigger: Trigger,
    gitlab: Sandbox,
    project: Project,
    token: Token,
    job: Job,
    trigger_token: TriggerToken,
    kind: str,
    only: Only,
) -> None:
    gitlab.commit(project, {"a": "b"}, branch="feature/x", start_pipeline=False)
    ending = trigger(
        *(["--trigger-token", trigger_token.secret] if kind == "trigger" else []),
        *("--ref", "nowhere", "--ref", gitlab.sha(project), "--ref", "feature/x", "--ref", "main"),
        access=token.secret if kind == "access" else None,
        job=job,
    )

    assert ending.code == 0, ending.stderr
    source = {"access": "api", "job": "pipeline", "trigger": "trigger"}[kind]
    assert only(project, source).ref == "feature/x"
    assert f"{project.path} has no branch or tag nowhere." in ending.stderr


def test_a_single_ref_that_does_not_exist_is_reported_once(trigger: Trigger) -> None:
    ending = trigger("--ref", "nowhere")
    assert ending.code == 4
    assert len(ending.stderr.splitlines()) == 3, ending.stderr


@every_server
def test_a_tag_is_a_ref_and_a_full_name_tells_it_from_a_branch(
    trigger: Trigger, gitlab: Sandbox, project: Project, only: Only
) -> None:
    gitlab.tag(project, "v1")
    gitlab.commit(project, {"a": "b"}, branch="v1", start_pipeline=False)

    assert trigger("--ref", "refs/tags/v1").code == 0
    assert (only(project, "api").ref, only(project, "api").tag) == ("v1", True)
