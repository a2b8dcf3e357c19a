"""`cmd-tag-project` against the sandbox, over a real socket."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from cicd_common.errors import NotFoundError
from cicd_common.waiting.policy import WaitPolicy
from cmd_tag_project import tag_project
from cmd_tag_project.cli import cli
from sandbox import Access, Fault, Sandbox, ScriptedJob, ScriptedPipeline
from sandbox.model import ProtectedRef

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.model import Project, Token, User
    from tests.functional.conftest import Ending, Invoke

TAGS = r"/repository/tags$"


@pytest.fixture
def tag(
    invoke: Invoke, gitlab: Sandbox, token: Token, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ending]:
    """Runs the command with a connection, for tech-lunch/service-tests unless told otherwise."""

    def run(*arguments: str, project: str | None = "tech-lunch/service-tests") -> Ending:
        monkeypatch.setenv("CI_SERVER_URL", gitlab.url)
        if "COMMANDS_API_TOKEN" not in os.environ:
            monkeypatch.setenv("COMMANDS_API_TOKEN", token.secret)
        named = ["--project", project] if project else []
        ending = invoke(cli, *named, *arguments)
        assert token.secret not in ending.stdout + ending.stderr
        return ending

    return run


def writes(gitlab: Sandbox) -> list[str]:
    return [
        f"{request.method} {request.path}"
        for request in gitlab.requests
        if request.method not in {"GET", "HEAD"}
    ]


def head(gitlab: Sandbox, project: Project) -> str:
    return gitlab.commit(project, {"next": "commit"})


# What it does


def test_the_seeds_own_invocation_makes_the_tag_and_a_second_run_says_it_is_there(
    invoke: Invoke, gitlab: Sandbox, token: Token, project: Project
) -> None:
    arguments = [
        *("--base_url", gitlab.url, "--api_access_token", token.secret),
        *("--project_group_and_name", "tech-lunch/service-tests", "--tag_name", "v1"),
    ]
    sha = head(gitlab, project)

    first, second = invoke(cli, *arguments), invoke(cli, *arguments)

    assert (first.code, second.code) == (0, 0)
    assert first.stdout == f"tech-lunch/service-tests: tag v1 created at {sha[:8]}\n"
    assert second.stdout == f"tech-lunch/service-tests: tag v1 already exists at {sha[:8]}\n"
    assert gitlab.tags(project) == {"v1": sha}
    assert len(writes(gitlab)) == 1


def test_a_tag_at_another_commit_is_a_conflict_that_names_both(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    old = head(gitlab, project)
    tag("--tag-name", "v1")
    new = gitlab.commit(project, {"more": "work"})

    ending = tag("--tag-name", "v1")

    assert ending.code == 5
    assert old in ending.stderr
    assert new in ending.stderr
    assert gitlab.tags(project) == {"v1": old}


@pytest.mark.parametrize("how", ["path", "id", "url", "page"])
def test_a_project_is_named_by_path_id_or_url(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, how: str
) -> None:
    name = {
        "path": project.path,
        "id": str(project.id),
        "url": f"{gitlab.url}/{project.path}.git",
        "page": f"{gitlab.url}/{project.path}/-/tags",
    }[how]

    ending = tag("--tag-name", "v1", project=name)

    assert ending.code == 0
    assert ending.stdout.startswith("tech-lunch/service-tests: tag v1 created")


@pytest.mark.parametrize("kind", ["branch", "tag", "sha", "short sha"])
def test_a_ref_is_a_branch_a_tag_or_a_sha(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, kind: str
) -> None:
    sha = gitlab.commit(project, {"on": "branch"}, branch="feature/x")
    if kind == "tag":
        tag("--tag-name", "base", "--ref", sha)
    ref = {"branch": "feature/x", "tag": "base", "sha": sha, "short sha": sha[:8]}[kind]

    assert tag("--tag-name", "v1", "--ref", ref).code == 0
    assert gitlab.tags(project)["v1"] == sha


def test_a_message_makes_an_annotated_tag(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    sha = head(gitlab, project)

    first = tag("--tag-name", "v1", "--message", "Résumé of\nthe release")
    second = tag("--tag-name", "v1", "--message", "Résumé of\nthe release")

    assert (first.code, second.code) == (0, 0)
    shown = subprocess.run(
        ["git", "cat-file", "tag", "v1"],
        cwd=project.repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Résumé of\nthe release" in shown
    assert f"object {sha}" in shown


def test_several_projects_are_tagged_and_the_first_failure_is_the_exit_code(
    tag: Callable[..., Ending], gitlab: Sandbox, executor: User, project: Project
) -> None:
    others = [
        gitlab.add_project(f"tech-lunch/p{n}", {"a": "b"}, members={executor: Access.MAINTAINER})
        for n in range(3)
    ]

    names = [argument for other in others for argument in ("--project", other.path)]
    ending = tag("--tag-name", "v1", "--project", "tech-lunch/nowhere", *names, "--output", "json")

    assert ending.code == 4
    document = json.loads(ending.stdout)
    assert document["error"]["code"] == 4
    assert document["error"]["kind"] == "not-found"
    assert [result["project"] for result in document["results"]] == [
        project.path,
        *(other.path for other in others),
    ]
    assert all("v1" in gitlab.tags(each) for each in [project, *others])


def test_json_of_one_is_an_object_and_of_several_a_list(
    tag: Callable[..., Ending], gitlab: Sandbox, executor: User, project: Project
) -> None:
    gitlab.add_project("tech-lunch/other", {"a": "b"}, members={executor: Access.MAINTAINER})
    sha = head(gitlab, project)

    one = json.loads(tag("--tag-name", "v1", "--output", "json").stdout)
    both = json.loads(
        tag("--tag-name", "v2", "--project", "tech-lunch/other", "--output=json").stdout
    )

    assert one == {
        "project": "tech-lunch/service-tests",
        "tag": "v1",
        "commit": sha,
        "created": True,
        "web_url": f"{gitlab.url}/tech-lunch/service-tests/-/tags/v1",
        "release": None,
        "would_create": False,
        "pipeline": None,
    }
    assert [result["project"] for result in both] == [project.path, "tech-lunch/other"]


def test_dotenv_holds_the_result(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, tmp_path: Path
) -> None:
    sha = head(gitlab, project)

    tag("--tag-name", "v1", "--dotenv", str(tmp_path / "tag.env"))

    assert (tmp_path / "tag.env").read_text() == (
        f"TAG_NAME=v1\nTAG_COMMIT_SHA={sha}\nTAG_PROJECT=tech-lunch/service-tests\n"
    )


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    ending = tag("--tag-name", "v1", "--dry-run")

    assert ending.code == 0
    assert "tag v1 would be created at" in ending.stdout
    assert gitlab.tags(project) == {}
    assert writes(gitlab) == []


def test_in_a_job_the_tag_is_named_after_it(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI_PROJECT_PATH_SLUG", "tech-lunch-hello-world")
    monkeypatch.setenv("CI_COMMIT_SHA", "0" * 39 + "1")
    monkeypatch.setenv("CI_JOB_ID", "77")

    assert tag().code == 0
    assert list(gitlab.tags(project)) == ["tech-lunch-hello-world_" + "0" * 39 + "1_77"]


# The next version


@pytest.mark.parametrize(
    ("before", "options", "after"),
    [
        ([], ["--next", "minor"], "v0.1.0"),
        (["v1.2.3", "v1.10.0", "v1.9.9"], ["--next", "patch"], "v1.10.1"),
        (["v1.2.3", "nightly", "v2024"], ["--next", "major"], "v2.0.0"),
        (["v2.0.0-rc.1", "v1.4.0"], ["--next", "major"], "v2.0.0"),
        (["v9.9.9", "api-1.0.0"], ["--next", "minor", "--prefix", "api-"], "api-1.1.0"),
        (["1.0.0"], ["--next", "patch", "--prefix", ""], "1.0.1"),
    ],
)
def test_next_counts_from_the_highest_version(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    before: list[str],
    options: list[str],
    after: str,
) -> None:
    for name in before:
        assert tag("--tag-name", name).code == 0
    gitlab.commit(project, {"more": "work"})

    assert tag(*options).code == 0
    assert set(gitlab.tags(project)) == {*before, after}


def test_the_highest_of_more_tags_than_fit_on_a_page_is_found(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    sha = head(gitlab, project)
    names = "".join(f"create refs/tags/v1.0.{n} {sha}\n" for n in range(230))
    subprocess.run(
        ["git", "update-ref", "--stdin"], cwd=project.repository, input=names.encode(), check=True
    )

    assert tag("--next", "patch").code == 0
    assert "v1.0.230" in gitlab.tags(project)


def test_racing_commands_get_versions_of_their_own(
    gitlab: Sandbox, token: Token, project: Project
) -> None:
    shas = [gitlab.commit(project, {"n": str(n)}, branch=f"b{n}") for n in range(6)]
    results: list[str] = []

    def race(sha: str) -> None:
        done = tag_project(
            project=project.path,
            next="patch",
            ref=sha,
            base_url=gitlab.url,
            api_access_token=token.secret,
        )
        assert done.commit == sha
        results.append(done.tag)

    threads = [threading.Thread(target=race, args=(sha,)) for sha in shas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == [f"v0.0.{n}" for n in range(1, 7)]
    assert sorted(gitlab.tags(project).values()) == sorted(shas)


def test_a_version_lost_to_somebody_at_the_same_commit_is_theirs(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    """The list was read before the other one's tag was there; the write then finds it."""
    sha = head(gitlab, project)
    subprocess.run(["git", "tag", "v0.0.1", sha], cwd=project.repository, check=True)
    gitlab.fault(
        Fault(
            path=TAGS.replace("$", r"\?"),
            method="GET",
            first=1,
            status=200,
            body="[]",
            headers={"Content-Type": "application/json"},
        )
    )

    ending = tag("--next", "patch")

    assert ending.code == 0
    assert "v0.0.1 already exists" in ending.stdout
    assert gitlab.tags(project) == {"v0.0.1": sha}


