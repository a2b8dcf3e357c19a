"""What the commands promise, on any server: nothing is scripted, and no runner is needed.

On the sandbox jobs run; on a server without a runner they stay pending, so that no test waits for
one to end.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from cicd_doctor.cli import cli as doctor
from cmd_bump_image_tag.cli import cli as bump
from cmd_tag_project.cli import cli as tag
from cmd_trigger_pipeline.cli import cli as trigger
from cmd_wait_pipeline.cli import cli as wait

if TYPE_CHECKING:
    from tests.functional.any_server.conftest import Repository, Run, Server

pytestmark = pytest.mark.any_server

# A job for each LEVEL, and none without. A trigger job without a strategy succeeds as soon as its
# child exists, whether a runner takes the child's job or not.
PIPELINE = """\
green:
  rules: [{if: $LEVEL == "green"}]
  trigger: {include: [{local: child.yml}]}
manual:
  rules: [{if: $LEVEL == "manual"}]
  when: manual
  allow_failure: false
  script: echo
long:
  rules: [{if: $LEVEL == "long"}]
  script: sleep 300
"""
CHILD = "child: {script: echo}\n"
POD = "kind: Pod\nspec:\n  containers:\n    - image: registry.example.com/web:v1 # the web\n"


@pytest.fixture
def pipelines(repository: Repository) -> Repository:
    repository.commit({".gitlab-ci.yml": PIPELINE, "child.yml": CHILD})
    return repository


def test_a_tag_is_made_once(run: Run, repository: Repository) -> None:
    arguments = ("--project", repository.path, "--tag-name", "v1.0.0", "--message", "One")
    first = run(tag, *arguments)
    assert first.code == 0, first.stderr
    assert f"{repository.path}: tag v1.0.0 created at " in first.stdout
    second = run(tag, *arguments)
    assert second.code == 0, second.stderr
    assert "tag v1.0.0 already exists at" in second.stdout
    assert [each["name"] for each in repository.call("GET", "repository/tags")] == ["v1.0.0"]


def test_the_next_version_follows_the_highest(run: Run, repository: Repository) -> None:
    for expected in ("v0.1.0", "v0.2.0"):
        ending = run(tag, "--project", repository.path, "--next", "minor")
        assert ending.code == 0, ending.stderr
        assert f"tag {expected} created" in ending.stdout


def test_a_tag_at_another_commit_is_a_conflict(run: Run, repository: Repository) -> None:
    arguments = ("--project", repository.path, "--tag-name", "v1.0.0")
    assert run(tag, *arguments).code == 0
    repository.commit({"another": "commit"})
    assert run(tag, *arguments).code == 5


def test_a_project_that_does_not_exist_is_not_found(run: Run) -> None:
    name = f"nobody/{secrets.token_hex(8)}"
    for command, more in ((tag, ("--tag-name", "v1")), (trigger, ()), (wait, ("--ref", "main"))):
        ending = run(command, "--project", name, *more)
        assert ending.code == 4, ending.stderr


def test_an_unknown_token_is_refused(run: Run, repository: Repository) -> None:
    ending = run(
        tag, "--project", repository.path, "--tag-name", "v1", "--api-access-token", "glpat-unknown"
    )
    assert ending.code == 3
    assert "does not know the token" in ending.stderr


def test_a_pipeline_is_started_with_its_variables_and_waited_for(
    run: Run, pipelines: Repository
) -> None:
    arguments = ("--project", pipelines.path, "--variable", "LEVEL=green", "--wait")
    ending = run(trigger, *arguments, "--timeout", "60", "--output", "json")
    assert ending.code == 0, ending.stderr
    result = json.loads(ending.stdout)
    assert (result["status"], result["ref"]) == ("success", "main")
    again = run(wait, "--project", pipelines.path, "--pipeline-id", str(result["id"]))
    assert again.code == 0, again.stderr


def test_a_pipeline_without_jobs_is_refused(run: Run, pipelines: Repository) -> None:
    ending = run(trigger, "--project", pipelines.path)
    assert ending.code == 12, ending.stderr


def test_a_manual_job_ends_the_wait_with_11(run: Run, pipelines: Repository) -> None:
    started = run(trigger, "--project", pipelines.path, "--variable", "LEVEL=manual")
    assert started.code == 0, started.stderr
    ending = run(wait, "--project", pipelines.path, "--ref", "main", "--timeout", "60")
    assert ending.code == 11, ending.stderr


def test_a_canceled_pipeline_is_not_a_success(run: Run, pipelines: Repository) -> None:
    started = run(
        trigger, "--project", pipelines.path, "--variable", "LEVEL=long", "--output", "json"
    )
    assert started.code == 0, started.stderr
    number = json.loads(started.stdout)["id"]
    pipelines.call("POST", f"pipelines/{number}/cancel")
    ending = run(wait, "--project", pipelines.path, "--pipeline-id", str(number), "--timeout", "60")
    assert ending.code == 9, ending.stderr


def test_a_pipeline_that_never_appears_is_not_found(run: Run, pipelines: Repository) -> None:
    ending = run(
        wait, "--project", pipelines.path, "--tag", "v9", "--appear-timeout", "2", "--interval", "1"
    )
    assert ending.code == 4, ending.stderr


@pytest.mark.parametrize("via", ["api", "git"])
def test_an_image_is_bumped_once(run: Run, repository: Repository, via: str) -> None:
    repository.commit({"pod.yaml": POD})
    arguments = ("--project", repository.path, "--via", via)
    image = ("--image", "registry.example.com/web", "--tag", "v2")
    first = run(bump, *arguments, *image, "--output", "json")
    assert first.code == 0, first.stderr
    assert json.loads(first.stdout)["changed"]
    assert repository.read("pod.yaml") == POD.replace(":v1", ":v2")
    second = run(bump, *arguments, *image, "--output", "json")
    assert second.code == 0, second.stderr
    assert not json.loads(second.stdout)["changed"]


def test_a_bump_is_proposed_once(run: Run, repository: Repository) -> None:
    repository.commit({"pod.yaml": POD})
    arguments = ("--project", repository.path, "--merge-request", "--output", "json")
    image = ("--image", "registry.example.com/web", "--tag", "v2")
    proposed = [run(bump, *arguments, *image) for _ in range(2)]
    assert [each.code for each in proposed] == [0, 0], proposed[-1].stderr
    addresses = {json.loads(each.stdout)["merge_request"] for each in proposed}
    assert len(addresses) == 1
    assert repository.read("pod.yaml") == POD


def test_the_doctor_finds_nothing(run: Run, server: Server, repository: Repository) -> None:
    ending = run(doctor, "--project", repository.path, "--tag-name", "v1", "--ref", "main")
    assert ending.code == 0, ending.stdout
    assert ending.stdout.startswith("ok    server")
    assert server.url in ending.stdout
