"""`cmd-bump-image-tag` in a project on the sandbox: what holds by the API and by git alike."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from cmd_bump_image_tag import bump_image_tag
from sandbox import Access, Fault, Sandbox
from tests.functional.cmd_bump_image_tag.conftest import BUMPED, DEPLOYMENT, WEB, Run, log, text
from tests.functional.conftest import every_server

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.model import Project, Token, User

BUMP = ("--image", WEB, "--tag", "v1.1.0", "--project", "tech-lunch/k8s")
WAYS = pytest.mark.parametrize("via", ["api", "git"])


@WAYS
def test_one_commit_changes_the_tag_and_no_other_byte(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    ending = run(*BUMP, "--via", via, "--output", "json", "--dotenv", "bump.env")

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED
    assert text(gitlab, project, "README.md") == f"{WEB}:v1.0.0\n"
    assert log(project) == ["Update image tag to v1.1.0 [skip ci]", "Initial commit"]
    sha = gitlab.sha(project)
    page = f"{gitlab.url}/tech-lunch/k8s/-/commit/{sha}"
    assert json.loads(ending.stdout) == {
        "changed": True,
        "files": [
            {
                "path": "apps/web.yaml",
                "line": 4,
                "old": f"{WEB}:v1.0.0",
                "new": f"{WEB}:v1.1.0",
                "image": WEB,
            }
        ],
        "skipped": [],
        "commit": sha,
        "web_url": page,
        "merge_request": None,
        "merge_request_state": None,
        "would_change": False,
    }
    with open("bump.env", encoding="utf-8") as file:  # noqa: PTH123 - a path of the command line
        assert file.read() == (f"BUMP_CHANGED=true\nBUMP_COMMIT_SHA={sha}\nBUMP_URL={page}\n")
    assert f"-    - image: '{WEB}:v1.0.0'" in ending.stderr
    assert f"+    - image: '{WEB}:v1.1.0'" in ending.stderr


@WAYS
def test_this_machine_is_never_asked_through_a_proxy(
    run: Run, gitlab: Sandbox, project: Project, via: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    ending = run(*BUMP, "--via", via, "--retry-for", "0")

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED


@WAYS
def test_a_second_run_finds_it_up_to_date_and_commits_nothing(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    run(*BUMP, "--via", via)
    sha = gitlab.sha(project)

    ending = run(*BUMP, "--via", via)

    assert (ending.code, ending.stdout) == (0, "up to date\n")
    assert gitlab.sha(project) == sha


@WAYS
def test_a_dry_run_shows_the_change_and_makes_none(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    sha = gitlab.sha(project)

    ending = run(*BUMP, "--via", via, "--dry-run")

    assert (ending.code, ending.stdout) == (0, "would make 1 change in 1 file\n")
    assert f"+    - image: '{WEB}:v1.1.0'" in ending.stderr
    assert gitlab.sha(project) == sha


@WAYS
def test_several_images_make_one_commit(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    ending = run(
        *("--image", f"{WEB}=v1.1.0", "--image", "redis=8", "--project", project.path),
        *("--via", via, "--commit-message", "{image}: {old} -> {tag} in {files}"),
    )

    assert ending.code == 0, ending.stderr
    assert ending.stdout.startswith("made 2 changes in 2 files: commit ")
    assert log(project)[0] == (
        f"{WEB}, redis: 7, v1.0.0 -> v1.1.0, 8 in apps/other.yaml, apps/web.yaml [skip ci]"
    )
    assert "redis:8" in text(gitlab, project, "apps/other.yaml")


@WAYS
def test_a_branch_is_updated_from_its_own_state(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    gitlab.commit(project, {"apps/web.yaml": f"image: {WEB}:v1.0.5\n"}, branch="staging")

    ending = run(*BUMP, "--via", via, "--branch", "staging", "--no-skip-ci")

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml", "staging") == f"image: {WEB}:v1.1.0\n"
    assert text(gitlab, project, "apps/web.yaml") == DEPLOYMENT
    assert log(project, "staging")[0] == "Update image tag to v1.1.0"


@WAYS
def test_modes_links_and_attributes_stay_as_they_are(
    run: Run, gitlab: Sandbox, project: Project, tmp_path: Path, via: str
) -> None:
    work = tmp_path / "work"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "clone", "-q", str(project.repository), str(work)], check=True)
    (work / "run.yaml").write_bytes(f"image: {WEB}:v1.0.0\r\nmore: 1\n".encode())
    (work / "run.yaml").chmod(0o755)
    (work / "link.yaml").symlink_to("run.yaml")
    subprocess.run([*git, "add", "."], cwd=work, check=True)
    (work / ".gitattributes").write_text("*.yaml text eol=crlf\n")
    subprocess.run([*git, "add", ".gitattributes"], cwd=work, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "Odd"], cwd=work, check=True)
    subprocess.run([*git, "push", "-q", str(project.repository), "main"], cwd=work, check=True)

    ending = run(*BUMP, "--via", via)

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "run.yaml") == f"image: {WEB}:v1.1.0\r\nmore: 1\n"
    changed = subprocess.run(
        ["git", "--git-dir", str(project.repository), "show", "--raw", "--format=", "main"],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    assert [line.split()[:2] + line.split()[4:] for line in changed] == [
        [":100644", "100644", "M", "apps/web.yaml"],
        [":100755", "100755", "M", "run.yaml"],
    ]


@pytest.mark.parametrize("pattern", ["apps", "apps/*.yaml", "./apps/web.yaml", "**/web.yaml"])
@WAYS
def test_files_are_chosen_by_name_folder_or_glob(
    run: Run, gitlab: Sandbox, project: Project, via: str, pattern: str
) -> None:
    gitlab.commit(project, {"web.yaml.bak": DEPLOYMENT, "other/web.yml": DEPLOYMENT})

    ending = run(*BUMP, "--via", via, "--file", pattern)

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED
    assert text(gitlab, project, "other/web.yml") == DEPLOYMENT


@pytest.mark.parametrize("attributes", [False, True], ids=["plain", "attributes"])
@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ((), ["tech-lunch%2Fk8s", "archive", "tree", "commits"]),
        (("--branch", "main"), ["archive", "tree", "commits"]),
        (("--file", "apps/web.yaml"), ["tech-lunch%2Fk8s", "main", "raw", "commits"]),
        (("--file", "apps/web.yaml", "--branch", "main"), ["main", "raw", "commits"]),
    ],
    ids=["scan", "scan of a branch", "file", "file of a branch"],
)
def test_the_api_asks_no_more_than_it_needs(
    run: Run, gitlab: Sandbox, project: Project, arguments: tuple[str, ...], asked: list[str],
    *, attributes: bool,
) -> None:  # fmt: skip
    gitlab.commit(project, {f"apps/{n}.yaml": "kind: Pod\n" for n in range(500)})
    if attributes:
        gitlab.commit(project, {".gitattributes": "* text=auto\n*.bin -text\n"})
    gitlab.requests.clear()

    ending = run(*BUMP, *arguments)

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED
    paths = [request.path.partition("?")[0].rpartition("/")[2] for request in gitlab.requests]
    if attributes and "tree" in asked:
        # Whether a file was converted, its id tells; the ids come a hundred at a time.
        assert paths == [each for each in asked for _ in range(6 if each == "tree" else 1)]
    else:
        assert paths == asked


def test_a_project_that_was_moved_is_found_with_a_branch_too(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    project.old_paths.add("old/path")

    ending = run(*BUMP[:-1], "old/path", "--branch", "main", "--file", "apps/web.yaml")

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED


def test_4_a_missing_project_is_not_reported_as_a_missing_branch(run: Run) -> None:
    ending = run(*BUMP[:-1], "no/such", "--branch", "main", "--file", "apps/web.yaml")

    assert ending.code == 4
    assert "no/such does not exist, or this token cannot see it" in ending.stderr


@WAYS
def test_the_pipeline_is_skipped_by_default(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    gitlab.commit(project, {".gitlab-ci.yml": "test: {script: [echo]}\n"}, start_pipeline=False)

    run(*BUMP, "--via", via)
    run(*BUMP[:3], "v1.2.0", *BUMP[4:], "--via", via, "--no-skip-ci")

    gitlab.wait_until(lambda: len(gitlab.pipelines(project)) == 2)
    first, second = gitlab.pipelines(project)
    assert first.status == "skipped"
    assert second.status != "skipped"


def test_a_job_pushes_with_its_own_token_and_starts_no_pipeline(
    run: Run, gitlab: Sandbox, project: Project, executor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    gitlab.commit(project, {".gitlab-ci.yml": "test: {script: [echo]}\n"}, start_pipeline=False)
    job = gitlab.add_running_job(project, executor)
    project.job_token_push = True
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")
    monkeypatch.setenv("CI_JOB_TOKEN", job.token)
    monkeypatch.setenv("CI_PROJECT_PATH", project.path)
    monkeypatch.setenv("GITLAB_USER_NAME", "Jo Doe")
    monkeypatch.setenv("GITLAB_USER_EMAIL", "jo@example.com")

    ending = run("--via", "git", "--image", WEB, "--tag", "v1.1.0", "--no-skip-ci", "-v")

    assert ending.code == 0, ending.stderr
    assert "starts no pipeline" in ending.stderr
    assert job.token not in ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED
    shown = subprocess.run(
        ["git", "--git-dir", str(project.repository), "log", "-1", "--format=%an %ae %cn", "main"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert shown == "Jo Doe jo@example.com Jo Doe\n"
    assert [pipeline.source for pipeline in gitlab.pipelines(project)] == ["push"]  # the job's own


@pytest.mark.usefixtures("project")
def test_the_token_is_in_no_argument_and_no_file(
    run: Run,
    gitlab: Sandbox,
    token: Token,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A git on PATH that notes what it gets before it hands on to the real one."""
    real = subprocess.run(["which", "git"], check=True, capture_output=True, text=True).stdout
    spy = tmp_path / "bin" / "git"
    spy.parent.mkdir()
    seen = tmp_path / "seen"
    spy.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> {seen}\n'
        f'real={real.strip()}\n"$real" "$@"; code=$?\n'
        f'for word; do case $word in */bump-*) cat "$word"/config >> {seen};; esac; done\n'
        "exit $code\n"
    )
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")

    assert run(*BUMP, "--via", "git").code == 0
    noted = seen.read_text()
    assert "fetch" in noted
    assert "[core]" in noted
    assert token.secret not in noted
    assert gitlab.url.replace("://", "://oauth2:") not in noted