# Releases


def test_a_release_comes_with_its_tag_in_one_write(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("# Better\n")

    first = tag("--tag-name", "v1", "--release-notes", str(notes), "--message", "annotated")
    second = tag("--tag-name", "v1", "--release")

    assert (first.code, second.code) == (0, 0)
    assert "release created" in first.stdout
    assert "release exists" in second.stdout
    assert project.releases["v1"].description == "# Better\n"
    assert len(writes(gitlab)) == 1


def test_a_tag_that_is_there_gets_its_release(tag: Callable[..., Ending], project: Project) -> None:
    tag("--tag-name", "v1")

    ending = tag("--tag-name", "v1", "--release")

    assert ending.code == 0
    assert "already exists" in ending.stdout
    assert "release created" in ending.stdout
    assert "v1" in project.releases


def test_a_lost_answer_to_a_release_leaves_one_release(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    gitlab.fault(Fault(path=r"/releases$", method="POST", nth=1, reset="after"))

    assert tag("--tag-name", "v1", "--release").code == 0
    assert list(project.releases) == ["v1"]
    assert len(writes(gitlab)) == 1


def test_with_a_job_token_a_release_is_the_one_way(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    executor: User,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = gitlab.add_running_job(project, executor)
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")
    monkeypatch.setenv("CI_JOB_TOKEN", job.token)

    refused = tag("--tag-name", "v1")
    assert refused.code == 3
    assert "--release" in refused.stderr
    assert len(gitlab.requests) == 0

    done = tag("--tag-name", "v1", "--release", "-v")
    assert done.code == 0, done.stderr
    assert "CI job token from CI_JOB_TOKEN" in done.stderr
    assert job.token not in done.stderr
    assert list(gitlab.tags(project)) == ["v1"]


# Exit codes


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tag-name", "with space"],
        ["--tag-name", "-dash"],
        ["--tag-name", "a..b"],
        ["--tag-name", ""],
        ["--tag-name", "0" * 40],
        [],
        ["--tag-name", "v1", "--next", "patch"],
        ["--tag-name", "v1", "--ref", ""],
        ["--tag-name", "v1", "--request-timeout", "0"],
        ["--tag-name", "v1", "--request-timeout", "nan"],
        ["--tag-name", "v1", "--output", "xml"],
        ["--tag-name", "v1", "--dotenv", "/nonexistent/file"],
        ["--tag-name", "v1", "--project", "https://elsewhere.example/group/name"],
        ["--tag-name", "v1", "--project", "noslash"],
        ["--tag-name", "v1", "--api-access-token", "--tag-name"],
        ["--tag-name", "v1", "--api-access-token", "$COMMANDS_API_TOKEN"],
        ["--tag-name", "v1", "--api-access-token-file", "/nonexistent/file"],
        ["--tag-name", "v1", "--base-url", "gitlab.example.com"],
        ["--tag-name", "v1", "--base-url", "https://me:secret@gitlab.example.com"],
        ["--tag-name", "v1", "--ca-file", "/nonexistent/file"],
        ["--tag-name", "v1", "--gitlab", "nosuchsection"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("project")
def test_2_what_is_wrong_is_said_before_anything_is_sent(
    tag: Callable[..., Ending], gitlab: Sandbox, arguments: list[str]
) -> None:
    ending = tag(*arguments)

    assert ending.code == 2
    assert re.match(r"error: .+\n  why: .+\n   do: .+\n$", ending.stderr)
    assert ending.stdout == ""
    assert len(gitlab.requests) == 0


def test_2_there_is_no_default_server(invoke: Invoke) -> None:
    ending = invoke(cli, "--project", "a/b", "--tag-name", "v1", "--api-access-token", "secret")

    assert ending.code == 2
    assert "--base-url" in ending.stderr


def test_3_no_token(
    tag: Callable[..., Ending], gitlab: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")

    ending = tag("--tag-name", "v1")

    assert ending.code == 3
    assert "COMMANDS_API_TOKEN" in ending.stderr
    assert len(gitlab.requests) == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "has expired"),
        ({"revoked": True}, "was revoked"),
        ({"scopes": ("read_api",), "name": "reader"}, "'reader'.*read_api"),
        (None, "does not know the token"),
    ],
    ids=["expired", "revoked", "scope", "unknown"],
)
@pytest.mark.usefixtures("project")
def test_3_a_token_that_does_not_do_explains_itself(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    executor: User,
    settings: dict[str, object] | None,
    said: str,
) -> None:
    secret = (
        "glpat-unknown" if settings is None else gitlab.add_token(executor, **settings).secret  # type: ignore[arg-type] # a table of settings
    )

    ending = tag("--tag-name", "v1", "--api-access-token", secret)

    assert ending.code == 3
    assert re.search(said, ending.stderr), ending.stderr
    assert secret not in ending.stderr


@pytest.mark.parametrize("ref", ["nowhere", "0" * 40, "refs/heads/none"])
@pytest.mark.usefixtures("project")
def test_4_no_such_ref(tag: Callable[..., Ending], ref: str) -> None:
    ending = tag("--tag-name", "v1", "--ref", ref)

    assert ending.code == 4
    assert ref in ending.stderr


def test_4_an_empty_repository(tag: Callable[..., Ending], gitlab: Sandbox, executor: User) -> None:
    gitlab.add_project("tech-lunch/empty", members={executor: Access.MAINTAINER})

    ending = tag("--tag-name", "v1", project="tech-lunch/empty")

    assert ending.code == 4
    assert "empty" in ending.stderr


def test_4_a_project_that_the_token_cannot_see(tag: Callable[..., Ending], gitlab: Sandbox) -> None:
    gitlab.add_project("secret/plans", {"a": "b"})

    ending = tag("--tag-name", "v1", project="secret/plans")

    assert ending.code == 4
    assert "cannot see it" in ending.stderr


def test_6_a_protected_tag(tag: Callable[..., Ending], project: Project) -> None:
    project.protected_tags.append(ProtectedRef("v*", Access.OWNER))

    ending = tag("--tag-name", "v1")

    assert ending.code == 6
    assert "You are not allowed to create this tag as it is protected." in ending.stderr
    assert "Protected tags" in ending.stderr


@pytest.mark.parametrize("words", ["", "Policy XY-1: no tags on Fridays"])
def test_6_a_hook_that_says_no_even_without_a_word(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, words: str
) -> None:
    project.hook_message = words

    ending = tag("--tag-name", "v1")

    assert ending.code == 6
    assert words in ending.stderr
    assert gitlab.tags(project) == {}


def test_6_a_role_that_is_too_low(
    tag: Callable[..., Ending], project: Project, executor: User
) -> None:
    project.members[executor.id] = Access.REPORTER

    ending = tag("--tag-name", "v1")

    assert ending.code == 6
    assert "role" in ending.stderr


def test_6_the_default_branchs_name(tag: Callable[..., Ending], project: Project) -> None:
    assert tag("--tag-name", project.default_branch).code == 6


# Faults: nothing happens twice, and nothing is claimed that nobody knows


def test_a_response_lost_after_the_tag_was_made_leaves_one_tag(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    gitlab.fault(Fault(path=TAGS, method="POST", nth=1, reset="after"))

    ending = tag("--tag-name", "v1")

    assert ending.code == 0, ending.stderr
    assert list(gitlab.tags(project)) == ["v1"]
    assert len(writes(gitlab)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path=TAGS, method="POST", nth=1, status=502),
        Fault(path=TAGS, method="POST", nth=1, reset="before"),
        Fault(path=TAGS, method="POST", nth=1, status=429, headers={"Retry-After": "1"}),
        Fault(path=TAGS, method="POST", nth=1, status=200),
    ],
    ids=["502", "reset", "429", "html"],
)
def test_a_write_that_did_not_happen_is_sent_once_more(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, fault: Fault
) -> None:
    gitlab.fault(fault)

    ending = tag("--tag-name", "v1")

    assert ending.code == 0, ending.stderr
    assert list(gitlab.tags(project)) == ["v1"]
    assert len(writes(gitlab)) == 2


@pytest.mark.parametrize("truncate", [True, False], ids=["truncated", "slow"])
def test_a_garbled_or_late_answer_is_looked_after(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project, *, truncate: bool
) -> None:
    late = 0.0 if truncate else 1.5
    gitlab.fault(Fault(path=TAGS, method="POST", nth=1, truncate=truncate, delay_after=late))

    ending = tag("--tag-name", "v1", "--request-timeout", "0.7")

    assert ending.code == 0, ending.stderr
    assert list(gitlab.tags(project)) == ["v1"]
    assert len(writes(gitlab)) == 1


def test_7_a_throttled_answer_with_a_date_is_waited_for(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    gitlab.fault(Fault(path=TAGS, method="POST", nth=1, status=429, headers={"Retry-After": soon}))
    gitlab.fault(Fault(method="GET", nth=1, status=429, headers={"Retry-After": soon}))

    assert tag("--tag-name", "v1").code == 0
    assert list(gitlab.tags(project)) == ["v1"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "retry_after",
    ["3600", format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)],
    ids=["seconds", "date"],
)
@pytest.mark.usefixtures("project")
def test_7_an_hour_is_not_waited_for(
    tag: Callable[..., Ending], gitlab: Sandbox, method: str, retry_after: str
) -> None:
    gitlab.fault(Fault(method=method, status=429, headers={"Retry-After": retry_after}))
    started = datetime.now(UTC)

    ending = tag("--tag-name", "v1")

    assert ending.code == 7
    assert datetime.now(UTC) - started < timedelta(seconds=10)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="GET", status=503),
        Fault(method="GET", status=200),
        Fault(method="GET", truncate=True),
        Fault(method="GET", reset="before"),
        Fault(path=TAGS, method="POST", status=500),
    ],
    ids=["503", "html", "truncated", "reset", "500 to the write"],
)
@pytest.mark.usefixtures("project")
def test_8_a_server_that_stays_broken(
    tag: Callable[..., Ending], gitlab: Sandbox, fault: Fault
) -> None:
    gitlab.fault(fault)

    ending = tag("--tag-name", "v1", "--retry-for", "1")

    assert ending.code == 8
    assert fault.fired > 1
    assert "Traceback" not in ending.stderr


