"""All targets see the same files of a commit, whatever its `.gitattributes` say."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from sandbox import Access
from tests.functional.cmd_bump_image_tag.conftest import WEB, Run

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox import Sandbox
    from sandbox.model import Project, User

BUMP = ("--image", WEB, "--tag", "v1.1.0", "--project", "tech-lunch/shop")
WAYS = pytest.mark.parametrize("via", ["api", "git"])
POD = f"kind: Pod\nspec: {{containers: [{{image: '{WEB}:v1.0.0'}}]}}\n"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 99\n".format("0" * 64)


def git(*arguments: str, cwd: Path) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *who, *arguments], cwd=cwd, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def shop(gitlab: Sandbox, executor: User, tmp_path: Path) -> Project:
    """A project whose attributes hide files from archives, convert others, and hide themselves."""
    made = gitlab.add_project(
        "tech-lunch/shop",
        {"plain.yaml": POD, "deploy/web.yaml": POD, "own/web.yaml": POD},
        members={executor: Access.MAINTAINER},
    )
    work = tmp_path / "work"
    git("clone", "-q", str(made.repository), str(work), cwd=tmp_path)
    (work / ".gitattributes").write_text(
        ".gitattributes export-ignore\ndeploy/ export-ignore\n"
        "u16.yaml working-tree-encoding=UTF-16\ncrlf.yaml text eol=crlf\n"
        "ident.yaml ident\nsubst.yaml export-subst\nlfs.yaml filter=lfs\n"
    )
    (work / "own" / ".gitattributes").write_text("* export-ignore\n")
    (work / "u16.yaml").write_text(POD, encoding="utf-16")
    (work / "crlf.yaml").write_text(POD)
    (work / "ident.yaml").write_text(f"# $Id$\n{POD}")
    (work / "subst.yaml").write_text(f"# $Format:%H$\n{POD}")
    (work / "lfs.yaml").write_text(LFS)
    (work / "link.yaml").symlink_to("deploy/web.yaml")
    git("add", ".", cwd=work)
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module", cwd=work)
    git("commit", "-q", "-m", "Attributes", cwd=work)
    git("push", "-q", "origin", "HEAD:main", cwd=work)
    return made


def blobs(project: Project) -> dict[str, str]:
    """Every blob of the newest commit as it was committed."""
    repository = project.repository
    listed = git("--git-dir", str(repository), "ls-tree", "-r", "main", cwd=repository)
    entries = [line.split() for line in listed.splitlines()]
    return {
        path: git("--git-dir", str(repository), "cat-file", "blob", sha, cwd=repository)
        for _, kind, sha, path in entries
        if kind == "blob"
    }


@WAYS
def test_every_file_of_the_commit_is_bumped_and_no_other_byte(
    run: Run, shop: Project, via: str
) -> None:
    before = blobs(shop)

    ending = run(*BUMP, "--via", via)

    assert ending.code == 0, ending.stderr
    assert blobs(shop) == {
        path: content.replace(f"{WEB}:v1.0.0", f"{WEB}:v1.1.0") for path, content in before.items()
    }
    assert sum(f"{WEB}:v1.1.0" in content for content in blobs(shop).values()) == 7


@WAYS
@pytest.mark.parametrize(
    ("pattern", "changed"),
    [
        ("deploy", {"deploy/web.yaml"}),
        ("deploy/*.yaml", {"deploy/web.yaml"}),
        ("deploy/web.yaml", {"deploy/web.yaml"}),
        ("own", {"own/web.yaml"}),
        ("link.yaml", {"deploy/web.yaml"}),
        ("u16.yaml", {"u16.yaml"}),
    ],
)
def test_a_hidden_file_is_found_by_each_kind_of_pattern(
    run: Run, shop: Project, via: str, pattern: str, changed: set[str]
) -> None:
    before = blobs(shop)

    ending = run(*BUMP, "--via", via, "--file", pattern)

    assert ending.code == 0, ending.stderr
    after = blobs(shop)
    assert {path for path in after if after[path] != before[path]} == changed


@WAYS
def test_an_edit_that_is_all_hidden_is_found(
    run: Run, gitlab: Sandbox, shop: Project, via: str
) -> None:
    gitlab.commit(shop, {path: "a: 1\n" for path in blobs(shop) if path.endswith(".yaml")})
    gitlab.commit(shop, {"own/web.yaml": POD})

    assert run(*BUMP, "--via", via).code == 0
    assert "v1.1.0" in blobs(shop)["own/web.yaml"]
