"""`cicd-doctor` on older servers and with other tokens: its verdict is what a command ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cmd_tag_project.cli import cli as tag_project
from cmd_trigger_pipeline.cli import cli as trigger_pipeline
from sandbox import Access, Fault, Sandbox, ScriptedPipeline
from sandbox.model import ProtectedRef
from tests.functional.cicd_doctor.conftest import below, line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.model import Project, User
    from tests.functional.cicd_doctor.conftest import Doctor
    from tests.functional.conftest import Invoke, SkippingClock

VERSIONS = ("17.0", "17.11", "18.2", "18.4", "18.9", "19.4")
each_version = pytest.mark.parametrize("gitlab", VERSIONS, indirect=True)


@pytest.fixture
def gitlab(clock: SkippingClock, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A server of the version that the test names; else of the newest."""
    with Sandbox(
        clock=clock, run_jobs=False, version=getattr(request, "param", VERSIONS[-1])
    ) as running:
        yield running


def number(gitlab: Sandbox) -> tuple[int, int]:
    return gitlab.state.version.number


# Rules


@pytest.mark.parametrize("level", [Access.NONE, Access.OWNER])
def test_a_deploy_key_in_a_rule_admits_no_token(
    doctor: Doctor, invoke: Invoke, project: Project, level: Access
) -> None:
    project.protected_tags.append(ProtectedRef("v*", level, deploy_key=True))
    ending = doctor("--tag-name", "v1")
    assert line(ending, "protected tag")[0] == "FAIL"
    assert "Deploy key" in line(ending, "protected tag")[1]
    assert ending.code == 6
    assert invoke(tag_project, "--project", project.path, "--tag-name", "v1").code == 6


def test_a_rule_with_a_group_is_not_a_certain_permission(doctor: Doctor, gitlab: Sandbox) -> None:
    levels = [{"access_level": 40, "access_level_description": "tools", "group_id": 7}]
    rules = [{"name": "v*", "create_access_levels": levels}]
    gitlab.fault(Fault(path="/protected_tags", status=200, body=rules))
    ending = doctor("--tag-name", "v1")
    assert ending.code == 0
    assert line(ending, "protected tag") == ("warn", "v1 is protected by v*, for tools.")


def test_an_administrator_needs_no_membership(
    doctor: Doctor, gitlab: Sandbox, project: Project
) -> None:
    admin = gitlab.add_token(gitlab.add_user("root", admin=True))
    project.protected_tags.append(ProtectedRef("v*", Access.MAINTAINER))
    ending = doctor("--tag-name", "v1", "--api-access-token", admin.secret)
    assert ending.code == 0, ending.stdout
    for check in ("role", "protected tag", "pipeline variables"):
        assert line(ending, check)[0] == "ok"


# Fine-grained and OAuth tokens


def test_a_fine_grained_token_is_not_refused_for_what_no_command_needs(
    doctor: Doctor, invoke: Invoke, gitlab: Sandbox, project: Project, executor: User
) -> None:
    token = gitlab.add_token(
        executor, permissions=["read_project", "create_tag", "read_tag", "read_commit"]
    )
    given = ("--api-access-token", token.secret)
    ending = doctor("--tag-name", "v1", *given)
    assert (ending.code, line(ending, "server")[0]) == (0, "ok")
    assert line(ending, "token") == ("ok", "access token from --api-access-token")
    assert line(ending, "scopes") == ("-", "GitLab does not show the scopes of this token.")
    assert line(ending, "role")[0] == "-"
    assert "[User: Read]" in line(ending, "role")[1]
    assert "[Protected Tag: Read]" in line(ending, "protected tag")[1]
    assert invoke(tag_project, "-p", project.path, "--tag-name", "v1", *given).code == 0


