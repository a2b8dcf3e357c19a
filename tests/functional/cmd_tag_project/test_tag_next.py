"""`cmd-tag-project` against the sandbox: the next version."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from cmd_tag_project import tag_project
from sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.model import Project, Token, User
    from tests.functional.conftest import Ending

TAGS = r"/repository/tags$"


@pytest.mark.parametrize(
    ("before", "options", "after"),
    [
        ([], ["--next", "minor"], "v0.1.0"),
        (["v1.2.3", "v1.10.0", "v1.9.9"], ["--next", "patch"], "v1.10.1"),
        (["v1.2.3", "nightly", "v2024"], ["--next", "major"], "v2.0.0"),
        (["v2.0.0-rc.1", "v1.4.0"], ["--next", "major"], "v2.0.0"),
        (["v9.9.9", "api-1.0.0"], ["--next", "minor", "--prefix", "api-"], "api-1.1.0"),
        (["1.0.0"], ["--next", "patch", "--prefix", ""], "1.0.1"),
        (["3.4.5"], ["--next", "patch"], "3.4.6"),
        (["12.3.4"], ["--next", "patch"], "12.3.5"),
        (["3.4.5", "nightly", "v2"], ["--next", "minor"], "3.5.0"),
        (["3.4.5", "v1.0.0"], ["--next", "patch", "--prefix", "v"], "v1.0.1"),
        (["v1.4.7", "v2.1.0"], ["--next", "patch", "--within", "1.4"], "v1.4.8"),
        (["v1.4.7", "v1.10.0", "v2.1.0"], ["--next", "minor", "--within", "1"], "v1.11.0"),
        (["v1.3.0"], ["--next", "patch", "--within", "1.4"], "v1.4.0"),
        (["1.4.0", "v2.0.0"], ["--next", "patch", "--within", "1"], "1.4.1"),
        (["3.4.5", "3.4.4"], ["--next", "patch", "--within", "3.3"], "3.3.0"),
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
    sha = gitlab.commit(project, {"next": "commit"})
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


def test_a_version_that_another_job_created_at_the_same_commit_is_accepted(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    """The list was read before the other one's tag was there; the write then finds it."""
    sha = gitlab.commit(project, {"next": "commit"})
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