def test_a_token_goes_to_no_other_server(run: Run, gitlab: Sandbox, project: Project) -> None:
    with Sandbox(run_jobs=False) as elsewhere:
        elsewhere.add_project(project.path, {"a.yaml": DEPLOYMENT})
        ending = run(
            *("--image", WEB, "--tag", "v1.1.0", "--via", "git", "--retry-for", "0"),
            *("--repository", f"{elsewhere.url}/{project.path}.git"),
        )
        assert ending.code == 3
        assert elsewhere.requests
        assert all(not request.headers.get("Authorization") for request in elsewhere.requests)
        # Nor by a redirect.
        gitlab.fault(Fault(path=r"info/refs", status=302, headers={"Location": elsewhere.url}))
        elsewhere.requests.clear()
        assert run(*BUMP, "--via", "git", "--retry-for", "0").code == 8
        assert not elsewhere.requests


def test_from_python(
    gitlab: Sandbox,
    project: Project,
    token: Token,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whoever ran the command in this process before has set up what it logs to.
    monkeypatch.setattr(logging.getLogger("cicd_common"), "handlers", [])
    result = bump_image_tag(
        image=WEB, tag="v1.1.0", project=project.path,
        base_url=gitlab.url, api_access_token=token.secret,
    )  # fmt: skip

    assert (result.changed, result.commit) == (True, gitlab.sha(project))
    assert capsys.readouterr() == ("", "")


@WAYS
def test_4_an_image_that_is_nowhere_names_the_nearest(
    run: Run, gitlab: Sandbox, project: Project, via: str
) -> None:
    ending = run("--image", "example.com/web", "--tag", "v2", *BUMP[4:], "--via", via)

    assert ending.code == 4
    assert WEB in ending.stderr
    assert gitlab.tags(project) == {}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--branch", "nope"], 4),
        (["--file", "nope.yaml"], 4),
        (["--file", "../secret.yaml"], 12),
        (["--project", "tech-lunch/nope"], 4),
    ],
    ids=["branch", "file", "outside", "project"],
)
@WAYS
@pytest.mark.usefixtures("project")
def test_what_is_not_there(run: Run, via: str, arguments: list[str], code: int) -> None:
    assert run(*BUMP, "--via", via, *arguments).code == code


