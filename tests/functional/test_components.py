"""The components of templates/: rendered, held against GitLab's schema, and run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml

from cicd_common import __version__
from sandbox import Access, Sandbox, git
from sandbox.ci.document import Library, compose
from sandbox.ci.plan import Include
from sandbox.model import ENDED, TestCounts, Variable
from sandbox.scenarios import EXAMPLES, tree
from tests.functional.conftest import hold_against_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandbox.model import Pipeline, Project, Token, User

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "templates"
COMPONENTS = sorted(path.stem for path in TEMPLATES.glob("*.yml"))
HOME = "tech-lunch/ci-cd-commands"
YAML_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
POD = (
    "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n"
    "    - image: registry.example.com/web:v1 # the web\n"
)
# The inputs that a component cannot do without.
REQUIRED: dict[str, dict[str, object]] = {
    "cmd-tag-project": {"project": "tech-lunch/service-tests"},
    "cmd-trigger-pipeline": {"project": "tech-lunch/service-tests"},
    "cmd-wait-pipeline": {},
    "cmd-bump-image-tag": {"image": "registry.example.com/web"},
}


@dataclass(frozen=True)
class World:
    """The components' project, a project that includes them, and one to work on."""

    gitlab: Sandbox
    executor: User
    token: Token
    here: Project
    service_tests: Project

    def library(self) -> Library:
        sha = self.gitlab.sha(self.here)
        values = {"CI_SERVER_FQDN": self.gitlab.url.partition("://")[2]}
        return Library(self.gitlab.state, self.here, sha, self.executor, values)

    def render(self, component: str, given: Mapping[str, object]) -> dict[str, Any]:
        """What an include of the component with these inputs amounts to."""
        address = f"$CI_SERVER_FQDN/{HOME}/{component}@1.0.0"
        inputs = {**REQUIRED[component], **given}
        return dict(compose(self.library(), [Include(component=address)], inputs))

    def run(self, component: str, given: Mapping[str, object], more: str = "") -> Pipeline:
        """Pushes a configuration that includes the component; its pipeline, ended."""
        include = {
            "component": f"$CI_SERVER_FQDN/{HOME}/{component}@1.0.0",
            "inputs": {**REQUIRED[component], **given},
        }
        config = yaml.safe_dump({"include": [include]}) + more
        self.gitlab.commit(self.here, {".gitlab-ci.yml": config})
        self.gitlab.wait_until(lambda: bool(self.gitlab.pipelines(self.here)))
        pipeline = self.gitlab.pipelines(self.here)[0]
        self.gitlab.wait_until(lambda: pipeline.status in ENDED)
        assert pipeline.yaml_errors is None
        assert self.token.secret not in log(pipeline)
        return pipeline


@pytest.fixture
def world() -> Iterator[World]:
    with Sandbox(shell_runner=True) as gitlab:
        executor = gitlab.add_user("ci-cd-executor")
        roles = {executor: Access.MAINTAINER}
        token = gitlab.add_token(executor)
        gitlab.state.group_variables["tech-lunch"] = [
            Variable("COMMANDS_API_TOKEN", token.secret, masked=True)
        ]
        files = {f"templates/{path}": content for path, content in tree(TEMPLATES).items()}
        home = gitlab.add_project(HOME, files, members=roles)
        gitlab.tag(home, "1.0.0")
        here = gitlab.add_project("tech-lunch/hello-world", {"pod.yaml": POD}, members=roles)
        service_tests = gitlab.add_project(
            "tech-lunch/service-tests",
            {".gitlab-ci.yml": "tested: {script: echo tested}"},
            members=roles,
        )
        yield World(gitlab, executor, token, here, service_tests)


def log(pipeline: Pipeline) -> str:
    return "".join(each.trace.decode() for each in pipeline.jobs).replace("\r", "")


def header(component: str) -> dict[str, dict[str, Any]]:
    """The inputs that a component declares."""
    first = next(iter(yaml.safe_load_all((TEMPLATES / f"{component}.yml").read_text())))
    return dict(first["spec"]["inputs"])


def test_there_is_a_component_for_each_command() -> None:
    assert {name.replace("-", "_") for name in COMPONENTS} == {
        path.parent.name for path in ROOT.glob("cmd_*/cli.py")
    }


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_input_is_described_and_typed(component: str) -> None:
    inputs = header(component)
    assert all(each["description"] and each["type"] for each in inputs.values())
    without_default = {name for name, each in inputs.items() if "default" not in each}
    assert without_default == {*REQUIRED[component]}
    body = (TEMPLATES / f"{component}.yml").read_text().partition("---\n")[2]
    assert set(re.findall(r"inputs\.([\w-]+)", body)) == set(inputs)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"job-name": "the job", "stage": ".post", "rules": [{"if": "$CI_COMMIT_TAG"}]},
        {"options": "--retry-for 10 --output json"},
    ],
    ids=["as it is", "overridden", "further options"],
)
def test_what_it_renders_to_is_valid_for_gitlab(
    world: World, tmp_path: Path, component: str, given: dict[str, object]
) -> None:
    rendered = world.render(component, given)
    (job,) = rendered
    assert job == given.get("job-name", component.removeprefix("cmd-"))
    assert rendered[job]["stage"] == given.get("stage", "deploy")
    assert rendered[job]["rules"] == given.get("rules", [{"when": "on_success"}])
    (tmp_path / ".gitlab-ci.yml").write_text(yaml.safe_dump(rendered))
    hold_against_schema(tmp_path / ".gitlab-ci.yml")