def test_8_an_unknown_outcome_says_what_to_check(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    gitlab.fault(Fault(path=TAGS, method="POST", reset="after"))
    for nth in range(2, 12):  # the first look is the one before the write
        gitlab.fault(Fault(path=r"/tags/v1$", method="GET", nth=nth, status=500))

    ending = tag("--tag-name", "v1", "--retry-for", "0.5")

    assert ending.code == 8
    assert f"{gitlab.url}/{project.path}/-/tags/v1" in ending.stderr


def test_8_nobody_listens(invoke: Invoke) -> None:
    ending = invoke(
        cli, "--base-url", "http://127.0.0.1:9", "--api-access-token", "glpat-x",
        "--project", "a/b", "--tag-name", "v1", "--retry-for", "0.2",
    )  # fmt: skip

    assert ending.code == 8
    assert "cannot be reached" in ending.stderr


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.usefixtures("project")
def test_8_a_redirect_to_another_host_carries_nothing_there(
    tag: Callable[..., Ending], gitlab: Sandbox, method: str, status: int
) -> None:
    with Sandbox(run_jobs=False) as elsewhere:
        gitlab.fault(
            Fault(method=method, status=status, headers={"Location": f"{elsewhere.url}/api/v4/x"})
        )

        ending = tag("--tag-name", "v1")

        assert ending.code == 8
        assert elsewhere.url in ending.stderr
        assert len(elsewhere.requests) == 0


def test_a_renamed_project_is_found_under_its_new_name(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    project.old_paths.add("tech-lunch/old-name")

    ending = tag("--tag-name", "v1", project="tech-lunch/old-name")

    assert ending.code == 0, ending.stderr
    assert ending.stdout.startswith("tech-lunch/service-tests: tag v1 created")
    assert list(gitlab.tags(project)) == ["v1"]


# From Python, and as a process


def test_from_python(
    gitlab: Sandbox, token: Token, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    sha = head(gitlab, project)

    done = tag_project(
        project=project.path, tag_name="v1", base_url=gitlab.url, api_access_token=token.secret
    )

    assert (done.tag, done.commit, done.created) == ("v1", sha, True)
    with pytest.raises(NotFoundError):
        tag_project(
            project="a/b", tag_name="v1", base_url=gitlab.url, api_access_token=token.secret
        )
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("projects", [1, 3])
def test_a_signal_ends_it_at_once(
    gitlab: Sandbox,
    token: Token,
    project: Project,
    number: signal.Signals,
    code: int,
    projects: int,
) -> None:
    gitlab.fault(Fault(delay=20))
    with subprocess.Popen(
        [sys.executable, "-m", "cmd_tag_project", "--base-url", gitlab.url, "--tag-name", "v1",
         *(["--project", project.path] * projects)],
        env={"PATH": os.environ["PATH"], "GITLAB_TOKEN": token.secret},
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        gitlab.wait_until(lambda: len(gitlab.requests) >= projects, timeout=20)
        process.send_signal(number)
        assert process.wait(timeout=5) == code
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


# Waiting for the tag's pipeline


def scripted(project: Project, end: str) -> None:
    job = ScriptedJob(
        name="tests", stage="test", timeline=((0, "running"), (0.3, end)), trace="it ran"
    )
    project.script = ScriptedPipeline(jobs=(job,))


def test_wait_ends_as_the_tags_pipeline_does(
    tag: Callable[..., Ending], project: Project, tmp_path: Path
) -> None:
    scripted(project, "success")

    ending = tag("--tag-name", "v1", "--wait", "--dotenv", str(tmp_path / "tag.env"))

    assert ending.code == 0, ending.stderr
    assert re.match(
        r"tech-lunch/service-tests: tag v1 created at \w{8}; pipeline \d+ success .*\n$",
        ending.stdout,
    )
    variables = dict(line.split("=", 1) for line in (tmp_path / "tag.env").read_text().splitlines())
    assert variables["TAG_NAME"] == "v1"
    assert variables["PIPELINE_STATUS"] == "success"


def test_wait_tells_that_the_tags_pipeline_failed_and_why(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    scripted(project, "failed")

    ending = tag("--tag-name", "v1", "--wait", "--output", "json")

    assert ending.code == 1
    document = json.loads(ending.stdout)
    assert document["error"]["kind"] == "failed"
    [result] = document["results"]
    assert (result["tag"], result["created"]) == ("v1", True)
    assert result["pipeline"]["status"] == "failed"
    assert result["pipeline"]["id"] == gitlab.pipelines(project)[0].id
    assert "it ran" in ending.stderr


def test_wait_waits_for_a_pipeline_that_was_there_before(
    tag: Callable[..., Ending], project: Project
) -> None:
    scripted(project, "success")
    tag("--tag-name", "v1")

    ending = tag("--tag-name", "v1", "--wait")

    assert ending.code == 0
    assert "already exists" in ending.stdout
    assert "success" in ending.stdout


def test_wait_says_when_there_is_no_pipeline(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    ending = tag("--tag-name", "v1", "--wait", "--appear-timeout", "1")

    assert ending.code == 4
    assert list(gitlab.tags(project)) == ["v1"]


def test_a_limit_cancels_the_pipeline_that_this_tag_started(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    project.script = ScriptedPipeline(jobs=(ScriptedJob(name="tests", timeline=((0, "running"),)),))

    ending = tag("--tag-name", "v1", "--wait", "--timeout", "3", "--cancel-on", "timeout")

    assert ending.code == 7
    gitlab.wait_until(lambda: gitlab.pipelines(project)[0].status == "canceled")


def test_from_python_with_a_wait(gitlab: Sandbox, token: Token, project: Project) -> None:
    scripted(project, "success")

    done = tag_project(
        project=project.path,
        tag_name="v1",
        wait=WaitPolicy(timeout=20),
        base_url=gitlab.url,
        api_access_token=token.secret,
    )

    assert done.pipeline is not None
    assert done.pipeline.status == "success"