def test_a_fine_grained_token_that_shows_itself_is_named_as_what_it_is(
    doctor: Doctor, gitlab: Sandbox, executor: User
) -> None:
    granted = ["read_project", "read_personal_access_token", "read_user", "read_version"]
    token = gitlab.add_token(executor, permissions=granted)
    ending = doctor("--api-access-token", token.secret, project=False)
    assert ending.code == 0
    assert line(ending, "scopes") == (
        "-",
        "GitLab does not show the permissions of a fine-grained token.",
    )


def test_the_permission_that_a_fine_grained_token_lacks_is_named(
    doctor: Doctor, invoke: Invoke, gitlab: Sandbox, project: Project, executor: User
) -> None:
    token = gitlab.add_token(executor, permissions=["create_tag"])
    given = ("--api-access-token", token.secret)
    ending = doctor(*given)
    assert ending.code == 3
    assert line(ending, "project")[0] == "FAIL"
    why = "This request needs a fine-grained token with the permission Project: Read."
    assert below(ending, "project")[0] == f"        why: {why}"
    command = invoke(tag_project, "-p", project.path, "--tag-name", "v1", *given)
    assert command.code == 3
    assert why in command.stderr


@pytest.mark.parametrize("status", [400, 404])
def test_the_scopes_of_an_oauth_token_are_not_checked(
    doctor: Doctor,
    invoke: Invoke,
    gitlab: Sandbox,
    project: Project,
    executor: User,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    secret = gitlab.add_token(executor, kind="oauth").secret
    if status == 404:
        gitlab.fault(Fault(path="/self", status=404, body={"message": "404 Not Found"}))
    config = tmp_path / "gitlab.cfg"
    config.write_text(f"[shop]\nurl = {gitlab.url}\noauth_token = {secret}\n")
    monkeypatch.setenv("PYTHON_GITLAB_CFG", str(config))
    monkeypatch.delenv("COMMANDS_API_TOKEN")
    ending = doctor("--gitlab", "shop")
    assert ending.code == 0, ending.stdout
    assert line(ending, "token") == ("ok", "OAuth token from section 'shop', of ci-cd-executor")
    assert line(ending, "scopes")[0] == "-"
    command = invoke(tag_project, "--gitlab", "shop", "-p", project.path, "--tag-name", "v1")
    assert command.code == 0


@pytest.mark.parametrize(
    ("path", "code", "mark"), [("/self$", 0, "ok"), ("/(self|user|version)$", 6, "FAIL")]
)
def test_a_403_to_every_question_is_an_account_that_is_blocked(
    doctor: Doctor, gitlab: Sandbox, path: str, code: int, mark: str
) -> None:
    text = "403 Forbidden - Your account has been blocked."
    gitlab.fault(Fault(path=path, status=403, body={"message": text}))
    ending = doctor(project=False)
    assert ending.code == code
    assert (line(ending, "server")[0], line(ending, "token")[0]) == ("ok", mark)


# Job tokens


@each_version
@pytest.mark.usefixtures("job")
def test_routes_that_ignore_a_job_token_do_not_decide_about_the_project(
    doctor: Doctor, invoke: Invoke, gitlab: Sandbox, project: Project
) -> None:
    project.job_token_allowlist = {"tech-lunch"}
    project.script = ScriptedPipeline()
    gitlab.tag(project, "v0")
    ending = doctor("--ref", "v0")
    assert ending.code == 0, ending.stdout
    assert line(ending, "project") == ("ok", "allows this job's token")
    assert line(ending, "protected branch") == ("ok", "v0 is a tag.")
    mark, _ = line(ending, "job token")
    if number(gitlab) < (19, 0):
        assert mark == "warn"
        why, _ = below(ending, "job token")
        assert why == "        why: GitLab before 19.0 ignores job tokens for this request."
    else:
        assert mark == "ok"
    command = invoke(trigger_pipeline, "--project", project.path, "--ref", "main")
    assert command.code == 0, command.stderr


@pytest.mark.usefixtures("job")
def test_a_permission_that_a_job_token_lacks_is_named(
    doctor: Doctor, gitlab: Sandbox, project: Project
) -> None:
    project.job_token_allowlist = {"tech-lunch"}
    text = "403 Forbidden - The following token permission is required: read_pipelines."
    gitlab.fault(Fault(path="/pipelines", status=403, body={"message": text}))
    ending = doctor()
    assert (ending.code, line(ending, "job token")[0]) == (0, "warn")
    assert "does not have the permission read_pipelines" in below(ending, "job token")[0]


@each_version
@pytest.mark.usefixtures("job")
def test_a_job_token_that_is_not_on_the_allowlist_fails_on_every_version(
    doctor: Doctor, project: Project
) -> None:
    project.job_token_allowlist = set()
    ending = doctor("--ref", "main")
    assert ending.code == 6
    assert line(ending, "project")[0] == "FAIL"
    assert "Job token permissions" in below(ending, "project")[1]


@each_version
@pytest.mark.usefixtures("job")
def test_a_job_token_on_a_public_project_without_an_allowlist_entry_causes_a_warning(
    doctor: Doctor, invoke: Invoke, project: Project
) -> None:
    project.visibility = "public"
    project.job_token_allowlist = set()
    ending = doctor()
    assert (ending.code, line(ending, "project")[0]) == (0, "warn")
    assert "must be on the allowlist" in below(ending, "project")[0]
    command = invoke(trigger_pipeline, "--project", project.path, "--ref", "main")
    assert command.code == 4


@pytest.mark.usefixtures("job")
def test_a_guest_whose_job_token_sees_only_the_pipelines_is_allowed(
    doctor: Doctor, project: Project, executor: User
) -> None:
    project.job_token_allowlist = {"tech-lunch"}
    project.members[executor.id] = Access.GUEST
    ending = doctor()
    assert ending.code == 0, ending.stdout
    assert line(ending, "project")[0] == "ok"


# What came with a version


@each_version
def test_the_server_says_with_which_tokens_inputs_work(doctor: Doctor, gitlab: Sandbox) -> None:
    ending = doctor(project=False)
    assert ending.code == 0
    mark, text = line(ending, "inputs")
    if number(gitlab) < (17, 11):
        assert (mark, text) == ("warn", "GitLab 17.0.0 ignores --input.")
    elif number(gitlab) < (18, 1):
        assert mark == "warn"
        assert "ignores --input with a job token" in text
    else:
        assert mark == "ok"


@each_version
def test_where_variables_are_forbidden_the_payload_of_some_versions_is_named(
    doctor: Doctor, invoke: Invoke, gitlab: Sandbox, project: Project, executor: User
) -> None:
    project.pipeline_variables_role = Access.OWNER + 1
    project.script = ScriptedPipeline()
    ending = doctor()
    assert (ending.code, line(ending, "pipeline variables")[0]) == (0, "warn")
    is_named = "TRIGGER_PAYLOAD" in below(ending, "pipeline variables")[0]
    trigger = gitlab.add_trigger_token(project, executor).secret
    command = invoke(
        trigger_pipeline, "-p", project.path, "--ref", "main", "--trigger-token", trigger
    )
    assert (command.code == 6) is is_named is ((17, 7) <= number(gitlab) < (18, 5))


@pytest.mark.parametrize("gitlab", ["16.11"], indirect=True)
def test_a_server_that_is_too_old_is_warned_of(doctor: Doctor) -> None:
    mark, text = line(doctor(project=False), "server")
    assert mark == "warn"
    assert "older than 17.0" in text


def test_an_address_without_gitlabs_routes_is_not_a_missing_project(
    doctor: Doctor, gitlab: Sandbox
) -> None:
    ending = doctor("--base-url", f"{gitlab.url}/elsewhere")
    assert ending.code == 4
    assert below(ending, "server")[1] == f"         do: Check --base-url: {gitlab.url}/elsewhere"