def test_tag_project_tags_and_hands_the_tag_on(world: World) -> None:
    later = "later: {stage: .post, script: echo the tag is $TAG_NAME}"
    given = {"next": "minor", "wait": True, "options": "--message 'The spring release'"}
    pipeline = world.run("cmd-tag-project", given, later)
    assert pipeline.status == "success", log(pipeline)
    assert "the tag is v0.1.0" in log(pipeline)
    assert set(world.gitlab.tags(world.service_tests)) == {"v0.1.0"}
    assert [each.status for each in world.gitlab.pipelines(world.service_tests)] == ["success"]


def test_trigger_pipeline_starts_it_and_fails_with_it(world: World) -> None:
    world.gitlab.commit(
        world.service_tests,
        {".gitlab-ci.yml": "tested: {script: 'test $LEVEL = full'}"},
        start_pipeline=False,
    )
    given = {"ref": "main", "options": "--variable LEVEL=some"}
    pipeline = world.run("cmd-trigger-pipeline", given)
    assert (pipeline.status, pipeline.jobs[0].exit_code) == ("failed", 1)
    assert {each.key for each in pipeline.jobs[0].dotenv} >= {"PIPELINE_ID", "PIPELINE_STATUS"}


def test_trigger_pipeline_hands_on_what_the_other_project_built(world: World) -> None:
    files = tree(EXAMPLES / "app-build")
    world.gitlab.add_project("tech-lunch/app-build", files, members={world.executor: Access.OWNER})
    later = "later: {stage: .post, script: 'echo $APP_VERSION; cat app/dist/app.txt'}"
    given: dict[str, object] = {
        "project": "tech-lunch/app-build",
        "job": "build",
        "artifacts": "build=app",
        "dotenv-from": "build=dist/build.env",
        "keep": ["app"],
        "reuse": True,
    }
    pipeline = world.run("cmd-trigger-pipeline", given, later)
    assert pipeline.status == "success", log(pipeline)
    assert "1.0.1\nthe application, built from" in log(pipeline)


def test_tag_project_releases_by_the_commits(world: World) -> None:
    world.gitlab.commit(world.service_tests, {"a": "b"}, message="feat: a", start_pipeline=False)
    pipeline = world.run("cmd-tag-project", {"next": "auto", "release": True})
    assert pipeline.status == "success", log(pipeline)
    assert set(world.service_tests.releases) == set(world.gitlab.tags(world.service_tests))
    assert len(world.service_tests.releases) == 1


def test_bump_image_tag_waits_until_its_merge_request_is_merged(world: World) -> None:
    target = world.service_tests
    world.gitlab.commit(target, {"pod.yaml": POD}, start_pipeline=False)
    waiting = {"merge-request": True, "auto-merge": True, "wait": True}
    pipeline = world.run("cmd-bump-image-tag", {"project": target.path, "tag": "v2", **waiting})
    assert pipeline.status == "success", log(pipeline)
    assert [request.state for request in target.merge_requests] == ["merged"]


def test_wait_pipeline_waits_for_a_tags_pipeline_and_reports_its_jobs(world: World) -> None:
    world.gitlab.commit(world.service_tests, {"a": "b"})
    given = {"project": "tech-lunch/service-tests", "ref": "main"}
    pipeline = world.run("cmd-wait-pipeline", given)
    assert pipeline.status == "success", log(pipeline)
    assert pipeline.jobs[0].tests == TestCounts(success=1)


@pytest.mark.parametrize("via", ["api", "git"])
def test_bump_image_tag_edits_the_projects_own_files(world: World, via: str) -> None:
    world.here.variables.append(Variable("IMAGE_TAG", "v2"))
    given = {"via": via, "file": "pod.yaml"}
    pipeline = world.run("cmd-bump-image-tag", given)
    assert pipeline.status == "success", log(pipeline)
    pod = git.run(world.here.repository, "show", "main:pod.yaml").decode()
    assert pod == POD.replace(":v1", ":v2")


def test_the_defaults_of_the_project_that_includes_it_do_not_reach_it(world: World) -> None:
    pipeline = world.run("cmd-tag-project", {"tag-name": "v1"}, "before_script: [docker login]\n")
    assert pipeline.status == "success", log(pipeline)
    assert "docker login" not in log(pipeline)