@WAYS
def test_6_a_protected_branch(
    run: Run, gitlab: Sandbox, project: Project, executor: User, via: str
) -> None:
    project.members[executor.id] = Access.DEVELOPER
    sha = gitlab.sha(project)

    ending = run(*BUMP, "--via", via)

    assert ending.code == 6
    assert "You are not allowed to push" in ending.stderr
    assert "se --merge-request" in ending.stderr
    assert gitlab.sha(project) == sha


@pytest.mark.parametrize("words", ["", "Policy XY-1: no bumps on Fridays"])
@WAYS
def test_6_a_hook_that_says_no_even_without_a_word(
    run: Run, project: Project, via: str, words: str
) -> None:
    project.hook_message = words

    ending = run(*BUMP, "--via", via)

    assert ending.code == 6
    assert words in ending.stderr


@WAYS
@pytest.mark.usefixtures("project")
def test_3_an_unknown_token(run: Run, via: str) -> None:
    ending = run(*BUMP, "--via", via, "--api-access-token", "glpat-unknown")

    assert ending.code == 3


@every_server
def test_3_a_job_token_cannot_use_the_api(
    run: Run, gitlab: Sandbox, project: Project, executor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")
    monkeypatch.setenv("CI_JOB_TOKEN", gitlab.add_running_job(project, executor).token)

    ending = run(*BUMP)

    assert ending.code == 3
    assert "--via git" in ending.stderr


def test_8_an_unknown_host(run: Run) -> None:
    ending = run(
        *("--image", WEB, "--tag", "v1", "--via", "git", "--retry-for", "0"),
        *("--repository", "http://127.0.0.1:9/group/k8s.git"),
    )
    assert ending.code == 8


@pytest.mark.parametrize(
    "arguments",
    [
        ["--via", "api"],
        ["--via", "files", "--project", "a/b"],
        ["--merge-request"],
        ["--branch", "main"],
        ["--via", "api", "--repository", "git@example.com:a/b.git"],
        ["--repository", "git@example.com:a/b.git", "--merge-request"],
        ["--repository", "https://me:secret@example.com/a/b.git"],
        ["--repository=--upload-pack=touch"],
        ["--project", "a/b", "--branch", "no..name"],
        ["--commit-message", "{nothing}"],
        ["--commit-message", ""],
        ["--tag", "no tag"],
    ],
    ids=" ".join,
)
def test_2_a_wrong_option_is_refused_before_anything_is_sent(
    run: Run, gitlab: Sandbox, arguments: list[str]
) -> None:
    ending = run("--image", WEB, "--tag", "v1", *arguments)

    assert ending.code == 2, ending.stderr
    assert ending.stdout == ""
    assert not gitlab.requests
