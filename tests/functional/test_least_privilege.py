"""The tables of docs/security.md: each row is enough; less, or an older server, is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from sandbox import Access, Sandbox, ScriptedJob, ScriptedPipeline, versions
from sandbox.testing import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.model import Project, User
    from tests.functional.conftest import Invoke, SkippingClock

PAGE = Path(__file__).parents[2] / "docs/security.md"
ROLES = {"Guest": Access.GUEST, "Reporter": Access.REPORTER, "Developer": Access.DEVELOPER}
LESS_ROLE = {
    Access.GUEST: Access.NONE,
    Access.REPORTER: Access.GUEST,
    Access.DEVELOPER: Access.REPORTER,
}
# For each scope, what else there is that does less.
LESS_SCOPE = {"api": "read_api", "read_api": "read_user", "write_repository": "read_repository"}
# What a command line of the table lacks.
REST = {
    "cmd-tag-project": ["--tag-name", "v1.0.0"],
    "cmd-trigger-pipeline": ["--ref", "staging"],
    "cmd-wait-pipeline": ["--ref", "main"],
    "cmd-bump-image-tag": ["--image", "web=v2", "--branch", "staging"],
    "cicd-doctor": [],
}
REFUSED = {3, 4, 6}
OLDEST = "17.0"


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    words: tuple[str, ...]
    token: str
    scopes: tuple[str, ...]
    role: Access
    since: str

    def __str__(self) -> str:
        return f"{' '.join(self.words)}, {self.token}"


def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text().splitlines():
        if line.startswith(("| `cmd-", "| `cicd-")):
            what, token, scopes, role, since = (cell.strip() for cell in line.split("|")[1:-1])
            words = tuple(what.strip("`").split())
            needed = tuple(re.findall(r"`(\w+)`", scopes))
            found.append(Row(words, token, needed, ROLES[role], since))
    return found


def version_before(version: str) -> str:
    """The version before another one; the last of 17 and of 18 is their eleventh."""
    major, minor = map(int, version.split("."))
    return f"{major}.{minor - 1}" if minor else f"{major - 1}.11"


@pytest.fixture
def gitlab(clock: SkippingClock, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A server of the version that the test names; else of the newest."""
    version = getattr(request, "param", versions.DEFAULT)
    with Sandbox(clock=clock, run_jobs=False, version=version) as running:
        yield running


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
    built = ScriptedJob(name="a", artifacts={"app": b"1"})
    gitlab.add_pipeline(project, ScriptedPipeline(jobs=(built,)), user=maker)
    gitlab.add_pipeline(
        project, ScriptedPipeline(jobs=(manual,)), user=maker, ref="staging", after=-1
    )
    project.script = ScriptedPipeline(jobs=(ScriptedJob(name="a"),))
    return project


def request_of(gitlab: Sandbox, project: Project) -> int:
    """Open a merge request that has a pipeline; gives its iid."""
    maker = next(user for user in gitlab.state.users.values() if user.username == "maker")
    with Api(gitlab, **{"PRIVATE-TOKEN": gitlab.add_token(maker).secret}) as api:
        request = {"source_branch": "staging", "target_branch": "main", "title": "Staging"}
        opened = api.post(f"/projects/{project.id}/merge_requests", json=request)
    iid: int = opened.json()["iid"]
    script = ScriptedPipeline(jobs=(ScriptedJob(name="a"),))
    ref, sha = f"refs/merge-requests/{iid}/head", gitlab.sha(project, "refs/heads/staging")
    gitlab.add_pipeline(project, script, user=maker, ref=ref, sha=sha)
    return iid