def test_the_image_is_that_of_the_components_own_version(world: World) -> None:
    given = {"command-image": f"registry.example.com/{HOME}/other:1"}
    for component in COMPONENTS:
        default, other = (world.render(component, each) for each in ({}, given))
        image = f"$CI_REGISTRY/$CI_PROJECT_ROOT_NAMESPACE/ci-cd-commands/{component}:{__version__}"
        assert [job["image"]["name"] for job in default.values()] == [image]
        assert [job["image"]["name"] for job in other.values()] == list(given.values())


def test_the_log_shows_the_command_line_but_no_value_of_a_variable(world: World) -> None:
    world.here.variables.append(Variable("LEVEL", "a-value-that-is-not-masked"))
    given = {"wait": False, "options": "--variable LEVEL=$LEVEL"}
    pipeline = world.run("cmd-trigger-pipeline", given)
    shown = "cmd-trigger-pipeline --project tech-lunch/service-tests --dotenv pipeline.env\n"
    assert shown in log(pipeline)
    assert '$ cmd-trigger-pipeline "$@" --variable LEVEL=$LEVEL' in log(pipeline)
    assert "a-value-that-is-not-masked" not in log(pipeline)


def pasted() -> list[str]:
    """The pipelines with components that the documents show."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    blocks = (block for path in documents for block in YAML_BLOCK.findall(path.read_text("utf-8")))
    return [block for block in blocks if "component: " in block]


def test_the_documents_show_every_component() -> None:
    text = "".join(pasted())
    assert set(re.findall(rf"/{HOME}/([\w-]+)@", text)) == set(COMPONENTS)


@pytest.fixture
def released() -> Iterator[World]:
    """The same projects, after this one was released as its pipeline does it."""
    with Sandbox(shell_runner=True) as gitlab:
        executor = gitlab.add_user("ci-cd-executor")
        roles = {executor: Access.MAINTAINER}
        token = gitlab.add_token(executor)
        gitlab.state.registry = "registry.example.com"
        gitlab.state.group_variables["tech-lunch"] = [
            Variable("COMMANDS_API_TOKEN", token.secret, masked=True)
        ]
        home = gitlab.add_project(HOME, release_alone(), members=roles)
        start_by_tag(gitlab, home, token, __version__)
        here = gitlab.add_project("tech-lunch/hello-world", members=roles)
        tests = {".gitlab-ci.yml": "tested: {script: echo tested}"}
        service_tests = gitlab.add_project("tech-lunch/service-tests", members=roles)
        gitlab.commit(service_tests, tests)
        pod = {
            "pod.yaml": POD.replace("registry.example.com/web", f"registry.example.com/{here.path}")
        }
        gitlab.add_project("tech-lunch/deployment", pod, members=roles)
        gitlab.add_project("tech-lunch/app-build", tree(EXAMPLES / "app-build"), members=roles)
        assert set(home.releases) == {__version__}
        yield World(gitlab, executor, token, here, service_tests)


def release_alone() -> dict[str, str | bytes]:
    """This project's files, with the jobs of its pipeline that release."""
    config = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    jobs = {name: config[name] for name in ("stages", "version", "release")}
    files: dict[str, str | bytes] = {".gitlab-ci.yml": yaml.safe_dump(jobs)}
    for path in (".ci/release_notes.py", "common/cicd_common/__init__.py", "CHANGELOG.md"):
        files[path] = (ROOT / path).read_bytes()
    return files | {f"templates/{path}": content for path, content in tree(TEMPLATES).items()}


def start_by_tag(gitlab: Sandbox, project: Project, token: Token, tag: str) -> Pipeline:
    """Tags the default branch by the API, as a person does; the tag's pipeline, ended."""
    url = f"{gitlab.url}/api/v4/projects/{project.id}/repository/tags"
    named = {"tag_name": tag, "ref": project.default_branch}
    headers = {"PRIVATE-TOKEN": token.secret}
    requests.post(url, params=named, headers=headers, timeout=10).raise_for_status()
    gitlab.wait_until(lambda: any(each.ref == tag for each in gitlab.pipelines(project)))
    pipeline = next(each for each in gitlab.pipelines(project) if each.ref == tag)
    gitlab.wait_until(lambda: pipeline.status in ENDED)
    assert pipeline.status == "success", log(pipeline)
    return pipeline


@pytest.mark.parametrize("block", pasted())
def test_what_the_documents_show_can_be_pasted(released: World, block: str) -> None:
    gitlab, here = released.gitlab, released.here
    gitlab.commit(here, {".gitlab-ci.yml": block}, start_pipeline=False)
    pipeline = start_by_tag(gitlab, here, released.token, "v1.4.0")
    image = f"registry.example.com/{HOME}/cmd-"
    assert all(image in each.trace.decode() for each in pipeline.jobs)