def test_a_release_of_the_next_version_never_takes_the_tag_of_another_job(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    old = gitlab.tag(project, "v0.0.1")
    new = gitlab.commit(project, {"more": "work"})
    headers = {"Content-Type": "application/json"}
    path = TAGS.replace("$", r"\?")
    gitlab.fault(Fault(path=path, method="GET", first=1, status=200, body="[]", headers=headers))

    ending = tag("--next", "patch", "--release")

    assert ending.code == 0, ending.stderr
    assert gitlab.tags(project) == {"v0.0.1": old, "v0.0.2": new}
    assert list(project.releases) == ["v0.0.2"]


def test_12_versions_with_and_without_v_are_both_named(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    for name in ("v1.2.3", "v1.0.0", "3.4.5", "3.4.4"):
        tag("--tag-name", name)

    ending = tag("--next", "patch")

    assert ending.code == 12
    assert "v1.2.3 and 3.4.5" in ending.stderr
    assert "--prefix" in ending.stderr
    assert len(gitlab.tags(project)) == 4


def test_12_a_new_line_in_a_project_with_both_kinds(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    for name in ("1.4.0", "v2.0.0"):
        tag("--tag-name", name)
    ending = tag("--next", "patch", "--within", "3")
    assert ending.code == 12
    assert "v2.0.0 and 1.4.0" in ending.stderr
    assert len(gitlab.tags(project)) == 2


@pytest.mark.parametrize(
    ("last", "messages", "after"),
    [
        ("v1.2.3", ["fix: one", "docs: two"], "v1.2.4"),
        ("v1.2.3", ["perf(db): faster"], "v1.2.4"),
        ("v1.2.3", ["fix: one", "feat(api): two", "chore: three"], "v1.3.0"),
        ("v1.2.3", ["feat!: gone"], "v2.0.0"),
        ("v1.2.3", ["fix(api)!: other"], "v2.0.0"),
        ("v1.2.3", ["fix: one\n\nWords.\n\nBREAKING CHANGE: other answers"], "v2.0.0"),
        ("v1.2.3", ["chore: one\n\nBREAKING-CHANGE: other answers"], "v2.0.0"),
        ("v0.2.3", ["feat!: gone"], "v0.3.0"),
        ("v0.2.3", ["fix: one"], "v0.2.4"),
        ("1.2.3", ["Feat: one"], "1.3.0"),
        (None, ["feat: one"], "v0.1.0"),
        (None, ["fix: one"], "v0.0.1"),
    ],
)
def test_auto_reads_the_commits_since_the_highest_version(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    last: str | None,
    messages: list[str],
    after: str,
) -> None:
    if last:
        gitlab.commit(project, {"old": "work"}, message="feat!: before the version")
        assert tag("--tag-name", last).code == 0
    for number, message in enumerate(messages):
        gitlab.commit(project, {"n": str(number)}, message=message)

    ending = tag("--next", "auto")

    assert ending.code == 0, ending.stderr
    assert f"tag {after} created" in ending.stdout
    decided = next(each for each in messages if not each.startswith(("docs", "chore: t")))
    assert decided.partition("\n")[0] in ending.stderr


def test_auto_reads_more_commits_than_fit_on_a_page(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    tag("--tag-name", "v1.2.3")
    first = gitlab.commit(project, {"n": "1"}, message="feat: one")
    empty = "commit refs/heads/main\ncommitter A <a@example.com> {} +0000\ndata 4\ndocs\n{}\n"
    commits = (empty.format(n, f"from {first}" if n == 0 else "") for n in range(230))
    subprocess.run(
        ["git", "fast-import", "--quiet"],
        cwd=project.repository, input="".join(commits).encode(), check=True,
    )  # fmt: skip

    ending = tag("--next", "auto")

    assert "tag v1.3.0 created" in ending.stdout, ending.stderr


def test_auto_tags_the_commit_whose_history_it_read(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    tag("--tag-name", "v1.2.3")
    fix = gitlab.commit(project, {"n": "1"}, message="fix: one")

    def move() -> None:
        gitlab.commit(project, {"n": "2"}, message="feat!: two")

    gitlab.fault(Fault(path=TAGS, method="POST", nth=1, meanwhile=move))

    assert "tag v1.2.4 created" in tag("--next", "auto").stdout
    assert gitlab.tags(project)["v1.2.4"] == fix


def test_auto_within_a_line_counts_on_the_branch_of_the_line(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    for name in ("web/v1.4.0", "api/v3.0.0"):
        tag("--tag-name", name)
    gitlab.commit(project, {"n": "1"}, branch="web-1.4", message="fix: one")
    gitlab.commit(project, {"n": "2"}, message="feat: two")
    tag("--tag-name", "web/v2.0.0")
    options = ("--prefix", "web/v", "--within", "1.4", "--ref", "web-1.4")

    first = tag("--next", "auto", *options)
    second = tag("--next", "auto", *options)

    assert "tag web/v1.4.1 created" in first.stdout, first.stderr
    assert "tag web/v1.4.1 already exists" in second.stdout, second.stderr
    assert gitlab.tags(project)["web/v1.4.1"] == gitlab.sha(project, "web-1.4")


def test_a_dry_run_of_auto_names_the_commits_that_decide(
    writes: Callable[[], list[str]],
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
) -> None:
    tag("--tag-name", "v1.2.3")
    fix = gitlab.commit(project, {"n": "1"}, message="fix: one\n\nWords.")
    gitlab.commit(project, {"n": "2"}, message="docs: two")
    feature = gitlab.commit(project, {"n": "3"}, message="feat: \x1b[2Jthree")
    before = len(writes())

    ending = tag("--next", "auto", "--dry-run")

    assert ending.stdout == (
        f"tech-lunch/service-tests: tag v1.3.0 would be created at {feature[:8]}\n"
    )
    assert f"patch: {fix[:8]} fix: one\n" in ending.stderr
    assert f"minor: {feature[:8]} feat: " in ending.stderr
    assert "docs: two" not in ending.stderr
    assert "\x1b" not in ending.stderr
    assert len(writes()) == before


@pytest.mark.parametrize(
    "message", ["docs: words", "Fix the shop", "feat : no", "revert: it", "fix:no space"]
)
def test_auto_without_a_commit_that_asks_for_a_version_tags_nothing(
    writes: Callable[[], list[str]],
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    tmp_path: Path,
    message: str,
) -> None:
    tag("--tag-name", "v1.2.3")
    sha = gitlab.tags(project)["v1.2.3"]
    gitlab.commit(project, {"n": "1"}, message=message)
    before = len(writes())

    ending = tag(
        *("--next", "auto", "--output", "json", "--wait", "--dotenv", str(tmp_path / "env"))
    )

    assert ending.code == 0, ending.stderr
    result = json.loads(ending.stdout)
    assert (result["tag"], result["commit"], result["created"]) == ("v1.2.3", sha, False)
    assert "TAG_CREATED=false\n" in (tmp_path / "env").read_text()
    assert len(writes()) == before


def test_auto_without_any_version_or_commit_that_asks_for_one(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    gitlab.commit(project, {"n": "1"}, message="docs: words")

    ending = tag("--next", "auto")

    assert ending.code == 0, ending.stderr
    assert "no commit asks for one" in ending.stdout
    assert gitlab.tags(project) == {}


def test_12_auto_never_leaves_the_line(
    tag: Callable[..., Ending], gitlab: Sandbox, project: Project
) -> None:
    tag("--tag-name", "v1.4.0")
    gitlab.commit(project, {"n": "1"}, message="feat: one")

    ending = tag("--next", "auto", "--within", "1.4")

    assert ending.code == 12
    assert "v1.5.0" in ending.stderr
    assert list(gitlab.tags(project)) == ["v1.4.0"]


@pytest.mark.usefixtures("project")
def test_a_refused_version_is_sent_once(
    writes: Callable[[], list[str]], tag: Callable[..., Ending], gitlab: Sandbox
) -> None:
    text = "You are not allowed to create this tag as it is protected."
    gitlab.fault(Fault(path=TAGS, method="POST", status=400, body={"message": text}))

    assert tag("--next", "patch").code == 6
    assert len(writes()) == 1


def test_3_a_job_token_cannot_read_the_commits_that_auto_needs(
    tag: Callable[..., Ending],
    gitlab: Sandbox,
    project: Project,
    executor: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMMANDS_API_TOKEN", "")
    monkeypatch.setenv("CI_JOB_TOKEN", gitlab.add_running_job(project, executor).token)

    ending = tag("--next", "auto", "--release")

    assert ending.code == 3, ending.stderr
    assert "--next major, minor or patch" in ending.stderr
    assert len(gitlab.requests) == 0