@pytest.fixture
def run(
    gitlab: Sandbox,
    executor: User,
    downstream: Project,
    invoke: Invoke,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    monkeypatch.chdir(tmp_path)  # where artifacts go
    monkeypatch.setenv("CI_PIPELINE_URL", f"{gitlab.url}/tech-lunch/shop/-/pipelines/1")
    monkeypatch.setenv("CI_PIPELINE_CREATED_AT", gitlab.state.clock.now().isoformat())
    monkeypatch.setenv("CI_JOB_NAME", "deploy")
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
        rest = REST[name]
        if "ID" in options:
            [passed] = (each for each in gitlab.pipelines(downstream) if each.ref == "main")
            options[options.index("ID")], rest = str(passed.id), []
        if "IID" in options:
            options[options.index("IID")], rest = str(request_of(gitlab, downstream)), []
        if "play" in options:
            options += ["--ref", "staging"]
        ended = invoke(
            import_module(f"{name.replace('-', '_')}.cli").cli,
            *("--base-url", gitlab.url, "--project", downstream.path, "--retry-for", "0"),
            *(*credential(row.token, scopes), *rest, *options),
        )
        return ended.code

    return of


@each_row
def test_what_the_table_names_is_enough(row: Row, run: Run) -> None:
    assert run(row, row.role, row.scopes) == 0


@pytest.mark.parametrize(
    ("row", "gitlab"), [(row, row.since) for row in rows()], indirect=["gitlab"], ids=str
)
def test_it_works_on_the_version_that_the_table_names(row: Row, run: Run) -> None:
    assert run(row, row.role, row.scopes) == 0


@pytest.mark.parametrize(
    ("row", "gitlab"),
    [(row, version_before(row.since)) for row in rows() if row.since != OLDEST],
    indirect=["gitlab"],
    ids=str,
)
def test_on_the_version_before_it_does_not(row: Row, run: Run) -> None:
    assert run(row, row.role, row.scopes) in REFUSED


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


# What else differs between versions

WITH_INPUT = """\
spec: {inputs: {level: {default: quick}}}
---
test: {script: [echo], variables: {LEVEL: "$[[ inputs.level ]]"}}
"""


def difference(what: str) -> list[str]:
    """The versions that the second table names for something."""
    [line] = (line for line in PAGE.read_text().splitlines() if line.startswith(f"| {what}"))
    return re.findall(r"\d+\.\d+", line.split("|")[2])


def start(
    gitlab: Sandbox, invoke: Invoke, project: Project, user: User, kind: str, *options: str
) -> int:
    """Start a pipeline with a token of a kind; gives the exit code."""
    if kind == "trigger token":
        token = ("--trigger-token", gitlab.add_trigger_token(project, user).secret)
    elif kind == "job token":
        token = ("--job-token", gitlab.add_running_job(project, user).token)
    else:
        token = ("--api-access-token", gitlab.add_token(user).secret)
    module = import_module("cmd_trigger_pipeline.cli")
    asked = ("--base-url", gitlab.url, "--project", project.path, "--ref", "main")
    return invoke(module.cli, *asked, *token, *options).code


INPUTS = {
    "access token": "`--input` with an access token",
    "job token": "`--input` with a job token or a trigger token",
    "trigger token": "`--input` with a job token or a trigger token",
}


@pytest.mark.parametrize(
    ("kind", "gitlab", "level"),
    [
        (kind, version, level)
        for kind, what in INPUTS.items()
        for [since] in [difference(what)]
        for version, level in ((version_before(since), "quick"), (since, "full"))
    ],
    indirect=["gitlab"],
)
def test_inputs_work_since_the_version_that_the_table_names(
    gitlab: Sandbox, invoke: Invoke, executor: User, project: Project, kind: str, level: str
) -> None:
    gitlab.commit(project, {".gitlab-ci.yml": WITH_INPUT}, start_pipeline=False)
    assert start(gitlab, invoke, project, executor, kind, "--input", "level=full") == 0
    started = gitlab.pipelines(project)[-1]
    [job] = gitlab.state.pipelines[started.id].jobs
    assert gitlab.job_variables(job)["LEVEL"] == level


FIRST, LAST = difference("starting pipelines with a job token or a trigger token")


@pytest.mark.parametrize("kind", ["access token", "job token", "trigger token"])
@pytest.mark.parametrize(
    ("gitlab", "refused"),
    [(version_before(FIRST), False), (FIRST, True), (LAST, True), ("18.5", False)],
    indirect=["gitlab"],
)
def test_the_payload_is_refused_on_the_versions_that_the_table_names(
    gitlab: Sandbox, invoke: Invoke, executor: User, project: Project, kind: str, *, refused: bool
) -> None:
    project.script = ScriptedPipeline()
    project.pipeline_variables_role = Access.OWNER + 1
    code = start(gitlab, invoke, project, executor, kind)
    assert code == (6 if refused and kind != "access token" else 0)


def test_fine_grained_tokens_exist_since_the_version_that_the_table_names() -> None:
    [since] = difference("fine-grained access tokens")
    with Sandbox(run_jobs=False, version=since) as running:
        assert running.add_token(running.add_user("ci"), permissions=["read_tag"])
    with (
        Sandbox(run_jobs=False, version=version_before(since)) as running,
        pytest.raises(ValueError, match="fine-grained"),
    ):
        running.add_token(running.add_user("ci"), permissions=["read_tag"])
