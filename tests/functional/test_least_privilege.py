"""The table of docs/security.md: what stands there is enough, and less is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from sandbox import Access, Sandbox, ScriptedJob, ScriptedPipeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.model import Project, User
    from tests.functional.conftest import Invoke

PAGE = Path(__file__).parents[2] / "docs/security.md"
ROLES = {"Guest": Access.GUEST, "Developer": Access.DEVELOPER}
LESS_ROLE = {Access.GUEST: Access.NONE, Access.DEVELOPER: Access.REPORTER}
# For each scope, what else there is that does less.
LESS_SCOPE = {"api": "read_api", "read_api": "read_user", "write_repository": "read_repository"}
# What a command line of the table lacks.
REST = {
    "cmd-tag-project": ["--tag-name", "v1.0.0"],
    "cmd-trigger-pipeline": ["--ref", "staging"],
    "cmd-wait-pipeline": ["--ref", "main"],
    "cmd-bump-image-tag": ["--image", "web=v2", "--branch", "staging"],
}
REFUSED = {3, 4, 6}


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    words: tuple[str, ...]
    token: str
    scopes: tuple[str, ...]
    role: Access

    def __str__(self) -> str:
        return f"{' '.join(self.words)}, {self.token}"


def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `cmd-"):
            what, token, scopes, role = (cell.strip() for cell in line.split("|")[1:-1])
            words = tuple(what.strip("`").split())
            found.append(Row(words, token, tuple(re.findall(r"`(\w+)`", scopes)), ROLES[role]))
    return found


# Runs a row's command as a user with a role and a token with scopes; gives the exit code.
Run: TypeAlias = "Callable[[Row, Access, tuple[str, ...]], int]"
each_row = pytest.mark.parametrize("row", rows(), ids=str)


@pytest.fixture
def downstream(gitlab: Sandbox) -> Project:
    """The project that is worked on; nobody is a member of it yet."""
    maker = gitlab.add_user("maker")
    project = gitlab.add_project(
        "tech-lunch/service-tests",
        {"pod.yaml": "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: web:v1}]}\n"},
        members={maker: Access.OWNER},
    )
    gitlab.commit(project, {"notes": "x"}, branch="staging", start_pipeline=False)
    project.job_token_allowlist = {"tech-lunch/shop"}
    project.job_token_push = True
    manual = ScriptedJob(name="release", when="manual", played=((0, "success"),))
    gitlab.add_pipeline(project, ScriptedPipeline(jobs=(ScriptedJob(name="a"),)), user=maker)
    gitlab.add_pipeline(
        project, ScriptedPipeline(jobs=(manual,)), user=maker, ref="staging", after=-1
    )
    project.script = ScriptedPipeline(jobs=(ScriptedJob(name="a"),))
    return project


@pytest.fixture
def run(gitlab: Sandbox, executor: User, downstream: Project, invoke: Invoke) -> Run:
    shop = gitlab.add_project("tech-lunch/shop", {"a": "b"}, members={executor: Access.OWNER})

    def credential(kind: str, scopes: tuple[str, ...]) -> tuple[str, str]:
        match kind:
            case "access token":
                return "--api-access-token", gitlab.add_token(executor, scopes=scopes).secret
            case "trigger token":
                return "--trigger-token", gitlab.add_trigger_token(downstream, executor).secret
        of = downstream if kind == "job token of that very project" else shop
        return "--job-token", gitlab.add_running_job(of, executor).token

    def of(row: Row, role: Access, scopes: tuple[str, ...]) -> int:
        downstream.members[executor.id] = role
        name, *options = row.words
        if "play" in options:
            options += ["--ref", "staging"]
        ended = invoke(
            import_module(f"{name.replace('-', '_')}.cli").cli,
            *("--base-url", gitlab.url, "--project", downstream.path, "--retry-for", "0"),
            *(*credential(row.token, scopes), *REST[name], *options),
        )
        return ended.code

    return of


@each_row
def test_what_the_table_names_is_enough(row: Row, run: Run) -> None:
    assert run(row, row.role, row.scopes) == 0


@each_row
def test_a_lesser_role_is_not(row: Row, run: Run) -> None:
    assert run(row, LESS_ROLE[row.role], row.scopes) in REFUSED


@pytest.mark.parametrize(
    ("row", "missing"),
    [(row, scope) for row in rows() for scope in row.scopes],
    ids=str,
)
def test_a_lesser_scope_is_not(row: Row, missing: str, run: Run) -> None:
    lesser = tuple(LESS_SCOPE[scope] if scope == missing else scope for scope in row.scopes)
    assert run(row, row.role, lesser) in REFUSED
