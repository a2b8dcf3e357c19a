"""`cicd-doctor` against the newest server: each check passes, fails, and has nothing to check."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cmd_tag_project.cli import cli as tag_project
from cmd_trigger_pipeline.cli import cli as trigger_pipeline
from cmd_wait_pipeline.cli import cli as wait_pipeline
from sandbox import Access, Fault, Sandbox, ScriptedPipeline
from sandbox.model import ProtectedRef
from tests.functional.cicd_doctor.conftest import NAME, below, line

if TYPE_CHECKING:
    from sandbox.model import Job, Project, Token, User
    from tests.conftest import Registry
    from tests.functional.cicd_doctor.conftest import Doctor
    from tests.functional.conftest import Invoke, SkippingClock

ARCHIVED = {"archived": True}


def test_if_nothing_is_wrong_each_check_prints_one_ok_line(doctor: Doctor, gitlab: Sandbox) -> None:
    ending = doctor("--tag-name", "v1", "--ref", "main", "--source-project", NAME)
    assert (ending.code, ending.stderr) == (0, "")
    assert ending.stdout == "".join(
        f"{text}\n"
        for text in (
            f"ok    server              GitLab 19.4.0 at {gitlab.url}",
            (
                "ok    token               personal access token 'ci-cd-execution' "
                "from COMMANDS_API_TOKEN, of ci-cd-executor"
            ),
            "ok    scopes              api",
            "ok    expiry              never expires",
            "ok    inputs              The server accepts --input with every token.",
            f"ok    project             {NAME}: {gitlab.url}/{NAME}",
            f"ok    role                {NAME}: ci-cd-executor is Maintainer.",
            f"ok    protected tag       {NAME}: No rule protects v1.",
            f"ok    protected branch    {NAME}: main is protected; this token may push to it.",
            f"ok    pipeline variables  {NAME}: may pass variables, from the role developer on",
            f"ok    job token           {NAME}: allows the job tokens of {NAME}",
            "-     registry            Neither --registry nor CI_REGISTRY was given.",
        )
    )


def test_without_a_project_the_server_and_the_token_are_checked(doctor: Doctor) -> None:
    ending = doctor(project=False)
    assert ending.code == 0
    checks = [text[6:26].strip() for text in ending.stdout.splitlines()]
    assert checks == ["server", "token", "scopes", "expiry", "inputs", "registry"]


def test_an_unreachable_server_gets_one_request_and_nothing_else_is_checked(
    doctor: Doctor, clock: SkippingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cicd_common.gitlab.failures.CONTAINER_FILES", ())
    before = clock._skipped
    ending = doctor("--base-url", "http://127.0.0.1:9")
    assert (ending.code, ending.stderr) == (8, "")
    assert clock._skipped == before
    assert ending.stdout.splitlines() == [
        (
            "FAIL  server              http://127.0.0.1:9 cannot be reached: Connection refused "
            "(GET /api/v4/version)"
        ),
        "         do: Check --base-url, the network and the proxy settings.",
        "-     registry            Neither --registry nor CI_REGISTRY was given.",
        (
            "-     not checked         token, scopes, expiry, inputs, project, role, "
            "protected tag, protected branch, pipeline variables, job token (server failed)"
        ),
    ]


def test_a_missing_url_fails_the_server(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI_SERVER_URL")
    ending = doctor()
    assert (ending.code, ending.stderr) == (2, "")
    assert line(ending, "server") == ("FAIL", "No GitLab server was given.")
    assert any("Give --base-url" in text for text in below(ending, "server"))
    document = json.loads(doctor("--output", "json").stdout)
    assert document["error"]["code"] == 2
    assert document["results"][0]["check"] == "server"


def test_the_marks_are_colored_on_a_terminal_alone(
    doctor: Doctor, gitlab: Sandbox, executor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = gitlab.add_token(
        executor, scopes=["read_api"], expires_at=gitlab.state.clock.now() + timedelta(days=2)
    )
    arguments = ("--api-access-token", soon.secret)
    assert "\x1b" not in doctor(*arguments).stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    colored = doctor(*arguments, "--tag-name", "v1").stdout
    assert "\x1b[31m\x1b[1mFAIL\x1b[0m  scopes " in colored
    assert "\x1b[33m\x1b[1mwarn\x1b[0m  expiry " in colored


def test_a_failure_says_why_and_what_to_do_below_it(doctor: Doctor) -> None:
    ending = doctor("--api-access-token", "glpat-unknown-to-this-server")
    assert (ending.code, ending.stderr) == (3, "")
    mark, text = line(ending, "token")
    assert (mark, text) == ("FAIL", "401 Unauthorized (GET /api/v4/user)")
    why, hint = below(ending, "token")
    assert why == "        why: GitLab does not know the token from --api-access-token."
    assert hint.startswith("         do: ")
    assert line(ending, "not checked")[1].endswith("(token failed)")


def test_what_the_doctor_has_no_use_for_is_accepted_and_not_in_its_help(
    doctor: Doctor, tmp_path: Path
) -> None:
    dotenv = tmp_path / "doctor.env"
    assert doctor("--dotenv", str(dotenv), "--dotenv-prefix", "A_", "--dry-run").code == 0
    assert dotenv.read_text() == ""
    help_text = doctor("--help").stdout
    assert "--dotenv" not in help_text
    assert "--dry-run" not in help_text
    assert "[default: 0]" in help_text


def test_a_full_stdout_is_not_a_bug(gitlab: Sandbox) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cicd_doctor"],
            env={"PATH": os.environ["PATH"], "CI_SERVER_URL": gitlab.url},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert "FAIL  token" in done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"days": -1}, "Token is expired"),
        ({"revoked": True}, "Token was revoked"),
    ],
    ids=["expired", "revoked"],
)
def test_an_expired_token_fails(
    doctor: Doctor, gitlab: Sandbox, executor: User, settings: dict[str, int], said: str
) -> None:
    over = gitlab.add_token(
        executor,
        expires_at=gitlab.state.clock.now() + timedelta(days=settings.get("days", 100)),
        revoked=bool(settings.get("revoked")),
    )
    ending = doctor("--api-access-token", over.secret)
    assert ending.code == 3
    assert line(ending, "server")[0] == "ok"
    mark, text = line(ending, "token")
    assert mark == "FAIL"
    assert said in text
    assert "project" in line(ending, "not checked")[1]


def test_no_token_at_all_fails(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMMANDS_API_TOKEN")
    ending = doctor()
    assert ending.code == 3
    assert line(ending, "token")[1].startswith("No token was given.")


@pytest.mark.parametrize(
    ("username", "kind"),
    [
        ("project_7_bot_0f", "project access token"),
        ("group_7_bot_0f", "group access token"),
        ("service_account_group_7_0f", "service account's access token"),
    ],
)
def test_the_tokens_kind_follows_from_its_user(
    doctor: Doctor, gitlab: Sandbox, username: str, kind: str
) -> None:
    bot = gitlab.add_token(gitlab.add_user(username))
    ending = doctor("--api-access-token", bot.secret, project=False)
    assert line(ending, "token")[1].startswith(f"{kind} 'ci-cd-execution' from --api-access-token")


@pytest.mark.parametrize("kind", ["scope", "Guest", "no member"])
def test_what_is_enough_for_a_wait_alone_is_a_warning_unless_a_change_is_asked_about(
    doctor: Doctor,
    invoke: Invoke,
    gitlab: Sandbox,
    project: Project,
    executor: User,
    kind: str,
) -> None:
    token = gitlab.add_token(executor, scopes=["read_api" if kind == "scope" else "api"])
    if kind == "Guest":
        project.members[executor.id] = Access.GUEST
    if kind == "no member":
        del project.members[executor.id]
        project.visibility = "public"
    given = ("--api-access-token", token.secret)
    pipeline = gitlab.add_pipeline(project, ScriptedPipeline(), user=executor)

    ending = doctor(*given)
    check = "scopes" if kind == "scope" else "role"
    assert (ending.code, line(ending, check)[0]) == (0, "warn"), ending.stdout
    assert "enough for cmd-wait-pipeline only" in below(ending, check)[0]
    waited = invoke(wait_pipeline, *given, "-p", project.path, str(pipeline.id), "--timeout", "1")
    assert waited.code in {0, 7}, waited.stderr

    ending = doctor(*given, "--tag-name", "v1")
    assert line(ending, check)[0] == "FAIL"
    tagged = invoke(tag_project, *given, "-p", project.path, "--tag-name", "v1")
    assert tagged.code == ending.code


def test_a_guest_who_sees_no_pipelines_cannot_wait_either(
    doctor: Doctor, gitlab: Sandbox, project: Project, executor: User
) -> None:
    project.members[executor.id] = Access.GUEST
    gitlab.fault(Fault(path="/pipelines", status=403, body={"message": "403 Forbidden"}))
    ending = doctor()
    assert (ending.code, line(ending, "role")[0]) == (6, "FAIL")


@pytest.mark.parametrize(
    ("scopes", "asked"),
    [(("read_api",), ["--tag-name", "v1"]), (("read_repository", "write_repository"), [])],
)
def test_scopes_that_are_not_enough_fail(
    doctor: Doctor, gitlab: Sandbox, executor: User, scopes: tuple[str, ...], asked: list[str]
) -> None:
    weak = gitlab.add_token(executor, scopes=scopes)
    ending = doctor("--api-access-token", weak.secret, *asked, project=False)
    assert ending.code == 3
    assert line(ending, "scopes") == (
        "FAIL",
        f"The token has {', '.join(scopes)}, not api.",
    )
    assert below(ending, "scopes")[1] == "         do: Create a token with the scope api."


@pytest.mark.parametrize(("days", "mark"), [(5, "warn"), (29, "warn"), (40, "ok")])
def test_a_token_that_soon_expires_is_warned_of(
    doctor: Doctor, gitlab: Sandbox, executor: User, days: int, mark: str
) -> None:
    when = gitlab.state.clock.now() + timedelta(days=days)
    token = gitlab.add_token(executor, expires_at=when)
    ending = doctor("--api-access-token", token.secret, project=False)
    assert ending.code == 0
    assert line(ending, "expiry")[0] == mark
    assert f"{when.date()}, in {days} days" in line(ending, "expiry")[1]


def test_a_project_that_the_token_cannot_see_fails(doctor: Doctor) -> None:
    ending = doctor("--project", "tech-lunch/nothing", project=False)
    assert ending.code == 4
    assert "tech-lunch/nothing: 404 Project Not Found" in ending.stdout
    assert "does not exist, or this token cannot see it" in ending.stdout


def test_an_archived_project_fails(doctor: Doctor, gitlab: Sandbox, project: Project) -> None:
    path = project.path.replace("/", "%2F")
    gitlab.fault(Fault(path=f"/projects/({path}|{project.id})$", edit=lambda it: it | ARCHIVED))
    ending = doctor()
    assert (ending.code, line(ending, "project")[0]) == (6, "FAIL")
    assert line(ending, "project")[1].startswith("The project is archived")


def test_that_no_pipeline_starts_in_a_project_is_warned_of(
    doctor: Doctor, invoke: Invoke, project: Project
) -> None:
    project.ci_enabled = False
    ending = doctor()
    assert (ending.code, line(ending, "project")[0]) == (0, "warn")
    assert invoke(trigger_pipeline, "--project", project.path, "--ref", "main").code == 6


def test_each_of_several_projects_is_checked_and_the_first_failure_counts(
    doctor: Doctor, gitlab: Sandbox, executor: User
) -> None:
    gitlab.add_project("tech-lunch/guests", {"a": "b"}, members={executor: Access.GUEST})
    several = ("--project", "tech-lunch/guests", "--project", "tech-lunch/nothing")
    ending = doctor(*several, "--tag-name", "v1")
    assert ending.code == 6
    assert f"ok    role                {NAME}" in ending.stdout
    assert "FAIL  role                tech-lunch/guests: ci-cd-executor is Guest" in ending.stdout
    assert "FAIL  project             tech-lunch/nothing" in ending.stdout


def test_an_invalid_project_is_refused_before_anything_is_sent(
    doctor: Doctor, gitlab: Sandbox
) -> None:
    assert doctor("--project", "https://elsewhere.example.com/a/b").code == 2
    assert gitlab.requests == []


def test_a_user_who_is_not_a_member_of_a_public_project_cannot_change_it(
    doctor: Doctor, project: Project, executor: User
) -> None:
    project.visibility = "public"
    del project.members[executor.id]
    ending = doctor("--ref", "main")
    assert ending.code == 6
    assert line(ending, "role")[1] == "ci-cd-executor is not a member of it."


@pytest.mark.parametrize(
    ("pattern", "level", "code", "said"),
    [
        ("v*", Access.DEVELOPER, 0, "v1.2 is protected by v*, for Developers + Maintainers."),
        ("v*", Access.NONE, 6, "v1.2 is protected by v*, for No one."),
        ("v1.?", Access.NONE, 0, "No rule protects v1.2."),
    ],
)
def test_a_protected_tag_shows_who_can_create_it(
    doctor: Doctor, project: Project, pattern: str, level: Access, code: int, said: str
) -> None:
    project.protected_tags.append(ProtectedRef(pattern, level))
    ending = doctor("--tag-name", "v1.2")
    assert ending.code == code
    mark, text = line(ending, "protected tag")
    assert mark == ("FAIL" if code else "ok")
    assert text.startswith(said)


@pytest.mark.parametrize(
    ("role", "ref", "code", "said"),
    [
        (Access.DEVELOPER, "main", 6, "main is protected, and this token may not push to it."),
        (Access.DEVELOPER, "v0", 0, "v0 is a tag."),
        (Access.DEVELOPER, "topic", 0, "No rule protects topic."),
        (Access.DEVELOPER, "none", 4, "There is no branch or tag none."),
    ],
)
def test_a_branch_shows_whether_the_token_can_push_to_it(
    doctor: Doctor,
    gitlab: Sandbox,
    project: Project,
    executor: User,
    role: Access,
    ref: str,
    code: int,
    said: str,
) -> None:
    project.members[executor.id] = role
    gitlab.tag(project, "v0")
    gitlab.commit(project, {"b": "c"}, branch="topic", start_pipeline=False)
    ending = doctor("--ref", ref)
    assert ending.code == code
    assert line(ending, "protected branch")[1].startswith(said)


def test_variables_that_no_role_can_set_cause_a_warning(doctor: Doctor, project: Project) -> None:
    project.pipeline_variables_role = Access.OWNER + 1
    ending = doctor()
    assert ending.code == 0
    mark, text = line(ending, "pipeline variables")
    assert mark == "warn"
    assert text == "Pipeline variables are for no one allowed."
    (hint,) = below(ending, "pipeline variables")
    assert hint.startswith("         do: Use --input, or lower Settings")


@pytest.mark.parametrize(
    ("allowlist", "code", "said"),
    [
        (None, 0, "Any project's job token is allowed."),
        ({"tech-lunch/hello-world"}, 0, "allows the job tokens of tech-lunch/hello-world"),
        ({"tech-lunch"}, 0, "allows the job tokens of tech-lunch/hello-world"),
        (set(), 6, "The allowlist lacks tech-lunch/hello-world."),
    ],
    ids=["off", "project", "group", "absent"],
)
def test_the_allowlist_decides_which_job_tokens_have_access(
    doctor: Doctor,
    gitlab: Sandbox,
    project: Project,
    allowlist: set[str] | None,
    code: int,
    said: str,
) -> None:
    gitlab.add_project("tech-lunch/hello-world")
    project.job_token_allowlist = allowlist
    ending = doctor("--source-project", "tech-lunch/hello-world")
    assert ending.code == code
    assert line(ending, "job token")[1].startswith(said)


def test_what_only_maintainers_can_see_is_not_checked_for_others(
    doctor: Doctor, project: Project, executor: User
) -> None:
    project.members[executor.id] = Access.DEVELOPER
    ending = doctor("--source-project", "a/b", "--tag-name", "v1")
    assert ending.code == 0
    for check in ("protected tag", "job token"):
        assert line(ending, check) == (
            "-",
            "GitLab shows this to Maintainers of the project only.",
        )


def test_with_a_job_token_the_project_itself_says_whether_it_comes_in(
    doctor: Doctor, project: Project, job: Job
) -> None:
    ending = doctor("--ref", "main")
    assert ending.code == 6
    assert line(ending, "token")[1] == (
        f"CI job token from CI_JOB_TOKEN of job {job.id}, of ci-cd-executor"
    )
    assert "Authentication by CI/CD job token not allowed" in line(ending, "project")[1]
    project.job_token_allowlist = {job.pipeline.project.path}
    ending = doctor("--ref", "main")
    assert ending.code == 0, ending.stderr
    assert line(ending, "project") == ("ok", "allows this job's token")
    assert line(ending, "job token") == ("ok", "This job's token can read pipelines.")
    assert line(ending, "protected branch")[0] == "ok"
    assert line(ending, "role") == ("-", "GitLab shows this to access tokens only.")


def test_a_job_token_of_a_job_that_has_ended_fails(
    doctor: Doctor, gitlab: Sandbox, job: Job
) -> None:
    gitlab.finish(job)
    ending = doctor()
    assert ending.code == 3
    assert line(ending, "token")[0] == "FAIL"


def test_a_server_that_fails_later_fails_the_check_that_uses_it(
    doctor: Doctor, gitlab: Sandbox
) -> None:
    gitlab.fault(Fault(path="/members/", status=502))
    ending = doctor("--retry-for", "0")
    assert ending.code == 8
    assert line(ending, "role")[0] == "FAIL"
    assert line(ending, "protected tag")[0] == "-"


def test_the_registrys_login_is_tried(
    doctor: Doctor, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_REGISTRY", registry.address)
    monkeypatch.setenv("CI_REGISTRY_USER", registry.user)
    monkeypatch.setenv("CI_REGISTRY_PASSWORD", registry.password)
    ending = doctor(project=False)
    assert ending.code == 0, ending.stderr
    assert line(ending, "registry") == (
        "ok",
        f"{registry.address} accepts the login of ci from CI_REGISTRY_USER.",
    )
    monkeypatch.setenv("CI_REGISTRY_PASSWORD", "another-password")
    ending = doctor(project=False)
    assert ending.code == 3
    assert (
        "refuses the login of ci from CI_REGISTRY_USER (authentication required"
        in line(ending, "registry")[1]
    )
    assert "another-password" not in ending.stdout + ending.stderr


def test_the_login_that_docker_login_stored_is_used(
    doctor: Doctor, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    ending = doctor("--registry", registry.address, project=False)
    assert ending.code == 0, ending.stderr
    assert line(ending, "registry")[1].endswith(f"the login of ci from {config}.")


def test_no_login_for_the_registry_fails(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    ending = doctor("--registry", "registry.example.com:5050", project=False)
    assert ending.code == 4
    assert line(ending, "registry") == (
        "FAIL",
        "There is no login for registry.example.com:5050.",
    )
    assert below(ending, "registry")[-1].endswith("docker login registry.example.com:5050")


def test_json_holds_every_finding_and_the_first_error(doctor: Doctor, project: Project) -> None:
    project.protected_tags.append(ProtectedRef("v*", Access.NONE))
    ending = doctor("--tag-name", "v1", "--output", "json")
    document = json.loads(ending.stdout)
    assert ending.code == document["error"]["code"] == 6
    assert document["error"]["message"] == "v1 is protected by v*, for No one."
    (failed,) = [found for found in document["results"] if found["verdict"] == "failed"]
    assert (failed["check"], failed["project"], failed["exit_code"]) == ("protected tag", NAME, 6)
    ending = doctor("--tag-name", "v1", "--ref", "none", "--output", "json")
    assert [each["code"] for each in json.loads(ending.stdout)["errors"]] == [6, 4]
    assert ending.code == 6
    well = json.loads(doctor("--output", "json").stdout)
    assert [found["verdict"] for found in well if found["check"] == "token"] == ["passed"]


def test_it_runs_as_a_module_too(gitlab: Sandbox, token: Token) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cicd_doctor"],
        env={
            "PATH": os.environ["PATH"],
            "CI_SERVER_URL": gitlab.url,
            "COMMANDS_API_TOKEN": token.secret,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok    server")
